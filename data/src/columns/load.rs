//! Opening Parquet files: captions and paths are read, pictures stay where they are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result as ReadResult};
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::cells::{Cells, Values};
use super::file::Piece;
use super::guard::{caught, check_pages, check_rows};
use super::schema::{Columns, Image, columns};
use super::{Cell, OpenFile, Parquet, ParquetConfig, SECTION};
use crate::files::Files;
use crate::rows::{Rows, check_caption};
use crate::shown::{list, shown};
use crate::webdataset::pattern;
use crate::{Error, Ledger, Place, Reason, SampleError, opening, picture};

/// Captions and paths may take so many bytes, and so many times the size of the files: a text that is stored once may
/// stand in every row.
const TEXT_ALLOWED: u64 = 16 << 20;
const TEXT_RATIO: u64 = 256;

/// Opens a file, all of a folder, or those of a pattern.
pub(super) fn load(path: &Path, config: &ParquetConfig, labels: bool) -> Result<Parquet, Error> {
    let paths = files_of(path)?;
    let mut sizes = Vec::new();
    for path in &paths {
        let (_, bytes) = opening::regular(path)?;
        sizes.push(bytes);
    }
    let all_bytes: u64 = sizes.iter().sum();
    let pairs = paths.iter().cloned().zip(sizes.iter().copied());
    let files = Arc::new(Files::new(pairs.collect()));
    let root = config.image_root.clone();
    let folder = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(Path::new(""))
    };
    let mut loader = Loader {
        config,
        labels,
        text_limit: TEXT_ALLOWED.saturating_add(all_bytes.saturating_mul(TEXT_RATIO)),
        set: Parquet {
            name: path.display().to_string(),
            root: root.unwrap_or_else(|| folder.into()),
            max_image_bytes: config.max_image_bytes,
            files: Vec::new(),
            rows: Rows::new(),
            skipped: Ledger::new(),
            notes: Vec::new(),
        },
    };
    for (number, (path, bytes)) in paths.iter().zip(sizes).enumerate() {
        let piece = Piece {
            files: files.clone(),
            number: number as u32,
            bytes,
        };
        loader.file(path, piece)?;
    }
    loader.finish(path)
}

/// The files of a folder in order of their names, or those that a path names.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        let found = pattern::expand(&[path])?;
        return match found.unmatched.into_iter().next() {
            Some(pattern) => Err(Error::NoShards { pattern }),
            None => Ok(found.paths),
        };
    }
    let paths = pattern::expand(&[path.join("*.parquet")])?.paths;
    let splits: std::collections::BTreeSet<_> = paths
        .iter()
        .filter_map(|path| path.file_name()?.to_str()?.split(['-', '.', '_']).next())
        .map(str::to_ascii_lowercase)
        .collect();
    let known = ["train", "test", "validation", "val", "valid", "dev"];
    if splits.len() > 1 && splits.iter().all(|split| known.contains(&split.as_str())) {
        return Err(Error::Parquet {
            path: path.into(),
            message: format!(
                "the folder has the splits {}; name the files of one, such as `{}`",
                list(splits.iter().map(String::as_str)),
                shown(&path.join("train-*.parquet"))
            ),
        });
    }
    Ok(paths)
}

struct Loader<'a> {
    config: &'a ParquetConfig,
    labels: bool,
    text_limit: u64,
    set: Parquet,
}

