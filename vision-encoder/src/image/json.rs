//! What the readers of preprocessing configurations share: values that are there, of the kind that is expected.

use serde_json::{Map, Value};

use super::error::PreprocessorError;

pub(super) fn parse(text: &str) -> Result<Map<String, Value>, PreprocessorError> {
    serde_json::from_str(text).map_err(|error| PreprocessorError::Json {
        reason: error.to_string(),
    })
}

pub(super) fn refused(
    key: &str,
    found: impl ToString,
    expected: &'static str,
) -> PreprocessorError {
    PreprocessorError::Value {
        key: key.to_owned(),
        found: found.to_string(),
        expected,
    }
}

/// A value that is there; `null` is the default, as in the originals.
pub(super) fn given<'a>(file: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    file.get(key).filter(|value| !value.is_null())
}

pub(super) fn flag(
    file: &Map<String, Value>,
    key: &str,
) -> Result<Option<bool>, PreprocessorError> {
    let value = given(file, key);
    value
        .map(|value| {
            value
                .as_bool()
                .ok_or_else(|| refused(key, value, "true or false"))
        })
        .transpose()
}

pub(super) fn number(
    file: &Map<String, Value>,
    key: &str,
) -> Result<Option<f64>, PreprocessorError> {
    let value = given(file, key);
    value
        .map(|value| {
            value
                .as_f64()
                .ok_or_else(|| refused(key, value, "a number"))
        })
        .transpose()
}

pub(super) fn text<'a>(
    file: &'a Map<String, Value>,
    key: &str,
) -> Result<Option<&'a str>, PreprocessorError> {
    let value = given(file, key);
    value
        .map(|value| value.as_str().ok_or_else(|| refused(key, value, "a name")))
        .transpose()
}

/// A number for each colour, or one for all of them.
pub(super) fn three(
    file: &Map<String, Value>,
    key: &str,
) -> Result<Option<[f64; 3]>, PreprocessorError> {
    let Some(value) = given(file, key) else {
        return Ok(None);
    };
    let numbers = match value {
        Value::Array(items) => match items.as_slice() {
            [r, g, b] => [r, g, b].map(Value::as_f64),
            _ => [None; 3],
        },
        one => [one.as_f64(); 3],
    };
    match numbers {
        [Some(r), Some(g), Some(b)] => Ok(Some([r, g, b])),
        _ => Err(refused(key, value, "three numbers, or one for all colours")),
    }
}

/// A side in pixels, 1 to 2^14.
pub(super) fn pixels(value: &Value) -> Option<u32> {
    let side = value.as_u64().filter(|side| (1..=1 << 14).contains(side))?;
    u32::try_from(side).ok()
}

/// The same error by a file's own name of the key.
pub(super) fn renamed(error: PreprocessorError, names: &[(&str, &str)]) -> PreprocessorError {
    match error {
        PreprocessorError::Value {
            key,
            found,
            expected,
        } => {
            let name = names.iter().find(|(ours, _)| *ours == key);
            PreprocessorError::Value {
                key: name.map_or(key, |(_, theirs)| (*theirs).to_owned()),
                found,
                expected,
            }
        }
        other => other,
    }
}
