//! What becomes of broken shards, and of those that are not there.

use std::path::PathBuf;

use super::*;
use crate::seeding::{Purpose, stream};

#[test]
fn a_shard_that_is_cut_off_gives_what_was_whole_and_is_named() {
    let whole = shard(GOOD);
    for (bytes, samples, skip) in [
        (whole.len(), 2, ""),
        // The end marker is missing, and the padding of the last entry too.
        (7 * 512 + 9, 2, ""),
        (7 * 512 + 8, 1, "sample `1`: damaged shard"),
        (7 * 512, 1, "sample `1`: damaged shard"),
        // Half a header.
        (6 * 512 + 100, 1, "sample `1`: damaged shard"),
        (5 * 512 + 1, 1, "sample `1`: damaged shard"),
        (4 * 512 + 100, 1, "byte 2048: damaged shard"),
        (4 * 512, 1, ""),
    ] {
        let (_folder, set) = open(whole[..bytes].to_vec()).unwrap();
        assert_eq!(pairs(&set).len(), samples, "{bytes}");
        assert_eq!(skipped(set.skipped()).join(", "), skip, "{bytes}");
        let origins = set.skipped().errors().iter().map(|error| &error.origin);
        assert!(origins.into_iter().all(|origin| origin.ends_with("0.tar")));
        assert_eq!(
            set.notes().is_empty(),
            bytes == whole.len(),
            "{:?}",
            set.notes()
        );
    }
}

#[test]
fn a_damaged_header_ends_the_shard_and_its_size_is_not_believed() {
    let mut overwritten = shard(GOOD);
    overwritten[4 * 512..4 * 512 + 200].fill(b'Z');
    let mut header = header(EntryType::Regular, "1.jpg", 0);
    header.set_size(u64::MAX / 2);
    header.set_cksum();
    let mut endless = shard(GOOD);
    endless[4 * 512..5 * 512].copy_from_slice(header.as_bytes());
    let mut long_name = header.clone();
    long_name.set_entry_type(EntryType::GNULongName);
    long_name.set_cksum();
    let mut endless_name = shard(GOOD);
    endless_name[4 * 512..5 * 512].copy_from_slice(long_name.as_bytes());
    endless_name.resize(4 << 20, b'n');
    for (damaged, place) in [
        (overwritten, "byte 2048"),
        (endless, "sample `1`"),
        (endless_name, "byte 2048"),
    ] {
        let config = WebDatasetConfig::default();
        let (_folder, set) = open_all(&[damaged, shard(GOOD)], &config).unwrap();
        assert_eq!(set.shards(), [1, 2]);
        assert_eq!(skipped(set.skipped()), [format!("{place}: damaged shard")]);
        assert!(set.notes()[0].contains("0.tar: only what lies before its damage is used"));
    }
}

#[test]
fn limits_are_kept() {
    let config = WebDatasetConfig {
        max_image_bytes: 9,
        max_caption_bytes: 9,
        ..Default::default()
    };
    let entries: Entries = &[
        ("0.jpg", b"123456789"),
        ("0.json", b"longer, and not needed"),
        ("0.txt", b"123456789"),
        ("1.jpg", b"1234567890"),
        ("1.txt", b"x"),
        ("2.jpg", b"x"),
        ("2.txt", b"1234567890"),
    ];
    let (_folder, set) = open_all(&[shard(entries)], &config).unwrap();
    assert_eq!(captions(&set), ["123456789"]);
    let expected = ["sample `1`: file too large", "sample `2`: bad caption"];
    assert_eq!(skipped(set.skipped()), expected);
}

