//! What becomes of usual and unusual shards.

mod damage;

use std::fs;

use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::*;

/// Entries of a shard: names and contents.
type Entries<'a> = &'a [(&'a str, &'a [u8])];

const GOOD: Entries = &[
    ("0.jpg", b"picture 0"),
    ("0.txt", b"caption 0\n"),
    ("1.PNG", b"picture 1"),
    ("1.txt", b"caption 1"),
];

fn header(kind: EntryType, name: &str, size: usize) -> Header {
    let mut header = Header::new_gnu();
    // Not `set_path`: it refuses `..`.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

fn shard(entries: Entries) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in entries {
        builder
            .append(&header(EntryType::Regular, name, content.len()), *content)
            .unwrap();
    }
    builder.into_inner().unwrap()
}

/// A folder with shards `0.tar`, `1.tar`, ...
fn folder(shards: &[Vec<u8>]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (number, shard) in shards.iter().enumerate() {
        fs::write(folder.path().join(format!("{number}.tar")), shard).unwrap();
    }
    folder
}

fn open_all(shards: &[Vec<u8>], config: &WebDatasetConfig) -> Result<(TempDir, WebDataset), Error> {
    let folder = folder(shards);
    let set = WebDataset::open(&[folder.path().join("*.tar")], config)?;
    Ok((folder, set))
}

fn open(shard: Vec<u8>) -> Result<(TempDir, WebDataset), Error> {
    open_all(&[shard], &WebDatasetConfig::default())
}

fn pairs(set: &WebDataset) -> Vec<(String, String)> {
    let pair = |i| {
        let sample = set.sample(i).unwrap();
        assert_eq!(sample.caption, set.caption(i));
        let ImageData::Encoded { bytes, .. } = sample.image else {
            panic!("shards hold files");
        };
        (String::from_utf8(bytes).unwrap(), sample.caption)
    };
    (0..set.len()).map(pair).collect()
}

fn captions(set: &WebDataset) -> Vec<String> {
    pairs(set).into_iter().map(|(_, caption)| caption).collect()
}

/// Places and kinds of what was skipped.
fn skipped(ledger: &Ledger) -> Vec<String> {
    let errors = ledger.errors().iter();
    errors
        .map(|error| format!("{}: {}", error.place, error.reason.kind()))
        .collect()
}

#[test]
fn samples_come_in_order_with_the_bytes_of_their_pictures() {
    let more = shard(&[("a/0.webp", b"x"), ("a/0.txt", b"y")]);
    let empty = shard(&[("0.jpg", b"x"), ("0.txt", b" ")]);
    let shards = [shard(GOOD), empty, more];
    let (folder, set) = open_all(&shards, &WebDatasetConfig::default()).unwrap();
    let expected = [
        ("picture 0", "caption 0"),
        ("picture 1", "caption 1"),
        ("x", "y"),
    ];
    assert_eq!(
        pairs(&set),
        expected.map(|(p, c)| (p.to_owned(), c.to_owned()))
    );
    assert_eq!(set.shards(), [2, 0, 1]);
    let last = set.sample(2).unwrap();
    assert_eq!(last.place, Place::Key("a/0".into()));
    let path = folder.path().join("2.tar").join("a/0.webp");
    assert!(matches!(last.image, ImageData::Encoded { path: found, .. } if found == path));
    assert_eq!(set.image_key(2), path.with_extension("").to_str().unwrap());
    assert_eq!(skipped(set.skipped()), ["sample `0`: empty caption"]);
    assert!(set.notes().is_empty(), "{:?}", set.notes());
}

#[test]
fn threads_read_at_once_and_more_shards_than_are_kept_open() {
    let shards: Vec<_> = (0..80)
        .map(|n: u32| shard(&[("k.jpg", &n.to_le_bytes()), ("k.txt", b"x")]))
        .collect();
    let (_folder, set) = open_all(&shards, &WebDatasetConfig::default()).unwrap();
    assert_eq!(set.len(), 80);
    let all = || {
        let bytes = (0..80).map(|i| match set.sample(i).unwrap().image {
            ImageData::Encoded { bytes, .. } => u32::from_le_bytes(bytes.try_into().unwrap()),
            ImageData::Rgb { .. } => panic!("shards hold files"),
        });
        let mut bytes: Vec<_> = bytes.collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..80).collect::<Vec<_>>());
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(all);
        }
    });
}

