//! A tokenizer from the files of a folder of weights.

use serde_json::{Value, json};

use super::{
    Cleaning, Tokenizer, TokenizerError, WordPieceConfig,
    class::Class,
    config::Config,
    folder::{CONFIG, TokenizerFiles},
    sentencepiece::{self, Style},
    vocabularies::{bert_normalizer, clip_file, gpt2_file, merges_txt, vocab_json},
};

/// A tokenizer, and what was taken from where.
#[derive(Debug)]
#[non_exhaustive]
pub struct LoadedTokenizer {
    /// The tokenizer, which pads and cleans as the files say.
    pub tokenizer: Tokenizer,
    /// The file that holds the vocabulary.
    pub vocabulary_from: &'static str,
    /// The longest row that the files allow, in tokens.
    pub max_length: Option<usize>,
    /// What was read besides the vocabulary: what, its value, and the file (or "by default").
    pub notes: Vec<(String, String, &'static str)>,
}

/// A `tokenizer.json` in the making, and what is worth telling about it.
struct Draft {
    file: Value,
    from: &'static str,
    notes: Vec<(String, String, &'static str)>,
}

impl Tokenizer {
    /// The tokenizer that `transformers` makes of the same files.
    ///
    /// The vocabulary is `tokenizer.json`'s; else that of `vocab.json` and `merges.txt` (`CLIPTokenizer`,
    /// `GPT2Tokenizer`), `vocab.txt` (`BertTokenizer`) or `spiece.model` (`SiglipTokenizer`, `T5Tokenizer`). Of
    /// `SiglipTokenizer` the `spiece.model` comes first, as `transformers` reads nothing else.
    ///
    /// Rows are padded with `pad_token`, of `tokenizer_config.json` or `special_tokens_map.json`, else of the class,
    /// else of `tokenizer.json`'s `padding`. Byte-pair dropout, which `transformers` applies even outside training, is
    /// left out and noted: the same caption always has the same ids.
    ///
    /// # Errors
    /// Names the file and the key of what is not understood or cannot be.
    pub fn from_files(files: &TokenizerFiles) -> Result<LoadedTokenizer, TokenizerError> {
        let config = Config::read(files)?;
        let mut draft = draft(files, &config)?;
        if let Some(dropout) = draft.file["model"]["dropout"]
            .as_f64()
            .filter(|rate| *rate > 0.0)
        {
            let left_out = format!("{dropout}, left out: the same caption has the same ids");
            draft
                .notes
                .push(("model.dropout".to_string(), left_out, draft.from));
        }
        merge_added(&mut draft.file, &config);
        let padding = draft.file["padding"].clone();
        let mut tokenizer = Self::from_value(draft.file)?;
        let mut note =
            |what: &str, value: String, file| draft.notes.push((what.to_string(), value, file));
        if let Some((name, file)) = &config.class_name {
            note("tokenizer_class", name.clone(), file);
        }
        let pad = config.token("pad_token");
        let pad = pad.or_else(|| Some((padding["pad_token"].as_str()?, "tokenizer.json")));
        let pad = pad.and_then(|(token, file)| Some((token, file, tokenizer.id_of(token)?)));
        // An id that no token has is the file's fault, which another key does not mend: whoever knows the tower sees it.
        let impossible = padding["pad_id"]
            .as_u64()
            .and_then(|id| u32::try_from(id).ok());
        let impossible = impossible.filter(|id| tokenizer.token(*id).is_none());
        let (id, value, file) = match (impossible, pad) {
            (Some(id), _) => (id, format!("id {id}, which no token has"), "tokenizer.json"),
            (None, Some((token, file, id))) => (id, format!("{token} (id {id})"), file),
            (None, None) => {
                let id = tokenizer.pad_id();
                (id, format!("id {id}"), "by default")
            }
        };
        tokenizer = tokenizer.with_pad_id(id);
        note("pad_token", value, file);
        let padding_side = match (config.pads_left, padding["direction"].as_str()) {
            (Some(left), _) => Some((left, CONFIG)),
            (None, Some(side)) => Some((side == "Left", "tokenizer.json")),
            (None, None) => None,
        };
        let (left, file) = padding_side.unwrap_or((config.class.pads_left(), "by default"));
        tokenizer = tokenizer.with_left_padding(left);
        if left {
            note("padding_side", "left".to_string(), file);
        }
        if config.class == Class::Siglip {
            let lower = config.flag("do_lower_case")?;
            let cleaning = if lower.unwrap_or(true) {
                Cleaning::Siglip
            } else {
                Cleaning::SiglipCased
            };
            tokenizer = tokenizer.with_cleaning(cleaning);
            let file = if lower.is_some() {
                CONFIG
            } else {
                config.class_from()
            };
            note("cleaning", cleaning.name().to_string(), file);
        }
        if let Some((length, file)) = config.max_length {
            note("model_max_length", length.to_string(), file);
        }
        Ok(LoadedTokenizer {
            tokenizer,
            vocabulary_from: draft.from,
            max_length: config.max_length.map(|(length, _)| length),
            notes: draft.notes,
        })
    }
}

/// The `tokenizer.json` that the files come to, without the tokens that `config` adds.
fn draft(files: &TokenizerFiles, config: &Config) -> Result<Draft, TokenizerError> {
    let whole = |file: Value, from: &'static str| {
        Ok(Draft {
            file,
            from,
            notes: Vec::new(),
        })
    };
    match (config.class, &files.tokenizer_json, files.pieces()) {
        (Class::Siglip, _, Some((bytes, name))) => {
            whole(pieces(bytes, name, config, Style::Siglip)?, name)
        }
        (class, Some(json), _) => {
            let mut file = super::json::parse(json)?;
            if matches!(
                class,
                Class::Bert | Class::Siglip2 | Class::Gemma | Class::Clip
            ) {
                return as_class(file, config);
            }
            if class == Class::Gpt2
                && let Some(prefix) = config.flag("add_prefix_space")?
                && file["pre_tokenizer"]["type"] == "ByteLevel"
            {
                file["pre_tokenizer"]["add_prefix_space"] = json!(prefix);
            }
            whole(file, "tokenizer.json")
        }
        (Class::T5, None, Some((bytes, name))) => {
            whole(pieces(bytes, name, config, Style::T5)?, name)
        }
        (Class::Clip | Class::Gpt2, None, _)
            if files.vocab_json.is_some() && files.merges_txt.is_some() =>
        {
            let vocab = vocab_json(files.vocab_json.as_deref().unwrap_or_default())?;
            let merges = merges_txt(files.merges_txt.as_deref().unwrap_or_default())?;
            let file = if config.class == Class::Clip {
                clip_file(vocab, merges, config)?
            } else {
                gpt2_file(vocab, merges, config)?
            };
            whole(file, "vocab.json")
        }
        (Class::Bert, None, _) if files.vocab_txt.is_some() => {
            let text = std::str::from_utf8(files.vocab_txt.as_deref().unwrap_or_default());
            let text = text.map_err(|error| TokenizerError::Vocabulary {
                reason: error.to_string(),
            })?;
            let style = WordPieceConfig::default();
            let mut file = super::wordpiece::file(text, &style, |name| {
                config.token(name).map_or("", |(token, _)| token)
            })?;
            file["normalizer"] = bert_normalizer(config)?;
            whole(file, "vocab.txt")
        }
        _ => Err(no_vocabulary(files, config)),
    }
}

fn no_vocabulary(files: &TokenizerFiles, config: &Config) -> TokenizerError {
    let there = files.vocabularies();
    let class = match &config.class_name {
        Some((name, file)) => format!("{file} names {name}"),
        None => "tokenizer_config.json names no `tokenizer_class`".to_string(),
    };
    let found = if there.is_empty() {
        format!("there is no tokenizer.json, and {class}")
    } else {
        format!(
            "there is {} without a tokenizer.json, and {class}",
            there.join(", ")
        )
    };
    let expected = match config.class.vocabulary() {
        Some(own) => format!("tokenizer.json, or {own}"),
        None => "tokenizer.json, or the files of CLIPTokenizer, GPT2Tokenizer, BertTokenizer, SiglipTokenizer or \
                 T5Tokenizer"
            .to_string(),
    };
    TokenizerError::NoVocabulary { found, expected }
}

fn pieces(
    bytes: &[u8],
    name: &'static str,
    config: &Config,
    style: Style,
) -> Result<Value, TokenizerError> {
    let end = config.token("eos_token").map_or("</s>", |(token, _)| token);
    sentencepiece::to_json(bytes, name, end, style)
}

/// What the class makes of a `tokenizer.json`: `transformers` 5 takes only the vocabulary of it, and the rest from the
/// class and from `tokenizer_config.json`.
fn as_class(mut file: Value, config: &Config) -> Result<Draft, TokenizerError> {
    let parts = ["normalizer", "pre_tokenizer"];
    let before = parts.map(|part| file[part].clone());
    match config.class {
        Class::Bert => file["normalizer"] = bert_normalizer(config)?,
        Class::Clip => {
            let (vocab, merges) = (&file["model"]["vocab"], &file["model"]["merges"]);
            // A vocabulary without the class's tokens is another's: then the file is as good as it is.
            if let Some(vocab) = vocab.as_object().filter(|_| merges.is_array())
                && let Ok(mut made) = clip_file(vocab.clone(), merges.clone(), config)
            {
                made["model"]["dropout"] = file["model"]["dropout"].take();
                for part in [
                    "normalizer",
                    "pre_tokenizer",
                    "post_processor",
                    "decoder",
                    "model",
                ] {
                    file[part] = made[part].take();
                }
            }
        }
        Class::Gemma | Class::Siglip2 => {
            let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
            file["normalizer"] = if config.class == Class::Siglip2 {
                json!({"type": "Sequence", "normalizers": [{"type": "Lowercase"}, spaces]})
            } else {
                spaces
            };
            file["pre_tokenizer"] = json!({"type": "Split", "pattern": {"String": " "},
                "behavior": "MergedWithPrevious", "invert": false});
        }
        _ => {}
    }
    let mut notes = Vec::new();
    for (part, before) in parts.into_iter().zip(before) {
        if file[part] != before {
            let class = config
                .class_name
                .as_ref()
                .map_or("the class", |(name, _)| name);
            let value = format!("that of {class}, not that of tokenizer.json");
            notes.push((part.to_string(), value, config.class_from()));
        }
    }
    Ok(Draft {
        file,
        from: "tokenizer.json",
        notes,
    })
}

/// Adds the tokens of `config` that `file` lacks, with what `config` says of those that it has.
fn merge_added(file: &mut Value, config: &Config) {
    let mut added = match file["added_tokens"].take() {
        Value::Array(added) => added,
        _ => Vec::new(),
    };
    let place = |added: &[Value], token: &Value| {
        added
            .iter()
            .position(|known| known["content"] == token["content"])
    };
    for token in &config.added {
        match place(&added, token) {
            Some(at) => {
                let id = added[at]["id"].clone();
                added[at] = token.clone();
                added[at]["id"] = id;
            }
            None => added.push(with_id(token)),
        }
    }
    let vocab = &file["model"]["vocab"];
    let is_known = |token: &Value| match (vocab, token["content"].as_str()) {
        (Value::Object(vocab), Some(content)) => vocab.contains_key(content),
        (Value::Array(vocab), Some(content)) => vocab.iter().any(|piece| piece[0] == content),
        _ => false,
    };
    for (token, by_class) in config.named() {
        // A token that only the class knows and no vocabulary has is beyond the tower's table, and no caption needs it.
        if place(&added, token).is_none() && (!by_class || is_known(token)) {
            added.push(with_id(token));
        }
    }
    file["added_tokens"] = Value::Array(added);
}

/// The token with an id, which `tokenizers` wants and does not use: it knows the vocabulary.
fn with_id(token: &Value) -> Value {
    let mut token = token.clone();
    if token["id"].is_null() {
        token["id"] = json!(0);
    }
    token
}
