//! What a path is as a source: by what the file or folder holds, and by its name only where that leaves a choice.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::kind::{self, GZIP, PARQUET, TAR};
use crate::opening::{self, Text};
use crate::picture::has_known_extension;
use crate::shown::count;
use crate::{CaptionedConfig, Error};

/// How much of a file is looked at, in bytes.
const START: usize = 64 << 10;

/// Pictures of a folder that are looked at for a text beside them.
const LOOKED_AT: usize = 10_000;

/// The files by which a folder says itself what its pictures are, as Hugging Face's `imagefolder` reads them.
const METADATA: [(&str, SourceKind); 3] = [
    ("metadata.jsonl", SourceKind::JsonLines),
    ("metadata.csv", SourceKind::Table),
    ("metadata.parquet", SourceKind::Parquet),
];

/// The kinds of sources that a path can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// A [`Table`](crate::Table).
    Table,
    /// [`JsonLines`](crate::JsonLines).
    JsonLines,
    /// [`Annotations`](crate::Annotations): JSON as a whole.
    Json,
    /// [`Parquet`](crate::Parquet): a file, or all in a folder.
    Parquet,
    /// [`WebDataset`](crate::WebDataset): a shard, or a pattern of them.
    Shards,
    /// An [`ImageFolder`](crate::ImageFolder): a folder for each class.
    Classes,
    /// A [`CaptionedFolder`](crate::CaptionedFolder): a text beside each picture.
    Captioned,
}

/// Says what a path is, and the path to open: that of `metadata.jsonl` for a folder that has one, a pattern for a folder
/// of shards.
///
/// A file is what its first bytes say. Text is JSON where it begins so, JSON lines where one object follows another or
/// the name ends in `.jsonl` or `.ndjson`, and otherwise a table. A folder is the first of these that fits:
///
/// 1. what its `metadata.jsonl`, `metadata.csv` or `metadata.parquet` is,
/// 2. shards, where it has `*.tar`,
/// 3. pictures with a text beside each, where one of its first 10 000 pictures has one,
/// 4. Parquet, where it has `*.parquet`,
/// 5. a folder of classes.
///
/// # Errors
///
/// If the path cannot be read, or is neither a file nor a folder. What is of another kind is no error here: the source
/// says so when it is opened.
pub fn recognise(path: impl AsRef<Path>) -> Result<(SourceKind, PathBuf), Error> {
    let path = path.as_ref();
    let found = fs::metadata(path);
    if found.is_ok_and(|found| found.is_dir()) {
        return folder(path);
    }
    // A pattern of shards is no file.
    let shards = has_extension(path, &["tar"]);
    let start = match opening::start(path, START) {
        Err(Error::Unreadable { .. }) if shards => return Ok((SourceKind::Shards, path.into())),
        Err(Error::Unreadable { .. }) if has_extension(path, &["parquet"]) => {
            return Ok((SourceKind::Parquet, path.into()));
        }
        start => start?,
    };
    let found = match kind::of(&start) {
        Some(TAR) => SourceKind::Shards,
        Some(PARQUET) => SourceKind::Parquet,
        Some(GZIP) if !shards => match Text::open(path, START) {
            Ok(text) => by_text(path, &text.start),
            Err(_) => SourceKind::Table,
        },
        Some(_) | None if shards => SourceKind::Shards,
        Some(_) => SourceKind::Table,
        None => by_text(path, &start),
    };
    Ok((found, path.into()))
}

fn has_extension(path: &Path, wanted: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|found| wanted.iter().any(|w| w.eq_ignore_ascii_case(found)))
}

/// What the beginning of a text is.
fn by_text(path: &Path, start: &[u8]) -> SourceKind {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let text = text.trim_ascii_start();
    let is_json = has_extension(path, &["json"]);
    let is_lines = has_extension(path, &["jsonl", "ndjson"]);
    match text.first() {
        Some(b'{') => by_object(text, is_json, is_lines),
        Some(b'[') if !is_lines => SourceKind::Json,
        _ if is_lines => SourceKind::JsonLines,
        _ if is_json => SourceKind::Json,
        _ => SourceKind::Table,
    }
}

/// Whether a text that begins with an object is that object, or lines of them.
fn by_object(text: &[u8], is_json: bool, is_lines: bool) -> SourceKind {
    let (keys, rest) = outline(text);
    let has_lists = ["images", "annotations"].iter().any(|list| {
        keys.iter()
            .any(|(key, value)| key == list && *value == b'[')
    });
    match rest {
        Some(rest) if !rest.trim_ascii().is_empty() => SourceKind::JsonLines,
        _ if has_lists => SourceKind::Json,
        // The object goes on past what was looked at: as a line it would have two texts by now.
        None if is_json && !is_lines => SourceKind::Json,
        Some(_) if is_json && !text.contains(&b'\n') => SourceKind::JsonLines,
        Some(_) if is_json => SourceKind::Json,
        _ => SourceKind::JsonLines,
    }
}

/// The keys of an object with the first byte of their values, as far as the text goes; and what follows the object.
fn outline(text: &[u8]) -> (Vec<(String, u8)>, Option<&[u8]>) {
    let mut keys = Vec::new();
    let mut depth = 0_usize;
    let mut key: Option<&[u8]> = None;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                let end = crate::json::end_of_text(text, at);
                if depth == 1 {
                    key = text.get(at + 1..end.saturating_sub(1));
                }
                at = end;
                continue;
            }
            b':' if depth == 1 && keys.len() < 1000 => {
                let value = text[at + 1..].trim_ascii_start().first();
                if let (Some(key), Some(value)) = (key.take(), value) {
                    keys.push((String::from_utf8_lossy(key).into_owned(), *value));
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return (keys, Some(&text[at + 1..]));
                }
            }
            _ => {}
        }
        at += 1;
    }
    (keys, None)
}

