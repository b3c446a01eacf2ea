//! The corpus of broken inputs, case by case, as its own list says.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::folder::{Folder, text};

fn root() -> PathBuf {
    match std::env::var_os("SHOESTRING_BAD") {
        Some(root) => root.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/bad"),
    }
}

/// What is skipped of each table, file of lines and shard: line by line, sample by sample.
const SKIPPED: [(&str, &[&str]); 24] = [
    ("csv/missing-file.csv", &["line 3"]),
    ("csv/ragged-row.csv", &["line 3", "line 4"]),
    ("csv/invalid-utf8.csv", &["line 3"]),
    ("csv/empty-caption.csv", &["line 3", "line 4"]),
    ("csv/empty-path.csv", &["line 2"]),
    ("csv/path-traversal.csv", &["line 2"]),
    ("csv/directory-as-file.csv", &["line 2"]),
    (
        "csv/all-images.csv",
        &[
            "line 4", "line 5", "line 6", "line 7", "line 8", "line 9", "line 11",
        ],
    ),
    ("tar/truncated.tar", &["sample `000001`"]),
    ("tar/path-traversal.tar", &[]),
    ("tar/links.tar", &["sample `000000`"]),
    ("tar/jpg-without-txt.tar", &["sample `000001`"]),
    ("tar/txt-without-jpg.tar", &["sample `000001`"]),
    ("tar/broken-image.tar", &["sample `000001`"]),
    ("tar/empty-caption.tar", &["sample `000001`"]),
    ("tar/invalid-utf8.tar", &["sample `000001`"]),
    (
        "tar/split-sample.tar",
        &["sample `000000`", "sample `000000`"],
    ),
    ("tar/bad-checksum.tar", &["byte 4608"]),
    ("jsonl/bad-line.jsonl", &["line 2"]),
    (
        "jsonl/wrong-types.jsonl",
        &["line 2", "line 3", "line 4", "line 5"],
    ),
    ("jsonl/deep-nesting.jsonl", &["line 2"]),
    ("jsonl/escapes.jsonl", &["line 1"]),
    ("csv/quoted.csv", &[]),
    ("tar/good.tar", &[]),
];

/// The places of the ledger that `data check` writes.
fn places(ledger: &Path) -> Vec<String> {
    let lines = fs::read_to_string(ledger).unwrap();
    let places = lines.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["place"].as_str().unwrap().to_owned()
    });
    places.collect()
}

/// Every file under a folder, with its size.
fn listing(folder: &Path) -> BTreeSet<(PathBuf, u64)> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(listing(&entry.path()))
        } else {
            found.insert((entry.path(), entry.metadata().unwrap().len()));
        }
    }
    found
}

/// The number before a word.
fn number_before(said: &str, word: &str) -> Option<u64> {
    said.split(word)
        .next()?
        .split_whitespace()
        .last()?
        .parse()
        .ok()
}

#[test]
fn every_case_of_the_list_does_what_the_list_says() {
    let root = root();
    let cases = fs::read_to_string(root.join("cases.csv")).unwrap();
    let before = listing(&root);
    let folder = Folder::new();
    let (mut walked, mut listed) = (0, 0);
    for line in cases.lines().skip(1) {
        let [file, expect, _, what_to_do] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("cases.csv: {line}");
        };
        let path = root.join(file);
        let is_image = file.starts_with("images/");
        let source = if is_image {
            let good = root.join("images/good.png");
            let rows = format!("{}\tone\n{}\tother\n", path.display(), good.display());
            folder.table("case.csv", &format!("filepath\ttitle\n{rows}"));
            folder.path("case.csv")
        } else {
            path
        };
        let ledger = folder.path("ledger.jsonl");
        let options = ["--ledger", ledger.to_str().unwrap()];
        let check = ["data", "check", source.to_str().unwrap()];
        let output = folder.run(&[&check[..], &options].concat());
        let said = text(&output);
        assert!(!said.contains("panicked"), "{file}: {said}");
        if expect == "stop" && !what_to_do.contains("or detect") {
            let name = Path::new(file).file_name().unwrap().to_str().unwrap();
            assert_eq!(output.status.code(), Some(1), "{file}: {said}");
            assert!(said.contains(name), "{file}: {said}");
        } else {
            assert_eq!(output.status.code(), Some(0), "{file}: {said}");
            let usable = number_before(&said, " samples usable").unwrap();
            let skipped = number_before(&said, " skipped\n").unwrap();
            assert!(usable > 0, "{file}: {said}");
            let may_pass =
                expect != "skip" || ["fine", " or "].iter().any(|w| what_to_do.contains(w));
            assert!(skipped > 0 || may_pass, "{file}: {said}");
            assert!(skipped == 0 || expect == "skip", "{file}: {said}");
            if let Some((_, wanted)) = SKIPPED.iter().find(|(name, _)| *name == file) {
                assert_eq!(places(&ledger), *wanted, "{file}: {said}");
                listed += 1;
            }
            if is_image && file != "images/good.png" {
                assert_eq!(
                    [usable, skipped],
                    [2 - u64::from(expect == "skip"), u64::from(expect == "skip")],
                    "{file}: {said}"
                );
            }
            let peak: u64 = said
                .split("peak memory ")
                .nth(1)
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            assert!(peak < 200, "{file}: {said}");
        }
        walked += 1;
    }
    assert_eq!(walked, cases.lines().count() - 1);
    assert_eq!(listed, SKIPPED.len());
    assert_eq!(
        before,
        listing(&root),
        "something was written beside the data"
    );
    let written: Vec<_> = listing(&folder.path(""))
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    // The recipe, the table of one picture, and the ledger.
    assert_eq!(written.len(), 3, "{written:?}");
}
