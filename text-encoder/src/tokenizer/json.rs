//! Reading and writing `tokenizer.json`.

use serde_json::Value;
use tokenizers::PaddingParams;

use super::{
    Cleaning, Padding, Tokenizer, TokenizerError, cache::ChunkCache, cache::Pipeline,
    specials::Specials,
};

impl Tokenizer {
    /// Any `tokenizer.json` that `tokenizers` or `transformers` wrote, with the special tokens of its post-processor.
    ///
    /// The padding id is the file's, else that of a token spelled `<pad>`, `[PAD]` or `<|pad|>`, else 0; see
    /// [`Tokenizer::with_pad_id`]. The file's own truncation and its side of padding are not used: rows are always cut
    /// and padded at their end, to the context of [`Tokenizer::encode_batch`].
    ///
    /// # Errors
    /// If the bytes are not JSON, not a tokenizer, or contradict themselves.
    pub fn from_json(text: &[u8]) -> Result<Self, TokenizerError> {
        let file = serde_json::from_slice(text).map_err(|error| TokenizerError::Json {
            reason: error.to_string(),
        })?;
        Self::from_value(file)
    }

    /// The tokenizer that a parsed `tokenizer.json` describes.
    pub(super) fn from_value(mut file: Value) -> Result<Self, TokenizerError> {
        let bad = |reason: String| TokenizerError::Json { reason };
        if file.get("model").is_none() {
            return Err(bad("it has no \"model\"".to_string()));
        }
        check_merges(&file["model"])?;
        let pad = file["padding"]["pad_id"]
            .as_u64()
            .and_then(|id| u32::try_from(id).ok());
        file["padding"] = Value::Null;
        file["truncation"] = Value::Null;
        let pipeline = Pipeline::of(&file);
        let inner = serde_json::from_value::<tokenizers::Tokenizer>(file)
            .map_err(|error| bad(error.to_string()))?;
        let specials = Specials::of(&inner, pad)?;
        Ok(Self {
            inner,
            specials,
            pipeline,
            cache: ChunkCache::default(),
            cleaning: Cleaning::AsIs,
            padding: Padding::default(),
        })
    }

    /// The `tokenizer.json` of this tokenizer, padding id included, for [`Tokenizer::from_json`] and for
    /// `transformers`. The [`Cleaning`] is not part of that format: whoever reads the file chooses it again.
    ///
    /// # Errors
    /// If the tokenizer cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        let mut inner = self.inner.clone();
        let pad_id = self.specials.pad;
        let pad_token = inner.id_to_token(pad_id).unwrap_or_default();
        inner.with_padding(Some(PaddingParams {
            pad_id,
            pad_token,
            ..PaddingParams::default()
        }));
        inner
            .to_string(false)
            .map_err(|error| TokenizerError::Json {
                reason: error.to_string(),
            })
    }
}

/// Refuses merges of symbols that the vocabulary lacks: `tokenizers` panics on some of them.
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
            (processor, "not a tokenizer.json"),
        ];
        for (file, want) in cases {
            let error = Tokenizer::from_value(file)
                .expect_err("is wrong")
                .to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
