//! A list of picture files with their captions: what a table and a file of JSON become.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use crate::rows::{Rows, check_caption};
use crate::shown::plain;
use crate::{ImageData, Ledger, Place, Reason, Sample, SampleError, picture};

/// Rows of a file, each with the path of a picture and a caption. Pictures are read when they are asked for.
#[derive(Debug)]
pub(crate) struct Listing {
    name: String,
    root: PathBuf,
    limits: Limits,
    unit: Unit,
    rows: Rows<u64>,
    pub(crate) skipped: Ledger,
    pub(crate) notes: Vec<String>,
}

/// What is too large to be used, in bytes, and where a recipe says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The part of the recipe: `data.table`.
    pub(crate) section: &'static str,
    pub(crate) image: u64,
    pub(crate) caption: usize,
}

/// What the numbers of rows count.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    /// Lines, from 1.
    Line,
    /// Entries of the list that has this name, from 0.
    Entry(&'static str),
}

impl Unit {
    pub(crate) fn place(self, number: u64) -> Place {
        match self {
            Self::Line => Place::Line(number),
            Self::Entry(list) => Place::Key(format!("{list}[{number}]")),
        }
    }
}

impl Listing {
    /// An empty list for the file at `path`. Pictures are looked for from `root`, or from the folder of the file.
    pub(crate) fn new(path: &Path, root: Option<&Path>, limits: Limits, unit: Unit) -> Self {
        let folder = path.parent().unwrap_or(Path::new(""));
        Self {
            name: path.display().to_string(),
            root: root.unwrap_or(folder).into(),
            limits,
            unit,
            rows: Rows::new(),
            skipped: Ledger::new(),
            notes: Vec::new(),
        }
    }

    /// Keeps the pair of a row.
    ///
    /// # Errors
    ///
    /// If the path or the caption cannot be used.
    pub(crate) fn push(&mut self, number: u64, path: &str, caption: &str) -> Result<(), Reason> {
        if path.trim().is_empty() {
            return Err(Reason::EmptyPath);
        }
        if picture::is_url(path) {
            let start: String = path.chars().take(200).collect();
            return Err(Reason::Url { url: start });
        }
        check_caption(caption, self.limits.caption, self.limits.section)?;
        self.rows.push(number, path, caption);
        Ok(())
    }

    /// Counts a row that cannot be used.
    pub(crate) fn skip(&mut self, number: u64, reason: Reason) {
        self.skipped.record(self.error(number, reason));
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The number of the line or entry.
    pub(crate) fn number(&self, index: usize) -> u64 {
        *self.rows.place(index)
    }

    pub(crate) fn sample(&self, index: usize) -> Result<Sample, SampleError> {
        let number = self.number(index);
        let image = self
            .picture(index)
            .map_err(|reason| self.error(number, reason))?;
        Ok(Sample {
            place: self.unit.place(number),
            image,
            caption: self.rows.caption(index).to_owned(),
        })
    }

    pub(crate) fn caption(&self, index: usize) -> Cow<'_, str> {
        self.rows.caption(index).into()
    }

    pub(crate) fn image_key(&self, index: usize) -> Cow<'_, str> {
        normal(self.rows.name(index))
    }

    /// Adds a note that begins with the name of the file.
    pub(crate) fn note(&mut self, note: impl std::fmt::Display) {
        self.notes.push(format!("{}: {note}", plain(&self.name)));
    }

    fn picture(&self, index: usize) -> Result<ImageData, Reason> {
        let limit = (self.limits.section, self.limits.image);
        picture::read(&self.root, self.rows.name(index), limit)
    }

    fn error(&self, number: u64, reason: Reason) -> SampleError {
        SampleError {
            origin: self.name.clone(),
            place: self.unit.place(number),
            reason,
        }
    }
}

/// A path in the spelling that all of its spellings share: without `./` and doubled slashes.
pub(crate) fn normal(path: &str) -> Cow<'_, str> {
    let odd = ["//", "/./"].iter().any(|odd| path.contains(odd));
    if !odd && !path.starts_with("./") && !path.ends_with(['/', '.']) && !cfg!(windows) {
        return path.into();
    }
    let parts = Path::new(path)
        .components()
        .filter(|c| *c != Component::CurDir);
    let plain: PathBuf = parts.collect();
    plain.to_string_lossy().into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        for (path, expected) in [
            ("a/b.png", "a/b.png"),
            ("./a//b.png", "a/b.png"),
            ("a/./b.png", "a/b.png"),
            ("../a/b.", "../a/b."),
            ("/a/b/", "/a/b"),
            ("a/.", "a"),
        ] {
            assert_eq!(normal(path), expected);
        }
    }
}
