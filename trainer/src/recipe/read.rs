//! From the tree to the recipe's structs, by serde. The known keys are those of the structs: there is no second list.

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use std::collections::btree_map;

use super::error::RecipeError;
use super::fault::Fault;
use super::origin::Origin;
use super::path::RecipePath;
use super::tree::{Node, Value};

/// Reads a value of any of the recipe's types.
///
/// # Errors
/// An unknown or missing key, an unknown choice or a wrong type, each with the key's full path and its line.
pub(super) fn read<'a, T: Deserialize<'a>>(root: &'a Node) -> Result<T, RecipeError> {
    T::deserialize(At(root)).map_err(|fault| fault.named(&root.origin))
}

/// Faults that are told at once at most.
const TOLD: usize = 50;

/// Reads a value and finds what else is wrong: what cannot be read is left out, and the rest is read again. The value is
/// there if everything else could be read.
pub(super) fn read_all<T: for<'a> Deserialize<'a>>(root: &Node) -> (Option<T>, Vec<RecipeError>) {
    let mut tree = root.clone();
    let mut errors: Vec<RecipeError> = Vec::new();
    while errors.len() < TOLD {
        let error = match read::<T>(&tree) {
            Ok(value) => return (Some(value), errors),
            Err(error) => error,
        };
        let key = error.key().map(str::to_owned);
        let is_missing = matches!(error, RecipeError::Missing { .. });
        // A key that was left out above, or misspelt, is not missing.
        let follows = is_missing && errors.iter().any(|before| before.table() == error.table());
        if !follows {
            errors.push(error);
        }
        let goes_on = !is_missing && key.is_some_and(|key| tree.remove(&key));
        if !goes_on {
            break;
        }
    }
    (None, errors)
}

/// The deserializer: a node of the tree.
struct At<'a>(&'a Node);

impl<'de> de::Deserializer<'de> for At<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let read = match &self.0.value {
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(on) => visitor.visit_bool(*on),
            Value::Array(items) => visitor.visit_seq(Items { items, next: 0 }),
            Value::Table(entries) => visitor.visit_map(Entries::new(entries.iter())),
        };
        read.map_err(|fault| fault.at(&self.0.origin))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    /// `lr = 1` is a number too.
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0.value {
            #[expect(clippy::cast_precision_loss, reason = "a person's round number")]
            Value::Integer(number) => visitor.visit_f64(number as f64),
            _ => self.deserialize_any(visitor),
        }
    }

    /// Paths start from the folder of the text they stand in; see [`RecipePath`].
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::String(text) if name == RecipePath::NAME => {
                let path = self.0.origin.folder().join(text);
                let path = path.to_string_lossy();
                let path: StrDeserializer<'_, Fault> = path.as_ref().into_deserializer();
                visitor.visit_newtype_struct(path)
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    /// A choice is a word, or a table whose `kind` is the word and whose other keys are the choice's own.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let origin = &self.0.origin;
        let choice = match (&self.0.value, self.0.text("kind")) {
            (Value::String(word), _) => Choice {
                word,
                origin,
                body: None,
            },
            (Value::Table(_), Some((word, origin))) => Choice {
                word,
                origin,
                body: Some(self.0),
            },
            (Value::Table(_), None) => {
                return Err(de::Error::missing_field("kind")).map_err(|f: Fault| f.at(origin));
            }
            _ => return self.deserialize_any(visitor),
        };
        visitor.visit_enum(choice).map_err(|fault| fault.at(origin))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a> {
    items: &'a [Node],
    next: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(item) = self.items.get(self.next) else {
            return Ok(None);
        };
        let index = self.next.to_string();
        self.next += 1;
        seed.deserialize(At(item))
            .map(Some)
            .map_err(|fault| fault.under(index, item))
    }
}

struct Entries<'a> {
    rest: btree_map::Iter<'a, String, Node>,
    current: Option<(&'a String, &'a Node)>,
    /// Whether `kind` was read already, as the choice's name.
    without_kind: bool,
}

impl<'a> Entries<'a> {
    fn new(rest: btree_map::Iter<'a, String, Node>) -> Self {
        Self {
            rest,
            current: None,
            without_kind: false,
        }
    }
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let without_kind = self.without_kind;
        self.current = self.rest.find(|(key, _)| !(without_kind && *key == "kind"));
        let Some((key, node)) = self.current else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, Fault> = key.as_str().into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|fault| fault.at(&node.origin))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let (key, node) = self
            .current
            .take()
            .ok_or_else(|| <Fault as de::Error>::custom("a key first"))?;
        seed.deserialize(At(node))
            .map_err(|fault| fault.under(key, node))
    }
}

/// An enum's variant: its word, where that stands, and the table that holds its keys.
struct Choice<'a> {
    word: &'a str,
    origin: &'a Origin,
    body: Option<&'a Node>,
}

impl<'de> de::EnumAccess<'de> for Choice<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let word: StrDeserializer<'_, Fault> = self.word.into_deserializer();
        let variant = seed.deserialize(word).map_err(|fault| match self.body {
            Some(table) => fault.at(self.origin).under("kind", table),
            None => fault.at(self.origin),
        })?;
        Ok((variant, self))
    }
}

impl<'de> Choice<'de> {
    fn entries(&self) -> Entries<'de> {
        static NONE: std::collections::BTreeMap<String, Node> = std::collections::BTreeMap::new();
        let entries = match self.body {
            Some(Node {
                value: Value::Table(entries),
                ..
            }) => entries.iter(),
            _ => NONE.iter(),
        };
        Entries {
            without_kind: true,
            ..Entries::new(entries)
        }
    }
}

impl<'de> de::VariantAccess<'de> for Choice<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.entries().rest.find(|(key, _)| *key != "kind") {
            Some((key, node)) => {
                Err(<Fault as de::Error>::unknown_field(key, &["kind"]).at(&node.origin))
            }
            None => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(de::value::MapAccessDeserializer::new(self.entries()))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(self.entries())
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_map(self.entries())
    }
}
