//! What serde found wrong, caught with its parts rather than as a sentence, and turned into a [`RecipeError`].

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::error::{RecipeError, hint};
use super::origin::Origin;
use super::tree::{Node, Value};

/// What serde found, with the keys that lead to it, innermost first.
#[derive(Debug)]
pub(super) struct Fault {
    kind: Kind,
    path: Vec<String>,
    origin: Option<Origin>,
}

#[derive(Debug)]
enum Kind {
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    UnknownChoice {
        found: String,
        known: &'static [&'static str],
    },
    WrongType {
        found: String,
        expected: String,
    },
    Missing(&'static str),
}

impl Fault {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            path: Vec::new(),
            origin: None,
        }
    }

    /// Notes the innermost place it is told of.
    pub(super) fn at(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    /// Adds the key that leads to `node`. A conversion knows what it expected, and the node what it holds.
    pub(super) fn under(mut self, key: impl Into<String>, node: &Node) -> Self {
        if let Kind::WrongType { found, .. } = &mut self.kind
            && found.is_empty()
        {
            *found = describe(&node.value);
        }
        self.path.push(key.into());
        self.at(&node.origin)
    }

    pub(super) fn named(self, root: &Origin) -> RecipeError {
        let place = self.origin.unwrap_or_else(|| root.clone());
        let key = self
            .path
            .iter()
            .rev()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(".");
        let prefix = if key.is_empty() {
            String::new()
        } else {
            format!("{key}.")
        };
        match self.kind {
            Kind::UnknownKey { key: last, known } => {
                let hint = hint(&last, known, &prefix);
                RecipeError::UnknownKey {
                    place,
                    key: prefix + &last,
                    hint,
                }
            }
            Kind::UnknownChoice { found, known } => {
                let hint = hint(&found, known, "");
                RecipeError::UnknownChoice {
                    place,
                    key,
                    found,
                    hint,
                }
            }
            Kind::WrongType { found, expected } => RecipeError::WrongType {
                place,
                key,
                expected,
                found,
            },
            Kind::Missing(last) => RecipeError::Missing {
                place,
                key: prefix + last,
            },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    /// What `try_from` conversions say: the text that they expected.
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Kind::WrongType {
            found: String::new(),
            expected: message.to_string(),
        })
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Map => "a table".to_owned(),
            Unexpected::Seq => "an array".to_owned(),
            other => other.to_string(),
        };
        Self::new(Kind::WrongType {
            found,
            expected: plain(&expected.to_string()),
        })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(Kind::WrongType {
            found: format!("{length} elements"),
            expected: expected.to_string(),
        })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownKey {
            key: key.to_owned(),
            known,
        })
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownChoice {
            found: found.to_owned(),
            known,
        })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Kind::Missing(key))
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{text}\""),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(on) => on.to_string(),
        Value::Array(_) => "an array".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

/// A type's Rust name in words.
fn plain(expected: &str) -> String {
    let words = match expected {
        "usize" | "u8" | "u16" | "u32" | "u64" => "a whole number, 0 or more",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        other if other.starts_with("struct ") => "a table",
        other => other,
    };
    words.to_owned()
}