#[test]
fn the_caption_is_a_text_or_else_json_or_else_a_class() {
    let entries: Entries = &[
        ("0.cls", b"7"),
        ("0.jpg", b"x"),
        ("0.json", b"{broken"),
        ("0.txt", b"\xef\xbb\xbftext\r\n"),
        ("1.cls", b"7"),
        ("1.jpg", b"x"),
        ("1.json", b"{\"n\": 1,\n \"caption\": \"json\"}"),
        ("2.cls", b" cat\n"),
        ("2.jpg", b"x"),
        ("2.json", b"{\"n\": 1}"),
        ("3.jpg", b"x"),
        ("3.json", b"{\"n\": 1}"),
        ("4.jpg", b"x"),
        ("4.json", b"{\"caption\": null}"),
        ("5.jpg", b"x"),
        ("5.json", b"{broken"),
        ("6.jpg", b"x"),
        ("6.txt", b"\xff"),
    ];
    let (_folder, set) = open(shard(entries)).unwrap();
    assert_eq!(captions(&set), ["text", "json", "cat"]);
    let errors = set.skipped().errors().iter().map(|e| e.to_string());
    let errors: Vec<_> = errors.collect();
    for (error, message) in errors.iter().zip([
        "0.tar, sample `3`: `.json` holds no caption: there is no key `caption`",
        "0.tar, sample `4`: `.json` holds no caption: the value of `caption` is null, not a text",
        "0.tar, sample `5`: `.json` holds no caption: no valid JSON",
        "0.tar, sample `6`: `.txt` holds no caption: it is not UTF-8",
    ]) {
        assert!(error.contains(message), "{error}");
    }
    assert_eq!(errors.len(), 4);
}

#[test]
fn a_class_number_becomes_the_class_in_a_template() {
    let folder = folder(&[shard(&[
        ("0.jpg", b"x"),
        ("0.cls", b"1\n"),
        ("1.jpg", b"x"),
        ("1.cls", b"2"),
        ("2.jpg", b"x"),
        ("2.cls", b"0"),
    ])]);
    let classes = folder.path().join("classes.txt");
    fs::write(&classes, "red panda\ndog\n").unwrap();
    let config = WebDatasetConfig {
        classes: Some(classes),
        templates: vec!["a {}".into(), "the {}".into()],
        ..Default::default()
    };
    let set = WebDataset::open(&[folder.path().join("0.tar")], &config).unwrap();
    assert_eq!(captions(&set), ["a dog", "the red panda"]);
    let error = set.skipped().to_string();
    assert!(
        error.contains("`2` is no class number from 0 to 1"),
        "{error}"
    );
}

#[test]
fn incomplete_repeated_and_split_samples_are_skipped_with_their_key() {
    let entries: Entries = &[
        ("0.jpg", b"x"),
        ("1.jpg", b"x"),
        ("1.txt", b"good"),
        ("2.txt", b"x"),
        ("0.txt", b"x"),
        ("3.jpg", b"x"),
        ("3.JPG", b"x"),
        ("3.txt", b"x"),
        ("4.jpg", b""),
        ("4.txt", b"x"),
        ("5.png", b"second"),
        ("5.jpg", b"first"),
        ("5.txt", b"better"),
    ];
    let (_folder, set) = open(shard(entries)).unwrap();
    let expected = [("x", "good"), ("first", "better")];
    assert_eq!(
        pairs(&set),
        expected.map(|(p, c)| (p.to_owned(), c.to_owned()))
    );
    let expected = [
        "sample `0`: no caption",
        "sample `2`: no image",
        "sample `0`: split sample",
        "sample `3`: repeated entry",
        "sample `4`: empty file",
    ];
    assert_eq!(skipped(set.skipped()), expected);
}

#[test]
fn what_belongs_to_no_sample_is_passed_over_and_parts_no_sample() {
    let mut builder = Builder::new(Vec::new());
    let mut add = |kind, name, content: &[u8]| {
        builder
            .append(&header(kind, name, content.len()), content)
            .unwrap();
    };
    add(EntryType::Directory, "a.b/", b"");
    add(EntryType::Regular, "a.b/0.jpg", b"x");
    add(EntryType::Regular, "a.b/._0.jpg", b"resource fork");
    add(EntryType::Regular, "__note__/0.jpg", b"note");
    add(EntryType::Regular, "a.b/README", b"no extension");
    add(EntryType::Regular, "a.b/0.seg.png", b"mask");
    add(EntryType::Regular, "a.b/0.txt", b"y");
    add(EntryType::Regular, "LICENSE.md", b"another file");
    let (_folder, set) = open(builder.into_inner().unwrap()).unwrap();
    assert_eq!(pairs(&set), [("x".to_owned(), "y".to_owned())]);
    assert!(set.skipped().is_empty(), "{}", set.skipped());
    assert_eq!(
        set.notes(),
        ["entries passed over that belong to no sample: 4"]
    );
}

#[test]
fn links_are_not_followed_and_names_are_only_names() {
    let mut builder = Builder::new(Vec::new());
    for (kind, name) in [
        (EntryType::Symlink, "0.jpg"),
        (EntryType::Link, "1.jpg"),
        (EntryType::Char, "2.jpg"),
        (EntryType::Regular, "../3.jpg"),
        (EntryType::Regular, "/4.jpg"),
    ] {
        let regular = kind == EntryType::Regular;
        let content: &[u8] = if regular { b"x" } else { b"" };
        let mut link = header(kind, name, content.len());
        if !regular {
            link.set_link_name("../outside.jpg").unwrap();
            link.set_cksum();
        }
        builder.append(&link, content).unwrap();
        let text = name.replace("jpg", "txt");
        builder
            .append(&header(EntryType::Regular, &text, 1), &b"y"[..])
            .unwrap();
    }
    let (folder, set) = open(builder.into_inner().unwrap()).unwrap();
    fs::write(folder.path().join("outside.jpg"), "no").unwrap();
    let expected = [
        "sample `0`: not a file",
        "sample `1`: not a file",
        "sample `2`: not a file",
    ];
    assert_eq!(skipped(set.skipped()), expected);
    let error = set.skipped().errors()[0].to_string();
    assert!(
        error.ends_with("0.tar/0.jpg is a symbolic link, not a file"),
        "{error}"
    );
    assert_eq!(pairs(&set).len(), 2);
    assert_eq!(set.sample(1).unwrap().place, Place::Key("/4".into()));
}

