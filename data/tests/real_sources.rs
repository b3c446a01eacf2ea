//! Two data sets as they come. They lie beside the repository on some machines only; elsewhere these tests say so and
//! pass, and the tests in `src` hold hand-made cases.

use std::path::{Path, PathBuf};

use data::{
    ClassList, ImageData, Ledger, Source, Table, TableConfig, WebDataset, WebDatasetConfig,
};

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
fn shards_hold_the_training_photographs_byte_for_byte() {
    let (Some(folder), Some(table)) = (shared("photos/shards"), shared("photos/train.csv")) else {
        return;
    };
    let pattern = folder.join("photos-{0000..0001}.tar");
    let shards = WebDataset::open(&[&pattern], &WebDatasetConfig::default()).unwrap();
    assert_eq!(shards.shards(), [675, 675]);
    assert!(shards.skipped().is_empty() && shards.notes().is_empty());
    let starred = folder.join("photos-*.tar");
    let starred = WebDataset::open(&[&starred], &WebDatasetConfig::default()).unwrap();
    let table = Table::open(table, &TableConfig::default()).unwrap();
    let bytes = |source: &dyn Source, index| match source.sample(index).unwrap().image {
        ImageData::Encoded { bytes, .. } => bytes,
        ImageData::Rgb { .. } => panic!("photographs are files"),
    };
    // The shards have one caption of each photograph, the table has five.
    for index in 0..shards.len() {
        assert_eq!(shards.caption(index), table.caption(5 * index));
        assert_eq!(shards.image_key(index), starred.image_key(index));
        assert!(
            bytes(&shards, index) == bytes(&table, 5 * index),
            "photograph {index}"
        );
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
