//! Parquet files.

#![no_main]

use std::sync::LazyLock;

use data::{Error, Parquet, ParquetConfig};
use fuzz::{Folder, check_ledger, walk};
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::new();
    folder.put("a.png", b"PNG");
    folder
});

fuzz_target!(|input: &[u8]| {
    let path = FOLDER.put("t.parquet", input);
    let config = ParquetConfig::default();
    match Parquet::open(&path, &config) {
        Ok(set) => walk(&set, config.max_image_bytes, config.max_caption_bytes),
        Err(Error::NothingUsable { skipped, .. }) => check_ledger(&skipped),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let _ = Parquet::open_labels(&path, &config, "label");
});
