//! The special tokens that a tokenizer puts around a caption.

use tokenizers::{Encoding, PostProcessor, Token};

use super::{TokenizerError, net};

/// Spellings of a padding token, in the order in which they are looked up.
const PADDING_TOKENS: [&str; 3] = ["<pad>", "[PAD]", "<|pad|>"];

/// What stands before and after a caption, and what fills the rest of the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Specials {
    pub(super) before: Vec<u32>,
    pub(super) after: Vec<u32>,
    pub(super) pad: u32,
}

impl Specials {
    /// Asks the post-processor what it puts around one token, which works for every kind of it.
    pub(super) fn of(
        inner: &tokenizers::Tokenizer,
        pad: Option<u32>,
    ) -> Result<Self, TokenizerError> {
        let pad = pad
            .or_else(|| {
                PADDING_TOKENS
                    .iter()
                    .find_map(|token| inner.token_to_id(token))
            })
            .unwrap_or(0);
        let Some(processor) = inner.get_post_processor() else {
            return Ok(Self {
                before: Vec::new(),
                after: Vec::new(),
                pad,
            });
        };
        let token = Token {
            id: 0,
            value: "x".to_string(),
            offsets: (0, 1),
        };
        let broken = |reason: String| TokenizerError::Broken {
            part: "post_processor",
            reason,
        };
        let encoding = Encoding::from_tokens(vec![token], 0);
        let around = net::caught(|| processor.process(encoding, None, true))
            .map_err(broken)?
            .map_err(|error| broken(error.to_string()))?;
        let is_special = around.get_special_tokens_mask();
        let at = is_special
            .iter()
            .position(|&special| special == 0)
            .unwrap_or(is_special.len());
        let ids = around.get_ids();
        Ok(Self {
            before: ids[..at].to_vec(),
            after: ids.get(at + 1..).unwrap_or_default().to_vec(),
            pad,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.before.len() + self.after.len()
    }
}
