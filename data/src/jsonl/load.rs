//! Reading JSON lines one by one: what is usable and what is skipped.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::JsonLinesConfig;
use crate::json::{Field, fields};
use crate::listing::{Limits, Listing};
use crate::{Error, Reason};

/// Reads the lines of the file at `path`.
pub(super) fn load(path: &Path, config: &JsonLinesConfig) -> Result<Listing, Error> {
    let limits = Limits {
        image: config.max_image_bytes,
        caption: config.max_caption_bytes,
    };
    let mut listing = Listing::new(path, config.image_root.as_deref(), limits);
    let read = File::open(path).and_then(|file| read(BufReader::new(file), config, &mut listing));
    read.map_err(|source| Error::Unreadable {
        path: path.into(),
        source,
    })?;
    if listing.len() == 0 && listing.skipped.is_empty() {
        return Err(Error::EmptyLines {
            path: path.into(),
            image: config.image_key.clone(),
            caption: config.caption_key.clone(),
        });
    }
    if listing.len() == 0 {
        return Err(Error::NothingUsable {
            path: path.into(),
            skipped: Box::new(listing.skipped),
        });
    }
    Ok(listing)
}

fn read(
    mut input: impl BufRead,
    config: &JsonLinesConfig,
    listing: &mut Listing,
) -> io::Result<()> {
    let mut text = Vec::new();
    let limit = config.max_row_bytes;
    for line in 1.. {
        text.clear();
        // One byte more than the limit, for the line break.
        let taken = (limit as u64).saturating_add(1);
        if input.by_ref().take(taken).read_until(b'\n', &mut text)? == 0 {
            return Ok(());
        }
        if text.len() > limit && text.last() != Some(&b'\n') {
            input.skip_until(b'\n')?;
            listing.skip(line, Reason::LongLine { limit });
            continue;
        }
        let mut text = text.as_slice();
        if line == 1 {
            text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        }
        text = text.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let kept =
            pair(text, config).and_then(|(path, caption)| listing.push(line, &path, &caption));
        if let Err(reason) = kept {
            listing.skip(line, reason);
        }
    }
    Ok(())
}

/// The path and the caption of a line.
fn pair(text: &[u8], config: &JsonLinesConfig) -> Result<(String, String), Reason> {
    let keys = [config.image_key.as_str(), config.caption_key.as_str()];
    let bad = |message| Reason::BadLine { message };
    // Every line is line 1 to the parser.
    let [path, caption] = fields(text, keys)
        .map_err(|message| bad(message.replace("at line 1 column", "at column")))?;
    let text = |key: &str, field| match field {
        Some(Field::Text(text)) => Ok(text),
        Some(Field::Other(found)) => {
            Err(bad(format!("the value of `{key}` is {found}, not a text")))
        }
        None => Err(bad(format!("there is no key `{key}`"))),
    };
    Ok((text(keys[0], path)?, text(keys[1], caption)?))
}
