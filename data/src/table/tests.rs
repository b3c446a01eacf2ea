//! What becomes of usual, unusual and broken tables.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::{ImageData, Place, Reason};

/// A folder with pictures `a.png` and `b.png` and a table `t.csv`.
fn folder(table: &[u8]) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.png"), b"a").unwrap();
    fs::write(folder.path().join("b.png"), b"bb").unwrap();
    fs::write(folder.path().join("t.csv"), table).unwrap();
    folder
}

fn open_with(table: &[u8], config: &TableConfig) -> Result<(TempDir, Table), Error> {
    let folder = folder(table);
    let table = Table::open(folder.path().join("t.csv"), config)?;
    Ok((folder, table))
}

fn open(table: impl AsRef<[u8]>) -> Result<(TempDir, Table), Error> {
    open_with(table.as_ref(), &TableConfig::default())
}

fn captions(table: &Table) -> Vec<String> {
    (0..table.len())
        .map(|i| table.caption(i).into_owned())
        .collect()
}

fn skipped(table: &Table) -> Vec<(u64, Reason)> {
    let row = |error: &SampleError| match error.place {
        Place::Line(line) => (line, error.reason.clone()),
        _ => panic!("a table names lines"),
    };
    table.skipped().errors().iter().map(row).collect()
}

#[test]
fn a_row_gives_the_bytes_of_its_picture_and_its_caption() {
    let (folder, table) = open("filepath\ttitle\na.png\ta cat\nb.png\ta dog\n").unwrap();
    let sample = table.sample(1).unwrap();
    assert_eq!(sample.caption, "a dog");
    assert_eq!(sample.place, Place::Line(3));
    let path = folder.path().join("b.png");
    assert_eq!(
        sample.image,
        ImageData::Encoded {
            bytes: b"bb".to_vec(),
            path
        }
    );
    assert!(table.skipped().is_empty());
}

#[test]
fn the_separator_is_found_and_noted() {
    for (table, words) in [
        ("filepath\ttitle, in full\ttitle\na.png\tx\ta, b\n", "tabs"),
        ("title,filepath\n\"a, b\",a.png\n", "commas"),
        ("title;filepath\na, b;a.png\n", "semicolons"),
        ("title|filepath\na, b|a.png\n", "vertical bars"),
    ] {
        let (_folder, table) = open(table).unwrap();
        assert_eq!(captions(&table), ["a, b"]);
        assert!(table.notes()[0].contains(words), "{:?}", table.notes());
    }
}

#[test]
fn a_given_separator_is_kept_to_and_the_right_one_is_hinted_at() {
    let config = TableConfig {
        separator: Separator::Tab,
        ..Default::default()
    };
    let error = open_with(b"filepath,title\na.png,x\n", &config)
        .unwrap_err()
        .to_string();
    assert!(error.contains("no column `filepath`"), "{error}");
    assert!(
        error.contains("--set data.table.separator=comma"),
        "{error}"
    );
    let (_folder, table) = open_with(b"filepath\ttitle\na.png\tx\n", &config).unwrap();
    assert!(table.notes().is_empty());
}

#[test]
fn a_missing_column_names_those_present_and_the_nearest() {
    let error = open("filepath\tTitle\tauthor\na.png\tx\ty\n")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no column `title`; the header, separated by tabs"),
        "{error}"
    );
    assert!(
        error.contains("`filepath`, `Title`, `author`. Did you mean `Title`?"),
        "{error}"
    );
    assert!(
        error.contains("--set data.table.caption_column=Title"),
        "{error}"
    );
}

#[test]
fn columns_can_be_named() {
    let config = TableConfig {
        image_column: "img".into(),
        caption_column: "text".into(),
        ..Default::default()
    };
    let (_folder, table) = open_with(b"text,id,img\na cat,7,a.png\n", &config).unwrap();
    assert_eq!(table.sample(0).unwrap().caption, "a cat");
}

#[test]
fn quotes_are_read_as_python_reads_them() {
    let rows = "filepath\ttitle\n\
        a.png\t\"a \"\"b\"\",\tc\nd\"\n\
        a.png\t5\" pipe \"x\"\n\
        \"a.png\"\t\"x\"y\n";
    let (_folder, table) = open(rows).unwrap();
    assert_eq!(captions(&table), ["a \"b\",\tc\nd", "5\" pipe \"x\"", "xy"]);
    assert_eq!([table.line(0), table.line(1), table.line(2)], [2, 4, 5]);
}

