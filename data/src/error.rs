//! Faults that leave nothing to go on with.

use std::io;
use std::path::PathBuf;

use crate::Ledger;

/// A source that cannot be used at all. Faults of single samples are [`SampleError`](crate::SampleError)s.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that cannot be opened or read.
    #[error("{}: cannot be read: {source}; check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A table of 0 bytes, or of blank lines only.
    #[error("{}: the table is empty; expected a header line with the columns `{image}` and `{caption}`", path.display())]
    EmptyTable {
        /// The table.
        path: PathBuf,
        /// The wanted column of paths.
        image: String,
        /// The wanted column of captions.
        caption: String,
    },
    /// A table in another encoding.
    #[error("{}: the header is {found}, not UTF-8; save the table as UTF-8", path.display())]
    HeaderEncoding {
        /// The table.
        path: PathBuf,
        /// What it looks like.
        found: &'static str,
    },
    /// A column that the header does not have.
    #[error(transparent)]
    MissingColumn(#[from] Box<MissingColumn>),
    /// A header without rows.
    #[error("{}: 0 samples: the table has a header and no rows", path.display())]
    NoRows {
        /// The table.
        path: PathBuf,
    },
    /// A table of which every row had to be skipped.
    #[error("{}: 0 samples: every row is bad; {skipped}", path.display())]
    NothingUsable {
        /// The table.
        path: PathBuf,
        /// What was skipped.
        skipped: Box<Ledger>,
    },
    /// A quoted field that runs to the end of the table.
    #[error(
        "{}, line {line}: a double quote opens a field here and none closes it; double it, or set `quoting = false` \
         if quotes mean nothing in this table",
        path.display()
    )]
    OpenQuote {
        /// The table.
        path: PathBuf,
        /// The first line of the row.
        line: u64,
    },
    /// A row above the limit.
    #[error(
        "{}, line {line}: the row has more than {limit} bytes (`max_row_bytes`); if a double quote is left open, \
         double it, or set `quoting = false`",
        path.display()
    )]
    LongRow {
        /// The table.
        path: PathBuf,
        /// The first line of the row.
        line: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// A file of JSON lines of 0 bytes, or of blank lines only.
    #[error("{}: the file is empty; expected one JSON object a line with the keys `{image}` and `{caption}`", path.display())]
    EmptyLines {
        /// The file.
        path: PathBuf,
        /// The wanted key of paths.
        image: String,
        /// The wanted key of captions.
        caption: String,
    },
    /// A pattern of shards that means nothing.
    #[error("`{pattern}`: {message}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// Patterns of shards that match no file.
    #[error(
        "`{pattern}` matches no file; check the folder, and that braces and stars stand for what the names have \
         there (`train-{{0000..0041}}.tar`, `train-*.tar`)"
    )]
    NoShards {
        /// The patterns.
        pattern: String,
    },
    /// Shards without one usable sample.
    #[error(
        "{pattern}: 0 samples in {shards} shard{}; {skipped}. A shard is a tar archive, not compressed, in which \
         adjacent entries such as `000000.jpg` and `000000.txt` are a sample",
        if *shards == 1 { "" } else { "s" }
    )]
    NoSamples {
        /// The patterns.
        pattern: String,
        /// How many shards there are.
        shards: usize,
        /// What was skipped.
        skipped: Box<Ledger>,
    },
    /// A folder without classes of pictures.
    #[error(
        "{}: 0 pictures in {classes} sub-folder{}; expected a sub-folder for each class, with pictures that end in \
         {expected}",
        path.display(),
        if *classes == 1 { "" } else { "s" }
    )]
    NoPictures {
        /// The folder.
        path: PathBuf,
        /// How many sub-folders it has.
        classes: usize,
        /// The extensions that were looked for.
        expected: String,
    },
    /// A class list without classes.
    #[error("{origin}: no classes; expected one class name a line")]
    NoClasses {
        /// The file or table.
        origin: String,
    },
    /// A class that occurs twice.
    #[error("{origin}: class `{class}` occurs twice; classes must differ")]
    RepeatedClass {
        /// The file or table.
        origin: String,
        /// The class.
        class: String,
    },
    /// A prompt template without a place for the class, or with several.
    #[error("prompt template `{template}` has {found} places `{{}}` for the class; expected 1")]
    Template {
        /// The template.
        template: String,
        /// How many places it has.
        found: usize,
    },
    /// An empty list of prompt templates.
    #[error(
        "the list of prompt templates is empty; give at least one, such as `a photo of a {{}}.`"
    )]
    NoTemplates,
    /// A picture size the shapes set cannot draw.
    #[error("shapes: pictures of {found} pixels; expected {min} to {max} (`size`)")]
    PictureSize {
        /// The wanted size in pixels.
        found: u32,
        /// The smallest size in pixels.
        min: u32,
        /// The largest size in pixels.
        max: u32,
    },
    /// More evaluation pictures than there are different scenes.
    #[error(
        "shapes: {found} pictures in split `{split}`, which has {limit} different scenes (`{option}`)"
    )]
    TooManyScenes {
        /// The split.
        split: &'static str,
        /// The option that sets the number.
        option: &'static str,
        /// The wanted number of pictures.
        found: usize,
        /// The number of different scenes.
        limit: usize,
    },
}

/// A column that the header of a table does not have.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: no column `{column}`; the header, separated by {separator}, has {found}.{hint} Name another column with \
     `{option}`",
    path.display()
)]
pub struct MissingColumn {
    /// The table.
    pub path: PathBuf,
    /// The column that was looked for.
    pub column: String,
    /// The option that names it.
    pub option: &'static str,
    /// The separator in words.
    pub separator: &'static str,
    /// The columns of the header, each in backticks.
    pub found: String,
    /// A sentence with a likely remedy, or nothing.
    pub hint: String,
}
