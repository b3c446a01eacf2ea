//! JSON files as a whole: Karpathy's and COCO's, and plain lists of objects.

mod config;
mod load;
mod parse;

use std::borrow::Cow;
use std::path::Path;

use crate::listing::Listing;
use crate::{Error, Ledger, Sample, SampleError, Source};
pub use config::AnnotationsConfig;
use load::Layout;

/// A JSON file of pictures and captions in memory. Pictures are read when a sample is asked for.
///
/// | file | what is read |
/// |---|---|
/// | Karpathy's `dataset_*.json` | of each of `images` the file and its `sentences`, of one split or all |
/// | COCO's `captions_*.json` | of each of `annotations` the caption, and the file of its picture in `images` |
/// | a list of objects | of each the image path and the caption, or several, by their keys |
///
/// Paths are relative to the folder that holds the file (or to `image_root`). The file may be packed with gzip. An entry
/// that cannot be used is skipped and counted; see [`skipped`](Source::skipped).
#[derive(Debug)]
pub struct Annotations {
    listing: Listing,
    layout: Layout,
}

impl Annotations {
    /// Reads a file, but none of its pictures.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is laid out otherwise, or has no usable entry. The message names the file, what was
    /// found, and the remedy.
    pub fn open(path: impl AsRef<Path>, config: &AnnotationsConfig) -> Result<Self, Error> {
        let (listing, layout) = load::load(path.as_ref(), config, false)?;
        Ok(Self { listing, layout })
    }

    /// Reads a list of objects in which the class of a picture is the value of `key`, a text or a number: the captions
    /// are the classes.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and for Karpathy's and COCO's files, which have no labels.
    pub fn open_labels(
        path: impl AsRef<Path>,
        config: &AnnotationsConfig,
        key: &str,
    ) -> Result<Self, Error> {
        let config = AnnotationsConfig {
            caption_key: key.to_owned(),
            ..config.clone()
        };
        let (listing, layout) = load::load(path.as_ref(), &config, true)?;
        let labelled = Self { listing, layout };
        if layout == Layout::List {
            return Ok(labelled);
        }
        Err(Error::NoLabels {
            origin: labelled.name().to_owned(),
            kind: labelled.kind(),
            remedy: "; classify on a table, JSON lines or a folder of classes",
        })
    }
}

impl Source for Annotations {
    fn name(&self) -> &str {
        self.listing.name()
    }

    fn len(&self) -> usize {
        self.listing.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, SampleError> {
        self.listing.sample(index)
    }

    fn caption(&self, index: usize) -> Cow<'_, str> {
        self.listing.caption(index)
    }

    fn image_key(&self, index: usize) -> Cow<'_, str> {
        self.listing.image_key(index)
    }

    fn kind(&self) -> &'static str {
        match self.layout {
            Layout::Karpathy => "JSON as Karpathy's splits",
            Layout::Coco => "JSON as COCO's captions",
            Layout::List => "a JSON list",
        }
    }

    fn skipped(&self) -> &Ledger {
        &self.listing.skipped
    }

    fn notes(&self) -> &[String] {
        &self.listing.notes
    }
}

#[cfg(test)]
mod tests;
