//! Files and folders, by what they hold.

use super::*;
use crate::testing;
use crate::{ImageFolder, ImageFolderConfig, Source};

fn kind_of(files: &[(&str, &str)], name: &str) -> SourceKind {
    recognise(testing::folder(files).path().join(name))
        .unwrap()
        .0
}

#[test]
fn a_file_is_what_it_holds_whatever_its_name() {
    let coco = r#"{"info": {"a": [1, "}"]}, "images": [], "annotations": []}"#;
    let lines = "{\"a\": \"x\", \"b\": {\"images\": []}}\n{\"a\": 1}\n";
    let long = format!(
        "{{\"info\": {{}}, \"images\": [{}",
        "{\"id\": 1},".repeat(10_000)
    );
    for (name, content, kind) in [
        ("t.csv", "filepath,title\n", SourceKind::Table),
        ("t.jsonl", "filepath,title\n", SourceKind::JsonLines),
        ("t", lines, SourceKind::JsonLines),
        ("t.json", lines, SourceKind::JsonLines),
        ("t.csv", coco, SourceKind::Json),
        ("t.json", coco, SourceKind::Json),
        ("t.json", long.as_str(), SourceKind::Json),
        ("t", "\u{feff} [{\"image\": 1}]", SourceKind::Json),
        (
            "t.json",
            "{\"image\": \"a\", \"text\": \"b\"}",
            SourceKind::JsonLines,
        ),
        ("t.json", "{\n \"a\": 1,\n \"b\": 2\n}\n", SourceKind::Json),
        ("t.bin", "PAR1....", SourceKind::Parquet),
        ("t.tar", "", SourceKind::Shards),
        ("t.tar", "<html>", SourceKind::Shards),
        ("t.csv", "<html>", SourceKind::Table),
    ] {
        assert_eq!(
            kind_of(&[(name, content)], name),
            kind,
            "{name}: {content:.40}"
        );
    }
    assert_eq!(kind_of(&[], "train-{0..3}.tar"), SourceKind::Shards);
    let missing = recognise("no/such.csv").unwrap_err();
    assert!(matches!(missing, Error::Unreadable { .. }), "{missing}");
}

#[test]
fn a_folder_is_the_first_kind_that_fits() {
    for (files, kind, opened) in [
        (
            &["metadata.jsonl", "0.png", "0.txt", "x.tar"][..],
            SourceKind::JsonLines,
            "metadata.jsonl",
        ),
        (
            &["metadata.csv", "a/0.png"],
            SourceKind::Table,
            "metadata.csv",
        ),
        (
            &["0.tar", "0.parquet", "0_stats.json"],
            SourceKind::Shards,
            "*.tar",
        ),
        (&["0.png", "0.txt", "1.png"], SourceKind::Captioned, ""),
        (
            &[
                "00000/0.jpg",
                "00000/0.txt",
                "00000/0.json",
                "00000.parquet",
            ],
            SourceKind::Captioned,
            "",
        ),
        (&["0.parquet", "1.parquet"], SourceKind::Parquet, ""),
        (
            &["cat/0.png", "cat/labels.txt", "dog/0.png"],
            SourceKind::Classes,
            "",
        ),
        (&["notes.md"], SourceKind::Classes, ""),
    ] {
        let files: Vec<_> = files.iter().map(|file| (*file, "x")).collect();
        let folder = testing::folder(&files);
        let (found, path) = recognise(folder.path()).unwrap();
        assert_eq!(
            (found, path),
            (kind, folder.path().join(opened)),
            "{files:?}"
        );
    }
}

#[test]
fn a_folder_that_is_no_folder_of_classes_says_what_it_has() {
    let hint = |files: &[&str]| {
        let files: Vec<_> = files.iter().map(|file| (*file, "x")).collect();
        let folder = testing::folder(&files);
        match ImageFolder::open(folder.path(), &ImageFolderConfig::default()) {
            Ok(images) => Err(images.notes().to_vec()),
            Err(Error::UnknownFolder { found, hint, .. }) => Ok((found, hint)),
            Err(other) => panic!("{other}"),
        }
    };
    let (found, named) = hint(&["train.csv", "val.csv", "images/0.png"]).unwrap();
    assert_eq!(found, "1 sub-folder, 2 `.csv`");
    assert!(named.contains("`train.csv`"), "{named}");
    let (_, named) = hint(&["train/a/0.png", "val/a/0.png"]).unwrap();
    assert!(named.contains("such as `train`"), "{named}");
    let (_, named) = hint(&["cats/metadata.csv", "cats/0.png", "dogs/0.png"]).unwrap();
    assert!(named.contains("`cats` in it"), "{named}");
    let (_, named) = hint(&["data-0.arrow", "state.json"]).unwrap();
    assert!(named.contains("name that file"), "{named}");
    let (found, _) = hint(&["0.png", "1.png"]).unwrap();
    assert_eq!(found, "2 `.png`");
    assert_eq!(hint(&[]).unwrap().0, "nothing in it");
    let notes = hint(&["cat/0.png", "dog/0.png", "labels.csv"]).unwrap_err();
    assert!(notes[1].contains("`labels.csv`"), "{notes:?}");
}

#[cfg(unix)]
#[test]
fn a_device_is_refused_and_not_waited_for() {
    let error = recognise("/dev/null").unwrap_err();
    assert!(matches!(error, Error::NotAFile { .. }), "{error}");
}
