//! `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`: what `transformers` reads besides a
//! vocabulary.

use serde_json::{Map, Value, json};

use super::{
    TokenizerError, check,
    class::Class,
    folder::{CONFIG, TokenizerFiles},
};

const SPECIALS: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";

/// The special tokens that have a name, in the order in which `transformers` adds those that a vocabulary lacks.
const NAMED: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
/// `transformers` writes 1e30 where a tokenizer has no longest length.
const NO_LENGTH: f64 = 1e6;

/// What the files say.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) class: Class,
    /// The class as it is written, and the file that names it.
    pub(super) class_name: Option<ClassName>,
    /// Special tokens by name: the token and the file that names it.
    named: Vec<(&'static str, Named)>,
    /// Tokens beyond the vocabulary, in the form of `tokenizer.json`'s `added_tokens`.
    pub(super) added: Vec<Value>,
    /// The longest row in tokens, and the file that says it.
    pub(super) max_length: Option<(usize, &'static str)>,
    /// `padding_side`, where it is said.
    pub(super) pads_left: Option<bool>,
    config: Value,
}

#[derive(Debug, Clone)]
struct Named {
    /// In the form of `added_tokens`, without an id.
    token: Value,
    file: &'static str,
    /// Whether no file says it, only the class.
    by_class: bool,
}

impl Config {
    pub(super) fn read(files: &TokenizerFiles) -> Result<Self, TokenizerError> {
        let config = object(CONFIG, files.tokenizer_config_json.as_deref())?;
        let (class, class_name) = class(&config, files.model_type.as_deref())?;
        let (mut named, mut added) = (Vec::new(), added_of_config(&config)?);
        let mut sources = vec![(CONFIG, &config)];
        // As transformers: a config with `added_tokens_decoder` is newer than the other two files.
        let (map, encoder);
        let has_decoder = !config["added_tokens_decoder"].is_null();
        if !has_decoder {
            map = object(SPECIALS, files.special_tokens_map_json.as_deref())?;
            encoder = object(ADDED, files.added_tokens_json.as_deref())?;
            sources.insert(0, (SPECIALS, &map));
            for (content, id) in encoder.as_object().into_iter().flatten() {
                let mut token = added_token(&json!(content), false);
                token["id"] = checked_id(ADDED, content, id)?;
                added.push(token);
            }
        }
        for name in NAMED {
            for (file, source) in &sources {
                let value = &source[name];
                if value.is_null() {
                    continue;
                }
                let content = content(value).ok_or_else(|| key(file, name, value, "a token"))?;
                if content.is_empty() || content.len() > check::LONGEST_TOKEN {
                    return Err(key(file, name, value, "a token of 1 to 1024 bytes"));
                }
                named.push((
                    name,
                    Named {
                        token: added_token(value, true),
                        file,
                        by_class: false,
                    },
                ));
                break;
            }
        }
        for (name, content) in class.tokens() {
            if !named.iter().any(|(known, _)| known == name) {
                named.push((
                    name,
                    Named {
                        token: added_token(&json!(content), true),
                        file: "by default",
                        by_class: true,
                    },
                ));
            }
        }
        for name in ["extra_special_tokens", "additional_special_tokens"] {
            for (file, source) in &sources {
                let tokens: Vec<&Value> = match &source[name] {
                    Value::Null => continue,
                    Value::Array(tokens) => tokens.iter().collect(),
                    // Each under a name of its own.
                    Value::Object(tokens) => tokens.values().collect(),
                    other => return Err(key(file, name, other, "tokens")),
                };
                for value in tokens {
                    content(value).ok_or_else(|| key(file, name, value, "tokens"))?;
                    // A text alone does not overrule what `added_tokens_decoder` says of the token.
                    let is_known = |known: &Value| known["content"] == *value;
                    if !(has_decoder && added.iter().any(is_known)) {
                        added.push(added_token(value, true));
                    }
                }
            }
        }
        refuse(&config, "split_special_tokens", &json!(true), "false")?;
        let pads_left = match config["padding_side"].as_str() {
            _ if config["padding_side"].is_null() => None,
            Some("left") => Some(true),
            Some("right") => Some(false),
            _ => {
                return Err(key(
                    CONFIG,
                    "padding_side",
                    &config["padding_side"],
                    "\"right\" or \"left\"",
                ));
            }
        };
        let max_length = match &config["model_max_length"] {
            Value::Null => class.max_length().map(|length| (length, "by default")),
            length => match length.as_f64() {
                Some(length) if length > NO_LENGTH => None,
                Some(length) if length >= 1.0 && length.fract() == 0.0 => {
                    Some((length as usize, CONFIG))
                }
                _ => {
                    return Err(key(
                        CONFIG,
                        "model_max_length",
                        length,
                        "a number of tokens",
                    ));
                }
            },
        };
        Ok(Self {
            class,
            class_name,
            named,
            added,
            max_length,
            pads_left,
            config,
        })
    }

    /// The file that names the class.
    pub(super) fn class_from(&self) -> &'static str {
        self.class_name.as_ref().map_or(CONFIG, |(_, file)| *file)
    }

    /// The special token of this name, and the file that names it.
    pub(super) fn token(&self, name: &str) -> Option<(&str, &'static str)> {
        let (_, named) = self.named.iter().find(|(known, _)| *known == name)?;
        Some((named.token["content"].as_str()?, named.file))
    }

    /// The named tokens as `added_tokens`, without ids, and whether only the class names them.
    pub(super) fn named(&self) -> impl Iterator<Item = (&Value, bool)> {
        let rank = |name: &str| NAMED.iter().position(|known| *known == name);
        let mut named = self.named.iter().collect::<Vec<_>>();
        named.sort_by_key(|(name, _)| rank(name));
        named
            .into_iter()
            .map(|(_, named)| (&named.token, named.by_class))
    }

    /// A flag of `tokenizer_config.json`.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, TokenizerError> {
        match &self.config[name] {
            Value::Null => Ok(None),
            Value::Bool(flag) => Ok(Some(*flag)),
            other => Err(key(CONFIG, name, other, "true or false")),
        }
    }
}

