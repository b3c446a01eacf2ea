//! Reading and writing `tokenizer.json`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Cleaning, Padding, Tokenizer, TokenizerError,
    cache::ChunkCache,
    cache::Pipeline,
    check, net,
    sentencepiece::{OWN_KEY, Pieces},
    specials::Specials,
};

/// Parts of the file that it can do without.
const PARTS: [&str; 4] = ["normalizer", "pre_tokenizer", "post_processor", "decoder"];

impl Tokenizer {
    /// Any `tokenizer.json` that `tokenizers` or `transformers` wrote, with the special tokens of its post-processor.
    ///
    /// The padding id is the file's, else that of a token spelled `<pad>`, `[PAD]` or `<|pad|>`, else 0; see
    /// [`Tokenizer::with_pad_id`]. The file's own truncation and length of padding are not used: rows are always cut
    /// at their end and padded to the context of [`Tokenizer::encode_batch`], on the file's side. Byte-pair dropout is
    /// left out.
    ///
    /// # Errors
    /// If the bytes are not JSON, not a tokenizer, or contradict themselves.
    pub fn from_json(text: &[u8]) -> Result<Self, TokenizerError> {
        Self::from_value(parse(text)?)
    }

    /// The tokenizer that a parsed `tokenizer.json` describes.
    pub(super) fn from_value(mut file: Value) -> Result<Self, TokenizerError> {
        check::check(&file)?;
        let padding = padding(&file["padding"])?;
        file["padding"] = Value::Null;
        file["truncation"] = Value::Null;
        // The same caption must have the same ids.
        if !file["model"]["dropout"].is_null() {
            file["model"]["dropout"] = Value::Null;
        }
        let pipeline = Pipeline::of(&file);
        let pieces = Pieces::of(&file)?;
        let inner = library(file)?;
        check::check_ids(&inner)?;
        let specials = Specials::of(&inner, padding.map(|(pad, _)| pad))?;
        let pieces = pieces.map(|pieces| pieces.with_added(&inner));
        Ok(Self {
            inner,
            specials,
            pipeline,
            pieces,
            cache: ChunkCache::default(),
            cleaning: Cleaning::AsIs,
            padding: Padding::default(),
            pads_left: padding.is_some_and(|(_, left)| left),
        })
    }

    /// The `tokenizer.json` of this tokenizer, for [`Tokenizer::from_json`] and for `transformers`: padding id and side
    /// are part of it. The [`Cleaning`] is not: whoever reads the file chooses it again.
    ///
    /// # Errors
    /// If the tokenizer cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        Ok(self.to_value()?.to_string())
    }

    /// [`Tokenizer::to_json`] before it is text.
    pub(super) fn to_value(&self) -> Result<Value, TokenizerError> {
        let bad = |reason: String| TokenizerError::Json { reason };
        let mut file = serde_json::to_value(&self.inner).map_err(|error| bad(error.to_string()))?;
        let pad_id = self.specials.pad;
        file["padding"] = json!({"strategy": "BatchLongest",
            "direction": if self.pads_left { "Left" } else { "Right" },
            "pad_to_multiple_of": null, "pad_id": pad_id, "pad_type_id": 0,
            "pad_token": self.token(pad_id).unwrap_or_default()});
        if let Some(pieces) = &self.pieces {
            file[OWN_KEY] = pieces.own();
        }
        Ok(file)
    }
}

/// A `tokenizer.json` as it stands: an object.
pub(super) fn parse(text: &[u8]) -> Result<Value, TokenizerError> {
    let bad = |reason: String| TokenizerError::Json { reason };
    let file = serde_json::from_slice::<Value>(text).map_err(|error| bad(error.to_string()))?;
    if !file.is_object() {
        return Err(bad("it is no JSON object".to_string()));
    }
    Ok(file)
}

/// The padding id of the file, and whether it pads on the left.
fn padding(padding: &Value) -> Result<Option<(u32, bool)>, TokenizerError> {
    if padding.is_null() {
        return Ok(None);
    }
    let key = |key: &str, expected: &str| TokenizerError::Key {
        file: "tokenizer.json",
        key: format!("padding.{key}"),
        found: padding[key].to_string(),
        expected: expected.to_string(),
    };
    let id = padding["pad_id"]
        .as_u64()
        .filter(|id| *id <= check::LARGEST_ID)
        .and_then(|id| u32::try_from(id).ok())
        .ok_or_else(|| key("pad_id", "the id of a token"))?;
    match padding["direction"].as_str() {
        None | Some("Right") => Ok(Some((id, false))),
        Some("Left") => Ok(Some((id, true))),
        Some(_) => Err(key("direction", "\"Right\" or \"Left\"")),
    }
}

/// The library's tokenizer. Where it panics, the part is found by leaving out one after the other.
fn library(mut file: Value) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let read = |file: &Value| net::caught(|| tokenizers::Tokenizer::deserialize(file));
    match read(&file) {
        Ok(Ok(inner)) => Ok(inner),
        Ok(Err(error)) => Err(TokenizerError::Json {
            reason: error.to_string(),
        }),
        Err(reason) => {
            let mut without = |part: &str| {
                let there = file[part].take();
                let reads = read(&file).is_ok();
                file[part] = there;
                reads
            };
            let part = PARTS.into_iter().find(|part| without(part));
            Err(TokenizerError::Broken {
                part: part.unwrap_or("model"),
                reason,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Value {
        json!({
            "version": "1.0",
            "added_tokens": [],
            "padding": {"strategy": {"Fixed": 9}, "direction": "Left", "pad_to_multiple_of": null, "pad_id": 2,
                "pad_type_id": 0, "pad_token": "ab"},
            "truncation": {"max_length": 1, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
        })
    }

    #[test]
    fn padding_and_truncation_of_the_file_do_not_leak_into_encoding() {
        let tokenizer = Tokenizer::from_value(small()).expect("reads");
        assert_eq!(tokenizer.encode("abba").expect("encodes"), [2, 1, 0]);
        assert_eq!(tokenizer.pad_id(), 2);
        let again =
            Tokenizer::from_json(tokenizer.to_json().expect("saves").as_bytes()).expect("reads");
        assert_eq!(again.pad_id(), 2);
    }

    #[test]
    fn every_prefix_of_a_file_is_an_error_and_no_panic() {
        let whole = small().to_string();
        for end in 0..whole.len() {
            let error = Tokenizer::from_json(&whole.as_bytes()[..end])
                .expect_err("is cut off")
                .to_string();
            assert!(error.starts_with("not a tokenizer.json: "), "{error}");
        }
    }

    #[test]
    fn wrong_json_is_an_error_that_says_what_is_wrong() {
        let long = "b".repeat(40);
        let mut foreign = small();
        foreign["model"]["merges"] = json!([["a", "b"], ["ab", long]]);
        let mut misshapen = small();
        misshapen["model"]["merges"] = json!([["a", "b"], ["ab"]]);
        let mut prefixed = small();
        prefixed["model"]["continuing_subword_prefix"] = json!("##");
        let mut processor = small();
        processor["post_processor"] = json!({"type": "TemplateProcessing", "single": [], "pair": [],
            "special_tokens": 3});
        let cases = [
            (json!([]), "model"),
            (json!({}), "model"),
            (json!({"model": 3}), "not a tokenizer.json"),
            (json!({"model": {"type": "BPE"}}), "not a tokenizer.json"),
            (foreign, "merge 1"),
            (misshapen, "merge 1"),
            (prefixed, "merge 0"),
            (processor, "post_processor.single"),
        ];
        for (file, want) in cases {
            let error = Tokenizer::from_value(file)
                .expect_err("is wrong")
                .to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
