//! What is checked in a `tokenizer.json` before the tokenizer's library reads it.
//!
//! The library trusts its files: it panics on some, overflows the stack on others, and takes memory that a few bytes
//! ask for. Everything here is about one of these three.

use std::collections::HashSet;

use base64::Engine;
use serde_json::Value;
use tokenizers::Model;

use super::TokenizerError;

/// No text tower has a table as long as this.
pub(super) const LARGEST_ID: u64 = 1 << 24;
/// Longest token, in bytes. The library drops its tree of tokens recursively.
pub(super) const LONGEST_TOKEN: usize = 1024;
/// Deepest nesting of the parts other than the model: seven sequences in each other.
const DEEPEST: usize = 16;
/// How many times longer normaliser and pre-tokeniser together may make a caption.
const LARGEST_GROWTH: f64 = 1024.0;
/// Longest replacement in a precompiled normaliser, in bytes; Unicode's longest has 33.
const LONGEST_REPLACEMENT: usize = 256;
/// The library looks up every part of a word, of every length.
const LONGEST_WORD: u64 = 512;
/// Parts of the file that are read by type, recursively.
const PARTS: [&str; 4] = ["normalizer", "pre_tokenizer", "post_processor", "decoder"];

/// Checks all of `file`.
pub(super) fn check(file: &Value) -> Result<(), TokenizerError> {
    let model = file.get("model").filter(|model| model.is_object());
    let Some(model) = model else {
        return Err(TokenizerError::Json {
            reason: "it has no \"model\"".to_string(),
        });
    };
    for part in PARTS {
        if !is_shallow(&file[part], DEEPEST) {
            return Err(key(
                part,
                "nested deeper than any tokenizer",
                "a few parts in sequence",
            ));
        }
    }
    check_vocabulary(&model["vocab"])?;
    check_merges(model)?;
    let longest = &model["max_input_chars_per_word"];
    if longest
        .as_u64()
        .is_some_and(|longest| longest > LONGEST_WORD)
    {
        let expected = format!("at most {LONGEST_WORD} characters");
        return Err(key("model.max_input_chars_per_word", longest, &expected));
    }
    check_added(&file["added_tokens"])?;
    let by_maps = check_charsmaps(&file["normalizer"])?;
    let growth = growth(&file["normalizer"]) * growth(&file["pre_tokenizer"]) * by_maps.max(1.0);
    if growth > LARGEST_GROWTH {
        let found = format!("a chain that makes captions up to {growth:.0} times as long");
        return Err(key(
            "normalizer",
            found,
            &format!("at most {LARGEST_GROWTH}"),
        ));
    }
    check_processor(&file["post_processor"])
}

fn key(key: &str, found: impl ToString, expected: &str) -> TokenizerError {
    TokenizerError::Key {
        file: "tokenizer.json",
        key: key.to_string(),
        found: found.to_string(),
        expected: expected.to_string(),
    }
}

fn is_shallow(value: &Value, left: usize) -> bool {
    match value {
        Value::Array(items) => left > 0 && items.iter().all(|item| is_shallow(item, left - 1)),
        Value::Object(items) => left > 0 && items.values().all(|item| is_shallow(item, left - 1)),
        _ => true,
    }
}

/// A vocabulary is `{token: id}`, or for Unigram `[[token, score]]`, where the place is the id.
fn check_vocabulary(vocab: &Value) -> Result<(), TokenizerError> {
    let at = |token: &str| format!("model.vocab.{}", shortened(token));
    let check_token = |token: &str| {
        if token.len() > LONGEST_TOKEN {
            let found = format!("a token of {} bytes", token.len());
            return Err(key(&at(token), found, &format!("at most {LONGEST_TOKEN}")));
        }
        Ok(())
    };
    let len = match vocab {
        Value::Object(tokens) => {
            let mut taken = HashSet::with_capacity(tokens.len());
            for (token, id) in tokens {
                check_token(token)?;
                check_id(&at(token), id)?;
                // The library writes only one of two tokens with the same id.
                if !taken.insert(id.as_u64()) {
                    let found = format!("{id}, the id of another token too");
                    return Err(key(&at(token), found, "an id of its own"));
                }
            }
            tokens.len()
        }
        Value::Array(tokens) => {
            for token in tokens {
                check_token(token[0].as_str().unwrap_or_default())?;
            }
            tokens.len()
        }
        _ => return Ok(()),
    };
    if len == 0 {
        return Err(key("model.vocab", "empty", "a token for each id"));
    }
    if len as u64 > LARGEST_ID {
        return Err(key("model.vocab", format!("{len} tokens"), &ids()));
    }
    Ok(())
}

