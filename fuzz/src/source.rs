//! What holds for every source of pairs, whatever it was read from.

use std::path::Path;

use data::{ImageData, Ledger, Sample, Source};

/// How many samples of a source are looked at.
const LOOKED_AT: usize = 50;

/// Reads what a source hands out and holds it to what [`Source`] promises. Pictures have up to `max_image` bytes and
/// captions up to `max_caption`.
///
/// # Panics
///
/// If a promise is broken: that is what the fuzzer looks for.
pub fn walk(source: &dyn Source, max_image: u64, max_caption: usize) {
    let len = source.len();
    assert!(len > 0, "a source without samples is an error");
    assert_eq!(source.shards().iter().sum::<usize>(), len, "pairs by file");
    check_ledger(source.skipped());
    assert!(source.notes().iter().all(|note| !note.is_empty()));
    let groups = source.groups();
    assert_eq!(groups.image_of_row().len(), len);
    assert_eq!(groups.caption_of_row().len(), len);
    for i in 0..len.min(LOOKED_AT) {
        let caption = source.caption(i);
        assert!(!caption.trim().is_empty(), "an empty caption");
        assert!(caption.len() <= max_caption, "a caption over the limit");
        let first = groups.image_rows()[groups.image_of_row()[i]];
        assert_eq!(source.image_key(first), source.image_key(i));
        let first = groups.caption_rows()[groups.caption_of_row()[i]];
        assert_eq!(source.caption(first), caption);
        match source.sample(i) {
            Ok(sample) => {
                assert_eq!(sample.caption, caption);
                check_picture(&sample, max_image);
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                assert_eq!(error.origin, source.name());
            }
        }
    }
}

fn check_picture(sample: &Sample, limit: u64) {
    let ImageData::Encoded { bytes, path } = &sample.image else {
        panic!("pixels from a file that nobody decoded");
    };
    assert!(!bytes.is_empty(), "a picture of 0 bytes");
    assert!(bytes.len() as u64 <= limit, "a picture over the limit");
    assert!(path.as_path() != Path::new(""), "a picture from nowhere");
    assert!(!sample.place.to_string().is_empty());
}

/// Holds a ledger to its own counts, and makes it say every fault.
///
/// # Panics
///
/// If the counts are not those of the errors.
pub fn check_ledger(ledger: &Ledger) {
    assert_eq!(ledger.total(), ledger.errors().len() as u64);
    assert_eq!(ledger.is_empty(), ledger.errors().is_empty());
    for error in ledger.errors() {
        assert!(!error.to_string().is_empty());
    }
    assert!(!ledger.to_string().is_empty());
}