#[test]
fn byte_order_mark_carriage_returns_and_blank_lines_leave_no_trace() {
    let rows = "\u{feff}\r\nfilepath\ttitle\r\n\r\na.png\t\"x\"\r\n\r\n\na.png\n\r\na.png\ty z";
    let (_folder, table) = open(rows).unwrap();
    assert_eq!(captions(&table), ["x", "y z"]);
    assert_eq!([table.line(0), table.line(1)], [4, 9]);
    assert_eq!(
        skipped(&table),
        [(
            7,
            Reason::FieldCount {
                expected: 2,
                found: 1
            }
        )]
    );
}

#[test]
fn bad_rows_are_skipped_with_their_line_and_the_others_kept() {
    let config = TableConfig {
        max_caption_bytes: 5,
        ..Default::default()
    };
    let rows = b"filepath\ttitle\na.png\tx\ty\na.png\t\xff\n\tx\na.png\t \xc2\xa0\na.png\tabcdef\na.png\tabcde\n";
    let (_folder, table) = open_with(rows, &config).unwrap();
    assert_eq!(captions(&table), ["abcde"]);
    let expected = [
        (
            2,
            Reason::FieldCount {
                expected: 2,
                found: 3,
            },
        ),
        (
            3,
            Reason::NotUtf8 {
                column: "title".into(),
            },
        ),
        (4, Reason::EmptyPath),
        (5, Reason::EmptyCaption),
        (
            6,
            Reason::LongCaption {
                section: "data.table",
                found: 6,
                limit: 5,
            },
        ),
    ];
    assert_eq!(skipped(&table), expected);
    assert_eq!(table.skipped().total(), 5);
}

#[test]
fn pictures_that_are_no_files_are_refused_when_they_are_read() {
    let config = TableConfig {
        max_image_bytes: 1,
        ..Default::default()
    };
    let rows = "filepath\ttitle\nno.png\tx\nsub\tx\nempty.png\tx\nb.png\tx\na.png/c\tx\na.png\tx\n";
    let (folder, table) = open_with(rows.as_bytes(), &config).unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("empty.png"), b"").unwrap();
    let kind = |i| table.sample(i).map_err(|error| error.reason.kind());
    assert_eq!(kind(0), Err("missing file"));
    assert_eq!(kind(1), Err("not a file"));
    assert_eq!(kind(2), Err("empty file"));
    assert_eq!(kind(3), Err("file too large"));
    assert_eq!(kind(4), Err("missing file"));
    assert!(kind(5).is_ok());
    let error = table.sample(0).unwrap_err().to_string();
    assert!(
        error.contains("t.csv, line 2: ") && error.contains("no.png does not exist"),
        "{error}"
    );
}

#[test]
fn an_open_quote_ends_the_reading_with_its_line() {
    for end in ["", "\n", "\n\n"] {
        let error = open(format!(
            "filepath\ttitle\na.png\tx\n\na.png\t\"y\na.png\tz{end}"
        ));
        assert!(
            matches!(error, Err(Error::OpenQuote { line: 4, .. })),
            "{error:?}"
        );
    }
    let config = TableConfig {
        quoting: false,
        ..Default::default()
    };
    let (_folder, table) = open_with(b"filepath\ttitle\na.png\t\"y\na.png\tz\n", &config).unwrap();
    assert_eq!(captions(&table), ["\"y", "z"]);
}

#[test]
fn a_quoted_field_may_end_the_table_without_a_newline() {
    let (_folder, table) = open("filepath\ttitle\na.png\t\"y\"").unwrap();
    assert_eq!(captions(&table), ["y"]);
}

#[test]
fn an_endless_row_is_not_read_into_memory() {
    let config = TableConfig {
        max_row_bytes: 100_000,
        ..Default::default()
    };
    let rows = format!(
        "filepath\ttitle\na.png\tx\na.png\t\"{}",
        "y\n".repeat(1_000_000)
    );
    let error = open_with(rows.as_bytes(), &config);
    assert!(
        matches!(
            error,
            Err(Error::LongRow {
                line: 3,
                limit: 100_000,
                ..
            })
        ),
        "{error:?}"
    );
}

