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

/// Every file under a folder, with its size.
fn listing(folder: &Path) -> BTreeSet<(PathBuf, u64)> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(listing(&entry.path())),
            false => drop(found.insert((entry.path(), entry.metadata().unwrap().len()))),
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
    let mut walked = 0;
    for line in cases.lines().skip(1) {
        let [file, expect, _, what_to_do] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("cases.csv: {line}");
        };
        let path = root.join(file);
        let is_image = file.starts_with("images/");
        let source = match is_image {
            true => {
                let good = root.join("images/good.png");
                let rows = format!("{}\tone\n{}\tother\n", path.display(), good.display());
                folder.table("case.csv", &format!("filepath\ttitle\n{rows}"));
                folder.path("case.csv")
            }
            false => path,
        };
        let output = folder.run(&["data", "check", source.to_str().unwrap()]);
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
    assert_eq!(
        before,
        listing(&root),
        "something was written beside the data"
    );
    let written: Vec<_> = listing(&folder.path(""))
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(written.len(), 2, "{written:?}");
}
