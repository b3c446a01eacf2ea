//! Tables of image paths and captions.

mod config;
mod header;
mod load;
mod picture;
mod rows;

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use crate::{Error, Ledger, Place, Sample, SampleError, Source};
pub use config::{Separator, TableConfig};
use rows::Rows;

/// A table in memory: a row is a pair of an image path and a caption. Pictures are read when a sample is asked for.
///
/// Paths are relative to the folder that holds the table (or to `image_root`) and may climb out of it: the table is
/// the user's own, and pictures are only ever read.
///
/// Rows are read as Python's `csv` module reads them: double quotes protect separators, line breaks and doubled
/// quotes. A row that cannot be used is skipped and counted; see [`skipped`](Table::skipped).
#[derive(Debug)]
pub struct Table {
    name: String,
    root: PathBuf,
    max_image_bytes: u64,
    rows: Rows,
    skipped: Ledger,
    notes: Vec<String>,
}

impl Table {
    /// Reads a table, but none of its pictures.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, lacks a column, has no usable row, or leaves a quote open. The message names the
    /// file, what was found, and the remedy.
    pub fn open(path: impl AsRef<Path>, config: &TableConfig) -> Result<Self, Error> {
        let path = path.as_ref();
        let loaded = load::load(path, config)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Ok(Self {
            name: path.display().to_string(),
            root: config.image_root.clone().unwrap_or_else(|| folder.into()),
            max_image_bytes: config.max_image_bytes,
            rows: loaded.rows,
            skipped: loaded.skipped,
            notes: loaded.notes,
        })
    }

    /// The line of the file on which row `index` begins, from 1.
    ///
    /// # Panics
    ///
    /// If `index` is not below `len()`.
    pub fn line(&self, index: usize) -> u64 {
        self.rows.line(index)
    }
}

impl Source for Table {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn skipped(&self) -> &Ledger {
        &self.skipped
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn sample(&self, index: usize) -> Result<Sample, SampleError> {
        let place = Place::Line(self.rows.line(index));
        match picture::read(&self.root, self.rows.path(index), self.max_image_bytes) {
            Ok(image) => Ok(Sample {
                place,
                image,
                caption: self.rows.caption(index).to_owned(),
            }),
            Err(reason) => Err(SampleError {
                origin: self.name.clone(),
                place,
                reason,
            }),
        }
    }

    fn caption(&self, index: usize) -> Cow<'_, str> {
        self.rows.caption(index).into()
    }

    fn image_key(&self, index: usize) -> Cow<'_, str> {
        let path = self.rows.path(index);
        let plain = Path::new(path)
            .components()
            .filter(|c| *c != Component::CurDir);
        let plain: PathBuf = plain.collect();
        if plain.as_os_str() == path {
            return path.into();
        }
        plain.to_string_lossy().into_owned().into()
    }
}

#[cfg(test)]
mod tests;
