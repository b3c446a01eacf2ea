//! Tables as they come: the list of broken and unusual ones, and two data sets. They lie beside the repository on
//! some machines only; elsewhere these tests say so and pass, and `src/table/tests.rs` holds hand-made cases.

use std::path::{Path, PathBuf};

use data::{ClassList, Ledger, Source, Table, TableConfig};

/// Tables whose pictures are broken inside: whether they are usable, only a decoder can tell.
const NEED_A_DECODER: [&str; 2] = ["csv/all-bad.csv", "csv/all-images.csv"];

/// A file of the shared data, or `None` with a message.
fn shared(path: &str) -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data")
        .join(path);
    if !file.exists() {
        println!("skipped: there is no shared/data/{path} beside the repository");
        return None;
    }
    Some(file)
}

/// Reads every sample: how many are usable, and the ledger of the others.
fn walk(table: &Table) -> (usize, Ledger) {
    let mut ledger = table.skipped().clone();
    let usable = (0..table.len()).filter(|&index| {
        table
            .sample(index)
            .map_err(|error| ledger.record(error))
            .is_ok()
    });
    (usable.count(), ledger)
}

/// The numbers before the first `sample` in a sentence: `2 or 3 samples if skipping` gives 2 and 3.
fn sample_counts(sentence: &str) -> Vec<usize> {
    let clause = sentence.split("sample").next().unwrap_or_default();
    let clause = clause.rsplit([';', ':']).next().unwrap_or_default();
    clause
        .split_whitespace()
        .filter_map(|word| word.trim_matches(',').parse().ok())
        .collect()
}

#[test]
fn every_table_of_the_list_is_read_skipped_or_refused_as_the_list_says() {
    let Some(list) = shared("bad/cases.csv") else {
        return;
    };
    let config = TableConfig {
        image_column: "file".into(),
        caption_column: "what_to_do".into(),
        ..TableConfig::default()
    };
    let expectations = TableConfig {
        caption_column: "expect".into(),
        ..config.clone()
    };
    let list_of = |config: &TableConfig| Table::open(&list, config).unwrap();
    let (cases, expected) = (list_of(&config), list_of(&expectations));
    let mut walked = 0;
    for index in 0..cases.len() {
        let file = cases.image_key(index).into_owned();
        if !file.starts_with("csv/") || NEED_A_DECODER.contains(&file.as_str()) {
            continue;
        }
        let path = list.with_file_name(&file);
        check(
            &path,
            &expected.caption(index),
            &sample_counts(&cases.caption(index)),
        );
        walked += 1;
    }
    assert_eq!(walked, 17, "tables in the list");
}

fn check(path: &Path, expected: &str, counts: &[usize]) {
    let name = path.display();
    let table = match Table::open(path, &TableConfig::default()) {
        Ok(table) => table,
        Err(error) => {
            println!("{error}");
            assert_eq!(expected, "stop", "{error}");
            return assert!(error.to_string().contains(&name.to_string()), "{error}");
        }
    };
    let (usable, ledger) = walk(&table);
    println!("{name}: {usable} samples, {ledger}");
    // The list allows to find the separator instead of stopping.
    assert!(
        expected != "stop" || name.to_string().ends_with("comma-separated.csv"),
        "{name}"
    );
    assert_eq!(expected == "skip", !ledger.is_empty(), "{name}: {ledger}");
    assert!(
        counts.is_empty() || counts.contains(&usable),
        "{name}: {usable}, not {counts:?}"
    );
    let named = |error: &&data::SampleError| error.to_string().contains(&format!("{name}, line "));
    assert_eq!(
        ledger.errors().iter().filter(named).count(),
        ledger.errors().len()
    );
}

#[test]
fn photographs_have_five_captions_each() {
    for (file, images) in [("photos/val.csv", 250), ("photos/train.csv", 1350)] {
        let Some(path) = shared(file) else { return };
        let table = Table::open(path, &TableConfig::default()).unwrap();
        let groups = table.groups();
        assert_eq!(
            (table.len(), groups.image_rows().len()),
            (5 * images, images)
        );
        let per_image = |image| {
            groups
                .image_of_row()
                .iter()
                .filter(|i| **i == image)
                .count()
        };
        assert_eq!((per_image(0), per_image(images - 1)), (5, 5));
    }
}

#[test]
fn emoji_load_without_loss_and_their_labels_make_a_class_list() {
    let Some(path) = shared("emoji/val-style.csv") else {
        return;
    };
    let table = Table::open(&path, &TableConfig::default()).unwrap();
    let (usable, ledger) = walk(&table);
    assert_eq!((usable, ledger.total()), (1322, 0));
    assert_eq!(
        table.groups().caption_rows().len(),
        1322,
        "retrieval is one to one"
    );
    let labels = TableConfig {
        caption_column: "group".into(),
        ..Default::default()
    };
    let labels = Table::open(&path, &labels).unwrap();
    let classes = ClassList::from_captions(&labels).unwrap();
    assert_eq!(classes.index_of("Smileys & Emotion"), Some(0));
    assert!(
        (5..12).contains(&classes.names().len()),
        "{:?}",
        classes.names()
    );
}
