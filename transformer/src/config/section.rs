//! A JSON object of a config file, read key by key.

use serde_json::{Map, Value};

use super::{ConfigError, limits};
use crate::Activation;

/// A JSON object of a config file, and where it stands in the file.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    keys: Option<&'a Map<String, Value>>,
    path: String,
}

impl<'a> Section<'a> {
    /// The whole file.
    ///
    /// # Errors
    ///
    /// If it is no object.
    pub fn root(json: &'a Value) -> Result<Self, ConfigError> {
        let keys = json.as_object().ok_or_else(|| ConfigError::Unsupported {
            key: "the file".into(),
            found: shown(json),
            supported: "a JSON object".into(),
        })?;
        Ok(Self {
            keys: Some(keys),
            path: String::new(),
        })
    }

    /// The object under `key`; without one, or with null, a section in which every key is absent.
    ///
    /// # Errors
    ///
    /// If something else stands there.
    pub fn section(&self, key: &str) -> Result<Section<'a>, ConfigError> {
        let keys = match self.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::Object(keys)) => Some(keys),
            Some(_) => return Err(self.unsupported(key, "an object")),
        };
        Ok(Section {
            keys,
            path: format!("{}.", self.path_of(key)),
        })
    }

    /// Whether there is an object: a section that the file leaves out has none.
    pub fn is_there(&self) -> bool {
        self.keys.is_some()
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.keys?.get(key)
    }

    /// Whether `key` is there and not null.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| !value.is_null())
    }

    /// The full path of `key` in the file.
    pub fn path_of(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// A size, `default` where the file leaves it out.
    ///
    /// # Errors
    ///
    /// If it is no whole number from 0 on.
    pub fn size(&self, key: &str, default: usize) -> Result<usize, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| {
            let is_number = value.is_number();
            self.unsupported(
                key,
                if is_number {
                    "a whole number from 0"
                } else {
                    "a number"
                },
            )
        })
    }

    /// A size that may be left out or null.
    ///
    /// # Errors
    ///
    /// As [`size`](Self::size).
    pub fn optional_size(&self, key: &str) -> Result<Option<usize>, ConfigError> {
        if self.has(key) {
            return self.size(key, 0).map(Some);
        }
        Ok(None)
    }

    /// A number, `default` where the file leaves it out.
    ///
    /// # Errors
    ///
    /// If it is no finite number.
    pub fn number(&self, key: &str, default: f64) -> Result<f64, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        let number = value.as_f64().filter(|number| number.is_finite());
        number.ok_or_else(|| self.unsupported(key, "a number"))
    }

    /// A number that may be left out or null.
    ///
    /// # Errors
    ///
    /// As [`number`](Self::number).
    pub fn optional_number(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        if self.has(key) {
            return self.number(key, 0.0).map(Some);
        }
        Ok(None)
    }

    /// The width inside an MLP, from the ratio under `key` to the width outside.
    ///
    /// # Errors
    ///
    /// If it is no number, or makes a width that is out of bounds.
    pub fn hidden(&self, key: &str, default: f64, width: usize) -> Result<usize, ConfigError> {
        let hidden = (width as f64 * self.number(key, default)?) as usize;
        if limits::HIDDEN.contains(&hidden) {
            return Ok(hidden);
        }
        let most = limits::HIDDEN.end();
        Err(self.unsupported(key, &format!("a ratio that makes 1 to {most} of {width}")))
    }

    /// A flag, `default` where the file leaves it out.
    ///
    /// # Errors
    ///
    /// If it is neither true nor false.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.unsupported(key, "true, false")),
        }
    }

    /// A text that may be left out or null.
    ///
    /// # Errors
    ///
    /// If something else stands there.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.unsupported(key, "a text")),
        }
    }

    /// An activation by transformers' names, `default` where the file leaves it out.
    ///
    /// # Errors
    ///
    /// If there is none of that name.
    pub fn activation(&self, key: &str, default: Activation) -> Result<Activation, ConfigError> {
        if self.get(key).is_none() {
            return Ok(default);
        }
        let named = match self.text(key)?.unwrap_or_default() {
            "gelu" | "gelu_python" => Some(Activation::Gelu),
            "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_new" | "gelu_fast"
            | "gelu_accurate" => Some(Activation::GeluTanh),
            "quick_gelu" => Some(Activation::QuickGelu),
            "relu" => Some(Activation::Relu),
            _ => None,
        };
        let supported = "gelu, quick_gelu, gelu_pytorch_tanh, gelu_new, relu";
        named.ok_or_else(|| self.unsupported(key, supported))
    }

    /// Refuses a key that says something else than the one value there is a model for. Absent and null are fine.
    ///
    /// # Errors
    ///
    /// Names the key.
    pub fn require(&self, key: &str, only: impl Into<Value>) -> Result<(), ConfigError> {
        let only = only.into();
        if !self.has(key) || self.get(key) == Some(&only) {
            return Ok(());
        }
        Err(self.unsupported(key, &only.to_string()))
    }

    /// Refuses keys that are not known.
    ///
    /// # Errors
    ///
    /// Names the first of them.
    pub fn only(&self, known: &[&str]) -> Result<(), ConfigError> {
        let mut keys = self.keys.into_iter().flat_map(Map::keys);
        match keys.find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(ConfigError::Unknown {
                key: self.path_of(key),
            }),
        }
    }

    /// The error for a key whose value there is no model for.
    pub fn unsupported(&self, key: &str, supported: &str) -> ConfigError {
        ConfigError::Unsupported {
            key: self.path_of(key),
            found: self.get(key).map_or_else(|| "missing".into(), shown),
            supported: supported.into(),
        }
    }

    /// The error for a key that must be there.
    pub fn missing(&self, key: &str, expected: &str) -> ConfigError {
        ConfigError::Missing {
            key: self.path_of(key),
            expected: expected.into(),
        }
    }
}

/// Longest value that a message repeats, in characters.
const SHOWN: usize = 60;

/// A value as it stands in the file, cut where it is long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return text;
    }
    let start: String = text.chars().take(SHOWN).collect();
    format!("{start}…")
}

/// transformers' name of an activation, the one that [`Section::activation`] reads back.
pub fn hf_activation(activation: Activation) -> &'static str {
    match activation {
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
        Activation::QuickGelu => "quick_gelu",
        Activation::Relu => "relu",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_of_another_type_is_named_by_its_path_with_what_it_says() {
        let json = json!({"vision_config": {"image_size": [32, 32], "layer_norm_eps": "1e-5", "hidden_size": true}});
        let vision = Section::root(&json)
            .unwrap()
            .section("vision_config")
            .unwrap();
        let error = vision.size("image_size", 224).unwrap_err();
        assert_eq!(error.key(), "vision_config.image_size");
        assert!(matches!(error, ConfigError::Unsupported { found, .. } if found == "[32,32]"));
        assert!(vision.size("hidden_size", 1).is_err());
        assert!(vision.number("layer_norm_eps", 1.0).is_err());
        assert_eq!(vision.size("patch_size", 16), Ok(16));
    }

    #[test]
    fn a_section_that_is_left_out_has_defaults_alone_and_one_that_is_no_object_is_an_error() {
        let json = json!({"text_config": null, "vision_config": 3});
        let root = Section::root(&json).unwrap();
        assert_eq!(
            root.section("text_config").unwrap().size("layers", 12),
            Ok(12)
        );
        assert_eq!(
            root.section("vision_config").unwrap_err().key(),
            "vision_config"
        );
        assert!(Section::root(&json!([])).is_err());
    }
}
