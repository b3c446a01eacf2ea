//! Folders of pictures with a file of text beside each.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::picture::{self, EXTENSIONS};
use crate::rows::{Rows, check_caption};
use crate::walk::Walk;
use crate::{Error, Ledger, Place, Reason, Sample, SampleError, Source};

/// The part of a recipe that says how these folders are read.
const SECTION: &str = "data.captioned";

/// How to read a [`CaptionedFolder`]. The names of the fields are the names of the options in a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CaptionedConfig {
    /// The extension of the files of text, without its dot: `txt`.
    pub extension: String,
    /// Pictures of more bytes are skipped: 64 MiB.
    pub max_image_bytes: u64,
    /// Pictures with longer captions are skipped: 1 MiB.
    pub max_caption_bytes: usize,
}

impl Default for CaptionedConfig {
    fn default() -> Self {
        Self {
            extension: "txt".into(),
            max_image_bytes: 64 << 20,
            max_caption_bytes: 1 << 20,
        }
    }
}

/// Pictures each with its caption in a file of text beside it: `a.jpg` and `a.txt`, in one folder or in folders below
/// it. Captions are read when the folder is opened, pictures when a sample is asked for.
///
/// The caption is the whole text without blanks at its ends. A picture without a text is skipped and counted; hidden
/// files and links to folders are passed over. Pictures come in order of their paths.
#[derive(Debug)]
pub struct CaptionedFolder {
    name: String,
    root: PathBuf,
    max_image_bytes: u64,
    /// The path of each picture from the root.
    rows: Rows<()>,
    skipped: Ledger,
    notes: Vec<String>,
}

impl CaptionedFolder {
    /// Lists the pictures of a folder and reads their captions.
    ///
    /// # Errors
    ///
    /// If a folder cannot be read, or no picture has a usable caption.
    pub fn open(root: impl AsRef<Path>, config: &CaptionedConfig) -> Result<Self, Error> {
        let root = root.as_ref();
        let mut walk = Walk::new(root);
        let pictures = walk.pictures("")?;
        if pictures.is_empty() {
            return Err(Error::NoPictures {
                path: root.into(),
                expected: EXTENSIONS.map(|e| format!("`.{e}`")).join(", "),
            });
        }
        let name = root.display().to_string();
        let mut rows = Rows::new();
        let mut skipped = Ledger::new();
        for picture in &pictures {
            let caption = caption(root, picture, config);
            let usable = caption.and_then(|caption| {
                check_caption(&caption, config.max_caption_bytes, SECTION)?;
                Ok(caption)
            });
            match usable {
                Ok(caption) => rows.push((), picture, &caption),
                Err(reason) => skipped.record(SampleError {
                    origin: name.clone(),
                    place: Place::Key(picture.clone()),
                    reason,
                }),
            }
        }
        if rows.len() == 0 {
            return Err(Error::NothingUsable {
                path: root.into(),
                skipped: Box::new(skipped),
            });
        }
        Ok(Self {
            name,
            root: root.into(),
            max_image_bytes: config.max_image_bytes,
            rows,
            skipped,
            notes: walk.notes(&[&config.extension]),
        })
    }
}

/// The text beside a picture.
fn caption(root: &Path, picture: &str, config: &CaptionedConfig) -> Result<String, Reason> {
    // `Path::with_extension` panics on a slash, which a recipe may have.
    let stem = picture.rsplit_once('.').map_or(picture, |(stem, _)| stem);
    let path = root.join(format!("{stem}.{}", config.extension));
    let read = || -> io::Result<Option<Vec<u8>>> {
        if !fs::metadata(&path)?.is_file() {
            return Ok(None);
        }
        // One byte more than the limit tells that there are more.
        let limit = (config.max_caption_bytes as u64).saturating_add(1);
        let mut text = Vec::new();
        File::open(&path)?.take(limit).read_to_end(&mut text)?;
        Ok(Some(text))
    };
    let bytes = match read() {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            return Err(Reason::NotAFile {
                path,
                found: "a folder, a device or a pipe",
            });
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Reason::NoTextFile { text: path });
        }
        Err(error) => {
            return Err(Reason::Unreadable {
                path,
                message: error.to_string(),
            });
        }
    };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.trim().to_owned()),
        // The limit may have cut a character in two.
        Err(_) if bytes.len() > config.max_caption_bytes => Err(Reason::LongCaption {
            section: SECTION,
            found: bytes.len(),
            limit: config.max_caption_bytes,
        }),
        Err(_) => Err(Reason::Unreadable {
            path,
            message: "it is not UTF-8".into(),
        }),
    }
}

impl Source for CaptionedFolder {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, SampleError> {
        let limit = (SECTION, self.max_image_bytes);
        let path = self.rows.name(index);
        picture::sample(&self.root, path, limit, self.caption(index))
    }

    fn caption(&self, index: usize) -> Cow<'_, str> {
        self.rows.caption(index).into()
    }

    fn image_key(&self, index: usize) -> Cow<'_, str> {
        self.rows.name(index).into()
    }

    fn kind(&self) -> &'static str {
        "a folder of pictures with a text beside each"
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
