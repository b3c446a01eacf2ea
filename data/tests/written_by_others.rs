//! Parquet files that pyarrow has written, laid out as `datasets` and img2dataset do: `scripts/make_sources.py` makes them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use data::{ImageData, Parquet, ParquetConfig, Source};

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/sources")
}

fn open(name: &str) -> Parquet {
    Parquet::open(sources().join(name), &ParquetConfig::default()).unwrap()
}

/// Whether a sample has the picture that both files hold.
fn has_picture(set: &Parquet, index: usize) -> bool {
    let expected = std::fs::read(sources().join("small.png")).unwrap();
    match set.sample(index).unwrap().image {
        ImageData::Encoded { bytes, .. } => bytes == expected,
        ImageData::Rgb { .. } => false,
    }
}

#[test]
fn the_layout_of_datasets_is_read() {
    let set = open("datasets.parquet");
    let captions: Vec<_> = (0..set.len()).map(|i| set.caption(i)).collect();
    assert_eq!(captions, ["a cat", "a tom", "a dog"]);
    // The second picture is a file beside the table.
    assert!((0..3).all(|i| has_picture(&set, i)));
    assert_eq!(set.groups().image_of_row(), [0, 0, 1]);
    let path = sources().join("datasets.parquet");
    let labels = Parquet::open_labels(path, &ParquetConfig::default(), "label").unwrap();
    assert_eq!([labels.caption(0), labels.caption(1)], ["cat", "dog"]);
}

#[test]
fn the_layout_of_img2dataset_is_read() {
    let set = open("img2dataset.parquet");
    assert_eq!((set.len(), set.shards()), (3, vec![2, 1]));
    assert!(has_picture(&set, 0) && has_picture(&set, 1));
    assert_eq!(set.caption(1), "a dog");
    let error = set.sample(2).unwrap_err();
    assert_eq!(error.reason.kind(), "empty file");
}
