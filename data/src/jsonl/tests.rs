//! What becomes of usual, unusual and broken lines.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::{ImageData, Place};

fn open_with(lines: &[u8], config: &JsonLinesConfig) -> Result<(TempDir, JsonLines), Error> {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.png"), b"a").unwrap();
    fs::write(folder.path().join("t.jsonl"), lines).unwrap();
    let lines = JsonLines::open(folder.path().join("t.jsonl"), config)?;
    Ok((folder, lines))
}

fn open(lines: impl AsRef<[u8]>) -> Result<(TempDir, JsonLines), Error> {
    open_with(lines.as_ref(), &JsonLinesConfig::default())
}

fn line(caption: &str) -> String {
    format!("{{\"filepath\": \"a.png\", \"title\": \"{caption}\"}}\n")
}

fn skipped(lines: &JsonLines) -> Vec<String> {
    let errors = lines.skipped().errors().iter();
    errors
        .map(|error| format!("{}: {}", error.place, error.reason))
        .collect()
}

#[test]
fn a_line_gives_the_bytes_of_its_picture_and_its_caption() {
    let (folder, lines) = open(line("x") + &line("a \\\"cat\\\"\\n")).unwrap();
    let sample = lines.sample(1).unwrap();
    assert_eq!(sample.caption, "a \"cat\"\n");
    assert_eq!(sample.place, Place::Line(2));
    let path = folder.path().join("a.png");
    let bytes = b"a".to_vec();
    assert_eq!(sample.image, ImageData::Encoded { bytes, path });
    assert_eq!(lines.groups().image_of_row(), [0, 0]);
}

#[test]
fn byte_order_mark_carriage_returns_and_blank_lines_leave_no_trace() {
    let text = format!(
        "\u{feff}{}\r\n\r\n \n\n{}",
        line("x").trim(),
        line("y").trim()
    );
    let (_folder, lines) = open(text).unwrap();
    assert_eq!((lines.len(), lines.0.number(1)), (2, 5));
    assert!(lines.skipped().is_empty());
}

