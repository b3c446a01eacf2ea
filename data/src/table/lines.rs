//! The lines of a table, as CSV.

use std::io::Read;

use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};

/// What the reader takes from a table at a time, in bytes.
const BUFFER: usize = 256 << 10;

/// A CSV reader in which only `\n` ends a row, so that lines are counted as editors count them.
pub(super) fn reader<R: Read>(input: R, separator: u8, quoting: bool) -> Reader<R> {
    ReaderBuilder::new()
        .delimiter(separator)
        .quoting(quoting)
        .flexible(true)
        .has_headers(false)
        .terminator(Terminator::Any(b'\n'))
        .buffer_capacity(BUFFER)
        .from_reader(input)
}

/// Whether a row is a blank line.
pub(super) fn is_blank(record: &ByteRecord) -> bool {
    record.len() == 1 && record[0].trim_ascii().is_empty()
}
