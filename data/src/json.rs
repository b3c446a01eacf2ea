//! A few keys of a JSON object, without building the rest of it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    /// A text.
    Text(String),
    /// Something else, in words.
    Other(&'static str),
}

/// The values of `keys` in a JSON object; of a key that comes twice the last one, as in Python.
///
/// The whole object is checked: a fault in another value, such as half of a surrogate pair or brackets deeper than
/// `serde_json` goes, is a fault of the object.
///
/// # Errors
///
/// Says what is wrong with the text, and where.
pub(crate) fn fields<const N: usize>(
    text: &[u8],
    keys: [&str; N],
) -> Result<[Option<Field>; N], String> {
    let start = text.iter().find(|byte| !byte.is_ascii_whitespace());
    if start != Some(&b'{') {
        return Err("expected a JSON object in braces".into());
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let found = json.deserialize_map(Wanted(keys)).and_then(|found| {
        json.end()?;
        Ok(found)
    });
    found.map_err(|error| format!("no valid JSON: {error}"))
}

struct Wanted<'k, const N: usize>([&'k str; N]);

impl<'de, const N: usize> Visitor<'de> for Wanted<'_, N> {
    type Value = [Option<Field>; N];

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [const { None }; N];
        while let Some(key) = map.next_key::<String>()? {
            let value: Field = map.next_value()?;
            if let Some(i) = self.0.iter().position(|wanted| *wanted == key) {
                found[i] = Some(value);
            }
        }
        Ok(found)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyField)
    }
}

struct AnyField;

impl<'de> Visitor<'de> for AnyField {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Field, E> {
        Ok(Field::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field, E> {
        Ok(Field::Other("a truth value"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Field, E> {
        Ok(Field::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Field, E> {
        Ok(Field::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field, E> {
        Ok(Field::Other("a number"))
    }

    fn visit_unit<E>(self) -> Result<Field, E> {
        Ok(Field::Other("null"))
    }

    // Values inside are read as fields too and not ignored: ignoring does not count how deep the brackets go.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Field, A::Error> {
        while list.next_element::<Field>()?.is_some() {}
        Ok(Field::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
        while map.next_entry::<String, Field>()?.is_some() {}
        Ok(Field::Other("an object"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<Field> {
        Some(Field::Text(text.into()))
    }

    #[test]
    fn wanted_keys_are_found_among_others() {
        let json =
            br#" {"n": [1, {"b": "no"}], "b": "x\u00e9\ud83d\ude00", "a": 1e3, "a": "last"} "#;
        assert_eq!(
            fields(json, ["a", "b", "c"]),
            Ok([text("last"), text("x\u{e9}\u{1f600}"), None])
        );
        assert_eq!(
            fields(br#"{"a": [[]], "b": null}"#, ["a", "b"]),
            Ok([Some(Field::Other("a list")), Some(Field::Other("null"))])
        );
    }

    #[test]
    fn a_fault_anywhere_is_a_fault_of_the_object() {
        let deep = format!("{{\"x\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        for (json, message) in [
            ("", "expected a JSON object"),
            ("[]", "expected a JSON object"),
            ("\"text\"", "expected a JSON object"),
            ("{\"a\": \"cut", "EOF while parsing"),
            ("{\"a\": \"x\"} {}", "trailing characters"),
            ("{\"x\": \"\\ud800\"}", "hex escape"),
            (deep.as_str(), "recursion limit"),
        ] {
            let error = fields(json.as_bytes(), ["a"]).unwrap_err();
            assert!(error.contains(message), "{error}");
            assert!(error.len() < 200, "{error}");
        }
        assert!(fields(b"{\"x\": \"\xff\"}", ["a"]).is_err());
    }
}
