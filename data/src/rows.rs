//! Rows in one piece of text: millions of captions cost no allocation each.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::Reason;

/// A name and a caption for each sample, and where it stands. A name that comes again is kept once.
#[derive(Debug)]
pub(crate) struct Rows<P> {
    text: String,
    rows: Vec<Row<P>>,
    names: Vec<Span>,
    /// The numbers of the names, as long as some come again.
    known: Option<HashTable<u32>>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Row<P> {
    place: P,
    caption: usize,
    caption_len: u32,
    name: u32,
}

/// A piece of the text: its first byte, and how many.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    len: u32,
}

impl Span {
    fn of(self, text: &str) -> &str {
        &text[self.start..self.start + self.len as usize]
    }
}

/// So many names of which hardly any has come again are enough to look for none any more.
const LOOKED_AT: usize = 1 << 16;

impl<P> Rows<P> {
    pub(crate) fn new() -> Self {
        Self {
            text: String::new(),
            rows: Vec::new(),
            names: Vec::new(),
            known: Some(HashTable::new()),
            hasher: RandomState::new(),
        }
    }

    /// Keeps a row. A name of 4 GiB or more is cut; `check_caption` lets no such caption through.
    pub(crate) fn push(&mut self, place: P, name: &str, caption: &str) {
        // The captions of a picture usually stand in adjacent rows.
        let name = match self.rows.last() {
            Some(last) if self.names[last.name as usize].of(&self.text) == name => last.name,
            _ => self.number(name),
        };
        let caption = self.append(caption);
        self.rows.push(Row {
            place,
            caption: caption.start,
            caption_len: caption.len,
            name,
        });
    }

    /// The number of a name.
    fn number(&mut self, name: &str) -> u32 {
        let new = self.names.len() as u32;
        let hash = self.hasher.hash_one(name);
        if let Some(known) = &mut self.known {
            let (names, text) = (&self.names, &self.text);
            let same = |number: &u32| names[*number as usize].of(text) == name;
            if let Some(number) = known.find(hash, same) {
                return *number;
            }
            let hasher = &self.hasher;
            known.insert_unique(hash, new, |number| match names.get(*number as usize) {
                Some(span) => hasher.hash_one(span.of(text)),
                None => hash,
            });
            if names.len() >= LOOKED_AT && names.len() > self.rows.len() / 2 {
                self.known = None;
            }
        }
        let span = self.append(name);
        self.names.push(span);
        new
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn place(&self, index: usize) -> &P {
        &self.rows[index].place
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        self.names[self.rows[index].name as usize].of(&self.text)
    }

    pub(crate) fn caption(&self, index: usize) -> &str {
        let Row {
            caption: start,
            caption_len: len,
            ..
        } = self.rows[index];
        Span { start, len }.of(&self.text)
    }

    /// Bytes of all names and captions.
    pub(crate) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    fn append(&mut self, text: &str) -> Span {
        let start = self.text.len();
        let end = text.floor_char_boundary(u32::MAX as usize);
        self.text.push_str(&text[..end]);
        Span {
            start,
            len: end as u32,
        }
    }
}

/// Whether a caption can be kept.
pub(crate) fn check_caption(
    caption: &str,
    limit: usize,
    section: &'static str,
) -> Result<(), Reason> {
    if caption.trim().is_empty() {
        return Err(Reason::EmptyCaption);
    }
    let found = caption.len();
    let limit = limit.min(u32::MAX as usize);
    if found > limit {
        return Err(Reason::LongCaption {
            section,
            found,
            limit,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_come_again_are_kept_once_until_hardly_any_does() {
        let mut rows = Rows::new();
        for number in 0..1000_u32 {
            rows.push(number, &format!("{}", number % 7), "x");
        }
        assert_eq!((rows.names.len(), rows.text_bytes()), (7, 7 + 1000));
        assert_eq!(
            (rows.name(999), rows.caption(999), *rows.place(999)),
            ("5", "x", 999)
        );
        for number in 0..2 * LOOKED_AT {
            rows.push(0, &format!("new {number}"), "y");
        }
        assert!(rows.known.is_none());
        assert_eq!(
            rows.name(1000 + LOOKED_AT + 3),
            format!("new {}", LOOKED_AT + 3)
        );
    }
}
