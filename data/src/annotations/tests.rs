//! Karpathy's and COCO's files, lists, and what is none of them.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::Place;

fn open_with(json: &str, config: &AnnotationsConfig) -> Result<(TempDir, Annotations), Error> {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("val2014")).unwrap();
    fs::write(folder.path().join("a.png"), b"a").unwrap();
    fs::write(folder.path().join("val2014/a.png"), b"val").unwrap();
    fs::write(folder.path().join("t.json"), json).unwrap();
    let set = Annotations::open(folder.path().join("t.json"), config)?;
    Ok((folder, set))
}

fn open(json: &str) -> Result<(TempDir, Annotations), Error> {
    open_with(json, &AnnotationsConfig::default())
}

fn pairs(set: &Annotations) -> Vec<(String, String)> {
    let pair = |i| (set.image_key(i).into_owned(), set.caption(i).into_owned());
    (0..set.len()).map(pair).collect()
}

fn pair(image: &str, caption: &str) -> (String, String) {
    (image.to_owned(), caption.to_owned())
}

fn skipped(set: &Annotations) -> Vec<String> {
    let errors = set.skipped().errors().iter();
    errors
        .map(|e| format!("{}: {}", e.place, e.reason))
        .collect()
}

const KARPATHY: &str = r#"{"dataset": "coco", "images": [
    {"filepath": "val2014", "filename": "a.png", "split": "test", "sentences": [{"raw": "one", "tokens": ["one"]}, {"raw": "two"}]},
    {"filename": "a.png", "split": "train", "sentences": [{"raw": "three"}], "cocoid": 7},
    {"filename": "b.png", "split": "restval", "sentences": [{"raw": "four"}], "score": NaN},
    {"filename": "c.png", "split": "val", "sentences": []},
    {"split": "val", "sentences": [{"raw": "x"}]},
    7
]}"#;

#[test]
fn karpathys_file_gives_each_sentence_with_its_picture() {
    let (_folder, set) = open(KARPATHY).unwrap();
    let expected = [
        pair("val2014/a.png", "one"),
        pair("val2014/a.png", "two"),
        pair("a.png", "three"),
        pair("b.png", "four"),
    ];
    assert_eq!(pairs(&set), expected);
    let sample = set.sample(1).unwrap();
    assert_eq!(sample.place, Place::Key("images[0]".into()));
    assert!(set.notes()[0].contains("restval 1, test 1, train 1, val 2; all are taken"));
    let expected = [
        "sample `images[3]`: the value of `sentences` is an empty list, not a text",
        "sample `images[4]`: there is no key `file_name`",
        "sample `images[5]`: expected an object, found a number",
    ];
    assert_eq!(skipped(&set), expected);
}

#[test]
fn a_split_takes_its_pictures_and_train_takes_restval_too() {
    let split = |split: &str| AnnotationsConfig {
        split: Some(split.into()),
        ..Default::default()
    };
    let (_folder, set) = open_with(KARPATHY, &split("train")).unwrap();
    assert_eq!(pairs(&set), [pair("a.png", "three"), pair("b.png", "four")]);
    let (_folder, set) = open_with(KARPATHY, &split("test")).unwrap();
    assert_eq!(set.len(), 2);
    let error = open_with(KARPATHY, &split("dev")).unwrap_err();
    assert!(
        matches!(&error, Error::Json { message, .. } if message.contains("data.json.split")),
        "{error}"
    );
}

