//! Files of JSON objects, one a line, with image paths and captions.

mod config;
mod load;

use std::borrow::Cow;
use std::path::Path;

use crate::listing::Listing;
use crate::{Error, Ledger, Sample, SampleError, Source};
pub use config::JsonLinesConfig;

/// JSON lines in memory: of each object the image path and the caption. Pictures are read when a sample is asked for.
///
/// Paths are relative to the folder that holds the file (or to `image_root`), as in a [`Table`](crate::Table). Blank
/// lines are passed over, `NaN` in a key that nobody reads does no harm, and a list of texts is as many captions. The
/// file may be packed with gzip. A line that cannot be used is skipped and counted; see [`skipped`](Source::skipped).
#[derive(Debug)]
pub struct JsonLines(Listing);

impl JsonLines {
    /// Reads a file, but none of its pictures.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or has no usable line. The message names the file, what was found, and the remedy.
    pub fn open(path: impl AsRef<Path>, config: &JsonLinesConfig) -> Result<Self, Error> {
        load::load(path.as_ref(), config, false).map(Self)
    }

    /// Reads a file in which the class of a picture is the value of `key`, a text or a number: the captions are the
    /// classes.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_labels(
        path: impl AsRef<Path>,
        config: &JsonLinesConfig,
        key: &str,
    ) -> Result<Self, Error> {
        let config = JsonLinesConfig {
            caption_key: key.to_owned(),
            ..config.clone()
        };
        load::load(path.as_ref(), &config, true).map(Self)
    }
}

impl Source for JsonLines {
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
        "JSON lines"
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
