//! The header of a table: which separator it has, and where the two columns are.

use std::path::Path;

use super::load::{is_blank, reader};
use super::{Separator, TableConfig};
use crate::{Error, MissingColumn};

/// The separators that can be found, in order of preference.
const KNOWN: [Mark; 3] = [
    Mark {
        separator: Separator::Tab,
        byte: b'\t',
        words: "tabs",
        option: "tab",
    },
    Mark {
        separator: Separator::Comma,
        byte: b',',
        words: "commas",
        option: "comma",
    },
    Mark {
        separator: Separator::Semicolon,
        byte: b';',
        words: "semicolons",
        option: "semicolon",
    },
];

/// How many columns an error lists, and how much of each name.
const LISTED: usize = 20;
const LISTED_CHARS: usize = 40;

struct Mark {
    separator: Separator,
    byte: u8,
    words: &'static str,
    option: &'static str,
}

/// What the header says of the rows below it.
pub(super) struct Header {
    pub(super) separator: u8,
    pub(super) columns: usize,
    pub(super) image: usize,
    pub(super) caption: usize,
    pub(super) note: Option<String>,
}

impl Header {
    /// Finds the columns in the beginning of a table.
    pub(super) fn find(path: &Path, start: &[u8], config: &TableConfig) -> Result<Self, Error> {
        if start.iter().all(u8::is_ascii_whitespace) {
            return Err(Error::EmptyTable {
                path: path.into(),
                image: config.image_column.clone(),
                caption: config.caption_column.clone(),
            });
        }
        let readings: Vec<_> = KNOWN
            .iter()
            .map(|mark| Ok((mark, names(path, start, mark.byte, config.quoting)?)))
            .collect::<Result<_, Error>>()?;
        match config.separator {
            Separator::Auto => detect(path, &readings, config),
            given => {
                let (mark, names) = pick(&readings, |(mark, _)| mark.separator == given);
                columns(names, config)
                    .map(|found| found.with(mark, names, None))
                    .ok_or_else(|| {
                        let other = readings
                            .iter()
                            .find(|(_, names)| columns(names, config).is_some());
                        missing(path, mark, names, config, other.map(|(mark, _)| *mark))
                    })
            }
        }
    }
}

/// The two columns that were looked for, from 0.
struct Columns {
    image: usize,
    caption: usize,
}

impl Columns {
    fn with(self, mark: &Mark, names: &[String], note: Option<String>) -> Header {
        let Self { image, caption } = self;
        Header {
            separator: mark.byte,
            columns: names.len(),
            image,
            caption,
            note,
        }
    }
}

type Reading<'a> = (&'a Mark, Vec<String>);

fn detect(path: &Path, readings: &[Reading], config: &TableConfig) -> Result<Header, Error> {
    for (mark, names) in readings {
        if let Some(found) = columns(names, config) {
            let note = format!(
                "{}: separated by {} (autodetected)",
                path.display(),
                mark.words
            );
            return Ok(found.with(mark, names, Some(note)));
        }
    }
    let most = readings.iter().map(|(_, names)| names.len()).max();
    let (mark, names) = pick(readings, |(_, names)| Some(names.len()) == most);
    Err(missing(path, mark, names, config, None))
}

/// The first reading that is wanted; `KNOWN` has one for every separator, so there always is one.
fn pick<'a>(
    readings: &'a [Reading<'a>],
    wanted: impl Fn(&Reading) -> bool,
) -> (&'a Mark, &'a [String]) {
    let (mark, names) = readings.iter().find(|r| wanted(r)).unwrap_or(&readings[0]);
    (mark, names)
}

fn columns(names: &[String], config: &TableConfig) -> Option<Columns> {
    let find = |column: &str| names.iter().position(|name| name == column);
    Some(Columns {
        image: find(&config.image_column)?,
        caption: find(&config.caption_column)?,
    })
}

/// The fields of the first line that is not blank.
fn names(path: &Path, start: &[u8], separator: u8, quoting: bool) -> Result<Vec<String>, Error> {
    let error = |found| Error::HeaderEncoding {
        path: path.into(),
        found,
    };
    if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
        return Err(error("UTF-16"));
    }
    let mut records = reader(start, separator, quoting).into_byte_records();
    let first = records.find_map(|record| record.ok().filter(|record| !is_blank(record)));
    let first = first.unwrap_or_default();
    let last = first.len().saturating_sub(1);
    first
        .iter()
        .enumerate()
        .map(|(i, field)| {
            let field = if i == last {
                field.strip_suffix(b"\r").unwrap_or(field)
            } else {
                field
            };
            String::from_utf8(field.to_vec()).map_err(|_| error("binary or in another encoding"))
        })
        .collect()
}

fn missing(
    path: &Path,
    mark: &Mark,
    names: &[String],
    config: &TableConfig,
    other: Option<&Mark>,
) -> Error {
    let (column, option) = if names.contains(&config.image_column) {
        (&config.caption_column, "caption_column")
    } else {
        (&config.image_column, "image_column")
    };
    let hint = match (other, nearest(column, names)) {
        (Some(mark), _) => {
            format!(
                " Separated by {} it has it: set `separator = \"{}\"`.",
                mark.words, mark.option
            )
        }
        (None, Some(name)) => format!(" Did you mean `{name}`?"),
        (None, None) => String::new(),
    };
    Box::new(MissingColumn {
        path: path.into(),
        column: column.clone(),
        option,
        separator: mark.words,
        found: list(names),
        hint,
    })
    .into()
}

/// The column whose name is most like the wanted one, if any is like it.
fn nearest<'a>(column: &str, names: &'a [String]) -> Option<&'a str> {
    let wanted = column.to_lowercase();
    let likeness = |name: &str| strsim::jaro_winkler(&wanted, name.trim().to_lowercase().as_str());
    let scored = names.iter().map(|name| (likeness(name), name.as_str()));
    scored
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn list(names: &[String]) -> String {
    let shown = names.iter().take(LISTED);
    let shown =
        shown.map(|name| format!("`{}`", name.chars().take(LISTED_CHARS).collect::<String>()));
    let mut list = shown.collect::<Vec<_>>().join(", ");
    if names.len() > LISTED {
        list.push_str(&format!(" and {} more", names.len() - LISTED));
    }
    list
}