/// The beginning of a token, for a message.
fn shortened(token: &str) -> String {
    token.chars().take(32).collect()
}

fn ids() -> String {
    format!("a whole number of at most {LARGEST_ID}")
}

fn check_id(at: &str, id: &Value) -> Result<(), TokenizerError> {
    if id.as_u64().is_none_or(|id| id > LARGEST_ID) {
        return Err(key(at, id, &ids()));
    }
    Ok(())
}

/// The library numbers tokens beyond the vocabulary from its length on; in a vocabulary with gaps these are ids of others,
/// and of two tokens with the same id it writes one.
pub(super) fn check_ids(inner: &tokenizers::Tokenizer) -> Result<(), TokenizerError> {
    let model = inner.get_model();
    let shared = inner.get_added_vocabulary().get_vocab().iter();
    let shared = shared.filter_map(|(content, id)| {
        let other = model.id_to_token(*id)?;
        (other != *content).then_some((*id, other, content))
    });
    let Some((id, other, content)) = shared.min() else {
        return Ok(());
    };
    let found = format!(
        "beyond a vocabulary with gaps: its id would be {id}, which is that of `{}`",
        shortened(&other)
    );
    let at = format!("added_tokens.{}", shortened(content));
    Err(key(
        &at,
        found,
        "a token of the vocabulary, or ids without gaps",
    ))
}

fn check_added(added: &Value) -> Result<(), TokenizerError> {
    for (index, token) in added.as_array().into_iter().flatten().enumerate() {
        check_id(&format!("added_tokens[{index}].id"), &token["id"])?;
        let content = token["content"].as_str().unwrap_or_default();
        if content.len() > LONGEST_TOKEN {
            let found = format!("of {} bytes", content.len());
            let at = format!("added_tokens[{index}].content");
            return Err(key(&at, found, &format!("at most {LONGEST_TOKEN}")));
        }
    }
    Ok(())
}

/// The parts of a sequence of sequences, in order; `list` is the key of the library's list of them.
fn parts<'v>(part: &'v Value, list: &str) -> Vec<&'v Value> {
    match part[list].as_array() {
        Some(inner) => inner.iter().flat_map(|part| parts(part, list)).collect(),
        None => vec![part],
    }
}

/// How many times longer a text may get in a normaliser or a splitter, precompiled maps aside.
fn growth(part: &Value) -> f64 {
    let grows = |part: &&Value| match part["type"].as_str().unwrap_or_default() {
        "Replace" => {
            let content = part["content"].as_str().unwrap_or_default().len() as f64;
            match part["pattern"]["String"].as_str() {
                Some(pattern) if !pattern.is_empty() => (content / pattern.len() as f64).max(1.0),
                // A pattern that matches nothing puts the content between all characters.
                _ => content + 1.0,
            }
        }
        // Once per text between added tokens, which may be as short as a byte.
        "Prepend" => 1.0 + part["prepend"].as_str().unwrap_or_default().len() as f64,
        "ByteLevel" => 2.0,
        _ => 1.0,
    };
    let all = parts(part, "normalizers")
        .into_iter()
        .flat_map(|part| parts(part, "pretokenizers"));
    all.map(|part| grows(&part)).product()
}

/// How many times longer precompiled maps may make a text. The library panics on a map that it cannot parse, or that names
/// places outside itself.
fn check_charsmaps(normalizer: &Value) -> Result<f64, TokenizerError> {
    let mut growth = 1.0;
    for part in parts(normalizer, "normalizers") {
        let map = &part["precompiled_charsmap"];
        if part["type"] != "Precompiled" && map.is_null() {
            continue;
        }
        let at = "normalizer.precompiled_charsmap";
        let expected = "the map of a SentencePiece model, in base64";
        let text = map.as_str().ok_or_else(|| key(at, "no text", expected))?;
        let bytes = unbase64(text).ok_or_else(|| key(at, "not base64", expected))?;
        let longest = check_charsmap(&bytes).map_err(|found| key(at, found, expected))?;
        growth *= longest.max(1) as f64;
    }
    Ok(growth)
}

