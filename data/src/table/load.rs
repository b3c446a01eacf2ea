//! Reading a table row by row: what is usable, what is skipped, what ends the reading.

use std::io::{self, Cursor, Read};
use std::path::Path;

use csv::{ByteRecord, Reader};

use super::header::{Header, without_sep_line};
use super::lines::{is_blank, reader};
use super::{Separator, TableConfig};
use crate::listing::{Limits, Listing, Unit};
use crate::opening::Text;
use crate::{Error, Reason};

/// How much of a table is looked at to find its header, in bytes.
const START: usize = 64 << 10;

/// The part of a recipe that says how tables are read.
const SECTION: &str = "data.table";

/// A row that no table holds, read after the last one. If it does not come out as a row of its own, then a quoted
/// field has swallowed it: a quote was left open.
const SENTINEL: &[u8] = b"\x1f\x1eend of table\x1e\x1f";

/// Reads the rows of the table at `path`.
pub(super) fn load(path: &Path, config: &TableConfig) -> Result<Listing, Error> {
    let Text { mut start, rest } = Text::open(path, START)?;
    let named = without_sep_line(&mut start);
    let separator = match config.separator {
        Separator::Auto => named.unwrap_or_default(),
        given => given,
    };
    let header = Header::find(path, &start, config, separator)?;
    let sentinel = [b"\n", SENTINEL, b"\n"].concat();
    let input = Cursor::new(start).chain(rest).chain(Cursor::new(sentinel));
    let input = Capped {
        input,
        left: 0,
        exceeded: false,
    };
    let limits = Limits {
        section: SECTION,
        image: config.max_image_bytes,
        caption: config.max_caption_bytes,
    };
    let mut loader = Loader {
        path,
        config,
        header,
        lines_before: u64::from(named.is_some()),
        listing: Listing::new(path, config.image_root.as_deref(), limits, Unit::Line),
    };
    loader.read(input)?;
    loader.finish()
}

/// An input that fails once too much was read without [`Capped::left`] being set again: an open quote must not pull
/// the whole of a large file into memory.
struct Capped<R> {
    input: R,
    left: usize,
    exceeded: bool,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            self.exceeded = true;
            return Err(io::Error::other("row too long"));
        }
        let room = buffer.len().min(self.left);
        let read = self.input.read(&mut buffer[..room])?;
        self.left -= read;
        Ok(read)
    }
}

struct Loader<'a> {
    path: &'a Path,
    config: &'a TableConfig,
    header: Header,
    /// Lines before the header that the reader does not see.
    lines_before: u64,
    listing: Listing,
}

impl Loader<'_> {
    fn read<R: Read>(&mut self, input: Capped<R>) -> Result<(), Error> {
        let mut reader = reader(input, self.header.separator, self.config.quoting);
        let mut record = ByteRecord::new();
        let mut line = 0;
        let mut header_passed = false;
        loop {
            let next = self.lines_before + reader.position().line();
            reader.get_mut().left = self.config.max_row_bytes.max(1);
            let more = reader.read_byte_record(&mut record);
            if !more.map_err(|error| self.broken(next, &reader, error))? {
                // The last row held the sentinel and had no line end of its own, hence the 1.
                return Err(Error::OpenQuote {
                    path: self.path.into(),
                    line: line + 1,
                });
            }
            // The reader counts blank lines to the row after them, so count back from the end of the row.
            let breaks = memchr::memchr_iter(b'\n', record.as_slice()).count() as u64;
            line = self.lines_before + reader.position().line() - 1 - breaks;
            if record.len() == 1 && &record[0] == SENTINEL {
                return Ok(());
            }
            if is_blank(&record) {
                continue;
            }
            if std::mem::replace(&mut header_passed, true) {
                self.row(line, &record);
            }
        }
    }

    fn broken<R: Read>(&self, line: u64, reader: &Reader<Capped<R>>, error: csv::Error) -> Error {
        let path = self.path.into();
        if reader.get_ref().exceeded {
            return Error::LongRow {
                path,
                line,
                limit: self.config.max_row_bytes,
            };
        }
        Error::Unreadable {
            path,
            cause: error.into(),
        }
    }

    fn row(&mut self, line: u64, record: &ByteRecord) {
        let pair = self.pair(record);
        let kept = pair.and_then(|(path, caption)| self.listing.push(line, path, caption));
        if let Err(reason) = kept {
            self.listing.skip(line, reason);
        }
    }

    /// The path and the caption of a row.
    fn pair<'r>(&self, record: &'r ByteRecord) -> Result<(&'r str, &'r str), Reason> {
        let expected = self.header.columns;
        if record.len() != expected {
            return Err(Reason::FieldCount {
                expected,
                found: record.len(),
            });
        }
        let path = field(record, self.header.image, &self.header.chosen.image)?;
        let caption = field(record, self.header.caption, &self.header.chosen.caption)?;
        Ok((path, caption))
    }

    fn finish(mut self) -> Result<Listing, Error> {
        let path = self.path.into();
        if self.listing.len() == 0 && self.listing.skipped.is_empty() {
            return Err(Error::NoRows { path });
        }
        if self.listing.len() == 0 {
            return Err(Error::NothingUsable {
                path,
                skipped: Box::new(self.listing.skipped),
            });
        }
        let notes = [self.header.note.take(), self.header.chosen.note.take()];
        for note in notes.into_iter().flatten() {
            self.listing.note(note);
        }
        Ok(self.listing)
    }
}

fn field<'r>(record: &'r ByteRecord, index: usize, column: &str) -> Result<&'r str, Reason> {
    let bytes = &record[index];
    let last = index + 1 == record.len();
    let bytes = if last {
        bytes.strip_suffix(b"\r").unwrap_or(bytes)
    } else {
        bytes
    };
    std::str::from_utf8(bytes).map_err(|_| Reason::NotUtf8 {
        column: column.into(),
    })
}
