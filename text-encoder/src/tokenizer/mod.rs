//! Captions to token ids.
//!
//! [`Tokenizer`] reads any `tokenizer.json`, CLIP's merge list or BERT's `vocab.txt`, or learns a byte-pair encoding
//! from captions, and makes padded batches with the conventions of the model that the file belongs to:
//!
//! | from | row | padding id | [`Cleaning`] |
//! | --- | --- | --- | --- |
//! | [`Tokenizer::clip_bpe`] | `<start_of_text>` caption `<end_of_text>` | 0 | `Lower` |
//! | [`Tokenizer::train_bpe`] | the same | 0 | `AsIs` |
//! | [`Tokenizer::wordpiece_vocab`] | `[CLS]` caption `[SEP]` | of `[PAD]` | `AsIs` |
//! | [`Tokenizer::train_wordpiece`] | the same | of `[PAD]` | `AsIs` |
//! | [`Tokenizer::from_json`] | as its post-processor says | the file's | `AsIs` |
//! | [`Tokenizer::from_files`] | as `transformers` for the folder | of `pad_token` | that of the class |
//! | [`Tokenizer::from_open_clip`] | as open_clip for the folder | of `pad_token`, or 0 | that of `clean` |
//!
//! `transformers` pads CLIP's captions with the end token: `with_pad_id(49407)`.

use std::borrow::Cow;

mod batch;
mod cache;
mod check;
mod class;
mod cleaning;
mod clip;
mod config;
mod cut;
mod decode;
mod error;
mod export;
mod files;
mod folder;
mod html;
mod json;
mod net;
mod open_clip;
mod sentencepiece;
mod specials;
mod tidy;
mod train;
mod vocabularies;
mod wordpiece;

pub use batch::{Padding, TokenBatch};
pub use cleaning::Cleaning;
pub use error::TokenizerError;
pub use export::Exported;
pub use files::LoadedTokenizer;
pub use folder::TokenizerFiles;
pub use wordpiece::WordPieceConfig;

use cache::{ChunkCache, Pipeline};
use sentencepiece::Pieces;
use specials::Specials;

/// How the token of a hidden word is spelled.
const MASKS: [&str; 2] = ["[MASK]", "<mask>"];

/// Characters of a caption that a message quotes.
const LONGEST_QUOTE: usize = 200;