#[test]
fn a_table_without_samples_is_an_error() {
    assert!(matches!(open(""), Err(Error::EmptyTable { .. })));
    assert!(matches!(
        open("\u{feff}\n\r\n"),
        Err(Error::EmptyTable { .. })
    ));
    assert!(matches!(
        open("filepath\ttitle\n"),
        Err(Error::NoRows { .. })
    ));
    assert!(matches!(
        open("filepath\ttitle\n\tx\n"),
        Err(Error::NothingUsable { .. })
    ));
    assert!(matches!(
        open(b"\xff\xfef\0"),
        Err(Error::OtherKind {
            found: "text in UTF-16",
            ..
        })
    ));
    assert!(matches!(
        open(b"\xf0\t\xf1\n"),
        Err(Error::HeaderEncoding { .. })
    ));
}

#[test]
fn a_table_that_is_not_there_is_named() {
    let error = Table::open("no/such.csv", &TableConfig::default())
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("no/such.csv: cannot be read"), "{error}");
    let folder = TempDir::new().unwrap();
    let error = Table::open(folder.path(), &TableConfig::default());
    assert!(
        matches!(
            error,
            Err(Error::NotAFile {
                found: "a folder",
                ..
            })
        ),
        "{error:?}"
    );
}

#[test]
fn rows_of_one_picture_are_one_group_however_the_path_is_spelled() {
    let rows = "filepath\ttitle\na.png\tx\n./a.png\ty\nb.png\tx\n";
    let (_folder, table) = open(rows).unwrap();
    let groups = table.groups();
    assert_eq!(groups.image_of_row(), [0, 0, 1]);
    assert_eq!(groups.caption_of_row(), [0, 1, 0]);
}

#[test]
fn excels_first_line_names_the_separator_and_is_no_row() {
    for first in ["sep=;\r\n", "\u{feff}sep=;\n", "\"sep=;\"\n"] {
        let rows = format!("{first}filepath;title, in full;title\na.png;x;a, b\n\tx\n");
        let (_folder, table) = open(&rows).unwrap();
        assert_eq!(captions(&table), ["a, b"], "{first}");
        assert_eq!((table.line(0), skipped(&table)[0].0), (3, 4));
    }
    let (_folder, table) = open("sep=\nfilepath\ttitle\na.png\tx\n").unwrap();
    assert_eq!(captions(&table), ["x"]);
    let config = TableConfig {
        separator: Separator::Comma,
        ..Default::default()
    };
    assert!(open_with(b"sep=;\nfilepath,title\na.png,x\n", &config).is_ok());
}

#[test]
fn a_packed_table_is_read_and_well_known_columns_are_taken() {
    use std::io::Write;

    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"file_name,text\na.png,a cat\n").unwrap();
    let (_folder, table) = open(packed.finish().unwrap()).unwrap();
    assert_eq!(captions(&table), ["a cat"]);
    assert!(table.notes()[1].contains("`text`"), "{:?}", table.notes());
}

#[test]
fn what_is_no_table_is_named_and_not_advised_on_columns() {
    for (bytes, words) in [
        (&b"\x89PNG\r\n\x1a\n"[..], "a PNG picture"),
        (b"PAR1\x15\x04", "a Parquet file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid x\n",
            "a Git LFS pointer",
        ),
        (b"\x00\x01\x02", "binary data"),
    ] {
        let error = open(bytes).unwrap_err();
        assert!(
            matches!(&error, Error::OtherKind { found, .. } if *found == words),
            "{error}"
        );
        let text = error.to_string();
        assert!(
            !text.contains("column") && !text.chars().any(char::is_control),
            "{text}"
        );
    }
}

#[test]
fn the_classes_of_a_table_are_a_column_of_it() {
    let (folder, _table) = open("filepath\ttitle\tgroup\na.png\tx\tcat\nb.png\ty\t\n").unwrap();
    let path = folder.path().join("t.csv");
    let labels = Table::open_labels(path, &TableConfig::default(), "group").unwrap();
    assert_eq!(captions(&labels), ["cat"]);
}

#[test]
fn the_digest_is_that_of_the_rows_wherever_the_table_lies() {
    let rows = "filepath\ttitle\na.png\tx\nb.png\ty\n";
    let digest = |rows: &str| open(rows).unwrap().1.digest();
    assert_eq!(digest(rows), digest(rows));
    assert_eq!(digest(rows), digest(&rows.replace("a.png", "./a.png")));
    assert_ne!(digest(rows), digest(&rows.replace("\ty", "\tz")));
}
