//! Writing choices as the reader takes them: `{ kind = "table", path = "a.csv" }`, where serde's own form would be
//! `{ table = { path = "a.csv" } }`.

use serde::ser::Error;
use serde::{Serialize, Serializer};
use toml::Value;

/// For `#[serde(serialize_with)]` on an enum or a list of them.
pub(super) fn serialize<T: Serialize, S: Serializer>(
    choice: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let value = Value::try_from(choice).map_err(S::Error::custom)?;
    tagged(value).serialize(serializer)
}

fn tagged(value: Value) -> Value {
    match value {
        Value::Array(choices) => Value::Array(choices.into_iter().map(tagged).collect()),
        Value::Table(outer) => outer
            .into_iter()
            .next()
            .map_or_else(|| Value::Table(toml::Table::new()), flat),
        word => word,
    }
}

/// A variant's name and keys as one table.
fn flat((kind, body): (String, Value)) -> Value {
    let mut table = match body {
        Value::Table(table) => table,
        _ => toml::Table::new(),
    };
    table.insert("kind".to_owned(), Value::String(kind));
    Value::Table(table)
}
