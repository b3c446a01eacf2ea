//! JSON files as a whole: Karpathy's, COCO's and lists of objects.

#![no_main]

use std::sync::LazyLock;

use data::{Annotations, AnnotationsConfig, Error, Source};
use fuzz::{Folder, check_ledger, walk};
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::with_pictures);

fuzz_target!(|input: &[u8]| {
    let path = FOLDER.put("json/annotations.json", input);
    // What it is taken for must not depend on whether it can be read.
    assert!(data::recognise(&path).is_ok());
    let narrow = AnnotationsConfig {
        split: Some("train".into()),
        max_image_bytes: 3,
        max_caption_bytes: 24,
        ..AnnotationsConfig::default()
    };
    for config in [AnnotationsConfig::default(), narrow] {
        match Annotations::open(&path, &config) {
            Ok(set) => {
                walk(&set, config.max_image_bytes, config.max_caption_bytes);
                assert_eq!(set.digest(), set.digest());
            }
            Err(Error::NothingUsable { skipped, .. }) => check_ledger(&skipped),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});
