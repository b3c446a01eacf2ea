//! Tables of image paths and captions.

mod config;
mod header;
mod lines;
mod load;

use std::borrow::Cow;
use std::path::Path;

use crate::listing::Listing;
use crate::{Error, Ledger, Sample, SampleError, Source};
pub use config::{Separator, TableConfig};

/// A table in memory: a row is a pair of an image path and a caption. Pictures are read when a sample is asked for.
///
/// Paths are relative to the folder that holds the table (or to `image_root`) and may climb out of it: the table is
/// the user's own, and pictures are only ever read.
///
/// Rows are read as Python's `csv` module reads them: double quotes protect separators, line breaks and doubled
/// quotes. A table may be packed with gzip, and begin with Excel's line `sep=;`. A row that cannot be used is skipped
/// and counted; see [`skipped`](Source::skipped).
#[derive(Debug)]
pub struct Table(Listing);

impl Table {
    /// Reads a table, but none of its pictures.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, lacks a column, has no usable row, or leaves a quote open. The message names the
    /// file, what was found, and the remedy.
    pub fn open(path: impl AsRef<Path>, config: &TableConfig) -> Result<Self, Error> {
        load::load(path.as_ref(), config).map(Self)
    }

    /// Reads a table in which the class of a picture stands in `column`: the captions are the classes.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_labels(
        path: impl AsRef<Path>,
        config: &TableConfig,
        column: &str,
    ) -> Result<Self, Error> {
        let config = TableConfig {
            caption_column: column.to_owned(),
            ..config.clone()
        };
        Self::open(path, &config)
    }

    /// The line of the file on which row `index` begins, from 1.
    ///
    /// # Panics
    ///
    /// If `index` is not below `len()`.
    pub fn line(&self, index: usize) -> u64 {
        self.0.number(index)
    }
}

impl Source for Table {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, SampleError> {
        self.0.sample(index)
    }

    fn caption(&self, index: usize) -> Cow<'_, str> {
        self.0.caption(index)
    }

    fn image_key(&self, index: usize) -> Cow<'_, str> {
        self.0.image_key(index)
    }

    fn kind(&self) -> &'static str {
        "a table"
    }

    fn skipped(&self) -> &Ledger {
        &self.0.skipped
    }

    fn notes(&self) -> &[String] {
        &self.0.notes
    }
}

#[cfg(test)]
mod tests;