impl Loader<'_> {
    fn file(&mut self, path: &Path, piece: Piece) -> Result<(), Error> {
        let fault = |message| Error::Parquet {
            path: path.into(),
            message,
        };
        let start = opening::start(path, crate::kind::ENOUGH)?;
        match crate::kind::of(&start) {
            Some(crate::kind::PARQUET) => {}
            Some(found) => return Err(opening::other(path, found)),
            None => {
                return Err(fault(
                    "this is no Parquet file: it does not begin with `PAR1`".into(),
                ));
            }
        }
        let bytes = piece.bytes;
        let reader = caught(|| {
            let reader = SerializedFileReader::new(piece.clone())?;
            check_rows(reader.metadata(), bytes)?;
            Ok(reader)
        });
        let unreadable = |message| fault(format!("this Parquet file cannot be read: {message}"));
        let reader = reader.map_err(unreadable)?;
        let columns = caught(|| Ok(columns(path, reader.metadata(), self.config, self.labels)));
        let columns = columns.map_err(unreadable)??;
        let note = columns.chosen.note.as_ref();
        if let Some(note) = note.filter(|_| self.set.files.is_empty()) {
            self.set.notes.push(format!("{}: {note}", shown(path)));
        }
        let mut starts = vec![0];
        for group in reader.metadata().row_groups() {
            let before = starts.last().copied().unwrap_or_default();
            starts.push(before + group.num_rows() as u64);
        }
        let opened = OpenFile {
            path: path.into(),
            reader,
            starts,
            columns,
        };
        for group in 0..opened.starts.len() - 1 {
            caught(|| self.group(&piece, &opened, group)).map_err(unreadable)?;
        }
        self.set.files.push(opened);
        Ok(())
    }

    /// Reads the texts of a row group, and checks where its pictures are.
    fn group(&mut self, piece: &Piece, opened: &OpenFile, group: usize) -> ReadResult<()> {
        let Columns { image, caption, .. } = opened.columns;
        let (path, bytes) = match image {
            Image::Path(path) => (Some(path), None),
            Image::Bytes(bytes) => (None, Some(bytes)),
            Image::Either { bytes, path } => (Some(path), Some(bytes)),
        };
        let reader = opened.reader.get_row_group(group)?;
        let metadata = reader.metadata();
        for leaf in [Some(caption), path, bytes].into_iter().flatten() {
            check_pages(piece, metadata.column(leaf))?;
        }
        let rows = opened.starts[group]..opened.starts[group + 1];
        let mut captions = Cells::of(reader.as_ref(), caption)?;
        let mut paths = path
            .map(|path| Cells::of(reader.as_ref(), path))
            .transpose()?;
        for row in rows {
            let ends = || ParquetError::General("a column ends before its rows".into());
            let captions = captions.next()?.ok_or_else(ends)?;
            let path = match &mut paths {
                Some(paths) => paths.next()?.ok_or_else(ends)?.pop(),
                None => None,
            };
            let cell = Cell {
                file: piece.number,
                row,
            };
            // Before they are copied: one row may have the same text a million times.
            let texts: usize = captions.iter().chain(&path).map(ByteArray::len).sum();
            if (self.set.rows.text_bytes() + texts) as u64 > self.text_limit {
                return Err(ParquetError::General(format!(
                    "its texts unpack to more than {} bytes, out of proportion to the file",
                    self.text_limit
                )));
            }
            let kept = self.keep(opened, cell, path, captions);
            if let Err(reason) = kept {
                self.set.skipped.record(SampleError {
                    origin: opened.path.display().to_string(),
                    place: Place::Key(format!("row {row}")),
                    reason,
                });
            }
        }
        Ok(())
    }

    fn keep(
        &mut self,
        opened: &OpenFile,
        cell: Cell,
        path: Option<ByteArray>,
        captions: Values,
    ) -> Result<(), Reason> {
        let must_have_path = matches!(opened.columns.image, Image::Path(_));
        let chosen = &opened.columns.chosen;
        let path = path.as_ref().map_or(&b""[..], ByteArray::data);
        let path = text(path, &chosen.image)?;
        if must_have_path && path.trim().is_empty() {
            return Err(Reason::EmptyPath);
        }
        if must_have_path && picture::is_url(path) {
            return Err(Reason::Url {
                url: path.chars().take(200).collect(),
            });
        }
        if captions.is_empty() {
            return Err(Reason::EmptyCaption);
        }
        let mut last = Ok(());
        for caption in &captions {
            let mut caption = text(caption.data(), &chosen.caption)?;
            if let Some(classes) = &opened.columns.classes {
                let class = caption
                    .parse()
                    .ok()
                    .and_then(|number: usize| classes.get(number));
                caption = class.map_or(caption, String::as_str);
            }
            match check_caption(caption, self.config.max_caption_bytes, SECTION) {
                Ok(()) => self.set.rows.push(cell, path, caption),
                Err(reason) => last = Err(reason),
            }
        }
        last
    }

    fn finish(self, path: &Path) -> Result<Parquet, Error> {
        if self.set.rows.len() > 0 {
            return Ok(self.set);
        }
        if self.set.skipped.is_empty() {
            return Err(Error::Parquet {
                path: path.into(),
                message: "0 samples: there are no rows".into(),
            });
        }
        Err(Error::NothingUsable {
            path: path.into(),
            skipped: Box::new(self.set.skipped),
        })
    }
}

fn text<'a>(bytes: &'a [u8], column: &str) -> Result<&'a str, Reason> {
    std::str::from_utf8(bytes).map_err(|_| Reason::NotUtf8 {
        column: column.to_owned(),
    })
}
