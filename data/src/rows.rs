//! Rows in one piece of text: millions of captions cost no allocation each.

use crate::Reason;

/// A name and a caption for each sample, and where it stands.
#[derive(Debug)]
pub(crate) struct Rows<P> {
    text: String,
    rows: Vec<Row<P>>,
}

#[derive(Debug)]
struct Row<P> {
    place: P,
    name: Span,
    caption: Span,
}

/// A piece of the text, in bytes.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
}

impl<P> Rows<P> {
    pub(crate) fn new() -> Self {
        Self {
            text: String::new(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, place: P, name: &str, caption: &str) {
        // The captions of a picture usually stand in adjacent rows: keep its name once.
        let name = match self.rows.last() {
            Some(last) if self.get(last.name) == name => last.name,
            _ => self.append(name),
        };
        let caption = self.append(caption);
        self.rows.push(Row {
            place,
            name,
            caption,
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn place(&self, index: usize) -> &P {
        &self.rows[index].place
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        self.get(self.rows[index].name)
    }

    pub(crate) fn caption(&self, index: usize) -> &str {
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

/// Whether a caption can be kept.
pub(crate) fn check_caption(caption: &str, limit: usize) -> Result<(), Reason> {
    if caption.trim().is_empty() {
        return Err(Reason::EmptyCaption);
    }
    let found = caption.len();
    if found > limit {
        return Err(Reason::LongCaption { found, limit });
    }
    Ok(())
}
