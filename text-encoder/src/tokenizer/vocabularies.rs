//! `tokenizer.json` from the vocabulary files that classes of `transformers` have beside it or without it.

use serde_json::{Map, Value, json};

use super::{TokenizerError, clip, config::Config, folder::CONFIG};

pub(super) fn bert_normalizer(config: &Config) -> Result<Value, TokenizerError> {
    Ok(json!({"type": "BertNormalizer", "clean_text": true,
        "handle_chinese_chars": config.flag("tokenize_chinese_chars")?.unwrap_or(true),
        "strip_accents": config.flag("strip_accents")?,
        "lowercase": config.flag("do_lower_case")?.unwrap_or(true)}))
}

/// `vocab.json`: tokens and their ids.
pub(super) fn vocab_json(bytes: &[u8]) -> Result<Map<String, Value>, TokenizerError> {
    let file = "vocab.json";
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(vocab)) => Ok(vocab),
        Ok(_) => Err(TokenizerError::File {
            file,
            reason: "not a JSON object of tokens and ids".to_string(),
        }),
        Err(error) => Err(TokenizerError::File {
            file,
            reason: format!("not JSON: {error}"),
        }),
    }
}

/// `merges.txt`: two symbols a line, after a line with the version.
pub(super) fn merges_txt(bytes: &[u8]) -> Result<Value, TokenizerError> {
    let file = "merges.txt";
    let text = std::str::from_utf8(bytes).map_err(|error| TokenizerError::File {
        file,
        reason: format!("not text: {error}"),
    })?;
    let mut merges = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with("#version") {
            continue;
        }
        match line.split(' ').collect::<Vec<_>>()[..] {
            [left, right] => merges.push(json!([left, right])),
            _ => {
                let reason = format!(
                    "line {} is not two symbols with a space between them",
                    index + 1
                );
                return Err(TokenizerError::File { file, reason });
            }
        }
    }
    Ok(Value::Array(merges))
}

/// CLIP's tokenizer as `transformers` builds it.
pub(super) fn clip_file(
    vocab: Map<String, Value>,
    merges: Value,
    config: &Config,
) -> Result<Value, TokenizerError> {
    let token = |name: &str| config.token(name).map_or("", |(token, _)| token);
    let id = |name: &str| {
        vocab
            .get(token(name))
            .cloned()
            .ok_or_else(|| TokenizerError::Key {
                file: CONFIG,
                key: name.to_string(),
                found: format!("{:?}, which the vocabulary lacks", token(name)),
                expected: "a token of the vocabulary".to_string(),
            })
    };
    let (start, end) = (id("bos_token")?, id("eos_token")?);
    Ok(json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": clip::normalizer(),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": clip::HF_PATTERN}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        ]},
        "post_processor": {"type": "RobertaProcessing", "cls": [token("bos_token"), start],
            "sep": [token("eos_token"), end], "trim_offsets": false, "add_prefix_space": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": token("unk_token"), "continuing_subword_prefix": "",
            "end_of_word_suffix": clip::END_OF_WORD, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": merges},
    }))
}

/// GPT-2's tokenizer as `transformers` builds it.
pub(super) fn gpt2_file(
    vocab: Map<String, Value>,
    merges: Value,
    config: &Config,
) -> Result<Value, TokenizerError> {
    let prefix = config.flag("add_prefix_space")?.unwrap_or(false);
    for name in ["add_bos_token", "add_eos_token"] {
        if config.flag(name)? == Some(true) {
            return Err(super::config::key(
                CONFIG,
                name,
                &json!(true),
                "false, or a tokenizer.json",
            ));
        }
    }
    Ok(json!({
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges},
    }))
}