fn folder(path: &Path) -> Result<(SourceKind, PathBuf), Error> {
    for (name, kind) in METADATA {
        let metadata = path.join(name);
        if metadata.is_file() {
            return Ok((kind, metadata));
        }
    }
    let held = Held::of(path)?;
    let pattern = |extension: &str| path.join(format!("*.{extension}"));
    if held.has("tar") {
        return Ok((SourceKind::Shards, pattern("tar")));
    }
    if has_texts(path)? {
        return Ok((SourceKind::Captioned, path.into()));
    }
    if held.has("parquet") {
        return Ok((SourceKind::Parquet, path.into()));
    }
    Ok((SourceKind::Classes, path.into()))
}

/// Whether one of the first pictures below a folder has a text beside it. Folders come in order of their names, what
/// lies in a folder before what lies below it.
fn has_texts(root: &Path) -> Result<bool, Error> {
    let extension = CaptionedConfig::default().extension;
    let mut folders = vec![root.to_path_buf()];
    let mut left = LOOKED_AT;
    while let Some(folder) = folders.pop() {
        let (mut files, mut below) = (Vec::new(), Vec::new());
        for (name, is_folder) in entries(&folder)? {
            if is_folder {
                below.push(folder.join(name));
            } else {
                files.push(name);
            }
        }
        let texts: std::collections::HashSet<_> = files.iter().map(String::as_str).collect();
        for name in files.iter().filter(|name| has_known_extension(name)) {
            let beside = Path::new(name).with_extension(&extension);
            if beside.to_str().is_some_and(|beside| texts.contains(beside)) {
                return Ok(true);
            }
            left -= 1;
            if left == 0 {
                return Ok(false);
            }
        }
        folders.extend(below.into_iter().rev());
    }
    Ok(false)
}

/// The entries of a folder that are not hidden, in order of their names, and whether each is a folder. Links to folders
/// are none, so that they cannot loop.
fn entries(folder: &Path) -> Result<Vec<(String, bool)>, Error> {
    let unreadable = |cause| Error::Unreadable {
        path: folder.into(),
        cause,
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match entry.file_name().into_string() {
            Ok(name) if !name.starts_with('.') => entries.push((name, is_folder)),
            _ => {}
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

/// What lies in a folder, without what lies below it.
#[derive(Debug, Default)]
pub(crate) struct Held {
    folders: Vec<String>,
    /// Files by extension, in lower case: their number and the first of them.
    files: BTreeMap<String, (usize, String)>,
}

impl Held {
    /// Looks into a folder.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        let mut held = Self::default();
        for (name, is_folder) in entries(path)? {
            if is_folder {
                held.folders.push(name);
                continue;
            }
            let extension = Path::new(&name).extension().unwrap_or_default();
            let extension = extension.to_string_lossy().to_ascii_lowercase();
            held.files.entry(extension).or_insert((0, name)).0 += 1;
        }
        Ok(held)
    }

    fn has(&self, extension: &str) -> bool {
        self.files.contains_key(extension)
    }

    /// The first file that may list pictures.
    fn listing(&self) -> Option<&str> {
        let lists = ["csv", "tsv", "jsonl", "ndjson", "json", "parquet", "gz"];
        let mut lists = lists
            .iter()
            .filter_map(|extension| self.files.get(*extension));
        lists.next().map(|(_, first)| first.as_str())
    }

    /// The error for a folder that is none of the known ones, or `None` where it may be a folder of classes.
    pub(crate) fn no_classes(&self, path: &Path, classes: &[String]) -> Option<Error> {
        let with_metadata = classes.iter().find(|class| {
            let files = METADATA.iter().map(|(name, _)| path.join(class).join(name));
            files.into_iter().any(|file| file.is_file())
        });
        let is_split = |class: &String| {
            let name = class.to_ascii_lowercase();
            ["train", "val", "valid", "validation", "test", "dev"].contains(&name.as_str())
        };
        let hint = if let Some(class) = with_metadata {
            format!("; `{class}` in it has such a file: name that folder")
        } else if !classes.is_empty() && classes.iter().all(is_split) {
            format!(
                "; its sub-folders look like splits: name one of them, such as `{}`",
                classes[0]
            )
        } else if let (Some(listing), [_] | []) = (self.listing(), classes) {
            format!("; if `{listing}` lists the pictures, name that file")
        } else if self.has("arrow") {
            "; it was saved as Arrow: write Parquet with datasets.load_from_disk(FOLDER).to_parquet(FILE)".to_owned()
        } else if classes.is_empty() {
            String::new()
        } else {
            return None;
        };
        Some(Error::UnknownFolder {
            path: path.into(),
            found: self.words(),
            hint,
        })
    }

    /// A note on a file that may list the pictures of a folder of classes.
    pub(crate) fn note(&self) -> Option<String> {
        let listing = self.listing()?;
        Some(format!(
            "taken for a folder of classes; if `{listing}` lists the pictures, name that file"
        ))
    }

    fn words(&self) -> String {
        let mut words = Vec::new();
        if !self.folders.is_empty() {
            words.push(count(self.folders.len(), "sub-folder"));
        }
        for (extension, (number, _)) in self.files.iter().take(6) {
            words.push(if extension.is_empty() {
                format!("{} without an extension", count(*number, "file"))
            } else {
                format!("{number} `.{}`", crate::shown::plain(extension))
            });
        }
        if words.is_empty() {
            return "nothing in it".to_owned();
        }
        words.join(", ")
    }
}

#[cfg(test)]
mod tests;
