//! Every key of a recipe with its type, its default and its meaning, from the structs themselves.

use std::collections::BTreeSet;

use schemars::schema_for;
use serde_json::{Map, Value};

use super::Recipe;

/// A key of a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// As `--set` takes it; `N` stands for a place in a list.
    pub key: String,
    /// What it holds: a type, or the choices.
    pub holds: String,
    /// Its value where nothing is said; none where it must be said or nothing stands for it.
    pub default: Option<String>,
    /// Of which choice of `kind` it is a key, where its table has kinds.
    pub of: Option<String>,
    /// What it means.
    pub meaning: String,
}

/// All keys, table by table.
pub fn keys() -> Vec<Key> {
    let schema = schema_for!(Recipe).to_value();
    let mut walk = Walk {
        definitions: schema["$defs"].as_object().cloned().unwrap_or_default(),
        keys: Vec::new(),
    };
    walk.table("", &schema, None);
    walk.keys
}

struct Walk {
    definitions: Map<String, Value>,
    keys: Vec<Key>,
}

impl Walk {
    /// The keys of a table, then those of the tables in it.
    fn table(&mut self, prefix: &str, schema: &Value, of: Option<&str>) {
        let Some(properties) = schema["properties"].as_object() else {
            return;
        };
        let mut inner = Vec::new();
        for (name, property) in properties {
            let path = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            let target = self.resolved(property);
            if target["properties"].is_object() || self.kinds(&target).is_some() {
                inner.push((path, property.clone(), target));
            } else if let Some(items) = self.tables_of(&target) {
                inner.push((format!("{path}.N"), property.clone(), items));
            } else {
                let key = self.key(path, property, &target, of);
                self.keys.push(key);
            }
        }
        for (path, property, target) in inner {
            if target["properties"].is_object() {
                self.table(&path, &target, of);
            } else {
                self.choice(&path, &property, &target, of);
            }
        }
    }

    /// A table with a `kind`: the kinds, then the keys of each.
    fn choice(&mut self, path: &str, property: &Value, target: &Value, of: Option<&str>) {
        let kinds = self.kinds(target).unwrap_or_default();
        let names: BTreeSet<&str> = kinds.iter().map(|(name, _)| name.as_str()).collect();
        let default = &property["default"];
        let default = default
            .as_str()
            .or_else(|| default.as_object()?.get("kind")?.as_str());
        self.keys.push(Key {
            key: format!("{path}.kind"),
            holds: names.into_iter().collect::<Vec<_>>().join(" | "),
            default: default.map(str::to_owned),
            of: of.map(str::to_owned),
            meaning: meaning(property, target),
        });
        for (name, body) in &kinds {
            let of = format!("{path}.kind = {name}");
            let body = self.resolved(body);
            self.table(path, &body, Some(&of));
        }
    }

    fn key(&self, key: String, property: &Value, target: &Value, of: Option<&str>) -> Key {
        let default = match &property["default"] {
            Value::Null => None,
            Value::String(text) => Some(format!("{text:?}")),
            value => Some(value.to_string()),
        };
        Key {
            key,
            holds: self.holds(target),
            default,
            of: of.map(str::to_owned),
            meaning: meaning(property, target),
        }
    }

    /// A schema without references and without the null of what may be absent.
    fn resolved(&self, schema: &Value) -> Value {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.trim_start_matches("#/$defs/");
            return self
                .definitions
                .get(name)
                .map_or(Value::Null, |found| self.resolved(found));
        }
        let some = schema["anyOf"]
            .as_array()
            .and_then(|any| any.iter().find(|one| one["type"] != "null"));
        some.map_or_else(|| schema.clone(), |some| self.resolved(some))
    }

    /// The choices of an enum of which some have keys of their own, with those.
    fn kinds(&self, schema: &Value) -> Option<Vec<(String, Value)>> {
        let variants = schema["oneOf"].as_array()?;
        let mut kinds = Vec::new();
        let mut has_keys = false;
        for variant in variants {
            if let Some(properties) = variant["properties"].as_object() {
                has_keys = true;
                kinds.extend(
                    properties
                        .iter()
                        .map(|(name, body)| (name.clone(), body.clone())),
                );
            } else {
                kinds.extend(words(variant).into_iter().map(|word| (word, Value::Null)));
            }
        }
        has_keys.then_some(kinds)
    }

    /// What a list of tables holds.
    fn tables_of(&self, schema: &Value) -> Option<Value> {
        let items = self.resolved(schema.get("items")?);
        let is_table = items["properties"].is_object() || self.kinds(&items).is_some();
        is_table.then_some(items)
    }

    /// A type in words.
    fn holds(&self, schema: &Value) -> String {
        let choices = match schema["oneOf"].as_array() {
            Some(variants) => variants.iter().flat_map(words).collect(),
            None => words(schema),
        };
        if !choices.is_empty() {
            return choices.join(" | ");
        }
        let kind = match &schema["type"] {
            Value::Array(types) => types
                .iter()
                .find(|one| *one != "null")
                .and_then(Value::as_str),
            one => one.as_str(),
        };
        match kind {
            Some("integer") => "a whole number".to_owned(),
            Some("number") => "a number".to_owned(),
            Some("boolean") => "true or false".to_owned(),
            Some("array") => {
                let items = self.resolved(&schema["items"]);
                let items = self.holds(&items);
                match schema["maxItems"].as_u64() {
                    Some(count) => format!("a list: {count} x {items}"),
                    None => format!("a list, each {items}"),
                }
            }
            _ => "a text".to_owned(),
        }
    }
}

/// The words that a schema allows.
fn words(schema: &Value) -> Vec<String> {
    let one = schema["const"].as_str().map(str::to_owned);
    let many = schema["enum"].as_array().into_iter().flatten();
    one.into_iter()
        .chain(many.filter_map(Value::as_str).map(str::to_owned))
        .collect()
}

fn meaning(property: &Value, target: &Value) -> String {
    let text = property["description"]
        .as_str()
        .or(target["description"].as_str());
    text.unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(key: &str) -> Key {
        let found = keys().into_iter().find(|known| known.key == key);
        found.unwrap_or_else(|| panic!("{key} is not listed"))
    }

    #[test]
    fn every_key_has_a_meaning_and_stands_once() {
        let mut seen = BTreeSet::new();
        for key in keys() {
            assert!(!key.meaning.is_empty() && !key.holds.is_empty(), "{key:?}");
            assert!(seen.insert((key.key.clone(), key.of.clone())), "{key:?}");
        }
        assert!(seen.len() > 60, "{}", seen.len());
    }

    #[test]
    fn types_and_defaults_are_those_of_the_structs() {
        let batch = find("train.batch");
        assert_eq!(
            (batch.holds.as_str(), batch.default.as_deref()),
            ("a whole number", Some("128"))
        );
        assert_eq!(
            find("tokens.kind").holds,
            "bpe | clip | file | pretrained | wordpiece"
        );
        assert_eq!(
            find("tokens.vocab").of.as_deref(),
            Some("tokens.kind = bpe")
        );
        assert_eq!(find("data.strict").holds, "true or false");
        assert_eq!(find("train.betas").holds, "a list: 2 x a number");
        assert_eq!(find("eval.recall").holds, "a list, each a whole number");
        assert_eq!(find("model.family").holds, "clip | siglip");
        assert!(find("data.train.N.kind").holds.contains("webdataset"));
        assert_eq!(
            find("train.checkpointing").default.as_deref(),
            Some("\"store-all\"")
        );
    }
}
