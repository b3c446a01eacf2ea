//! Parquet as others write it, and damaged.

use std::fs;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tempfile::TempDir;

use super::*;
use crate::testing::skipped_kinds;

/// A column of a row group.
enum Column<'a> {
    /// Values that must be there.
    Required(Vec<&'a [u8]>),
    /// Values that may be missing, so many levels deep.
    Optional(i16, Vec<Option<&'a [u8]>>),
    /// Lists of texts.
    Lists(Vec<Vec<&'a str>>),
    Numbers(Vec<i64>),
}

fn write(path: &Path, schema: &str, properties: WriterProperties, groups: &[Vec<Column>]) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
    for columns in groups {
        let mut group = writer.next_row_group().unwrap();
        for column in columns {
            let mut into = group.next_column().unwrap().unwrap();
            let texts = |texts: &[&[u8]]| -> Vec<ByteArray> {
                texts.iter().map(|text| text.to_vec().into()).collect()
            };
            match column {
                Column::Required(values) => {
                    into.typed::<ByteArrayType>()
                        .write_batch(&texts(values), None, None)
                }
                Column::Optional(level, values) => {
                    let there: Vec<_> = values.iter().flatten().copied().collect();
                    let levels: Vec<i16> = values
                        .iter()
                        .map(|v| if v.is_some() { *level } else { level - 1 })
                        .collect();
                    into.typed::<ByteArrayType>()
                        .write_batch(&texts(&there), Some(&levels), None)
                }
                Column::Lists(lists) => {
                    let there: Vec<_> =
                        lists.iter().flatten().map(|text| text.as_bytes()).collect();
                    let (mut defined, mut repeated) = (Vec::new(), Vec::new());
                    for list in lists {
                        defined.extend(list.iter().map(|_| 3));
                        repeated.extend((0..list.len()).map(|i| i16::from(i > 0)));
                        if list.is_empty() {
                            defined.push(1);
                            repeated.push(0);
                        }
                    }
                    into.typed::<ByteArrayType>().write_batch(
                        &texts(&there),
                        Some(&defined),
                        Some(&repeated),
                    )
                }
                Column::Numbers(numbers) => {
                    into.typed::<Int64Type>().write_batch(numbers, None, None)
                }
            }
            .unwrap();
            into.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    fs::write(path, bytes).unwrap();
}

fn plain() -> WriterProperties {
    WriterProperties::new()
}

fn open(path: impl AsRef<Path>) -> Result<Parquet, Error> {
    Parquet::open(path, &ParquetConfig::default())
}

fn bytes(set: &Parquet, index: usize) -> Vec<u8> {
    match set.sample(index).unwrap().image {
        ImageData::Encoded { bytes, .. } => bytes,
        ImageData::Rgb { .. } => panic!("Parquet holds files"),
    }
}

const IMG2DATASET: &str = "message m { optional binary key (UTF8); optional binary url (UTF8); \
    optional binary caption (UTF8); optional binary jpg; }";

/// Rows as img2dataset writes them: pictures of 300 bytes each, and one that could not be had.
fn img2dataset(path: &Path, properties: WriterProperties) {
    let pictures: Vec<Vec<u8>> = (0..250_u32).map(|i| i.to_le_bytes().repeat(75)).collect();
    let keys: Vec<String> = (0..250).map(|i| format!("{i:09}")).collect();
    let some = |texts: Vec<&'static str>| texts.into_iter().map(|t| Some(t.as_bytes())).collect();
    let group = |rows: std::ops::Range<usize>| {
        let mut jpg: Vec<_> = rows.clone().map(|i| Some(pictures[i].as_slice())).collect();
        jpg[3] = None;
        vec![
            Column::Optional(
                1,
                keys[rows.clone()]
                    .iter()
                    .map(|k| Some(k.as_bytes()))
                    .collect(),
            ),
            Column::Optional(1, some(vec!["https://example.org/x.jpg"; rows.len()])),
            Column::Optional(1, some(vec!["a caption"; rows.len()])),
            Column::Optional(1, jpg),
        ]
    };
    write(
        path,
        IMG2DATASET,
        properties,
        &[group(0..100), group(100..250)],
    );
}

#[test]
fn pictures_in_a_column_are_read_from_any_row_by_several_threads() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("0.parquet");
    for properties in [
        plain(),
        WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_data_page_size_limit(1000)
            .set_write_batch_size(2)
            .build(),
        WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_dictionary_enabled(false)
            .set_data_page_size_limit(1000)
            .set_write_batch_size(1)
            .build(),
        WriterProperties::builder()
            .set_compression(Compression::GZIP(Default::default()))
            .build(),
        WriterProperties::builder()
            .set_compression(Compression::LZ4_RAW)
            .build(),
    ] {
        img2dataset(&path, properties);
        let set = open(&path).unwrap();
        assert_eq!((set.len(), set.shards()), (250, vec![100, 150]));
        let all = || {
            for index in (0..250).rev().filter(|i| i % 7 != 3 && *i != 103) {
                let expected = (index as u32).to_le_bytes().repeat(75);
                assert!(bytes(&set, index) == expected, "{index}");
            }
        };
        std::thread::scope(|scope| (0..3).for_each(|_| _ = scope.spawn(all)));
        assert_eq!(set.sample(3).unwrap_err().reason.kind(), "empty file");
        assert_eq!(set.caption(249), "a caption");
        assert!(
            set.notes()[0].contains("`jpg` (and not from `url`)"),
            "{:?}",
            set.notes()
        );
        assert_eq!(set.relative_key(101), "0.parquet#101");
    }
}

const HF: &str = "message m { optional group image { optional binary bytes; optional binary path (UTF8); } \
    optional group captions (LIST) { repeated group list { optional binary element (UTF8); } } \
    required int64 label; }";

#[test]
fn the_struct_of_datasets_is_bytes_or_a_path_and_lists_are_several_captions() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("b.png"), b"file").unwrap();
    let path = folder.path().join("train-00000-of-00001.parquet");
    let features =
        r#"{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(vec![KeyValue::new(
            "huggingface".into(),
            features.to_owned(),
        )]))
        .build();
    let columns = vec![
        Column::Optional(2, vec![Some(b"bytes"), None, None]),
        Column::Optional(2, vec![Some(b"a.png"), Some(b"b.png"), None]),
        Column::Lists(vec![vec!["x", "y"], vec!["z"], vec![]]),
        Column::Numbers(vec![1, 0, 7]),
    ];
    write(&path, HF, properties, &[columns]);
    let set = open(folder.path()).unwrap();
    assert_eq!(set.len(), 3);
    assert_eq!(
        (bytes(&set, 0), bytes(&set, 1)),
        (b"bytes".to_vec(), b"bytes".to_vec())
    );
    assert_eq!(bytes(&set, 2), b"file");
    assert_eq!(
        [set.caption(0), set.caption(1), set.caption(2)],
        ["x", "y", "z"]
    );
    assert_eq!(set.groups().image_of_row(), [0, 0, 1]);
    assert_eq!(set.skipped().errors()[0].reason, Reason::EmptyCaption);
    let labels = Parquet::open_labels(&path, &ParquetConfig::default(), "label").unwrap();
    assert_eq!(
        [labels.caption(0), labels.caption(1), labels.caption(2)],
        ["dog", "cat", "7"]
    );
    let wanted = ParquetConfig {
        caption_column: "label".into(),
        ..Default::default()
    };
    let error = Parquet::open(&path, &wanted).unwrap_err();
    assert!(
        error.to_string().contains("`data.parquet.caption_column`"),
        "{error}"
    );
}

