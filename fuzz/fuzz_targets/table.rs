//! Tables of image paths and captions.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use data::{Error, Separator, Source, Table, TableConfig};
use fuzz::{Folder, check_ledger, walk};
use libfuzzer_sys::fuzz_target;

/// What the reader puts after the last row; a file that holds it ends there.
const SENTINEL: &[u8] = b"\x1f\x1eend of table\x1e\x1f";

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::with_pictures);

// Tables of even length are read as they usually are, the others without quotes and with narrow limits. Both each time
// would be half as many inputs.
fuzz_target!(|input: &[u8]| {
    let path = FOLDER.put("csv/table.csv", input);
    // Lines of a packed table, and those below Excel's `sep=;`, are not those of the input.
    let as_it_is = !input.starts_with(b"\x1f\x8b") && !input.windows(4).any(|w| w == b"sep=");
    if input.len().is_multiple_of(2) {
        let config = TableConfig::default();
        if let Ok(table) = open(&path, &config) {
            if as_it_is {
                check_lines(&table, input);
                check_beginnings(&table, input);
            }
        }
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
    let found = match open(&path, &plain) {
        Ok(table) => Some(table.len() as u64 + table.skipped().total()),
        Err(error) => rows(&error),
    };
    if let Some(found) = found.filter(|found| as_it_is && found + 1 != lines(input)) {
        let sentinel = input.windows(SENTINEL.len()).any(|bytes| bytes == SENTINEL);
        assert!(
            sentinel,
            "{found} rows and a header in {} lines",
            lines(input)
        );
    }
});

/// Opens and reads the table.
fn open(path: &Path, config: &TableConfig) -> Result<Table, Error> {
    let table = Table::open(path, config).inspect_err(|error| _ = rows(error))?;
    walk(&table, config.max_image_bytes, config.max_caption_bytes);
    Ok(table)
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

/// A row begins with the line it names: without the rows before it, but with the header, it is the first.
fn check_beginnings(table: &Table, input: &[u8]) {
    let beginning = |line: u64| {
        let before = input.split_inclusive(|byte| *byte == b'\n');
        before.take(line as usize - 1).map(<[u8]>::len).sum()
    };
    let middle = table.len() / 2;
    let header: usize = beginning(table.line(0));
    let rest: usize = beginning(table.line(middle));
    let shorter = [&input[..header], &input[rest..]].concat();
    let path = FOLDER.put("csv/shorter.csv", &shorter);
    let shorter = Table::open(path, &TableConfig::default()).expect("a table without some rows");
    assert_eq!(shorter.caption(0), table.caption(middle));
    assert_eq!(shorter.image_key(0), table.image_key(middle));
    assert_eq!(shorter.len(), table.len() - middle, "rows");
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
