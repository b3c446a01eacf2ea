//! What a Parquet file says of its own sizes, held to what it has, before a reader believes it.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::{ChunkReader, Length};

use super::file::Piece;
use crate::shown::plain;

/// A page may unpack to so many bytes, or to [`MAX_RATIO`] times its own, whichever is more; and to [`MAX_PAGE`] at most.
const ALWAYS_ALLOWED: u64 = 16 << 20;
const MAX_RATIO: u64 = 1024;
const MAX_PAGE: u64 = 1 << 30;

/// A file has at least a byte for so many rows: each names a picture or holds one.
const ROWS_A_BYTE: u64 = 16;

/// A column of lists has at most so many values in a row group: one row may claim all of them.
const MAX_LISTED: u64 = 1 << 24;

/// The bytes that are tried in turn for the header of a page, whose statistics may hold values.
const HEADERS: [usize; 3] = [4 << 10, 64 << 10, 4 << 20];

/// How deep structs and lists may be nested in the header of a page.
const MAX_DEPTH: usize = 16;

thread_local! {
    /// Whether a panic on this thread is caught and told of as an error.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Runs a reader that may panic on what a file says.
///
/// # Errors
///
/// What the reader says, in words, or that it panicked.
pub(super) fn caught<T>(read: impl FnOnce() -> Result<T>) -> std::result::Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CAUGHT.get() {
                before(info);
            }
        }));
    });
    let outer = CAUGHT.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(read));
    CAUGHT.set(outer);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(words(&error)),
        Err(cause) => Err(format!("the file is damaged ({})", said(cause.as_ref()))),
    }
}

fn words(error: &ParquetError) -> String {
    let text = match error {
        ParquetError::General(text) | ParquetError::EOF(text) | ParquetError::NYI(text) => {
            text.clone()
        }
        other => other.to_string(),
    };
    let start: String = text.chars().take(200).collect();
    plain(&start).into_owned()
}

fn said(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| cause.downcast_ref::<String>().cloned());
    let start: String = text.unwrap_or_default().chars().take(200).collect();
    plain(&start).into_owned()
}

fn general(message: impl Into<String>) -> ParquetError {
    ParquetError::General(message.into())
}

/// Checks the number of rows.
///
/// # Errors
///
/// If there are more than the file can hold.
pub(super) fn check_rows(metadata: &ParquetMetaData, bytes: u64) -> Result<()> {
    let mut rows = 0_u64;
    for group in metadata.row_groups() {
        let count = u64::try_from(group.num_rows())
            .map_err(|_| general("a row group has a negative number of rows"))?;
        rows = rows.saturating_add(count);
    }
    let most = bytes.saturating_mul(ROWS_A_BYTE);
    if rows > most {
        return Err(general(format!("it claims {rows} rows in {bytes} bytes")));
    }
    Ok(())
}

/// Goes through the headers of the pages of a column in a row group.
///
/// # Errors
///
/// If the pages are not where the file says, or unpack to more than is sane.
pub(super) fn check_pages(piece: &Piece, column: &ColumnChunkMetaData) -> Result<()> {
    let codec = column.compression();
    if matches!(codec, Compression::BROTLI(_) | Compression::LZO) {
        let codec = codec.to_string();
        let name = codec.split('(').next().unwrap_or_default().to_lowercase();
        return Err(general(format!(
            "it is compressed with {name}, which is not read; write it with zstd or snappy"
        )));
    }
    let outside = || general("its columns lie outside of the file");
    let place = |place: i64| u64::try_from(place).map_err(|_| outside());
    let data = place(column.data_page_offset())?;
    let start = match column.dictionary_page_offset() {
        Some(dictionary) if dictionary > 0 => data.min(place(dictionary)?),
        _ => data,
    };
    let end = start.checked_add(place(column.compressed_size())?);
    let end = end.filter(|end| *end <= piece.len()).ok_or_else(outside)?;
    let is_list = column.column_descr().max_rep_level() > 0;
    let mut values = 0_u64;
    let mut at = start;
    while at < end {
        let header = page_header(piece, at, end)?;
        let room = end - at - header.bytes;
        if header.compressed > room {
            return Err(outside());
        }
        let most = ALWAYS_ALLOWED.max(header.compressed.saturating_mul(MAX_RATIO));
        if header.uncompressed > most.min(MAX_PAGE) {
            return Err(general(format!(
                "a page of {} bytes unpacks to {}, which is not read; write smaller pages",
                header.compressed, header.uncompressed
            )));
        }
        values = values.saturating_add(header.values);
        if is_list && values > MAX_LISTED {
            return Err(general(format!(
                "a row group has more than {MAX_LISTED} values in lists, which is not read; write smaller row groups"
            )));
        }
        at += header.bytes + header.compressed;
    }
    Ok(())
}

