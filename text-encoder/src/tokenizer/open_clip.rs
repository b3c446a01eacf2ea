//! The tokenizer of an `open_clip_config.json`.

use serde_json::{Map, Value, json};

use super::{
    Cleaning, LoadedTokenizer, Tokenizer, TokenizerError, TokenizerFiles, cache::Pipeline,
    config::key,
};

const CONFIG: &str = "open_clip_config.json";
/// The context of a model whose `text_cfg` has none.
const CONTEXT: usize = 77;

impl Tokenizer {
    /// The tokenizer that open_clip uses for the model of `text_cfg` (of `open_clip_config.json`'s `model_cfg`), with
    /// the tokenizer files of its folder.
    ///
    /// With an `hf_tokenizer_name` it is that of the files, and captions are cleaned as `tokenizer_kwargs.clean` says,
    /// or as `Whitespace`. Without one open_clip takes CLIP's own vocabulary, whatever the folder holds: files of
    /// `CLIPTokenizer` are that vocabulary, and captions are cleaned as `clean` says, or as `Lower`, and padded with
    /// id 0.
    ///
    /// # Errors
    /// Names the file and the key of what is not understood. [`TokenizerError::NeedsClipVocabulary`] if CLIP's own
    /// vocabulary is needed and not in the files.
    pub fn from_open_clip(
        text_cfg: &Value,
        files: &TokenizerFiles,
    ) -> Result<LoadedTokenizer, TokenizerError> {
        let kwargs = kwargs(text_cfg)?;
        let name = text_cfg["hf_tokenizer_name"].as_str().unwrap_or_default();
        if !name.is_empty() && !files.has_vocabulary() {
            return Err(TokenizerError::NoVocabulary {
                found: format!(
                    "{CONFIG} names the tokenizer {name:?}, and the folder has none of its files"
                ),
                expected: "tokenizer.json and tokenizer_config.json beside it".to_string(),
            });
        }
        if name.is_empty() && !files.has_vocabulary() {
            return Err(TokenizerError::NeedsClipVocabulary);
        }
        let mut opened = Self::from_files(files)?;
        let default = if name.is_empty() {
            Cleaning::Lower
        } else {
            Cleaning::Whitespace
        };
        let clean = clean(&kwargs)?;
        let (cleaning, file) = clean.map_or((default, "by default"), |clean| (clean, CONFIG));
        // `SiglipTokenizer` cleans what open_clip has cleaned.
        let cleaning = match (opened.tokenizer.cleaning(), cleaning) {
            (Cleaning::Siglip, Cleaning::Lower | Cleaning::Whitespace)
            | (Cleaning::SiglipCased, Cleaning::Lower) => Cleaning::SiglipRepaired,
            (Cleaning::SiglipCased, Cleaning::Whitespace) => {
                let at = "model_cfg.text_cfg.tokenizer_kwargs.clean";
                let expected = "\"lower\" or \"canonicalize\" with this SiglipTokenizer";
                return Err(key(CONFIG, at, &json!("whitespace"), expected));
            }
            (_, cleaning) => cleaning,
        };
        if name.is_empty() {
            if opened.tokenizer.pipeline != Pipeline::Clip {
                return Err(TokenizerError::NeedsClipVocabulary);
            }
            opened.tokenizer = opened.tokenizer.with_pad_id(0).with_left_padding(false);
            opened
                .notes
                .retain(|(what, _, _)| what != "pad_token" && what != "padding_side");
            opened
                .notes
                .push(("pad_token".to_string(), "id 0".to_string(), "by default"));
        }
        opened
            .notes
            .retain(|(what, _, _)| what != "cleaning" && what != "model_max_length");
        opened
            .notes
            .push(("cleaning".to_string(), cleaning.name().to_string(), file));
        opened.tokenizer = opened.tokenizer.with_cleaning(cleaning);
        opened.max_length = Some(match &text_cfg["context_length"] {
            Value::Null => CONTEXT,
            length => {
                let length = length
                    .as_u64()
                    .and_then(|length| usize::try_from(length).ok());
                let at = "model_cfg.text_cfg.context_length";
                length.ok_or_else(|| {
                    key(
                        CONFIG,
                        at,
                        &text_cfg["context_length"],
                        "a number of tokens",
                    )
                })?
            }
        });
        Ok(opened)
    }
}

