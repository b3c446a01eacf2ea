//! The header of a table: which separator it has, and where the two columns are.

use std::path::Path;

use super::lines::{is_blank, reader};
use super::{Separator, TableConfig};
use crate::Error;
use crate::choice::{Chosen, Side, Wanted};

/// The separators that can be found, in order of preference.
const KNOWN: [Mark; 4] = [
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
    Mark {
        separator: Separator::Pipe,
        byte: b'|',
        words: "vertical bars",
        option: "pipe",
    },
];

/// The options that name the columns.
const OPTIONS: [&str; 2] = ["data.table.image_column", "data.table.caption_column"];

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
    /// The columns by name, and what is told of them.
    pub(super) chosen: Chosen,
    pub(super) note: Option<String>,
}

/// Takes Excel's first line `sep=;` off the beginning of a table, and gives the separator that it names.
pub(super) fn without_sep_line(start: &mut Vec<u8>) -> Option<Separator> {
    let end = start.iter().take(8).position(|byte| *byte == b'\n')?;
    let line = start[..end].trim_ascii_end();
    let line = line
        .strip_prefix(b"\"")
        .and_then(|line| line.strip_suffix(b"\""))
        .unwrap_or(line);
    let named = match line.strip_prefix(b"sep=")? {
        [] => b'\t',
        [byte] => *byte,
        _ => return None,
    };
    let known = KNOWN.iter().find(|mark| mark.byte == named)?;
    start.drain(..=end);
    Some(known.separator)
}

impl Header {
    /// Finds the columns in the beginning of a table.
    pub(super) fn find(
        path: &Path,
        start: &[u8],
        config: &TableConfig,
        separator: Separator,
    ) -> Result<Self, Error> {
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
        if separator == Separator::Auto {
            return detect(path, &readings, config);
        }
        let (mark, names) = pick(&readings, |(mark, _)| mark.separator == separator);
        columns(names, config)
            .map(|chosen| header(mark, names, chosen, None))
            .map_err(|side| {
                let other = readings
                    .iter()
                    .find(|(_, names)| columns(names, config).is_ok());
                missing(
                    path,
                    (mark, names),
                    config,
                    side,
                    other.map(|(mark, _)| *mark),
                )
            })
    }
}

fn header(mark: &Mark, names: &[String], chosen: Chosen, note: Option<String>) -> Header {
    let place = |wanted: &str| names.iter().position(|name| name == wanted).unwrap_or(0);
    Header {
        separator: mark.byte,
        columns: names.len(),
        image: place(&chosen.image),
        caption: place(&chosen.caption),
        chosen,
        note,
    }
}

type Reading<'a> = (&'a Mark, Vec<String>);

fn detect(path: &Path, readings: &[Reading], config: &TableConfig) -> Result<Header, Error> {
    let found = || {
        let found = readings
            .iter()
            .map(|(mark, names)| (*mark, names, columns(names, config)));
        found.filter_map(|(mark, names, chosen)| Some((mark, names, chosen.ok()?)))
    };
    // The names that are looked for are worth more than well-known ones.
    let exact = found().find(|(_, _, chosen)| chosen.note.is_none());
    if let Some((mark, names, chosen)) = exact.or_else(|| found().next()) {
        let note = format!("separated by {} (autodetected)", mark.words);
        return Ok(header(mark, names, chosen, Some(note)));
    }
    let most = readings.iter().map(|(_, names)| names.len()).max();
    let (mark, names) = pick(readings, |(_, names)| Some(names.len()) == most);
    let side = columns(names, config).err().unwrap_or(Side::Image);
    Err(missing(path, (mark, names), config, side, None))
}

/// The first reading that is wanted; `KNOWN` has one for every separator, so there always is one.
fn pick<'a>(
    readings: &'a [Reading<'a>],
    wanted: impl Fn(&Reading) -> bool,
) -> (&'a Mark, &'a [String]) {
    let (mark, names) = readings.iter().find(|r| wanted(r)).unwrap_or(&readings[0]);
    (mark, names)
}

fn wanted(config: &TableConfig) -> Wanted<'_> {
    Wanted {
        image: &config.image_column,
        caption: &config.caption_column,
    }
}

fn columns(names: &[String], config: &TableConfig) -> Result<Chosen, Side> {
    wanted(config).among(|wanted| names.iter().any(|name| name == wanted), "column")
}

/// The fields of the first line that is not blank.
fn names(path: &Path, start: &[u8], separator: u8, quoting: bool) -> Result<Vec<String>, Error> {
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
            String::from_utf8(field.to_vec()).map_err(|_| Error::HeaderEncoding {
                path: path.into(),
                found: "in another encoding",
            })
        })
        .collect()
}

fn missing(
    path: &Path,
    (mark, names): (&Mark, &[String]),
    config: &TableConfig,
    side: Side,
    other: Option<&Mark>,
) -> Error {
    let hint = other.map(|other| {
        let Mark { words, option, .. } = other;
        format!(" Separated by {words} it has it: `--set data.table.separator={option}`.")
    });
    let place = format!("the header, separated by {},", mark.words);
    wanted(config).missing(side, path, names, ("column", place, OPTIONS), hint)
}
