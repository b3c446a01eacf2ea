//! From ids back to text.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::{Tokenizer, TokenizerError, cache::Pipeline, clip};

static BYTES: LazyLock<HashMap<char, u8>> = LazyLock::new(|| {
    clip::byte_alphabet()
        .into_iter()
        .map(|(byte, c)| (c, byte))
        .collect()
});

impl Tokenizer {
    /// The text of `ids`, special tokens left out. A CLIP tokenizer does not know where a word was followed by a
    /// space: each word and each punctuation mark gets one, as in open_clip ("a cat . ").
    ///
    /// # Errors
    /// If an id is not in the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        let special = self.inner.get_added_tokens_decoder();
        let is_special = |id: &u32| special.get(id).is_some_and(|token| token.special);
        let plain = ids
            .iter()
            .copied()
            .filter(|id| !is_special(id))
            .collect::<Vec<_>>();
        self.decode_with_specials(&plain)
    }

    /// The text of `ids`, special tokens spelled out.
    ///
    /// # Errors
    /// If an id is not in the vocabulary.
    pub fn decode_with_specials(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        let bad = |reason: String| TokenizerError::Decode {
            ids: ids.to_vec(),
            reason,
        };
        let spell = |&id| {
            self.inner
                .id_to_token(id)
                .ok_or_else(|| bad(format!("id {id} is not in the vocabulary")))
        };
        let tokens = ids.iter().map(spell).collect::<Result<Vec<_>, _>>()?;
        if self.pipeline == Pipeline::Clip {
            // A symbol outside the byte alphabet can only be an added token's: it stands for itself.
            let bytes = tokens.concat().chars().fold(Vec::new(), |mut bytes, c| {
                match BYTES.get(&c) {
                    Some(&byte) => bytes.push(byte),
                    None => bytes.extend_from_slice(c.to_string().as_bytes()),
                }
                bytes
            });
            return Ok(String::from_utf8_lossy(&bytes).replace(clip::END_OF_WORD, " "));
        }
        self.inner
            .decode(ids, false)
            .map_err(|error| bad(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_id_is_an_error_that_names_it() {
        let tokenizer = Tokenizer::train_bpe(["a cat", "a cat"].into_iter(), 600).expect("trains");
        let error = tokenizer
            .decode(&[1, 70_000])
            .expect_err("is unknown")
            .to_string();
        assert!(error.contains("id 70000"), "{error}");
        let ids = tokenizer.encode_with_specials("A cat").expect("encodes");
        assert_eq!(tokenizer.decode(&ids).expect("decodes"), "a cat ");
        assert_eq!(
            tokenizer.decode_with_specials(&ids).expect("decodes"),
            "<start_of_text>a cat <end_of_text>"
        );
    }
}