/// What the header of a page says; sizes are in bytes.
struct PageHeader {
    bytes: u64,
    uncompressed: u64,
    compressed: u64,
    /// Values that its rows have; 0 in a page that is a dictionary.
    values: u64,
}

fn page_header(piece: &Piece, at: u64, end: u64) -> Result<PageHeader> {
    for room in HEADERS {
        let room = (room as u64).min(end - at);
        let bytes: Bytes = piece.get_bytes(at, room as usize)?;
        if let Some(header) = parse(&bytes) {
            return Ok(header);
        }
        if room == end - at {
            break;
        }
    }
    Err(general("the header of a page is damaged"))
}

/// The header of a page, in Thrift's compact protocol: its second and third field are sizes, the fifth and the eighth
/// structs of a data page, whose first field is the number of values.
fn parse(bytes: &[u8]) -> Option<PageHeader> {
    let mut rest = Thrift(bytes);
    let mut sizes = [None, None];
    let mut values = 0;
    let mut field = 0;
    while let Some(kind) = rest.field(&mut field)? {
        match (field, kind) {
            (2 | 3, 5) => sizes[field as usize - 2] = u64::try_from(zigzag(rest.number()?)).ok(),
            (5 | 8, 12) => {
                let mut inner = 0;
                while let Some(kind) = rest.field(&mut inner)? {
                    match (inner, kind) {
                        (1, 5) => values = u64::try_from(zigzag(rest.number()?)).ok()?,
                        _ => rest.skip(kind, 1)?,
                    }
                }
            }
            _ => rest.skip(kind, 0)?,
        }
    }
    let [Some(uncompressed), Some(compressed)] = sizes else {
        return None;
    };
    Some(PageHeader {
        bytes: (bytes.len() - rest.0.len()) as u64,
        uncompressed,
        compressed,
        values,
    })
}

fn zigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// What is left of a message in the compact protocol.
struct Thrift<'a>(&'a [u8]);

impl Thrift<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    /// The type of the next field of a struct, whose number becomes `field`; `Some(None)` at the end of the struct.
    fn field(&mut self, field: &mut i64) -> Option<Option<u8>> {
        let byte = self.byte()?;
        if byte == 0 {
            return Some(None);
        }
        *field = match byte >> 4 {
            0 => zigzag(self.number()?),
            step => field.checked_add(i64::from(step))?,
        };
        Some(Some(byte & 0x0f))
    }

    /// Passes over a value of a type.
    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match kind {
            1 | 2 => Some(()),
            3 => self.pass(1),
            4..=6 => self.number().map(drop),
            7 => self.pass(8),
            8 => {
                let bytes = self.number()?;
                self.pass(bytes)
            }
            9 | 10 => {
                let byte = self.byte()?;
                let count = match byte >> 4 {
                    15 => self.number()?,
                    count => u64::from(count),
                };
                (0..count).try_for_each(|_| self.element(byte & 0x0f, depth))
            }
            11 => {
                let count = self.number()?;
                if count == 0 {
                    return Some(());
                }
                let kinds = self.byte()?;
                (0..count).try_for_each(|_| {
                    self.element(kinds >> 4, depth)?;
                    self.element(kinds & 0x0f, depth)
                })
            }
            12 => {
                let mut field = 0;
                while let Some(kind) = self.field(&mut field)? {
                    self.skip(kind, depth + 1)?;
                }
                Some(())
            }
            _ => None,
        }
    }

    /// Passes over an element of a list. A truth value takes a byte there, so that no list has more elements than
    /// bytes.
    fn element(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            1 | 2 => self.pass(1),
            _ => self.skip(kind, depth + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_a_page_gives_its_sizes_and_its_own() {
        // A data page of 100 bytes, packed into 60, with a struct of three numbers, and the first byte of the page.
        let header = [
            0x15, 0x00, 0x15, 0xc8, 0x01, 0x15, 0x78, 0x2c, 0x15, 0x02, 0x15, 0x00, 0x15, 0x06,
            0x00, 0x00, 0xff,
        ];
        let found = parse(&header).unwrap();
        assert_eq!(
            (
                found.bytes,
                found.uncompressed,
                found.compressed,
                found.values
            ),
            (16, 100, 60, 1)
        );
        for end in 0..16 {
            assert!(parse(&header[..end]).is_none(), "{end}");
        }
    }

    #[test]
    fn a_header_that_makes_no_sense_is_none() {
        for bytes in [
            &b""[..],
            &[0x00],
            &[0x18, 0xff, 0xff, 0xff, 0xff, 0x7f],
            &[0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0x1c; 100],
            &[0x15, 0x00, 0x15, 0x01, 0x15, 0x78, 0x00],
        ] {
            assert!(parse(bytes).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn a_panic_is_an_error_in_words() {
        let error = caught::<()>(|| panic!("no such\u{1b} page")).unwrap_err();
        assert_eq!(error, "the file is damaged (no such\\u{1b} page)");
    }
}
