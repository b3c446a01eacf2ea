//! Faults that leave nothing to go on with.

use std::io;
use std::path::PathBuf;

use crate::{Ledger, SampleError};

/// A source that cannot be used at all. Faults of single samples are [`SampleError`](crate::SampleError)s.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that cannot be opened or read.
    #[error("{}: cannot be read: {cause}{}", path.display(), advice(cause))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says. It is part of the message, and no source that would be told again.
        cause: io::Error,
    },
    /// A folder, a device or a pipe where a file is wanted.
    #[error("{}: this is {found}, not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// A file that is none of the kinds that hold pairs.
    #[error("{}: this is {found}; {remedy}", path.display())]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A tar archive that is packed with gzip.
    #[error("{}: this is a gzipped tar archive; unpack it with gunzip, since shards are read in place", path.display())]
    PackedTar {
        /// The archive.
        path: PathBuf,
    },
    /// A folder that holds no pairs as far as anyone can see.
    #[error(
        "{}: the folder has {found}; expected `metadata.jsonl`, `metadata.csv` or `metadata.parquet`, tar shards, \
         Parquet files, pictures with a `.txt` beside each, or a sub-folder of pictures for each class{hint}",
        path.display()
    )]
    UnknownFolder {
        /// The folder.
        path: PathBuf,
        /// What is in it, in words.
        found: String,
        /// What to do about it, after a semicolon; or nothing.
        hint: String,
    },
    /// A JSON file that cannot be read as pictures and captions.
    #[error("{}: {message}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the remedy.
        message: String,
    },
    /// A Parquet file that cannot be read.
    #[error("{}: {message}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the remedy.
        message: String,
    },
    /// A source without class labels.
    #[error("{origin}: {kind} has no labels{remedy}")]
    NoLabels {
        /// The name of the source.
        origin: String,
        /// What it is, in words.
        kind: &'static str,
        /// What to do, after a semicolon; or nothing.
        remedy: &'static str,
    },
    /// A source of which no sample that was tried can be read.
    #[error("{origin}: none of {tried} samples that were tried can be read; the first: {first}")]
    NothingReadable {
        /// The name of the source.
        origin: String,
        /// How many samples were tried.
        tried: usize,
        /// What is wrong with the first of them.
        first: Box<SampleError>,
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
        "{}, line {line}: a double quote opens a field here and none closes it; double it, or `--set data.table.quoting=false` \
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
        "{}, line {line}: the row has more than {limit} bytes (`data.table.max_row_bytes`); if a double quote is left \
         open, double it, or `--set data.table.quoting=false`",
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
    /// A folder without pictures.
    #[error("{}: 0 pictures; expected files that end in {expected}, each with a text beside it", path.display())]
    NoPictures {
        /// The folder.
        path: PathBuf,
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
    #[error("shapes: pictures of {found} pixels; expected {min} to {max} (`data.shapes.size`)")]
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
        "shapes: {found} pictures in split `{split}`, which has {limit} different scenes (`data.shapes.{option}`)"
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

/// What to do about a file that is not there or may not be read; of damage the cause says enough.
fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::NotADirectory => "; check the path and its permissions",
        _ => "",
    }
}

/// A column of a table or a key of JSON that is not there.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: no {noun} `{wanted}`; {place} has {found}.{hint} Name the {noun} with `--set {option}={likely}`",
    path.display()
)]
pub struct MissingColumn {
    /// The file.
    pub path: PathBuf,
    /// `column` or `key`.
    pub noun: &'static str,
    /// The column or key that was looked for.
    pub wanted: String,
    /// The option that names it, by its full key: `data.table.image_column`.
    pub option: &'static str,
    /// Where it was looked for: `the header, separated by commas,`.
    pub place: String,
    /// The columns or keys that are there, each in backticks.
    pub found: String,
    /// A sentence with a likely remedy, or nothing.
    pub hint: String,
    /// The column or key that is likely to be meant, or `...`.
    pub likely: String,
}