/// A tokenizer with its special tokens, its cleaning and its padding. It is `Sync`: threads share one, and its cache.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    specials: Specials,
    pipeline: Pipeline,
    /// How `SiglipTokenizer` finds pieces, where this is one.
    pieces: Option<Pieces>,
    cache: ChunkCache,
    cleaning: Cleaning,
    padding: Padding,
    pads_left: bool,
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

    /// The same tokenizer with its padding at the beginning of rows (`true`) or at their end.
    #[must_use]
    pub fn with_left_padding(mut self, left: bool) -> Self {
        self.pads_left = left;
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
        self.close(&mut ids);
        Ok(ids)
    }

    /// Two captions in one row, with the special tokens and segment ids of the post-processor.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_pair(&self, first: &str, second: &str) -> Result<PairEncoding, TokenizerError> {
        let cleaned = (self.cleaned(first), self.cleaned(second));
        let encoding = net::caught(|| self.inner.encode_fast(cleaned, true))
            .map_err(|reason| stopped(first, reason))?
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
        if self.pieces.is_some() {
            let ids = self.encode_with_specials(caption)?;
            return Ok(ids.into_iter().filter_map(|id| self.token(id)).collect());
        }
        let cleaned = self.cleaned(caption);
        let encoding = net::caught(|| self.inner.encode(cleaned, true))
            .map_err(|reason| stopped(caption, reason))?
            .map_err(|error| failed(caption, &error))?;
        Ok(encoding.get_tokens().to_vec())
    }

    /// Number of ids, special tokens included: what the token embedding needs at least.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The greatest id that a row can hold: of the vocabulary, the added tokens, the special tokens and the padding.
    /// The table of a text tower must have more rows.
    pub fn max_id(&self) -> u32 {
        let vocabulary = self.inner.get_vocab(true).into_values().max();
        let special = self
            .specials
            .before
            .iter()
            .chain(&self.specials.after)
            .copied();
        special.chain(vocabulary).fold(self.specials.pad, u32::max)
    }

    /// The id of a token by its spelling.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// How captions are cleaned.
    pub fn cleaning(&self) -> Cleaning {
        self.cleaning
    }

    /// Whether rows are padded at their beginning.
    pub fn pads_left(&self) -> bool {
        self.pads_left
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

    /// The id of the token that stands for a hidden word, where the vocabulary has one.
    pub fn mask_id(&self) -> Option<u32> {
        MASKS.iter().find_map(|token| self.id_of(token))
    }

    /// What fills a row after its caption.
    pub fn pad_id(&self) -> u32 {
        self.specials.pad
    }

    /// Appends the ids of `caption` to `out`.
    fn encode_into(&self, caption: &str, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        self.encode_until(caption, (out, usize::MAX))
    }

    /// Appends the first `room` ids of `caption` to `out`, and perhaps more; see [`cut`].
    fn encode_first(
        &self,
        caption: &str,
        out: &mut Vec<u32>,
        room: usize,
    ) -> Result<(), TokenizerError> {
        let begin = out.len();
        let enough = cut::enough(room).saturating_add(begin);
        let mut length = cut::first_try(room);
        while let Some(beginning) = cut::beginning(caption, length) {
            self.encode_until(beginning, (out, enough))?;
            if out.len() >= enough {
                return Ok(());
            }
            out.truncate(begin);
            length = length.saturating_mul(4);
        }
        self.encode_until(caption, (out, enough))
    }

    /// Appends the ids of `caption`, as many as there are, or a few more than make `out` so long.
    fn encode_until(
        &self,
        caption: &str,
        (out, enough): (&mut Vec<u32>, usize),
    ) -> Result<(), TokenizerError> {
        if let Some(pieces) = &self.pieces {
            let cleaned = if self.cleaning.spares_special_tokens() {
                caption.into()
            } else {
                self.cleaned(caption)
            };
            let tools = (&self.inner, &self.cache);
            let encoded =
                net::caught(|| pieces.encode_into(&cleaned, self.cleaning, tools, (out, enough)));
            return encoded.map_err(|reason| stopped(caption, reason))?;
        }
        self.encode_cleaned(&self.cleaned(caption), (out, enough))
    }

    /// The caption as the tokenizer's library gets it.
    fn cleaned<'c>(&self, caption: &'c str) -> Cow<'c, str> {
        let folds_itself = self.cleaning == Cleaning::Lower && self.pipeline == Pipeline::Clip;
        if self.cleaning == Cleaning::AsIs || (folds_itself && cleaning::is_plain(caption)) {
            Cow::Borrowed(caption)
        } else if self.cleaning.spares_special_tokens() {
            Cow::Owned(self.cleaned_between_tokens(caption))
        } else {
            Cow::Owned(self.cleaning.apply(caption))
        }
    }

    /// The caption with everything cleaned but the special tokens that it spells.
    fn cleaned_between_tokens(&self, caption: &str) -> String {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        let tokens = added.values().filter(|token| !token.normalized);
        let mut tokens = tokens
            .map(|token| token.content.as_str())
            .collect::<Vec<_>>();
        tokens.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        let (mut cleaned, mut from) = (String::with_capacity(caption.len()), 0);
        for (at, _) in caption.char_indices() {
            let token = tokens
                .iter()
                .find(|token| at >= from && caption[at..].starts_with(**token));
            if let Some(token) = token {
                cleaned.push_str(&self.cleaning.apply(&caption[from..at]));
                cleaned.push_str(token);
                from = at + token.len();
            }
        }
        cleaned.push_str(&self.cleaning.apply(&caption[from..]));
        cleaned
    }

    fn encode_cleaned(
        &self,
        caption: &str,
        (out, enough): (&mut Vec<u32>, usize),
    ) -> Result<(), TokenizerError> {
        let encode = |text: &str| {
            let encoding = net::caught(|| self.inner.encode_fast(text, false))
                .map_err(|reason| stopped(text, reason))?
                .map_err(|error| failed(text, &error))?;
            Ok(encoding.get_ids().to_vec())
        };
        if self.pipeline == Pipeline::Other {
            out.extend(encode(caption)?);
            return Ok(());
        }
        self.cache.encode_into(caption, (out, enough), encode)
    }

    /// Puts the special tokens behind a caption's. `SiglipTokenizer` adds no second end token to a caption that spells
    /// one.
    fn close(&self, row: &mut Vec<u32>) {
        let is_closed = self.pieces.is_some() && row.last() == self.specials.after.last();
        if !(is_closed && row.len() > self.specials.before.len()) {
            row.extend_from_slice(&self.specials.after);
        }
    }

    fn specials(&self) -> &Specials {
        &self.specials
    }

    /// How far the rows of a batch are padded.
    pub fn padding(&self) -> Padding {
        self.padding
    }

    fn into_inner(self) -> tokenizers::Tokenizer {
        self.inner
    }
}

/// The library says that it cannot encode `caption`.
fn failed(caption: &str, error: &tokenizers::Error) -> TokenizerError {
    stopped(caption, error.to_string())
}

fn stopped(caption: &str, reason: String) -> TokenizerError {
    TokenizerError::Encode {
        caption: caption.chars().take(LONGEST_QUOTE).collect(),
        reason,
    }
}
