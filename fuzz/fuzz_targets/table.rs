//! Tables of image paths and captions.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use data::{Error, Separator, Source, Table, TableConfig};
use fuzz::{Folder, check_ledger, walk};
use libfuzzer_sys::fuzz_target;

/// What the reader puts after the last row; a file that holds it ends there.
const SENTINEL: &[u8] = b"\x1f\x1eend of table\x1e\x1f";

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::new();
    folder.put("images/good.jpg", b"JPEG");
    folder.put("images/good.png", b"P");
    folder.put("images/zero-bytes.png", b"");
    folder
});

// Tables of even length are read as they usually are, the others without quotes and with narrow limits. Both each time
// would be half as many inputs.
fuzz_target!(|input: &[u8]| {
    let path = FOLDER.put("csv/table.csv", input);
    if input.len().is_multiple_of(2) {
        open(&path, &TableConfig::default(), input);
        return;
    }
    let plain = TableConfig {
        separator: Separator::Tab,
        quoting: false,
        max_image_bytes: 3,
        max_caption_bytes: 24,
        max_row_bytes: 200,
        ..TableConfig::default()
    };
    // Without quotes a row is a line, so that they can be counted.
    let found = open(&path, &plain, input);
    if let Some(found) = found.filter(|found| found + 1 != lines(input)) {
        let sentinel = input.windows(SENTINEL.len()).any(|bytes| bytes == SENTINEL);
        assert!(
            sentinel,
            "{found} rows and a header in {} lines",
            lines(input)
        );
    }
});

/// Opens and reads the table; gives the rows in it, where they were counted.
fn open(path: &Path, config: &TableConfig, input: &[u8]) -> Option<u64> {
    match Table::open(path, config) {
        Ok(table) => {
            walk(&table, config.max_image_bytes, config.max_caption_bytes);
            check_lines(&table, input);
            Some(table.len() as u64 + table.skipped().total())
        }
        Err(error) => rows(&error),
    }
}

/// The rows that are in an error, where that is about rows.
fn rows(error: &Error) -> Option<u64> {
    assert!(!error.to_string().is_empty());
    match error {
        Error::NoRows { .. } => Some(0),
        Error::NothingUsable { skipped, .. } => {
            check_ledger(skipped);
            Some(skipped.total())
        }
        _ => None,
    }
}

/// Each row begins after the one before it, and in the file.
fn check_lines(table: &Table, input: &[u8]) {
    let lines: Vec<u64> = (0..table.len()).map(|i| table.line(i)).collect();
    assert!(lines.is_sorted_by(|a, b| a < b), "{lines:?}");
    let last = input.split(|byte| *byte == b'\n').count() as u64;
    assert!(lines[0] > 1 && lines[lines.len() - 1] <= last, "{lines:?}");
}

/// The lines of a table with tabs that are not blank.
fn lines(input: &[u8]) -> u64 {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    // The CSV reader takes a byte order mark away as well.
    let input = input.strip_prefix(MARK).unwrap_or(input);
    let input = input.strip_prefix(MARK).unwrap_or(input);
    let blank = |line: &&[u8]| line.trim_ascii().is_empty() && !line.contains(&b'\t');
    let all = input.split(|byte| *byte == b'\n');
    all.filter(|line| !blank(line)).count() as u64
}
