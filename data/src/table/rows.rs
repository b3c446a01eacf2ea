//! The rows of a table, in one piece of text: millions of captions cost no allocation each.

/// The usable rows in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Rows {
    text: String,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    line: u64,
    path: Span,
    caption: Span,
}

/// A piece of the text, in bytes.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
}

impl Rows {
    pub(super) fn push(&mut self, line: u64, path: &str, caption: &str) {
        // The captions of a picture usually stand in adjacent rows: keep its path once.
        let path = match self.rows.last() {
            Some(last) if self.get(last.path) == path => last.path,
            _ => self.append(path),
        };
        let caption = self.append(caption);
        self.rows.push(Row {
            line,
            path,
            caption,
        });
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn line(&self, index: usize) -> u64 {
        self.rows[index].line
    }

    pub(super) fn path(&self, index: usize) -> &str {
        self.get(self.rows[index].path)
    }

    pub(super) fn caption(&self, index: usize) -> &str {
        self.get(self.rows[index].caption)
    }

    fn get(&self, span: Span) -> &str {
        &self.text[span.start..span.end]
    }

    fn append(&mut self, text: &str) -> Span {
        let start = self.text.len();
        self.text.push_str(text);
        Span {
            start,
            end: self.text.len(),
        }
    }
}