#[test]
fn keys_and_the_folder_of_pictures_can_be_set() {
    let other = TempDir::new().unwrap();
    fs::write(other.path().join("b.png"), b"b").unwrap();
    let config = JsonLinesConfig {
        image_key: "image".into(),
        caption_key: "text".into(),
        image_root: Some(other.path().into()),
        ..Default::default()
    };
    let (_folder, lines) =
        open_with(br#"{"text": "b", "id": 1, "image": "b.png"}"#, &config).unwrap();
    assert_eq!(lines.sample(0).unwrap().caption, "b");
}

#[test]
fn bad_lines_are_skipped_with_their_number_and_the_others_kept() {
    let mut text =
        b"{\"filepath\": \"a.png\", \"title\": \"cut\nnull\n{\"title\": \"x\"}\n".to_vec();
    text.extend(
        b"{\"filepath\": 7, \"title\": [\"x\"]}\n{\"filepath\": \" \", \"title\": \"x\"}\n",
    );
    text.extend(b"{\"filepath\": \"a.png\", \"title\": \"\xff\"}\n");
    text.extend(
        [line(" "), line("\\ud800"), line("abcdef"), line("good")]
            .concat()
            .into_bytes(),
    );
    let config = JsonLinesConfig {
        max_caption_bytes: 5,
        ..Default::default()
    };
    let (_folder, lines) = open_with(&text, &config).unwrap();
    assert_eq!((lines.len(), lines.caption(0)), (1, "good".into()));
    let found = skipped(&lines);
    let expected = [
        "line 1: no valid JSON: EOF while parsing a string at column ",
        "line 2: expected a JSON object",
        "line 3: there is no key `filepath`",
        "line 4: the value of `filepath` is a number, not a text",
        "line 5: the path of the image is empty",
        "line 6: no valid JSON: invalid unicode code point",
        "line 7: the caption is empty",
        "line 8: no valid JSON: ",
        "line 9: the caption has 6 bytes",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn a_long_line_is_skipped_without_being_held() {
    let config = JsonLinesConfig {
        max_row_bytes: line("exact").len() - 1,
        ..Default::default()
    };
    let text = line("exact") + &line(&"long ".repeat(100_000)) + line("exact").trim();
    let (_folder, lines) = open_with(text.as_bytes(), &config).unwrap();
    assert_eq!((lines.len(), lines.0.number(1)), (2, 3));
    assert_eq!(
        skipped(&lines),
        ["line 2: the line has more than 39 bytes (`data.jsonl.max_row_bytes`)"]
    );
    let (_folder, lines) = open_with((line("x") + &"y".repeat(1000)).as_bytes(), &config).unwrap();
    assert_eq!(lines.skipped().total(), 1);
}

#[test]
fn a_file_without_samples_is_an_error() {
    for empty in ["", "\u{feff}", "\n \r\n"] {
        let error = open(empty).unwrap_err();
        assert!(matches!(error, Error::EmptyLines { .. }), "{error}");
    }
    let error = open("[1]\n[2]\n").unwrap_err().to_string();
    assert!(
        error.contains("0 samples") && error.contains("line 1: expected a JSON object"),
        "{error}"
    );
    let error = JsonLines::open("no/such.jsonl", &JsonLinesConfig::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("no/such.jsonl: cannot be read"),
        "{error}"
    );
}

#[test]
fn well_known_keys_are_taken_where_nobody_said_others() {
    let lines = "{\"file_name\": \"a.png\", \"text\": \"x\"}\n{\"file_name\": \"a.png\", \"text\": [\"y\", \"z\"]}\n";
    let (_folder, lines) = open(lines).unwrap();
    let captions: Vec<_> = (0..lines.len()).map(|i| lines.caption(i)).collect();
    assert_eq!(captions, ["x", "y", "z"]);
    assert!(
        lines.notes()[0].contains("`file_name`"),
        "{:?}",
        lines.notes()
    );
}

#[test]
fn missing_keys_are_told_with_those_that_are_there_and_the_option() {
    let error = open("{\"pic\": \"a.png\", \"n\": 1}\n{\"text\": \"x\"}\n").unwrap_err();
    let Error::MissingColumn(missing) = error else {
        panic!("{error}");
    };
    assert_eq!(
        (missing.noun, missing.option),
        ("key", "data.jsonl.image_key")
    );
    assert_eq!(missing.found, "`pic`, `n`, `text`");
    let error = open("{\"filepath\": \"a.png\", \"caption\": \"x\"}\n").unwrap_err();
    let Error::MissingColumn(missing) = error else {
        panic!("{error}");
    };
    assert_eq!(
        (missing.option, &*missing.likely),
        ("data.jsonl.caption_key", "caption")
    );
}

#[test]
fn numbers_of_python_harm_nobody_and_labels_may_be_numbers() {
    let text = b"{\"filepath\": \"a.png\", \"title\": \"x\", \"s\": NaN, \"class\": 3}\n{\"filepath\": \"a.png\", \"title\": NaN}\n";
    let (folder, lines) = open(text).unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!(
        skipped(&lines),
        ["line 2: the value of `title` is a number, not a text"]
    );
    let path = folder.path().join("t.jsonl");
    let labels = JsonLines::open_labels(&path, &JsonLinesConfig::default(), "class").unwrap();
    assert_eq!(labels.caption(0), "3");
}

#[test]
fn urls_are_refused_as_such() {
    let error = open("{\"filepath\": \"https://x.org/a.png\", \"title\": \"x\"}\n").unwrap_err();
    let Error::NothingUsable { skipped, .. } = error else {
        panic!("{error}");
    };
    assert!(matches!(
        skipped.errors()[0].reason,
        crate::Reason::Url { .. }
    ));
}
