//! Parquet files of pictures and captions, as img2dataset and Hugging Face's `datasets` write them.

mod cells;
mod config;
mod file;
mod guard;
mod load;
mod schema;

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::rows::Rows;
use crate::shown::shown;
use crate::{Error, ImageData, Ledger, Place, Reason, Sample, SampleError, Source, picture};
use cells::Cells;
pub use config::ParquetConfig;
use file::Piece;
use guard::caught;
use schema::{Columns, Image};

/// The part of a recipe that says how Parquet is read.
const SECTION: &str = "data.parquet";

/// Parquet files: a row is a picture with its caption, or several where the column of captions is of lists.
///
/// Pictures are bytes in a column, or in files whose paths are in a column; the struct of `bytes` and `path` that
/// Hugging Face's `datasets` writes may be either, row by row. Paths are relative to the folder of the file, or to
/// `image_root`. Captions and paths are in memory; a picture is read and its page unpacked when a sample is asked for,
/// from several threads at once. Pages may be packed with snappy, zstd, gzip or lz4.
///
/// A row that cannot be used is skipped and counted; see [`skipped`](Source::skipped). A file that is damaged is an
/// error.
pub struct Parquet {
    name: String,
    root: PathBuf,
    max_image_bytes: u64,
    files: Vec<OpenFile>,
    rows: Rows<Cell>,
    skipped: Ledger,
    notes: Vec<String>,
}

/// A file that is open.
struct OpenFile {
    path: PathBuf,
    reader: SerializedFileReader<Piece>,
    /// The first row of each row group, and the number of all rows.
    starts: Vec<u64>,
    columns: Columns,
}

/// A row of a file, from 0.
#[derive(Debug, Clone, Copy)]
struct Cell {
    file: u32,
    row: u64,
}

impl fmt::Debug for Parquet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parquet")
            .field("name", &self.name)
            .field("files", &self.files.len())
            .field("rows", &self.rows.len())
            .finish_non_exhaustive()
    }
}

impl Parquet {
    /// Opens a file, those of a pattern (`train-*.parquet`) or all in a folder; reads captions, but no picture.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or is damaged, lacks a column, or no row can be used. The message names the file, what
    /// was found, and the remedy.
    pub fn open(path: impl AsRef<Path>, config: &ParquetConfig) -> Result<Self, Error> {
        load::load(path.as_ref(), config, false)
    }

    /// Opens files in which the class of a picture stands in `column`: the captions are the classes. Numbers are the names
    /// that Hugging Face's `datasets` has for them, or else themselves.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_labels(
        path: impl AsRef<Path>,
        config: &ParquetConfig,
        column: &str,
    ) -> Result<Self, Error> {
        let config = ParquetConfig {
            caption_column: column.to_owned(),
            ..config.clone()
        };
        load::load(path.as_ref(), &config, true)
    }

    fn key(&self, index: usize, folder: impl fmt::Display) -> String {
        format!("{folder}#{}", self.rows.place(index).row)
    }

    fn picture(&self, index: usize) -> Result<ImageData, Reason> {
        let Cell { file, row } = *self.rows.place(index);
        let opened = &self.files[file as usize];
        let path = self.rows.name(index);
        let limit = (SECTION, self.max_image_bytes);
        let leaf = match opened.columns.image {
            Image::Path(_) => return picture::read(&self.root, path, limit),
            Image::Bytes(leaf) | Image::Either { bytes: leaf, .. } => leaf,
        };
        let shown = || PathBuf::from(format!("{}#{row}", opened.path.display()));
        let bytes = opened
            .value(row, leaf)
            .map_err(|message| Reason::Unreadable {
                path: shown(),
                message,
            })?;
        match bytes {
            Some(bytes) if bytes.len() as u64 > limit.1 => Err(Reason::LargeFile {
                section: SECTION,
                path: shown(),
                limit: limit.1,
            }),
            Some(bytes) if !bytes.is_empty() => Ok(ImageData::Encoded {
                bytes,
                path: shown(),
            }),
            None if picture::is_url(path) => Err(Reason::Url {
                url: path.to_owned(),
            }),
            None if !path.is_empty() => picture::read(&self.root, path, limit),
            Some(_) | None => Err(Reason::EmptyFile { path: shown() }),
        }
    }

    fn is_in_files(&self, index: usize) -> bool {
        let opened = &self.files[self.rows.place(index).file as usize];
        matches!(opened.columns.image, Image::Path(_))
    }
}

impl OpenFile {
    /// The value of a row in a column.
    fn value(&self, row: u64, leaf: usize) -> Result<Option<Vec<u8>>, String> {
        let group = self
            .starts
            .partition_point(|start| *start <= row)
            .saturating_sub(1);
        let inside = row - self.starts[group];
        caught(|| {
            let group = self.reader.get_row_group(group)?;
            let value = Cells::of(group.as_ref(), leaf)?.at(inside as usize)?;
            Ok(value.map(|value| value.data().to_vec()))
        })
    }
}

impl Source for Parquet {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, SampleError> {
        let Cell { file, row } = *self.rows.place(index);
        let place = Place::Key(format!("row {row}"));
        match self.picture(index) {
            Ok(image) => Ok(Sample {
                place,
                image,
                caption: self.rows.caption(index).to_owned(),
            }),
            Err(reason) => Err(SampleError {
                origin: self.files[file as usize].path.display().to_string(),
                place,
                reason,
            }),
        }
    }

    fn caption(&self, index: usize) -> Cow<'_, str> {
        self.rows.caption(index).into()
    }

    fn image_key(&self, index: usize) -> Cow<'_, str> {
        if self.is_in_files(index) {
            return crate::listing::normal(self.rows.name(index));
        }
        let file = self.rows.place(index).file;
        self.key(index, shown(&self.files[file as usize].path))
            .into()
    }

    fn relative_key(&self, index: usize) -> Cow<'_, str> {
        if self.is_in_files(index) {
            return self.image_key(index);
        }
        let path = &self.files[self.rows.place(index).file as usize].path;
        let name = path.file_name().unwrap_or(path.as_os_str());
        self.key(index, name.to_string_lossy()).into()
    }

    fn kind(&self) -> &'static str {
        "Parquet"
    }

    fn shards(&self) -> Vec<usize> {
        let mut shards = Vec::new();
        let mut last = None;
        for index in 0..self.rows.len() {
            let Cell { file, row } = *self.rows.place(index);
            let starts = &self.files[file as usize].starts;
            let group = (file, starts.partition_point(|start| *start <= row));
            if last.replace(group) != Some(group) {
                shards.push(0);
            }
            if let Some(count) = shards.last_mut() {
                *count += 1;
            }
        }
        shards
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
