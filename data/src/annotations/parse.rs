//! What a JSON file holds, before anyone asks what it means.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::json::{Field, Passed, Wanted};
use crate::shown::plain;

/// The objects whose keys are looked at in a list.
const LOOKED_AT: usize = 100;

/// The wanted keys of an entry of a list, or what the entry is instead of an object.
pub(super) type Entry<'a, const N: usize> = Result<[Option<Field<'a>>; N], &'static str>;

/// The two lists of Karpathy's and COCO's files, and all keys beside them.
#[derive(Default)]
pub(super) struct Lists<'a, const I: usize, const A: usize> {
    pub(super) images: Option<Vec<Entry<'a, I>>>,
    pub(super) annotations: Option<Vec<Entry<'a, A>>>,
    pub(super) keys: Vec<String>,
}

/// Reads an object with `images` and `annotations`, of whose entries some keys are wanted.
pub(super) fn lists<'a, const I: usize, const A: usize>(
    text: &'a [u8],
    images: [&str; I],
    annotations: [&str; A],
) -> Result<Lists<'a, I, A>, String> {
    whole(text, |json| {
        json.deserialize_map(Object(images, annotations))
    })
}

/// Reads a list of objects, of which some keys are wanted.
pub(super) fn list<'a, const N: usize>(
    text: &'a [u8],
    keys: [&str; N],
) -> Result<Vec<Entry<'a, N>>, String> {
    whole(text, |json| List(keys).deserialize(json))
}

/// The keys of the first objects of a list, each once.
pub(super) fn first_keys(text: &[u8]) -> Vec<String> {
    let mut keys = Vec::new();
    // A fault ends the list, and so does the last object that is looked at.
    let mut json = serde_json::Deserializer::from_slice(text);
    let _ = json.deserialize_seq(FirstKeys(&mut keys));
    keys
}

type Json<'a> = serde_json::Deserializer<serde_json::de::SliceRead<'a>>;

fn whole<'a, T>(
    text: &'a [u8],
    read: impl FnOnce(&mut Json<'a>) -> serde_json::Result<T>,
) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let found = read(&mut json).and_then(|found| {
        json.end()?;
        Ok(found)
    });
    found.map_err(|error| {
        // It may quote what it found, however long that is.
        let start: String = error.to_string().chars().take(200).collect();
        format!("no valid JSON: {}", plain(&start))
    })
}

struct Object<'k, const I: usize, const A: usize>([&'k str; I], [&'k str; A]);

impl<'de, const I: usize, const A: usize> Visitor<'de> for Object<'_, I, A> {
    type Value = Lists<'de, I, A>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut lists = Lists {
            images: None,
            annotations: None,
            keys: Vec::new(),
        };
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "images" => lists.images = Some(map.next_value_seed(List(self.0))?),
                "annotations" => lists.annotations = Some(map.next_value_seed(List(self.1))?),
                _ => map.next_value::<Passed>().map(drop)?,
            }
            if lists.keys.len() < 1000 {
                lists.keys.push(key);
            }
        }
        Ok(lists)
    }
}

/// A list of objects.
struct List<'k, const N: usize>([&'k str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for List<'_, N> {
    type Value = Vec<Entry<'de, N>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for List<'_, N> {
    type Value = Vec<Entry<'de, N>>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Self::Value, S::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element_seed(OneEntry(self.0))? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// An entry of a list, whatever it is.
struct OneEntry<'k, const N: usize>([&'k str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for OneEntry<'_, N> {
    type Value = Entry<'de, N>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for OneEntry<'_, N> {
    type Value = Entry<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
        Wanted(self.0).visit_map(map).map(Ok)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, list: S) -> Result<Self::Value, S::Error> {
        Passed.visit_seq(list)?;
        Ok(Err("a list"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Err("a text"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Err("a truth value"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Err("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Err("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Err("a number"))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Err("null"))
    }
}

struct FirstKeys<'k>(&'k mut Vec<String>);

impl<'de> Visitor<'de> for FirstKeys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        for _ in 0..LOOKED_AT {
            let Some(EntryKeys(keys)) = list.next_element()? else {
                return Ok(());
            };
            for key in keys {
                if !self.0.contains(&key) && self.0.len() < 1000 {
                    self.0.push(key);
                }
            }
        }
        Err(S::Error::custom("enough"))
    }
}

/// The keys of an object.
struct EntryKeys(Vec<String>);

impl<'de> Deserialize<'de> for EntryKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(crate::json::Keys).map(Self)
    }
}
