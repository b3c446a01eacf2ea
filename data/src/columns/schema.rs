//! Which columns of a Parquet file hold the pictures and the captions.

use std::path::Path;

use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::ColumnDescriptor;

use super::ParquetConfig;
use crate::Error;
use crate::choice::{Chosen, Wanted};
use crate::shown::plain;

/// The options that name the columns.
const OPTIONS: [&str; 2] = ["data.parquet.image_column", "data.parquet.caption_column"];

/// The columns that are read, by their numbers among the leaves of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) image: Image,
    pub(super) caption: usize,
    /// The names of classes that numbers in the column of captions stand for.
    pub(super) classes: Option<Vec<String>>,
    /// The names of the columns, and what is told of them.
    pub(super) chosen: Chosen,
}

/// Where pictures are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Image {
    /// In files, whose paths are in a column.
    Path(usize),
    /// In a column.
    Bytes(usize),
    /// In a column, or in files whose paths are in another, as Hugging Face's `datasets` writes them.
    Either { bytes: usize, path: usize },
}

/// Finds the columns. With `labels` the captions are classes: numbers are, too.
pub(super) fn columns(
    path: &Path,
    metadata: &ParquetMetaData,
    config: &ParquetConfig,
    labels: bool,
) -> Result<Columns, Error> {
    let schema = metadata.file_metadata().schema_descr();
    let leaves: Vec<_> = schema.columns().iter().map(|column| &**column).collect();
    let mut names: Vec<String> = Vec::new();
    for leaf in &leaves {
        let name = leaf.path().parts().first().cloned().unwrap_or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let wanted = Wanted {
        image: &config.image_column,
        caption: &config.caption_column,
    };
    let has = |name: &str| names.iter().any(|known| known == name);
    let chosen = wanted.among(has, "column").map_err(|side| {
        let place = ("column", "the schema".to_owned(), OPTIONS);
        wanted.missing(side, path, &names, place, None)
    })?;
    let fault = |column: &str, found: &str, expected: &str, option: &str| Error::Parquet {
        path: path.into(),
        message: format!(
            "column `{}` holds {found}; expected {expected} (`{option}`)",
            plain(column)
        ),
    };
    let image = image(&leaves, &chosen.image)
        .map_err(|found| fault(&chosen.image, found, "pictures or their paths", OPTIONS[0]))?;
    let caption = caption(&leaves, &chosen.caption, labels)
        .map_err(|found| fault(&chosen.caption, found, "texts", OPTIONS[1]))?;
    Ok(Columns {
        image,
        caption,
        classes: labels.then(|| classes(metadata, &chosen.caption)).flatten(),
        chosen,
    })
}

/// The names that lead to a leaf from the column `name`, if it is in that column.
fn parts<'a>(leaf: &'a ColumnDescriptor, name: &str) -> Option<&'a [String]> {
    let (first, rest) = leaf.path().parts().split_first()?;
    (first == name).then_some(rest)
}

fn image(leaves: &[&ColumnDescriptor], name: &str) -> Result<Image, &'static str> {
    let mut found = [None, None];
    for (number, leaf) in leaves.iter().enumerate() {
        let Some(inside) = parts(leaf, name) else {
            continue;
        };
        if leaf.max_rep_level() > 0 {
            return Err("lists");
        }
        if leaf.physical_type() != Physical::BYTE_ARRAY {
            continue;
        }
        match inside {
            [] if is_text(leaf) => return Ok(Image::Path(number)),
            [] => return Ok(Image::Bytes(number)),
            [one] if one == "bytes" => found[0] = Some(number),
            [one] if one == "path" => found[1] = Some(number),
            _ => {}
        }
    }
    match found {
        [Some(bytes), Some(path)] => Ok(Image::Either { bytes, path }),
        [Some(bytes), None] => Ok(Image::Bytes(bytes)),
        [None, Some(path)] => Ok(Image::Path(path)),
        [None, None] => Err("something else"),
    }
}

fn is_text(leaf: &ColumnDescriptor) -> bool {
    matches!(
        leaf.logical_type_ref(),
        Some(LogicalType::String | LogicalType::Json)
    ) || matches!(
        leaf.converted_type(),
        ConvertedType::UTF8 | ConvertedType::JSON
    )
}

fn caption(leaves: &[&ColumnDescriptor], name: &str, labels: bool) -> Result<usize, &'static str> {
    let mut inside = leaves.iter().enumerate();
    let inside = inside.find(|(_, leaf)| {
        let rest = parts(leaf, name);
        // A list has two levels of its own; of objects in it, as Karpathy's sentences, the text is wanted.
        rest.is_some_and(|rest| match leaf.max_rep_level() {
            0 => rest.is_empty(),
            1 => {
                rest.len() <= 2
                    || rest
                        .last()
                        .is_some_and(|last| last == "raw" || last == "caption")
            }
            _ => false,
        })
    });
    let (number, leaf) = inside.ok_or("something else")?;
    match leaf.physical_type() {
        Physical::BYTE_ARRAY => Ok(number),
        Physical::INT32 | Physical::INT64 if labels && leaf.max_rep_level() == 0 => Ok(number),
        Physical::INT32 | Physical::INT64 | Physical::FLOAT | Physical::DOUBLE => Err("numbers"),
        Physical::BOOLEAN => Err("truth values"),
        _ => Err("something else"),
    }
}

/// The names of classes that Hugging Face's `datasets` writes beside a column of numbers.
fn classes(metadata: &ParquetMetaData, column: &str) -> Option<Vec<String>> {
    let pairs = metadata.file_metadata().key_value_metadata()?;
    let text = pairs.iter().find(|pair| pair.key == "huggingface")?;
    let value: serde_json::Value = serde_json::from_str(text.value.as_deref()?).ok()?;
    let names = value
        .get("info")?
        .get("features")?
        .get(column)?
        .get("names")?;
    let names = names.as_array()?.iter();
    names.map(|name| name.as_str().map(str::to_owned)).collect()
}
