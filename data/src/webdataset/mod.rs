//! Tar shards of pictures and captions, as the `webdataset` library for Python reads them.

mod build;
mod captions;
mod config;
mod group;
mod index;
mod key;
mod metered;
pub(crate) mod pattern;
mod scan;

use std::borrow::Cow;
use std::path::Path;

use crate::files::Files;
use crate::picture::EXTENSIONS;
use crate::rows::Rows;
use crate::{Error, ImageData, Ledger, Place, Reason, Sample, SampleError, Source};
use captions::Captions;
pub use config::WebDatasetConfig;
use group::Location;
use scan::Rules;

/// A set of tar shards. Only an index and the captions are in memory; pictures are read where they lie in the shards.
///
/// The key of an entry is its path up to the first dot of the base name, and adjacent entries with the same key are a
/// sample. Its picture is the entry with the extension `jpg`, `jpeg`, `png`, `webp`, `gif`, `bmp`, `tif` or `tiff`, in
/// this order if there are several. Its caption is the text of `txt`, or else a key of `json`, or else what `cls`
/// says: the number of a class, or a text where no classes are given. A key that holds several texts makes several
/// pairs. Where `caption` is not there and nobody set another key, well-known ones such as `text` are tried. Hidden
/// entries, those without an extension and `__notes__` are passed over. Links are never followed, and no name is ever
/// used as a path.
///
/// A sample that cannot be used is skipped and counted, and so is the rest of a shard that is damaged; see
/// [`skipped`](Source::skipped).
#[derive(Debug)]
pub struct WebDataset {
    name: String,
    files: Files,
    rows: Rows<Location>,
    lengths: Vec<usize>,
    skipped: Ledger,
    notes: Vec<String>,
}

impl WebDataset {
    /// Goes once through the headers and captions of the shards that the patterns name: paths, with stars
    /// (`train-*.tar`) or braces (`train-{0000..0041}.tar`, `{a,b}.tar`). The shards of a star come in order of their
    /// names, all others as they are written.
    ///
    /// # Errors
    ///
    /// If a pattern means nothing, or nothing in any of the shards can be used. With one shard that can, the others
    /// are counted in [`skipped`](Source::skipped).
    pub fn open(patterns: &[impl AsRef<Path>], config: &WebDatasetConfig) -> Result<Self, Error> {
        Self::read(patterns, config, false)
    }

    /// Goes through shards of pictures whose class is their `.cls` entry, where `label` is `cls`, or the value of the key
    /// `label` in their `.json` entry: the captions are the classes.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_labels(
        patterns: &[impl AsRef<Path>],
        config: &WebDatasetConfig,
        label: &str,
    ) -> Result<Self, Error> {
        let config = WebDatasetConfig {
            caption_key: label.to_owned(),
            ..config.clone()
        };
        Self::read(patterns, &config, true)
    }

    fn read(
        patterns: &[impl AsRef<Path>],
        config: &WebDatasetConfig,
        labels: bool,
    ) -> Result<Self, Error> {
        let rules = Rules {
            captions: Captions::new(config, labels)?,
            max_image_bytes: config.max_image_bytes,
        };
        let shards = pattern::expand(patterns)?;
        let index = build::build(&shards, &rules)?;
        Ok(Self {
            name: shards.name,
            notes: index.notes(),
            files: Files::new(shards.paths.into_iter().zip(index.bytes).collect()),
            rows: index.rows,
            lengths: index.lengths,
            skipped: index.skipped,
        })
    }
}

impl Source for WebDataset {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, SampleError> {
        let Location {
            shard,
            extension,
            offset,
            size,
        } = *self.rows.place(index);
        let key = self.rows.name(index);
        let shard_path = self.files.path(shard);
        let entry = format!("{key}.{}", EXTENSIONS[extension as usize]);
        let path = scan::shown(shard_path, &entry);
        let place = Place::Key(key.to_owned());
        match self.files.read(shard, offset, size) {
            Ok(bytes) => Ok(Sample {
                place,
                image: ImageData::Encoded { bytes, path },
                caption: self.rows.caption(index).to_owned(),
            }),
            Err(error) => Err(SampleError {
                origin: shard_path.display().to_string(),
                place,
                reason: Reason::Unreadable {
                    path,
                    message: error.to_string(),
                },
            }),
        }
    }

    fn caption(&self, index: usize) -> Cow<'_, str> {
        self.rows.caption(index).into()
    }

    fn image_key(&self, index: usize) -> Cow<'_, str> {
        let shard = self.files.path(self.rows.place(index).shard);
        format!("{}/{}", shard.display(), self.rows.name(index)).into()
    }

    fn relative_key(&self, index: usize) -> Cow<'_, str> {
        let shard = self.files.path(self.rows.place(index).shard);
        let file = shard.file_name().unwrap_or(shard.as_os_str());
        format!("{}/{}", file.to_string_lossy(), self.rows.name(index)).into()
    }

    fn kind(&self) -> &'static str {
        "tar shards"
    }

    fn shards(&self) -> Vec<usize> {
        self.lengths.clone()
    }

    fn skipped(&self) -> &Ledger {
        &self.skipped
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }
}

#[cfg(test)]
mod tests;
