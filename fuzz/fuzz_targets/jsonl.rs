//! Files of JSON objects, one a line.

#![no_main]

use std::sync::LazyLock;

use data::{Error, JsonLines, JsonLinesConfig, Source};
use fuzz::{Folder, check_ledger, walk};
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::with_pictures);

fuzz_target!(|input: &[u8]| {
    let path = FOLDER.put("jsonl/lines.jsonl", input);
    let narrow = JsonLinesConfig {
        max_image_bytes: 3,
        max_caption_bytes: 24,
        max_row_bytes: 80,
        ..JsonLinesConfig::default()
    };
    for config in [JsonLinesConfig::default(), narrow] {
        let found = match JsonLines::open(&path, &config) {
            Ok(lines) => {
                walk(&lines, config.max_image_bytes, config.max_caption_bytes);
                Some(lines.len() as u64 + lines.skipped().total())
            }
            Err(error) => rows(&error),
        };
        let Some(found) = found.filter(|_| !input.starts_with(b"\x1f\x8b")) else {
            continue;
        };
        let lines = lines(input, config.max_row_bytes);
        // A list of texts is as many rows.
        let lists = input.contains(&b'[');
        assert!(
            found == lines || (lists && found > lines),
            "{found} of {lines} lines"
        );
    }
});

/// The rows that are in an error, where that is about rows.
fn rows(error: &Error) -> Option<u64> {
    assert!(!error.to_string().is_empty());
    match error {
        Error::EmptyLines { .. } => Some(0),
        Error::NothingUsable { skipped, .. } => {
            check_ledger(skipped);
            Some(skipped.total())
        }
        Error::MissingColumn(_) | Error::OtherKind { .. } | Error::PackedTar { .. } => None,
        Error::Unreadable { .. } => None,
        other => panic!("{other}"),
    }
}

/// The lines that are not blank, or too long to know.
fn lines(input: &[u8], limit: usize) -> u64 {
    let counts = |(i, line): &(usize, &[u8])| {
        let mark: &[u8] = if *i == 0 { b"\xef\xbb\xbf" } else { b"" };
        let text = line.strip_prefix(mark).unwrap_or(line);
        line.len() > limit || !text.trim_ascii().is_empty()
    };
    let all = input.split(|byte| *byte == b'\n').enumerate();
    all.filter(counts).count() as u64
}