/// `tokenizer_kwargs`, once everything in it and beside it is understood.
fn kwargs(text_cfg: &Value) -> Result<Map<String, Value>, TokenizerError> {
    let at = |name: &str| format!("model_cfg.text_cfg.{name}");
    let name = &text_cfg["hf_tokenizer_name"];
    if !name.is_null() && !name.is_string() {
        return Err(key(CONFIG, &at("hf_tokenizer_name"), name, "a name"));
    }
    let mode = &text_cfg["tokenizer_mode"];
    if !mode.is_null() && mode != "" {
        return Err(key(CONFIG, &at("tokenizer_mode"), mode, "null"));
    }
    let kwargs = match &text_cfg["tokenizer_kwargs"] {
        Value::Null => Map::new(),
        Value::Object(kwargs) => kwargs.clone(),
        other => return Err(key(CONFIG, &at("tokenizer_kwargs"), other, "an object")),
    };
    for (name, value) in &kwargs {
        let is_nothing = value.is_null() || *value == json!(false) || *value == json!("");
        if name != "clean" && !is_nothing {
            let at = at(&format!("tokenizer_kwargs.{name}"));
            return Err(key(CONFIG, &at, value, "`clean` as the only key"));
        }
    }
    Ok(kwargs)
}

fn clean(kwargs: &Map<String, Value>) -> Result<Option<Cleaning>, TokenizerError> {
    let value = kwargs.get("clean").unwrap_or(&Value::Null);
    Ok(match value.as_str() {
        None if value.is_null() => None,
        Some("lower") => Some(Cleaning::Lower),
        Some("whitespace") => Some(Cleaning::Whitespace),
        Some("canonicalize") => Some(Cleaning::Canonicalize),
        _ => {
            let at = "model_cfg.text_cfg.tokenizer_kwargs.clean";
            return Err(key(
                CONFIG,
                at,
                value,
                "\"lower\", \"whitespace\" or \"canonicalize\"",
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> TokenizerFiles {
        let trained = Tokenizer::train_bpe(["a cat", "a cat"].into_iter(), 600).expect("trains");
        TokenizerFiles {
            tokenizer_json: Some(trained.to_json().expect("writes").into_bytes()),
            ..TokenizerFiles::default()
        }
    }

    #[test]
    fn cleaning_follows_the_keys_and_the_kind_of_tokenizer() {
        let cases = [
            (json!({}), Cleaning::Lower),
            (json!({"hf_tokenizer_name": "."}), Cleaning::Whitespace),
            (
                json!({"hf_tokenizer_name": "x", "tokenizer_kwargs": {"clean": "canonicalize"}}),
                Cleaning::Canonicalize,
            ),
            (
                json!({"tokenizer_kwargs": {"clean": "whitespace"}}),
                Cleaning::Whitespace,
            ),
        ];
        for (text_cfg, want) in cases {
            let opened = Tokenizer::from_open_clip(&text_cfg, &files()).expect("reads");
            assert_eq!(opened.tokenizer.cleaning(), want, "{text_cfg}");
            assert_eq!(opened.max_length, Some(77));
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let cases = [
            (
                json!({"hf_tokenizer_name": "x", "tokenizer_mode": "clips"}),
                "tokenizer_mode",
            ),
            (
                json!({"hf_tokenizer_name": "x", "tokenizer_kwargs": {"strip_sep_token": true}}),
                "tokenizer_kwargs.strip_sep_token",
            ),
            (
                json!({"tokenizer_kwargs": {"clean": "upper"}}),
                "tokenizer_kwargs.clean",
            ),
            (json!({"context_length": "long"}), "context_length"),
        ];
        for (text_cfg, want) in cases {
            let error =
                Tokenizer::from_open_clip(&text_cfg, &files()).expect_err("is not understood");
            assert!(
                matches!(&error, TokenizerError::Key { file: CONFIG, key, .. } if *key == format!("model_cfg.text_cfg.{want}")),
                "{error}"
            );
        }
        let nothing = TokenizerFiles::default();
        let error = Tokenizer::from_open_clip(&json!({}), &nothing).expect_err("has no files");
        assert!(matches!(error, TokenizerError::NeedsClipVocabulary));
        let named = json!({"hf_tokenizer_name": "timm/ViT-B-16-SigLIP"});
        let error = Tokenizer::from_open_clip(&named, &nothing).expect_err("has no files");
        assert!(matches!(error, TokenizerError::NoVocabulary { .. }));
    }
}