#[test]
fn long_names_are_read_whole() {
    let long = "long/".repeat(60);
    let mut builder = Builder::new(Vec::new());
    for (name, content) in [("0.jpg", "x"), ("0.txt", "y")] {
        let mut header = Header::new_gnu();
        header.set_size(1);
        let name = format!("{long}{name}");
        builder
            .append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    let path = format!("{long}1.jpg");
    builder
        .append_pax_extensions([("path", path.as_bytes())])
        .unwrap();
    builder
        .append(&header(EntryType::Regular, "short.jpg", 1), &b"z"[..])
        .unwrap();
    let (_folder, set) = open(builder.into_inner().unwrap()).unwrap();
    assert_eq!(set.sample(0).unwrap().place, Place::Key(format!("{long}0")));
    let error = &set.skipped().errors()[0];
    assert_eq!(error.place, Place::Key(format!("{long}1")));
}

#[test]
fn sparse_files_are_refused() {
    let mut builder = Builder::new(Vec::new());
    builder
        .append_pax_extensions([("GNU.sparse.major", &b"1"[..])])
        .unwrap();
    builder
        .append(&header(EntryType::Regular, "0.jpg", 1), &b"x"[..])
        .unwrap();
    for (name, content) in GOOD {
        let name = name.replace('0', "00");
        builder
            .append(&header(EntryType::Regular, &name, content.len()), *content)
            .unwrap();
    }
    let (_folder, set) = open(builder.into_inner().unwrap()).unwrap();
    assert_eq!(set.len(), 2);
    assert!(
        set.skipped().to_string().contains("0.jpg is a sparse file"),
        "{}",
        set.skipped()
    );
}

#[test]
fn options_are_read_by_name_and_misspelled_ones_are_refused() {
    let config: WebDatasetConfig = serde_json::from_str("{\"caption_key\": \"text\"}").unwrap();
    assert_eq!(
        (config.caption_key.as_str(), config.max_image_bytes),
        ("text", 64 << 20)
    );
    let error = serde_json::from_str::<WebDatasetConfig>("{\"caption\": \"text\"}").unwrap_err();
    assert!(error.to_string().contains("`caption_key`"), "{error}");
}

#[test]
fn well_known_keys_lists_of_captions_and_numbers_of_python_are_read() {
    let entries: Entries = &[
        ("0.jpg", b"x"),
        ("0.json", b"{\"text\": \"a\", \"similarity\": NaN}"),
        ("1.jpg", b"y"),
        (
            "1.json",
            b"{\"caption\": [\"b\", \"c\"], \"text\": \"not this\"}",
        ),
    ];
    let (_folder, set) = open(shard(entries)).unwrap();
    assert_eq!(captions(&set), ["a", "b", "c"]);
    let nameless: Entries = &[("0.jpg", b"x"), ("0.json", b"{\"\": \"not this\"}")];
    assert!(open(shard(nameless)).is_err());
    assert_eq!(set.groups().image_of_row(), [0, 1, 1]);
    let config = WebDatasetConfig {
        caption_key: "title".into(),
        ..Default::default()
    };
    let error = open_all(&[shard(entries)], &config).unwrap_err();
    assert!(matches!(error, Error::NoSamples { .. }), "{error}");
}

#[test]
fn the_class_of_a_sample_is_its_cls_entry_or_a_key() {
    let entries: Entries = &[
        ("0.jpg", b"x"),
        ("0.txt", b"a caption"),
        ("0.cls", b"1"),
        ("0.json", b"{\"kind\": 7}"),
        ("1.jpg", b"x"),
        ("1.txt", b"a caption"),
    ];
    let folder = folder(&[shard(entries)]);
    let path = folder.path().join("0.tar");
    let labels = |config: &WebDatasetConfig, label| {
        let set = WebDataset::open_labels(&[&path], config, label).unwrap();
        captions(&set)
    };
    let config = WebDatasetConfig::default();
    assert_eq!(labels(&config, "cls"), ["1"]);
    assert_eq!(labels(&config, "kind"), ["7"]);
    fs::write(folder.path().join("names"), "cat\ndog\n").unwrap();
    let config = WebDatasetConfig {
        classes: Some(folder.path().join("names")),
        ..Default::default()
    };
    assert_eq!(labels(&config, "cls"), ["dog"]);
}

#[test]
fn the_digest_does_not_hang_on_where_the_shards_lie() {
    let digest = |entries| open(shard(entries)).unwrap().1.digest();
    assert_eq!(digest(GOOD), digest(GOOD));
    assert_ne!(digest(GOOD), digest(&GOOD[..2]));
}
