//! A few keys of a JSON object, without building the rest of it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// The value of a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Field<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A list of texts, or of objects with a text `raw` or `caption` each.
    Texts(Vec<Cow<'a, str>>),
    /// A number.
    Number(Number),
    /// Something else, in words.
    Other(&'static str),
}

/// A number as JSON has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signed(number) => number.fmt(f),
            Self::Unsigned(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
        }
    }
}

impl<'a> Field<'a> {
    /// The value as one text; numbers too where `numbers` allows them.
    ///
    /// # Errors
    ///
    /// Says in words what the value is instead.
    pub(crate) fn text(self, numbers: bool) -> Result<Cow<'a, str>, &'static str> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Number(number) if numbers => Ok(number.to_string().into()),
            other => Err(other.words()),
        }
    }

    /// The value as texts: one, or all of a list.
    ///
    /// # Errors
    ///
    /// As [`text`](Self::text).
    pub(crate) fn texts(self, numbers: bool) -> Result<Vec<Cow<'a, str>>, &'static str> {
        match self {
            Self::Texts(texts) if !texts.is_empty() => Ok(texts),
            other => Ok(vec![other.text(numbers)?]),
        }
    }

    fn words(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Texts(texts) if texts.is_empty() => "an empty list",
            Self::Texts(_) => "a list",
            Self::Number(_) => "a number",
            Self::Other(words) => words,
        }
    }
}

/// Puts numbers that JSON knows in the place of `NaN`, `Infinity` and `-Infinity`, which Python writes: a key that
/// nobody reads may have one. Every byte keeps its place, and texts stay as they are.
pub(crate) fn mend(text: &mut [u8]) {
    let is_odd = |at: usize| text[at..].starts_with(b"NaN") || text[at..].starts_with(b"Infinity");
    // A search for two letters needs no preparation, which for a word takes longer than most lines do.
    if !memchr::memchr2_iter(b'N', b'I', text).any(is_odd) {
        return;
    }
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'"' => at = end_of_text(text, at),
            b'N' if text[at..].starts_with(b"NaN") => {
                text[at..at + 3].copy_from_slice(b"0.0");
                at += 3;
            }
            b'I' if text[at..].starts_with(b"Infinity") => {
                text[at..at + 8].copy_from_slice(b"0.000000");
                at += 8;
            }
            _ => at += 1,
        }
    }
}

/// The place after the text that begins at `start`.
pub(crate) fn end_of_text(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = text
        .get(at..)
        .and_then(|rest| memchr::memchr2(b'"', b'\\', rest))
    {
        at += found;
        if text[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    text.len()
}

/// The values of `keys` in a JSON object; of a key that comes twice the last one, as in Python.
///
/// The whole object is checked: a fault in another value, such as half of a surrogate pair or brackets deeper than
/// `serde_json` goes, is a fault of the object.
///
/// # Errors
///
/// Says what is wrong with the text, and where.
pub(crate) fn fields<'a, const N: usize>(
    text: &'a [u8],
    keys: [&str; N],
) -> Result<[Option<Field<'a>>; N], String> {
    object(text, Wanted(keys))
}

/// The keys of a JSON object.
///
/// # Errors
///
/// As [`fields`].
pub(crate) fn keys(text: &[u8]) -> Result<Vec<String>, String> {
    object(text, Keys)
}

fn object<'a, V: Visitor<'a>>(text: &'a [u8], visitor: V) -> Result<V::Value, String> {
    let start = text.iter().find(|byte| !byte.is_ascii_whitespace());
    if start != Some(&b'{') {
        return Err("expected a JSON object in braces".into());
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let found = json.deserialize_map(visitor).and_then(|found| {
        json.end()?;
        Ok(found)
    });
    found.map_err(|error| format!("no valid JSON: {error}"))
}

/// Some keys of an object, in place of all of it.
pub(crate) struct Wanted<'k, const N: usize>(pub(crate) [&'k str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Wanted<'_, N> {
    type Value = [Option<Field<'de>>; N];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Wanted<'_, N> {
    type Value = [Option<Field<'de>>; N];

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [const { None }; N];
        while let Some(key) = map.next_key_seed(Among(&self.0))? {
            match key {
                Some(number) => found[number] = Some(map.next_value()?),
                None => map.next_value::<Passed>().map(drop)?,
            }
        }
        Ok(found)
    }
}

/// A key, as its number among the wanted ones.
struct Among<'k>(&'k [&'k str]);

impl<'de> DeserializeSeed<'de> for Among<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Among<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|wanted| *wanted == key))
    }
}

/// The keys of an object.
pub(crate) struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = Vec::new();
        while let Some((key, _)) = map.next_entry::<String, Passed>()? {
            if !keys.contains(&key) && keys.len() < 1000 {
                keys.push(key);
            }
        }
        Ok(keys)
    }
}

/// A value that nobody wants. It is read and not ignored: ignoring does not count how deep the brackets go.
pub(crate) struct Passed;

impl<'de> Deserialize<'de> for Passed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Passed {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_key_seed(Among(&[]))?.is_some() {
            map.next_value::<Self>()?;
        }
        Ok(self)
    }
}

impl<'de> Deserialize<'de> for Field<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyField)
    }
}

struct AnyField;

impl<'de> Visitor<'de> for AnyField {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Field::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Field::Text(text.to_owned().into()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Field::Other("a truth value"))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Field::Number(Number::Signed(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Field::Number(Number::Unsigned(number)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Field::Number(Number::Float(number)))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Field::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        let mut others = false;
        while let Some(Listed(text)) = list.next_element()? {
            match text {
                Some(text) => texts.push(text),
                None => others = true,
            }
        }
        Ok(if others {
            Field::Other("a list of other things than texts")
        } else {
            Field::Texts(texts)
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Passed.visit_map(map)?;
        Ok(Field::Other("an object"))
    }
}

/// An element of a list of texts: a text, or an object that has one.
struct Listed<'a>(Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Listed<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyListed)
    }
}

struct AnyListed;

impl<'de> Visitor<'de> for AnyListed {
    type Value = Listed<'de>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Listed(Some(text.into())))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Listed(Some(text.to_owned().into())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Listed(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Listed(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Listed(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Listed(None))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Listed(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Passed.visit_seq(list)?;
        Ok(Listed(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None, None];
        while let Some(key) = map.next_key_seed(Among(&["raw", "caption"]))? {
            match key {
                Some(number) => {
                    let Listed(text) = map.next_value()?;
                    found[number] = text;
                }
                None => map.next_value::<Passed>().map(drop)?,
            }
        }
        Ok(Listed(found.into_iter().flatten().next()))
    }
}

#[cfg(test)]
mod tests;
