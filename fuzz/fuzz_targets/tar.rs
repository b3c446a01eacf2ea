//! Tar shards, as they are or with the checksums of their headers made right.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use data::{Error, Source, WebDataset, WebDatasetConfig};
use fuzz::{Folder, check_ledger, walk};
use libfuzzer_sys::fuzz_target;

/// The unit of an archive, in bytes.
const BLOCK: usize = 512;

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);

// Almost every change to a header breaks its checksum, and nothing behind the check would ever be tried: of even length
// they are made right.
fuzz_target!(|input: &[u8]| {
    let mut shard = input.to_vec();
    if input.len().is_multiple_of(2) {
        set_checksums(&mut shard);
    }
    check(&FOLDER.put("shard.tar", &shard), &shard);
});

fn check(path: &Path, input: &[u8]) {
    let narrow = WebDatasetConfig {
        max_image_bytes: 600,
        max_caption_bytes: 24,
        ..WebDatasetConfig::default()
    };
    for config in [WebDatasetConfig::default(), narrow] {
        match WebDataset::open(&[path], &config) {
            Ok(set) => {
                walk(&set, config.max_image_bytes, config.max_caption_bytes);
                check_samples(&set, input);
            }
            Err(Error::NoSamples { skipped, .. }) => check_ledger(&skipped),
            Err(error) => panic!("{error}"),
        }
    }
}

/// What the index points to lies in the shard, and no two samples have one picture.
fn check_samples(set: &WebDataset, input: &[u8]) {
    let mut bytes = 0;
    for i in set.groups().image_rows() {
        let sample = set.sample(*i).expect("a sample of the index");
        let data::ImageData::Encoded { bytes: picture, .. } = sample.image else {
            panic!("pixels from a shard");
        };
        bytes += picture.len();
    }
    assert!(bytes <= input.len(), "pictures that overlap");
}

/// Goes from header to header and sets their checksums.
fn set_checksums(shard: &mut [u8]) {
    let mut at = 0_usize;
    while let Some(header) = shard.get_mut(at..at.saturating_add(BLOCK)) {
        at += BLOCK;
        if header.iter().all(|byte| *byte == 0) {
            continue;
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = header[124..136].trim_ascii_start();
        let digits = size.iter().take_while(|byte| (b'0'..=b'7').contains(*byte));
        let size = digits.fold(0_usize, |size, digit| size * 8 + usize::from(digit - b'0'));
        at = at.saturating_add(size.div_ceil(BLOCK) * BLOCK);
    }
}
