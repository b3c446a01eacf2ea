//! What the readers of preprocessing configurations share: values that are there, of the kind that is expected.

use serde_json::{Map, Value};

use super::description::{MAX_SIDE, Size};
use super::error::{PreprocessorError, refused};

pub(super) fn parse(text: &str) -> Result<Map<String, Value>, PreprocessorError> {
    serde_json::from_str(text).map_err(|error| PreprocessorError::Json {
        reason: error.to_string(),
    })
}

/// A value that is there; `null` is the default, as in the originals.
pub(super) fn given<'a>(file: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    file.get(key).filter(|value| !value.is_null())
}

pub(super) fn flag(
    file: &Map<String, Value>,
    key: &str,
) -> Result<Option<bool>, PreprocessorError> {
    typed(file, key, Value::as_bool, "true or false")
}

pub(super) fn number(
    file: &Map<String, Value>,
    key: &str,
) -> Result<Option<f64>, PreprocessorError> {
    typed(file, key, Value::as_f64, "a number")
}

pub(super) fn text<'a>(
    file: &'a Map<String, Value>,
    key: &str,
) -> Result<Option<&'a str>, PreprocessorError> {
    typed(file, key, Value::as_str, "a name")
}

fn typed<'a, T>(
    file: &'a Map<String, Value>,
    key: &str,
    of_kind: impl FnOnce(&'a Value) -> Option<T>,
    expected: &'static str,
) -> Result<Option<T>, PreprocessorError> {
    let Some(value) = given(file, key) else {
        return Ok(None);
    };
    of_kind(value)
        .map(Some)
        .ok_or_else(|| refused(key, value, expected))
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

/// A side in pixels, 1 to [`MAX_SIDE`].
pub(super) fn pixels(value: &Value) -> Option<u32> {
    let side = u32::try_from(value.as_u64()?).ok()?;
    (1..=MAX_SIDE).contains(&side).then_some(side)
}

/// Two sides in pixels.
pub(super) fn height_width(height: &Value, width: &Value) -> Option<Size> {
    Some(Size {
        height: pixels(height)?,
        width: pixels(width)?,
    })
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
