//! Broken and unusual inputs: every table, shard and file of JSON lines in the list is read, skipped or refused as the
//! list says. `SHOESTRING_BAD` may name another folder with such a list.

use std::path::{Path, PathBuf};

use data::{
    Error, JsonLines, JsonLinesConfig, Ledger, Source, Table, TableConfig, WebDataset,
    WebDatasetConfig,
};

/// Inputs whose pictures are broken inside: whether they are usable, only a decoder can tell.
const NEED_A_DECODER: [&str; 3] = [
    "csv/all-bad.csv",
    "csv/all-images.csv",
    "tar/broken-image.tar",
];

/// Inputs that the list allows to use in full: the separator is found, and names that climb are only names.
const BETTER_THAN_EXPECTED: [(&str, usize); 2] = [
    ("csv/comma-separated.csv", 1),
    ("tar/path-traversal.tar", 3),
];

/// What the list says of a file.
struct Case {
    file: String,
    expect: String,
    samples: Vec<usize>,
    skipped: Option<u64>,
}

fn list() -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/bad");
    let root = std::env::var_os("SHOESTRING_BAD").map_or(fixtures, PathBuf::from);
    root.join("cases.csv")
}

fn cases() -> Vec<Case> {
    let column = |column: &str| {
        let config = TableConfig {
            image_column: "file".into(),
            caption_column: column.into(),
            ..TableConfig::default()
        };
        Table::open(list(), &config).expect("a list of cases")
    };
    let (expect, what_to_do) = (column("expect"), column("what_to_do"));
    let case = |i| Case {
        file: expect.image_key(i).into_owned(),
        expect: expect.caption(i).into_owned(),
        samples: numbers_before(&what_to_do.caption(i), "sample"),
        skipped: numbers_before(&what_to_do.caption(i), "skipped")
            .first()
            .map(|n| *n as u64),
    };
    (0..expect.len()).map(case).collect()
}

/// The numbers shortly before a word: in `2 or 3 samples if skipping` 2 and 3 stand before `sample`.
fn numbers_before(sentence: &str, word: &str) -> Vec<usize> {
    let Some((clause, _)) = sentence.split_once(word) else {
        return Vec::new();
    };
    let clause = clause.rsplit([';', ':', ',']).next().unwrap_or_default();
    let words = clause.split_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

fn open(path: &Path) -> Result<Box<dyn Source>, Error> {
    Ok(match path.extension().and_then(|e| e.to_str()) {
        Some("csv") => Box::new(Table::open(path, &TableConfig::default())?),
        Some("jsonl") => Box::new(JsonLines::open(path, &JsonLinesConfig::default())?),
        _ => Box::new(WebDataset::open(&[path], &WebDatasetConfig::default())?),
    })
}

/// Reads every sample: how many are usable, and the ledger of the others.
fn walk(source: &dyn Source) -> (usize, Ledger) {
    let mut ledger = source.skipped().clone();
    let read = |index: &usize| {
        let sample = source.sample(*index);
        sample.map_err(|error| ledger.record(error)).is_ok()
    };
    let usable = (0..source.len()).filter(read).count();
    (usable, ledger)
}

#[test]
fn every_input_of_the_list_is_read_skipped_or_refused_as_the_list_says() {
    let mut walked = [0; 3];
    for case in cases() {
        let kind = ["csv/", "tar/", "jsonl/"].map(|folder| case.file.starts_with(folder));
        let Some(kind) = kind.iter().position(|is| *is) else {
            continue;
        };
        walked[kind] += 1;
        check(&case);
    }
    assert!(walked.iter().all(|n| *n > 0), "{walked:?}");
    if std::env::var_os("SHOESTRING_BAD").is_none() {
        assert_eq!(walked, [19, 19, 6]);
    }
}

fn check(case: &Case) {
    let file = case.file.as_str();
    let path = list().with_file_name(file);
    let source = match open(&path) {
        Ok(source) => source,
        Err(error) => {
            println!("{error}");
            assert_eq!(case.expect, "stop", "{error}");
            return assert!(error.to_string().contains(file), "{error}");
        }
    };
    let (usable, ledger) = walk(source.as_ref());
    println!("{file}: {usable} samples, {ledger} {:?}", source.notes());
    let named = |error: &data::SampleError| error.to_string().contains(file);
    assert!(ledger.errors().iter().all(named), "{file}: {ledger}");
    if NEED_A_DECODER.contains(&file) {
        return;
    }
    let better = BETTER_THAN_EXPECTED.iter().find(|(name, _)| *name == file);
    if let Some((_, samples)) = better {
        return assert_eq!((usable, ledger.total()), (*samples, 0), "{file}");
    }
    assert_ne!(case.expect, "stop", "{file}");
    assert_eq!(
        case.expect == "skip",
        !ledger.is_empty(),
        "{file}: {ledger}"
    );
    let counts = &case.samples;
    assert!(
        counts.is_empty() || counts.contains(&usable),
        "{file}: {usable}, not {counts:?}"
    );
    if let (Some(skipped), "skip") = (case.skipped, case.expect.as_str()) {
        assert_eq!(ledger.total(), skipped, "{file}: {ledger}");
    }
}
