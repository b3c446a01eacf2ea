//! Captions to token ids.
//!
//! [`Tokenizer`] reads any `tokenizer.json`, CLIP's merge list or BERT's `vocab.txt`, or learns a byte-pair encoding
//! from captions, and makes padded batches with the conventions of the model that the file belongs to:
//!
//! | from | row | padding id | [`Cleaning`] |
//! | --- | --- | --- | --- |
//! | [`Tokenizer::clip_bpe`] | `<start_of_text>` caption `<end_of_text>` | 0 | `OpenClip` |
//! | [`Tokenizer::train_bpe`] | the same | 0 | `AsIs` |
//! | [`Tokenizer::wordpiece_vocab`] | `[CLS]` caption `[SEP]` | of `[PAD]` | `AsIs` |
//! | [`Tokenizer::from_json`] | as its post-processor says | the file's | `AsIs` |
//!
//! `transformers` pads CLIP's captions with the end token: `with_pad_id(49407)`.

mod batch;
mod cache;
mod cleaning;
mod clip;
mod decode;
mod error;
mod html;
mod json;
mod specials;
mod tidy;
mod train;
mod wordpiece;

pub use batch::{Padding, TokenBatch};
pub use cleaning::Cleaning;
pub use error::TokenizerError;
pub use wordpiece::WordPieceConfig;

use cache::{ChunkCache, Pipeline};
use specials::Specials;

/// A tokenizer with its special tokens, its cleaning and its padding. It is `Sync`: threads share one, and its cache.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    specials: Specials,
    pipeline: Pipeline,
    cache: ChunkCache,
    cleaning: Cleaning,
    padding: Padding,
}

/// Two captions as one row, as BERT reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairEncoding {
    /// Token ids, special tokens included.
    pub ids: Vec<u32>,
    /// Which caption each token belongs to (BERT's `token_type_ids`): 0 or 1.
    pub type_ids: Vec<u32>,
}

impl Tokenizer {
    /// The same tokenizer with another cleaning of captions.
    #[must_use]
    pub fn with_cleaning(mut self, cleaning: Cleaning) -> Self {
        self.cleaning = cleaning;
        self
    }

    /// The same tokenizer with rows padded as `padding` says.
    #[must_use]
    pub fn with_padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// The same tokenizer with rows padded with `pad`.
    #[must_use]
    pub fn with_pad_id(mut self, pad: u32) -> Self {
        self.specials.pad = pad;
        self
    }

    /// The ids of `caption`, without the special tokens around it.
    ///
    /// # Errors
    /// If the tokenizer has no unknown token and meets an unknown word.
    pub fn encode(&self, caption: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        self.encode_into(caption, &mut ids)?;
        Ok(ids)
    }

    /// The ids of `caption`, with the special tokens around it, neither cut nor padded.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_with_specials(&self, caption: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = self.specials.before.clone();
        self.encode_into(caption, &mut ids)?;
        ids.extend_from_slice(&self.specials.after);
        Ok(ids)
    }

    /// Two captions in one row, with the special tokens and segment ids of the post-processor.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_pair(&self, first: &str, second: &str) -> Result<PairEncoding, TokenizerError> {
        let cleaned = (self.cleaning.apply(first), self.cleaning.apply(second));
        let encoding = self
            .inner
            .encode_fast(cleaned, true)
            .map_err(|error| failed(first, &error))?;
        Ok(PairEncoding {
            ids: encoding.get_ids().to_vec(),
            type_ids: encoding.get_type_ids().to_vec(),
        })
    }

    /// The tokens of `caption` as they are spelled, with the special tokens around it; an unknown word stands as it is.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn tokens(&self, caption: &str) -> Result<Vec<String>, TokenizerError> {
        let cleaned = self.cleaning.apply(caption);
        let encoding = self
            .inner
            .encode(cleaned, true)
            .map_err(|error| failed(caption, &error))?;
        Ok(encoding.get_tokens().to_vec())
    }

    /// Number of ids, special tokens included: what the token embedding needs at least.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The special token in front of every caption, if there is one.
    pub fn start_id(&self) -> Option<u32> {
        self.specials.before.first().copied()
    }

    /// The special token at the end of every caption, if there is one: what CLIP pools at.
    pub fn end_id(&self) -> Option<u32> {
        self.specials.after.last().copied()
    }

    /// The spelling of an id.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// What fills a row after its caption.
    pub fn pad_id(&self) -> u32 {
        self.specials.pad
    }

    /// Appends the ids of `caption` to `out`.
    fn encode_into(&self, caption: &str, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let folds_itself = self.cleaning == Cleaning::OpenClip && self.pipeline == Pipeline::Clip;
        if self.cleaning == Cleaning::AsIs || (folds_itself && cleaning::is_plain(caption)) {
            self.encode_cleaned(caption, out)
        } else {
            self.encode_cleaned(&self.cleaning.apply(caption), out)
        }
    }

    fn encode_cleaned(&self, caption: &str, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let encode = |text: &str| {
            let encoding = self
                .inner
                .encode_fast(text, false)
                .map_err(|error| failed(text, &error))?;
            Ok(encoding.get_ids().to_vec())
        };
        if self.pipeline == Pipeline::Other {
            out.extend(encode(caption)?);
            return Ok(());
        }
        self.cache.encode_into(caption, out, encode)
    }

    fn specials(&self) -> &Specials {
        &self.specials
    }

    fn padding(&self) -> Padding {
        self.padding
    }

    fn into_inner(self) -> tokenizers::Tokenizer {
        self.inner
    }
}

fn failed(caption: &str, error: &tokenizers::Error) -> TokenizerError {
    TokenizerError::Encode {
        caption: caption.to_string(),
        reason: error.to_string(),
    }
}