#[test]
fn an_unusable_shard_is_an_error_alone_and_counted_among_others() {
    let other = shard(&[("README", b"x")]);
    for (unusable, message) in [
        (Vec::new(), "it is empty (0 bytes)"),
        (vec![0; 1024], "it has no entries"),
        (
            b"text\n".repeat(500),
            "it is no tar archive (numeric field was not a number: ttextt). ",
        ),
        (b"short".to_vec(), "it is no tar archive"),
        (
            b"\x1f\x8b\x08\x00".repeat(500),
            "it is a gzip archive, not a tar archive; unpack it with gunzip",
        ),
    ] {
        let error = open(unusable.clone()).unwrap_err().to_string();
        assert!(error.contains("0 samples in 1 shard;"), "{error}");
        assert!(
            error.contains(&format!(
                "0.tar, as a whole: the shard cannot be used: {message}"
            )),
            "{error}"
        );
        let config = WebDatasetConfig::default();
        let (_folder, set) = open_all(&[unusable, shard(GOOD)], &config).unwrap();
        assert_eq!(set.shards(), [0, 2]);
        assert_eq!(skipped(set.skipped()), ["as a whole: unusable shard"]);
        assert!(set.notes()[0].contains("0.tar: nothing of it can be used"));
    }
    assert!(matches!(open(other), Err(Error::NoSamples { .. })));
}

#[test]
fn shards_that_are_not_there_are_named() {
    let folder = folder(&[shard(GOOD)]);
    let config = WebDatasetConfig::default();
    let open = |patterns: &[&str]| {
        let paths: Vec<PathBuf> = patterns.iter().map(|p| folder.path().join(p)).collect();
        WebDataset::open(&paths, &config)
    };
    fs::create_dir(folder.path().join("y.tar")).unwrap();
    assert_eq!(
        open(&[""]).unwrap().shards(),
        [2, 0],
        "the shards of a folder"
    );
    let set = open(&["{0..2}.tar", "x-*.tar", "y*.tar"]).unwrap();
    assert_eq!(set.shards(), [2, 0, 0, 0]);
    let errors: Vec<_> = set
        .skipped()
        .errors()
        .iter()
        .map(|e| e.to_string())
        .collect();
    for (error, (name, message)) in errors.iter().zip([
        ("x-*.tar", "no file has such a name"),
        ("1.tar", "No such file"),
        ("2.tar", "No such file"),
        ("y.tar", "it is a folder"),
    ]) {
        assert!(
            error.contains(&format!("{name}, as a whole")) && error.contains(message),
            "{error}"
        );
    }
    assert!(set.notes()[0].contains("x-*.tar: nothing of it can be used (as with 3 more)"));
    assert!(matches!(open(&["x-*.tar"]), Err(Error::NoShards { .. })));
    assert!(matches!(open(&["{0..2.tar"]), Err(Error::Pattern { .. })));
    assert!(matches!(open(&["1.tar"]), Err(Error::NoSamples { .. })));
    assert!(matches!(open(&[]), Err(Error::NoShards { .. })));
}

#[test]
fn a_shard_that_changes_under_way_is_noticed() {
    let (folder, set) = open(shard(GOOD)).unwrap();
    fs::write(folder.path().join("0.tar"), "another").unwrap();
    let error = set.sample(0).unwrap_err().to_string();
    assert!(
        error.contains("0.tar, sample `0`") && error.contains("has changed"),
        "{error}"
    );
}

#[test]
fn whatever_the_damage_every_sample_that_is_left_can_be_read() {
    let whole = shard(GOOD);
    let folder = TempDir::new().unwrap();
    let mut random = stream(Purpose::Look, 1, 2, 3);
    let mut usable = 0;
    for number in 0..1000 {
        let mut damaged = whole.clone();
        let block = 512 * random.index(damaged.len() / 512);
        for _ in 0..=random.index(3) {
            damaged[block + random.index(512)] = b"\0\x01 07KLSgx\x80\xff"[random.index(12)];
        }
        let mut header = Header::new_old();
        header
            .as_mut_bytes()
            .copy_from_slice(&damaged[block..block + 512]);
        header.set_cksum();
        damaged[block..block + 512].copy_from_slice(header.as_bytes());
        if random.index(2) == 0 {
            damaged.truncate(random.index(damaged.len()));
        }
        let path = folder.path().join(format!("{number}.tar"));
        fs::write(&path, damaged).unwrap();
        if let Ok(set) = WebDataset::open(&[&path], &WebDatasetConfig::default()) {
            (0..set.len()).for_each(|i| drop(set.sample(i).unwrap()));
            usable += set.len();
        }
    }
    assert!(usable > 500, "{usable}");
}