/// Whether `map` is a double array of units and the replacements that it points at: each unit's children and values
/// must lie inside. Returns the length of the longest replacement, in bytes.
pub(super) fn check_charsmap(map: &[u8]) -> Result<usize, String> {
    let Some((size, rest)) = map.split_first_chunk::<4>() else {
        return Err(format!("{} bytes long", map.len()));
    };
    let size = u32::from_le_bytes(*size) as usize;
    if size == 0 || !size.is_multiple_of(4) || size > rest.len() {
        return Err(format!("{} bytes long with a table of {size}", map.len()));
    }
    let (table, replacements) = rest.split_at(size);
    let text = std::str::from_utf8(replacements)
        .map_err(|_| "a map with replacements that are not text".to_string())?;
    let longest = text.split('\0').map(str::len).max().unwrap_or(0);
    if longest > LONGEST_REPLACEMENT {
        return Err(format!("a map with a replacement of {longest} bytes"));
    }
    let units = size / 4;
    // A search goes from a unit to `place ^ offset ^ byte`; with the array's length a multiple of 256 all are inside.
    if !units.is_multiple_of(256) {
        return Err(format!("a map whose table has {units} units"));
    }
    for (place, unit) in table.chunks_exact(4).enumerate() {
        let unit = u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]);
        if unit >> 31 == 1 {
            let value = (unit & 0x7fff_ffff) as usize;
            if value > text.len() || !text.is_char_boundary(value) {
                return Err(format!(
                    "a map whose unit {place} points outside its replacements"
                ));
            }
        } else {
            let offset = (unit >> 10) << ((unit & (1 << 9)) >> 6);
            if (place ^ offset as usize) >= units {
                return Err(format!("a map whose unit {place} points outside its table"));
            }
        }
    }
    Ok(longest)
}

/// The bytes of a base64 text.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    base64::prelude::BASE64_STANDARD.decode(text).ok()
}

/// A template must hold the caption once, name only tokens that it defines, and not ask for a second caption.
fn check_processor(processor: &Value) -> Result<(), TokenizerError> {
    for part in parts(processor, "processors") {
        for name in ["single", "pair"] {
            let at = format!("post_processor.{name}");
            let mut captions = Vec::new();
            for piece in part[name].as_array().into_iter().flatten() {
                if let Some(token) = piece["SpecialToken"]["id"].as_str() {
                    if part["special_tokens"].get(token).is_none() {
                        let found = format!("a template with {:?}", shortened(token));
                        return Err(key(&at, found, "tokens of `post_processor.special_tokens`"));
                    }
                } else if let Some(caption) = piece["Sequence"]["id"].as_str() {
                    captions.push(caption);
                }
            }
            if part["type"] == "TemplateProcessing" && name == "single" && captions != ["A"] {
                let found = format!("a template of the sequences {captions:?}");
                return Err(key(&at, found, "the sequence A, once"));
            }
        }
        for (token, special) in part["special_tokens"].as_object().into_iter().flatten() {
            for id in special["ids"].as_array().into_iter().flatten() {
                check_id(
                    &format!("post_processor.special_tokens.{}.ids", shortened(token)),
                    id,
                )?;
            }
        }
        for name in ["cls", "sep"] {
            if let Some(pair) = part[name].as_array() {
                check_id(
                    &format!("post_processor.{name}"),
                    pair.get(1).unwrap_or(&Value::Null),
                )?;
            }
        }
    }
    Ok(())
}

/// Refuses merges of symbols that the vocabulary lacks: the library panics on some of them.
fn check_merges(model: &Value) -> Result<(), TokenizerError> {
    let (Some(vocab), Some(merges)) = (model["vocab"].as_object(), model["merges"].as_array())
    else {
        return Ok(());
    };
    let prefix = model["continuing_subword_prefix"]
        .as_str()
        .unwrap_or_default();
    for (index, merge) in merges.iter().enumerate() {
        let pair = match merge {
            Value::String(text) => text.split_once(' '),
            _ => merge[0].as_str().zip(merge[1].as_str()),
        };
        let Some((left, right)) = pair else {
            return Err(TokenizerError::Json {
                reason: format!("merge {index} is {merge}, expected two symbols"),
            });
        };
        let lacks = |missing: &str| TokenizerError::MergeOutOfVocabulary {
            index,
            left: left.to_string(),
            right: right.to_string(),
            missing: missing.to_string(),
        };
        let rest = right
            .get(prefix.len()..)
            .ok_or_else(|| lacks(&format!("{prefix}{right}")))?;
        let joined = format!("{left}{rest}");
        if let Some(missing) = [left, right, &joined]
            .into_iter()
            .find(|symbol| !vocab.contains_key(*symbol))
        {
            return Err(lacks(missing));
        }
    }
    Ok(())
}
