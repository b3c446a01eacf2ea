//! Remembers the ids of pieces of captions.
//!
//! Captions share their words, so most of the work of a tokenizer is repeated. Where no token crosses whitespace and
//! nothing that is done to a word depends on its neighbours, a caption's ids are those of its whitespace-separated
//! chunks, one after the other: true for CLIP's and BERT's pipelines, untrue for GPT-2's (a token holds its leading
//! space). The chunk is looked up as it stands, before normalisation and splitting.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use serde_json::{Value, json};

/// Chunks held at most, about 10 MB; the first ones seen are kept, which are the frequent ones.
const CAPACITY: usize = 1 << 16;

/// Longest chunk that is remembered, in bytes.
const LONGEST: usize = 64;

/// Split patterns of CLIP tokenizers: what `transformers` writes, and ours (open_clip's, which ignores case).
const CLIP_PATTERNS: [&str; 3] = [
    super::clip::HF_PATTERN,
    r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    super::clip::PATTERN,
];

/// Chunks and their ids, shared by all threads that encode.
#[derive(Debug, Default)]
pub(super) struct ChunkCache {
    known: RwLock<HashMap<Box<str>, Box<[u32]>>>,
}

impl ChunkCache {
    /// Appends the ids of the words of `caption` to `out`, until there are `enough`; see
    /// [`ChunkCache::encode_chunks`].
    pub(super) fn encode_into<E>(
        &self,
        caption: &str,
        out: (&mut Vec<u32>, usize),
        encode: impl Fn(&str) -> Result<Vec<u32>, E>,
    ) -> Result<(), E> {
        self.encode_chunks(chunks(caption), out, encode)
    }

    /// Appends the ids of `chunks` to `out`, until there are `enough`, asking `encode` for those not seen before.
    pub(super) fn encode_chunks<'c, E>(
        &self,
        chunks: impl IntoIterator<Item = &'c str>,
        (out, enough): (&mut Vec<u32>, usize),
        encode: impl Fn(&str) -> Result<Vec<u32>, E>,
    ) -> Result<(), E> {
        let mut fresh = Vec::new();
        {
            // A thread that panicked left complete entries behind: a poisoned lock is as good as a sound one.
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            for chunk in chunks {
                if out.len() >= enough {
                    break;
                }
                if let Some(ids) = known.get(chunk) {
                    out.extend_from_slice(ids);
                } else {
                    let ids = encode(chunk)?;
                    out.extend_from_slice(&ids);
                    if chunk.len() <= LONGEST && known.len() < CAPACITY {
                        fresh.push((chunk, ids));
                    }
                }
            }
        }
        if !fresh.is_empty() {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            known.extend(
                fresh
                    .into_iter()
                    .map(|(chunk, ids)| (chunk.into(), ids.into())),
            );
        }
        Ok(())
    }
}

/// The parts of `caption` between the four characters that CLIP and BERT both take for whitespace. Others, such as a
/// non-breaking space, stay inside a chunk: the tokenizer knows what to make of them.
fn chunks(caption: &str) -> impl Iterator<Item = &str> {
    caption
        .split([' ', '\t', '\n', '\r'])
        .filter(|chunk| !chunk.is_empty())
}

/// The pipelines that may be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pipeline {
    /// CLIP's: NFC, whitespace collapsed, lower case, words by CLIP's pattern, bytes.
    Clip,
    /// BERT's: its own normaliser and splitter.
    Bert,
    /// Any other: never cached.
    Other,
}

impl Pipeline {
    /// Recognises the pipeline of a `tokenizer.json`.
    pub(super) fn of(file: &Value) -> Self {
        let crosses_whitespace = |token: &Value| {
            let spaced = token["content"]
                .as_str()
                .is_none_or(|text| text.contains(char::is_whitespace));
            spaced
                || token["lstrip"] == true
                || token["rstrip"] == true
                || token["single_word"] == true
        };
        if file["added_tokens"]
            .as_array()
            .is_some_and(|tokens| tokens.iter().any(crosses_whitespace))
        {
            return Self::Other;
        }
        let (normalizer, splitter) = (&file["normalizer"], &file["pre_tokenizer"]);
        if *normalizer == super::clip::normalizer() && is_clip_splitter(splitter) {
            Self::Clip
        } else if normalizer["type"] == "BertNormalizer"
            && *splitter == json!({"type": "BertPreTokenizer"})
        {
            Self::Bert
        } else {
            Self::Other
        }
    }
}

fn is_clip_splitter(splitter: &Value) -> bool {
    let [split, bytes] = splitter["pretokenizers"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
    else {
        return false;
    };
    let pattern = split["pattern"]["Regex"].as_str().unwrap_or_default();
    let splits =
        split["type"] == "Split" && split["behavior"] == "Removed" && split["invert"] == true;
    splits
        && CLIP_PATTERNS.contains(&pattern)
        && bytes["type"] == "ByteLevel"
        && bytes["add_prefix_space"] == false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_chunk_is_encoded_once() {
        let cache = ChunkCache::default();
        let calls = Cell::new(0);
        let encode = |chunk: &str| {
            calls.set(calls.get() + 1);
            Ok::<_, ()>(vec![chunk.len() as u32])
        };
        for _ in 0..3 {
            let mut ids = Vec::new();
            cache
                .encode_into(" a bbb\ta\n", (&mut ids, usize::MAX), encode)
                .expect("encodes");
            assert_eq!(ids, [1, 3, 1]);
        }
        assert_eq!(
            calls.get(),
            3,
            "'a' twice in the first caption, 'bbb' once, nothing after it"
        );
    }
}