#[test]
fn a_column_of_paths_is_read_as_a_table() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.png"), b"a").unwrap();
    let path = folder.path().join("t.parquet");
    let schema = "message m { required binary file_name (UTF8); required binary text (UTF8); }";
    let columns = vec![
        Column::Required(vec![
            b"a.png",
            b"./a.png",
            b"no.png",
            b"",
            b"https://x.org/a.png",
        ]),
        Column::Required(vec![b"x", b"y", b"z", b"w", b"v"]),
    ];
    write(&path, schema, plain(), &[columns]);
    let set = open(&path).unwrap();
    assert_eq!(set.groups().image_of_row(), [0, 0, 1]);
    assert_eq!(bytes(&set, 1), b"a");
    assert!(matches!(
        set.sample(2).unwrap_err().reason,
        Reason::Missing {
            section: "data.parquet",
            ..
        }
    ));
    assert_eq!(
        skipped_kinds(&set),
        ["empty path", "URL in place of a file"]
    );
}

#[test]
fn what_is_missing_is_named_with_the_columns_and_the_option() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.parquet");
    let schema = "message m { required binary a (UTF8); required binary caption (UTF8); }";
    let columns = vec![Column::Required(vec![b"x"]), Column::Required(vec![b"y"])];
    write(&path, schema, plain(), &[columns]);
    let Err(Error::MissingColumn(missing)) = open(&path) else {
        panic!("no such column");
    };
    assert_eq!(missing.option, "data.parquet.image_column");
    assert_eq!(missing.found, "`a`, `caption`");
    fs::write(folder.path().join("x.parquet"), "<html>").unwrap();
    let error = open(folder.path().join("x.parquet")).unwrap_err();
    assert!(
        matches!(
            error,
            Error::OtherKind {
                found: "an HTML page",
                ..
            }
        ),
        "{error}"
    );
    fs::write(folder.path().join("train-0.parquet"), "").unwrap();
    fs::write(folder.path().join("test-0.parquet"), "").unwrap();
    let error = open(folder.path().join("{train,no}-*.parquet")).unwrap_err();
    assert!(
        matches!(&error, Error::NoShards { pattern } if pattern.ends_with("no-*.parquet")),
        "{error}"
    );
    fs::remove_file(path).unwrap();
    fs::remove_file(folder.path().join("x.parquet")).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(
        error.to_string().contains("the splits `test`, `train`"),
        "{error}"
    );
}

#[test]
fn a_damaged_file_is_an_error_with_its_name_and_never_a_panic() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("0.parquet");
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    img2dataset(&path, properties);
    let good = fs::read(&path).unwrap();
    let mut refused = 0;
    let mut check = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        match open(&path) {
            Ok(set) => (0..set.len()).step_by(40).for_each(|i| _ = set.sample(i)),
            Err(error) => {
                assert!(error.to_string().contains("0.parquet"), "{error}");
                refused += 1;
            }
        }
    };
    for end in [0, 4, 8, 12, good.len() / 2, good.len() - 9, good.len() - 1] {
        check(&good[..end]);
    }
    // Every byte of the footer and of the first page, and some of the rest.
    let footer = good.len() - 1200..good.len();
    for place in (0..200).chain((200..good.len()).step_by(997)).chain(footer) {
        let mut damaged = good.clone();
        damaged[place] ^= 0xff;
        check(&damaged);
    }
    assert!(refused > 500, "{refused}");
}
