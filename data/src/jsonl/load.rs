//! Reading JSON lines one by one: what is usable and what is skipped.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use super::JsonLinesConfig;
use crate::choice::{Chosen, Side, Wanted};
use crate::json::{Field, fields, keys, mend};
use crate::listing::{Limits, Listing, Unit};
use crate::opening::Text;
use crate::{Error, Reason};

/// The part of a recipe that says how JSON lines are read.
const SECTION: &str = "data.jsonl";

/// The options that name the keys.
const OPTIONS: [&str; 2] = ["data.jsonl.image_key", "data.jsonl.caption_key"];

/// How much of a file is looked at for its keys, in bytes and in lines.
const START: usize = 256 << 10;
const START_LINES: usize = 100;

/// So many lines in a row that lack a key are enough to say that all do.
const LACKING: u64 = 10_000;

/// Reads the lines of the file at `path`. With `labels` a number is a caption, too.
pub(super) fn load(path: &Path, config: &JsonLinesConfig, labels: bool) -> Result<Listing, Error> {
    let limits = Limits {
        section: SECTION,
        image: config.max_image_bytes,
        caption: config.max_caption_bytes,
    };
    let listing = Listing::new(path, config.image_root.as_deref(), limits, Unit::Line);
    let Text { start, rest } = Text::open(path, START)?;
    let wanted = Wanted {
        image: &config.image_key,
        caption: &config.caption_key,
    };
    let first = first_keys(&start);
    let (chosen, lacking) = match wanted.among(|key| first.iter().any(|k| k == key), "key") {
        Ok(chosen) => (chosen, None),
        Err(side) => (as_wanted(wanted), Some(side)),
    };
    let mut lines = Lines {
        chosen,
        labels,
        lacking,
        limit: config.max_row_bytes,
        listing,
    };
    let input = BufReader::with_capacity(START, Cursor::new(start).chain(rest));
    let read = lines.read(input);
    read.map_err(|cause| Error::Unreadable {
        path: path.into(),
        cause,
    })?;
    let Lines {
        chosen,
        mut listing,
        ..
    } = lines;
    if listing.len() > 0 {
        chosen.note.into_iter().for_each(|note| listing.note(note));
        return Ok(listing);
    }
    if listing.skipped.is_empty() {
        return Err(Error::EmptyLines {
            path: path.into(),
            image: config.image_key.clone(),
            caption: config.caption_key.clone(),
        });
    }
    if let Some(side) = lacking.filter(|_| !first.is_empty()) {
        let place = "the beginning of the file".to_owned();
        return Err(wanted.missing(side, path, &first, ("key", place, OPTIONS), None));
    }
    Err(Error::NothingUsable {
        path: path.into(),
        skipped: Box::new(listing.skipped),
    })
}

fn as_wanted(wanted: Wanted) -> Chosen {
    Chosen {
        image: wanted.image.to_owned(),
        caption: wanted.caption.to_owned(),
        note: None,
    }
}

/// The keys of the first objects, each once.
fn first_keys(start: &[u8]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in start.split(|byte| *byte == b'\n').take(START_LINES) {
        let mut line = line.to_vec();
        mend(&mut line);
        for key in keys(&line).unwrap_or_default() {
            if !found.contains(&key) && found.len() < 1000 {
                found.push(key);
            }
        }
    }
    found
}

struct Lines {
    chosen: Chosen,
    labels: bool,
    lacking: Option<Side>,
    /// The longest line, in bytes.
    limit: usize,
    listing: Listing,
}

impl Lines {
    fn read(&mut self, mut input: impl BufRead) -> io::Result<()> {
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            // One byte more than the limit, for the line break.
            let taken = (self.limit as u64).saturating_add(1);
            if input.by_ref().take(taken).read_until(b'\n', &mut text)? == 0 {
                return Ok(());
            }
            if text.len() > self.limit && text.last() != Some(&b'\n') {
                input.skip_until(b'\n')?;
                let limit = self.limit;
                self.listing.skip(line, Reason::LongLine { limit });
                continue;
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            mend(&mut text);
            if let Err(reason) = self.keep(line, text.trim_ascii()) {
                self.listing.skip(line, reason);
            }
            let none = self.listing.len() == 0 && self.listing.skipped.total() >= LACKING;
            if none && self.lacking.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Keeps the pairs of a line. Of several captions those that can be used are kept; the fault is that of the last.
    fn keep(&mut self, line: u64, text: &[u8]) -> Result<(), Reason> {
        let keys = [self.chosen.image.as_str(), self.chosen.caption.as_str()];
        // Every line is line 1 to the parser.
        let [path, captions] = fields(text, keys)
            .map_err(|message| bad(message.replace("at line 1 column", "at column")))?;
        let path = value(keys[0], path)?
            .text(false)
            .map_err(|found| no_text(keys[0], found))?;
        let captions = value(keys[1], captions)?
            .texts(self.labels)
            .map_err(|found| no_text(keys[1], found))?;
        let mut last = Ok(());
        for caption in captions {
            if let Err(reason) = self.listing.push(line, &path, &caption) {
                last = Err(reason);
            }
        }
        last
    }
}

fn value<'a>(key: &str, field: Option<Field<'a>>) -> Result<Field<'a>, Reason> {
    field.ok_or_else(|| bad(format!("there is no key `{key}`")))
}

fn no_text(key: &str, found: &str) -> Reason {
    bad(format!("the value of `{key}` is {found}, not a text"))
}

fn bad(message: String) -> Reason {
    Reason::BadLine { message }
}
