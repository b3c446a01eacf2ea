//! Pictures with texts beside them, and without.

use tempfile::TempDir;

use super::*;
use crate::testing::{folder, skipped_kinds};

fn open(folder: &TempDir) -> Result<CaptionedFolder, Error> {
    CaptionedFolder::open(folder.path(), &CaptionedConfig::default())
}

#[test]
fn a_picture_has_the_text_beside_it_in_any_folder() {
    let files: [(&str, &[u8]); 6] = [
        ("b.JPG", b"jpg"),
        ("b.txt", b"\xef\xbb\xbf a cat\r\n"),
        ("a/0.v1.png", b"png"),
        ("a/0.v1.txt", "zwei\nZeilen, für immer".as_bytes()),
        ("a/0.v1.json", b"{}"),
        ("readme.md", b"x"),
    ];
    let folder = folder(&files);
    let set = open(&folder).unwrap();
    assert_eq!(set.len(), 2);
    let sample = set.sample(0).unwrap();
    assert_eq!(sample.caption, "zwei\nZeilen, für immer");
    assert_eq!(sample.place, Place::Key("a/0.v1.png".into()));
    assert_eq!(set.caption(1), "a cat");
    assert!(set.notes()[0].ends_with("passed over 2 files without the name of a picture"));
    assert!(set.skipped().is_empty());
}

#[test]
fn a_picture_without_a_usable_text_is_skipped_with_the_reason() {
    let files: [(&str, &[u8]); 10] = [
        ("0.png", b"x"),
        ("0.txt", b"good"),
        ("1.png", b"x"),
        ("2.png", b"x"),
        ("2.txt", b" \n"),
        ("3.png", b"x"),
        ("3.txt", b"\xff"),
        ("4.png", b"x"),
        ("4.txt/folder", b""),
        ("5.txt", b"without a picture"),
    ];
    let folder = folder(&files);
    let set = open(&folder).unwrap();
    assert_eq!(set.len(), 1);
    assert_eq!(
        skipped_kinds(&set),
        [
            "no caption",
            "empty caption",
            "unreadable file",
            "not a file"
        ]
    );
    let first = &set.skipped().errors()[0].reason;
    assert!(
        matches!(first, Reason::NoTextFile { text } if text.ends_with("1.txt")),
        "{first}"
    );
}

#[test]
fn the_extension_and_the_limits_can_be_set() {
    let files: [(&str, &[u8]); 4] = [
        ("0.png", b"xx"),
        ("0.caption", b"good"),
        ("1.png", b"x"),
        ("1.caption", "füüür".as_bytes()),
    ];
    let folder = folder(&files);
    let config = CaptionedConfig {
        extension: "caption".into(),
        max_image_bytes: 1,
        max_caption_bytes: 4,
    };
    let set = CaptionedFolder::open(folder.path(), &config).unwrap();
    assert_eq!(set.len(), 1);
    let long = &set.skipped().errors()[0].reason;
    assert!(
        matches!(
            long,
            Reason::LongCaption {
                section: "data.captioned",
                ..
            }
        ),
        "{long}"
    );
    assert_eq!(set.sample(0).unwrap_err().reason.kind(), "file too large");
    let config = CaptionedConfig {
        extension: "a/b".into(),
        ..Default::default()
    };
    let error = CaptionedFolder::open(folder.path(), &config).unwrap_err();
    assert!(matches!(error, Error::NothingUsable { .. }), "{error}");
}

#[test]
fn a_folder_without_captions_is_an_error() {
    assert!(matches!(
        open(&folder(&[("a.txt", b"x")])),
        Err(Error::NoPictures { .. })
    ));
    assert!(matches!(
        open(&folder(&[("a.png", b"x")])),
        Err(Error::NothingUsable { .. })
    ));
}
