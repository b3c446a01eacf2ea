//! What every source of pairs offers, and why one of its samples may be unusable.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::digest;
use crate::shown::{plain, shown};
use crate::{Groups, Ledger};

/// Pairs of a picture and a caption, addressed by index.
///
/// A picture with five captions is five pairs; [`groups`](Source::groups) says which pairs share a picture. Sources
/// are shared by the worker threads, so nothing here changes them: `sample(i)` is the same at every call.
pub trait Source: Send + Sync {
    /// What messages call this source: the path of a table, `shapes/train`.
    fn name(&self) -> &str;

    /// The number of pairs.
    fn len(&self) -> usize;

    /// Whether there are no pairs.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The picture and the caption of pair `index`.
    ///
    /// # Errors
    ///
    /// Where the picture cannot be had: skip the sample and put the error into a [`Ledger`](crate::Ledger).
    ///
    /// # Panics
    ///
    /// If `index` is not below [`len`](Source::len), as do the other methods that take one.
    fn sample(&self, index: usize) -> Result<Sample, SampleError>;

    /// The caption of pair `index`, without touching its picture.
    fn caption(&self, index: usize) -> Cow<'_, str>;

    /// What identifies the picture of pair `index`: pairs with the same key show the same picture.
    fn image_key(&self, index: usize) -> Cow<'_, str>;

    /// The numbers of pairs in each of its files, in order; one number unless pairs are kept together in files.
    fn shards(&self) -> Vec<usize> {
        vec![self.len()]
    }

    /// The samples found unusable while the source was opened. Pictures are not counted: nobody has looked at them.
    fn skipped(&self) -> &Ledger {
        static NONE: Ledger = Ledger::new();
        &NONE
    }

    /// What the caller may want to tell the user about the source: the separator that was found, what was assumed.
    fn notes(&self) -> &[String] {
        &[]
    }

    /// What the source is, in words: `a table`.
    fn kind(&self) -> &'static str {
        "a source"
    }

    /// What identifies the picture of pair `index` wherever the source lies: its key without the folder of the source.
    fn relative_key(&self, index: usize) -> Cow<'_, str> {
        self.image_key(index)
    }

    /// SHA-256 of the keys of all pictures and of all captions, in order. A source that was moved keeps it; one in which
    /// a row was added, dropped, moved or changed has another. Pictures are not read: a file that was overwritten
    /// changes nothing.
    fn digest(&self) -> [u8; 32] {
        digest::of(self.len(), |i| self.relative_key(i), |i| self.caption(i))
    }

    /// Which pairs share a picture or a caption; retrieval needs it.
    fn groups(&self) -> Groups {
        Groups::new(self.len(), |i| self.image_key(i), |i| self.caption(i))
    }
}

/// One picture with one of its captions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Where in its source the sample stands, for messages.
    pub place: Place,
    /// The picture.
    pub image: ImageData,
    /// The caption, as it stands in the source.
    pub caption: String,
}

/// A picture as a source hands it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageData {
    /// A picture file, not yet decoded.
    Encoded {
        /// The bytes of the file; never empty.
        bytes: Vec<u8>,
        /// Where the bytes come from, for messages: never open it.
        path: PathBuf,
    },
    /// Pixels.
    Rgb {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// `height` rows of `width` pixels of three bytes: red, green, blue.
        pixels: Vec<u8>,
    },
}

/// Where in its source a sample stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of a text file, from 1. A row with a line break in a quoted field is named by its first line.
    Line(u64),
    /// The key of a sample.
    Key(String),
    /// A byte of a file, from 0, where nothing has a better name.
    Byte(u64),
    /// The file as a whole.
    Whole,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Key(key) => write!(f, "sample `{key}`"),
            Self::Byte(byte) => write!(f, "byte {byte}"),
            Self::Whole => write!(f, "as a whole"),
        }
    }
}

/// A sample that cannot be used; the others can. It is skipped and counted, or ends a strict run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}, {place}: {reason}")]
pub struct SampleError {
    /// The name of the source.
    pub origin: String,
    /// The row or key.
    pub place: Place,
    /// What is wrong.
    pub reason: Reason,
}