#[test]
fn cocos_captions_come_by_picture() {
    let json = r#"{"info": {"year": 2017}, "annotations": [
            {"image_id": 2, "id": 1, "caption": "b one"},
            {"image_id": 1, "id": 2, "caption": "a one"},
            {"image_id": 2, "id": 3, "caption": "b two"},
            {"image_id": 9, "id": 4, "caption": "of nothing"},
            {"image_id": 1, "id": 5, "caption": 5}
        ], "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}, {"id": 3, "file_name": "c.png"}]}"#;
    let (_folder, set) = open(json).unwrap();
    let expected = [
        pair("a.png", "a one"),
        pair("b.png", "b one"),
        pair("b.png", "b two"),
    ];
    assert_eq!(pairs(&set), expected);
    assert_eq!(set.groups().image_rows(), [0, 1]);
    let expected = [
        "sample `annotations[3]`: `image_id` 9 is the id of no picture",
        "sample `annotations[4]`: the value of `caption` is a number, not a text",
    ];
    assert_eq!(skipped(&set), expected);
    assert!(
        set.notes()[0].ends_with("1 of 3 pictures have no caption"),
        "{:?}",
        set.notes()
    );
    assert!(set.sample(0).is_ok());
}

#[test]
fn an_id_that_two_pictures_have_gives_no_caption_to_either() {
    let json = r#"{"images": [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"},
            {"id": 2, "file_name": "c.png"}, {"id": 2, "file_name": "c.png"}],
        "annotations": [{"image_id": 1, "caption": "which"}, {"image_id": 2, "caption": "the same"}]}"#;
    let (_folder, set) = open(json).unwrap();
    assert_eq!(pairs(&set), [pair("c.png", "the same")]);
    assert_eq!(
        skipped(&set),
        ["sample `annotations[0]`: `image_id` 1 is the id of several pictures"]
    );
}

#[test]
fn a_list_of_objects_is_read_by_its_keys() {
    let json = r#" [{"id": 1, "image": "a.png", "text": ["x", "y"]}, {"image": "b.png", "text": "z"}, null]"#;
    let (_folder, set) = open(json).unwrap();
    let expected = [pair("a.png", "x"), pair("a.png", "y"), pair("b.png", "z")];
    assert_eq!(pairs(&set), expected);
    assert_eq!(set.skipped().total(), 1);
    let labels = |folder: &TempDir, key: &str| {
        let path = folder.path().join("t.json");
        Annotations::open_labels(path, &AnnotationsConfig::default(), key)
    };
    let (folder, _) = open(r#"[{"image": "a.png", "text": "x", "class": 3}]"#).unwrap();
    assert_eq!(labels(&folder, "class").unwrap().caption(0), "3");
    let (folder, _) = open(KARPATHY).unwrap();
    assert!(matches!(
        labels(&folder, "class"),
        Err(Error::NoLabels { .. })
    ));
}

#[test]
fn what_is_laid_out_otherwise_says_what_was_found() {
    let message = |json: &str| match open(json).unwrap_err() {
        Error::Json { message, .. } => message,
        other => panic!("{other}"),
    };
    assert!(
        message(r#"{"a": 1, "b": [2]}"#).starts_with("an object with the keys `a`, `b`; expected")
    );
    assert!(message(r#"{"images": [], "annotations": []}"#).contains("0 samples"));
    assert!(message("[]").contains("the list is empty"));
    assert!(message("[{\"image\": \"a.png\", \"text\"").contains("no valid JSON"));
    assert!(message(r#"{"images": {}}"#).contains("expected a list of objects"));
    let instances = r#"{"images": [{"id": 1}], "annotations": [{"image_id": 1, "bbox": []}]}"#;
    assert!(message(instances).contains("captions_*.json"));
    let deep = format!("[{}", "[".repeat(100_000));
    assert!(message(&deep).contains("recursion limit"));
    let error = open(r#"[{"a": 1, "caption": "x"}]"#).unwrap_err();
    let Error::MissingColumn(missing) = error else {
        panic!("{error}");
    };
    assert_eq!(
        (missing.option, missing.noun),
        ("data.json.image_key", "key")
    );
    assert_eq!(missing.found, "`a`, `caption`");
    let small = AnnotationsConfig {
        max_file_bytes: 10,
        ..Default::default()
    };
    assert!(open_with(KARPATHY, &small).is_err());
}