pub(super) fn key(file: &'static str, name: &str, found: &Value, expected: &str) -> TokenizerError {
    TokenizerError::Key {
        file,
        key: name.to_string(),
        found: found.to_string(),
        expected: expected.to_string(),
    }
}

fn refuse(config: &Value, name: &str, value: &Value, expected: &str) -> Result<(), TokenizerError> {
    if config[name] == *value {
        return Err(key(CONFIG, name, value, expected));
    }
    Ok(())
}

/// The object in a file; an empty one where there is no file.
fn object(file: &'static str, bytes: Option<&[u8]>) -> Result<Value, TokenizerError> {
    let Some(bytes) = bytes else {
        return Ok(Value::Object(Map::new()));
    };
    let bad = |reason: String| TokenizerError::File { file, reason };
    let value = serde_json::from_slice::<Value>(bytes)
        .map_err(|error| bad(format!("not JSON: {error}")))?;
    if !value.is_object() {
        return Err(bad("not a JSON object".to_string()));
    }
    Ok(value)
}

/// The name of a class, and the file that names it.
type ClassName = (String, &'static str);

/// The class that `tokenizer_config.json` names, else that of the model's type in `config.json`.
fn class(
    config: &Value,
    model_type: Option<&str>,
) -> Result<(Class, Option<ClassName>), TokenizerError> {
    let class = match &config["tokenizer_class"] {
        Value::Null => None,
        Value::String(name) => Some(name.as_str()),
        other => return Err(key(CONFIG, "tokenizer_class", other, "the name of a class")),
    };
    Ok(match (class, model_type) {
        // The files of SigLIP 2 name Gemma's class; transformers knows better.
        (Some(name), Some("siglip2")) if Class::of(name) == Class::Gemma => {
            (Class::Siglip2, Some((name.to_string(), CONFIG)))
        }
        (Some(name), _) => (Class::of(name), Some((name.to_string(), CONFIG))),
        (None, Some(model)) => match Class::of_model(model) {
            Some((class, name)) => (class, Some((name.to_string(), "config.json"))),
            None => (Class::Other, None),
        },
        (None, None) => (Class::Other, None),
    })
}

/// The text of a token, which is written as a text or as an object with its `content`.
fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token["content"].as_str())
}

/// A token in the form of `added_tokens`, without an id.
fn added_token(token: &Value, special: bool) -> Value {
    let flag = |name: &str, default: bool| token[name].as_bool().unwrap_or(default);
    let special = flag("special", special);
    json!({"content": content(token).unwrap_or_default(), "single_word": flag("single_word", false),
        "lstrip": flag("lstrip", false), "rstrip": flag("rstrip", false),
        "normalized": flag("normalized", !special), "special": special})
}

/// `added_tokens_decoder`, by id.
fn added_of_config(config: &Value) -> Result<Vec<Value>, TokenizerError> {
    let name = "added_tokens_decoder";
    let tokens = match &config[name] {
        Value::Null => return Ok(Vec::new()),
        Value::Object(tokens) => tokens,
        other => return Err(key(CONFIG, name, other, "an object of tokens by their id")),
    };
    let mut added = Vec::new();
    for (id, token) in tokens {
        let at = format!("{name}.{id}");
        let number = id.parse::<u32>().map_or(Value::Null, |id| json!(id));
        content(token).ok_or_else(|| key(CONFIG, &at, token, "an object with `content`"))?;
        let mut token = added_token(token, false);
        token["id"] = checked_id(CONFIG, &at, &number)?;
        added.push(token);
    }
    added.sort_by_key(|token| token["id"].as_u64());
    Ok(added)
}

fn checked_id(file: &'static str, at: &str, id: &Value) -> Result<Value, TokenizerError> {
    match id.as_u64() {
        Some(number) if number <= check::LARGEST_ID => Ok(id.clone()),
        _ => Err(key(
            file,
            at,
            id,
            &format!("an id of at most {}", check::LARGEST_ID),
        )),
    }
}
