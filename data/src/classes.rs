//! The classes of a zero-shot classification.

use std::collections::HashMap;
use std::path::Path;

use crate::{Error, Source};

/// Class names in order, all different.
///
/// To score a table, read it with `caption_column` set to the column of labels: [`index_of`](Self::index_of) then
/// turns the caption of a row into its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassList {
    names: Vec<String>,
    index: HashMap<String, usize>,
}

impl ClassList {
    /// Reads a text file with one class a line; blank lines are passed over.
    ///
    /// # Errors
    ///
    /// If the file cannot be read as UTF-8, has no class, or has one twice.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|cause| Error::Unreadable {
            path: path.into(),
            cause,
        })?;
        Self::from_text(&path.display().to_string(), &text)
    }

    /// Takes one class a line from `text`; `origin` is what messages call it.
    ///
    /// # Errors
    ///
    /// If there is no class, or one twice.
    pub fn from_text(origin: &str, text: &str) -> Result<Self, Error> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().map(str::trim);
        Self::from_names(origin, lines.filter(|line| !line.is_empty()))
    }

    /// Takes the names as they are.
    pub(crate) fn from_names<'a>(
        origin: &str,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Self, Error> {
        let mut list = Self {
            names: Vec::new(),
            index: HashMap::new(),
        };
        for class in names {
            if !list.push(class) {
                return Err(Error::RepeatedClass {
                    origin: origin.into(),
                    class: class.into(),
                });
            }
        }
        list.not_empty(origin)
    }

    /// The different captions of a source, in order of first appearance: the labels of a table.
    ///
    /// # Errors
    ///
    /// If the source is empty.
    pub fn from_captions(source: &dyn Source) -> Result<Self, Error> {
        let mut list = Self {
            names: Vec::new(),
            index: HashMap::new(),
        };
        for index in 0..source.len() {
            list.push(source.caption(index).trim());
        }
        list.not_empty(source.name())
    }

    /// The class names in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of a class, if it is in the list.
    pub fn index_of(&self, class: &str) -> Option<usize> {
        self.index.get(class.trim()).copied()
    }

    /// Adds a class; false if it is there already.
    fn push(&mut self, class: &str) -> bool {
        if self.index.contains_key(class) {
            return false;
        }
        self.index.insert(class.to_owned(), self.names.len());
        self.names.push(class.to_owned());
        true
    }

    fn not_empty(self, origin: &str) -> Result<Self, Error> {
        if self.names.is_empty() {
            return Err(Error::NoClasses {
                origin: origin.into(),
            });
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_gives_one_class_a_line() {
        let list = ClassList::from_text("t", "\u{feff}cat\r\n\n red panda \n").unwrap();
        assert_eq!(list.names(), ["cat", "red panda"]);
        assert_eq!(list.index_of("red panda"), Some(1));
        assert_eq!(list.index_of("dog"), None);
    }

    #[test]
    fn an_empty_or_repetitive_list_is_refused() {
        assert!(matches!(
            ClassList::from_text("t", " \n"),
            Err(Error::NoClasses { .. })
        ));
        let error = ClassList::from_text("t", "cat\ncat").unwrap_err();
        assert_eq!(
            error.to_string(),
            "t: class `cat` occurs twice; classes must differ"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = ClassList::open("no/such/classes.txt").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("no/such/classes.txt: cannot be read"),
            "{error}"
        );
    }
}