/// Why a sample cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// A row with too few or too many fields.
    #[error(
        "expected {expected} fields as in the header, found {found}; quote fields with separators inside"
    )]
    FieldCount {
        /// Columns of the header.
        expected: usize,
        /// Fields of the row.
        found: usize,
    },
    /// A row that is not UTF-8.
    #[error("column `{column}` is not UTF-8; save the table as UTF-8")]
    NotUtf8 {
        /// The column.
        column: String,
    },
    /// A caption of nothing or of blanks.
    #[error("the caption is empty")]
    EmptyCaption,
    /// A caption without a word that could be learnt.
    #[error("the caption holds no word of the vocabulary: {caption:?}")]
    NoWord {
        /// The caption.
        caption: String,
    },
    /// A caption that has no tokens.
    #[error("the caption cannot be split into tokens: {message}")]
    NoTokens {
        /// What the tokenizer says.
        message: String,
    },
    /// A caption above the limit.
    #[error(
        "the caption has {found} bytes, over the limit of {limit} (`{section}.max_caption_bytes`)"
    )]
    LongCaption {
        /// The part of the recipe that holds the limit: `data.table`.
        section: &'static str,
        /// Bytes of the caption.
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A row without a path.
    #[error("the path of the image is empty")]
    EmptyPath,
    /// A path that is an address on the web.
    #[error(
        "the picture is a URL ({}); pictures are not downloaded: do it first, for example with img2dataset",
        plain(url)
    )]
    Url {
        /// The address.
        url: String,
    },
    /// A picture that does not exist.
    #[error(
        "{} does not exist; paths are relative to {} (`{section}.image_root`)",
        shown(path),
        shown(root)
    )]
    Missing {
        /// The part of the recipe that can name another folder: `data.table`.
        section: &'static str,
        /// The picture.
        path: PathBuf,
        /// The folder that relative paths start from.
        root: PathBuf,
    },
    /// A picture that a folder has listed and that cannot be found.
    #[error(
        "{} does not exist: it was deleted, or is a link to nothing",
        shown(path)
    )]
    Gone {
        /// The picture.
        path: PathBuf,
    },
    /// A picture without a file of text beside it.
    #[error("there is no {} beside it", shown(text))]
    NoTextFile {
        /// The file that is missing.
        text: PathBuf,
    },
    /// A path that is a folder, a device or a pipe.
    #[error("{} is {found}, not a file", shown(path))]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// A file of 0 bytes.
    #[error("{} is empty (0 bytes)", shown(path))]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// A file above the limit.
    #[error(
        "{} has more than {limit} bytes (`{section}.max_image_bytes`)",
        shown(path)
    )]
    LargeFile {
        /// The part of the recipe that holds the limit: `data.table`.
        section: &'static str,
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file that the system does not let us read.
    #[error("{} cannot be read: {message}", shown(path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        message: String,
    },
    /// A line above the limit.
    #[error("the line has more than {limit} bytes (`data.jsonl.max_row_bytes`)")]
    LongLine {
        /// The limit in bytes.
        limit: usize,
    },
    /// A line that is no JSON object with two texts.
    #[error("{message}")]
    BadLine {
        /// What is wrong with it.
        message: String,
    },
    /// A shard of which nothing can be used.
    #[error("the shard cannot be used: {message}")]
    UnusableShard {
        /// What is wrong with it.
        message: String,
    },
    /// A shard that is cut off or overwritten; what lies before the damage is used.
    #[error(
        "the shard is damaged, and nothing from here on is read: {message}; write or download it again"
    )]
    DamagedShard {
        /// What is wrong with it.
        message: String,
    },
    /// A sample of a shard without a picture.
    #[error("there is no picture; expected an entry with this key and an extension such as `.jpg`")]
    NoImage,
    /// A sample of a shard without a caption.
    #[error(
        "there is no caption; expected an entry with this key and the extension `.txt`, `.json` or `.cls`"
    )]
    NoCaption,
    /// A caption that cannot be taken from its entry.
    #[error("`.{extension}` holds no caption: {message}")]
    BadCaption {
        /// The extension of the entry.
        extension: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A sample of a shard with two entries of one extension.
    #[error("`.{extension}` occurs twice; an extension may come once with a key")]
    RepeatedEntry {
        /// The extension.
        extension: &'static str,
    },
    /// A sample of a shard whose key has come before.
    #[error(
        "its key has come before; the entries of a sample must be adjacent: write the shard sorted by name (`tar \
         --sort=name`)"
    )]
    SplitSample,
    /// A picture that the decoder refuses; sources do not decode, so this is for whoever does.
    #[error("{} cannot be decoded: {message}", shown(path))]
    Undecodable {
        /// The picture.
        path: PathBuf,
        /// What the decoder says.
        message: String,
    },
}

impl Reason {
    /// The file that the fault is about, where it is about one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Missing { path, .. }
            | Self::Gone { path }
            | Self::NotAFile { path, .. }
            | Self::EmptyFile { path }
            | Self::LargeFile { path, .. }
            | Self::Unreadable { path, .. }
            | Self::Undecodable { path, .. } => Some(path),
            _ => None,
        }
    }

    /// A few words for the kind of fault, the same for all samples that have it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::FieldCount { .. } => "wrong number of fields",
            Self::NotUtf8 { .. } => "not UTF-8",
            Self::EmptyCaption => "empty caption",
            Self::NoWord { .. } => "caption without a word",
            Self::NoTokens { .. } => "caption without tokens",
            Self::LongCaption { .. } => "caption too long",
            Self::EmptyPath => "empty path",
            Self::Url { .. } => "URL in place of a file",
            Self::Missing { .. } | Self::Gone { .. } => "missing file",
            Self::NoTextFile { .. } => "no caption",
            Self::NotAFile { .. } => "not a file",
            Self::EmptyFile { .. } => "empty file",
            Self::LargeFile { .. } => "file too large",
            Self::Unreadable { .. } => "unreadable file",
            Self::LongLine { .. } => "line too long",
            Self::BadLine { .. } => "bad line",
            Self::UnusableShard { .. } => "unusable shard",
            Self::DamagedShard { .. } => "damaged shard",
            Self::NoImage => "no image",
            Self::NoCaption => "no caption",
            Self::BadCaption { .. } => "bad caption",
            Self::RepeatedEntry { .. } => "repeated entry",
            Self::SplitSample => "split sample",
            Self::Undecodable { .. } => "undecodable image",
        }
    }
}
