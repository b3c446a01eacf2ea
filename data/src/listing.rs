//! A list of picture files with their captions: what a table and a file of JSON lines become.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use crate::rows::{Rows, check_caption};
use crate::{ImageData, Ledger, Place, Reason, Sample, SampleError, picture};

/// Lines of a text file, each with the path of a picture and a caption. Pictures are read when they are asked for.
#[derive(Debug)]
pub(crate) struct Listing {
    name: String,
    root: PathBuf,
    limits: Limits,
    rows: Rows<u64>,
    pub(crate) skipped: Ledger,
    pub(crate) notes: Vec<String>,
}

/// What is too large to be used, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) image: u64,
    pub(crate) caption: usize,
}

impl Listing {
    /// An empty list for the file at `path`. Pictures are looked for from `root`, or from the folder of the file.
    pub(crate) fn new(path: &Path, root: Option<&Path>, limits: Limits) -> Self {
        let folder = path.parent().unwrap_or(Path::new(""));
        Self {
            name: path.display().to_string(),
            root: root.unwrap_or(folder).into(),
            limits,
            rows: Rows::new(),
            skipped: Ledger::new(),
            notes: Vec::new(),
        }
    }

    /// Keeps the pair of a line.
    ///
    /// # Errors
    ///
    /// If the path or the caption cannot be used.
    pub(crate) fn push(&mut self, line: u64, path: &str, caption: &str) -> Result<(), Reason> {
        if path.trim().is_empty() {
            return Err(Reason::EmptyPath);
        }
        check_caption(caption, self.limits.caption)?;
        self.rows.push(line, path, caption);
        Ok(())
    }

    /// Counts a line that cannot be used.
    pub(crate) fn skip(&mut self, line: u64, reason: Reason) {
        self.skipped.record(self.error(line, reason));
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn line(&self, index: usize) -> u64 {
        *self.rows.place(index)
    }

    pub(crate) fn sample(&self, index: usize) -> Result<Sample, SampleError> {
        let line = self.line(index);
        let image = self
            .picture(index)
            .map_err(|reason| self.error(line, reason))?;
        Ok(Sample {
            place: Place::Line(line),
            image,
            caption: self.rows.caption(index).to_owned(),
        })
    }

    pub(crate) fn caption(&self, index: usize) -> Cow<'_, str> {
        self.rows.caption(index).into()
    }

    pub(crate) fn image_key(&self, index: usize) -> Cow<'_, str> {
        let path = self.rows.name(index);
        let plain = Path::new(path)
            .components()
            .filter(|c| *c != Component::CurDir);
        let plain: PathBuf = plain.collect();
        if plain.as_os_str() == path {
            return path.into();
        }
        plain.to_string_lossy().into_owned().into()
    }

    fn picture(&self, index: usize) -> Result<ImageData, Reason> {
        picture::read(&self.root, self.rows.name(index), self.limits.image)
    }

    fn error(&self, line: u64, reason: Reason) -> SampleError {
        SampleError {
            origin: self.name.clone(),
            place: Place::Line(line),
            reason,
        }
    }
}
