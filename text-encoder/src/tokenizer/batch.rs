//! Captions as rows of equal length.

use super::{Tokenizer, TokenizerError, specials::Specials};

/// How far the rows of a batch are padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Always to the context, as open_clip does and as a tower without a mask that pools the last position needs
    /// (SigLIP).
    Context,
    /// To the longest caption of the batch, rounded up to a multiple and never beyond the context. For a causal tower
    /// that pools at the end token, and for one with a mask, the result is the same and the tower is much cheaper.
    Longest {
        /// Row lengths are multiples of this number of tokens (0 counts as 1): few shapes, few compiled kernels.
        multiple: usize,
    },
}

impl Default for Padding {
    /// To the longest caption, in steps of 8 tokens.
    fn default() -> Self {
        Self::Longest { multiple: 8 }
    }
}

impl Padding {
    /// The tokens of a row, where the longest caption has so many and the context is so long.
    pub fn row_length(self, longest: usize, context: usize) -> usize {
        match self {
            Self::Context => context,
            Self::Longest { multiple } => longest
                .max(1)
                .next_multiple_of(multiple.max(1))
                .min(context),
        }
    }
}

/// The token ids of a batch of captions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    /// Token ids, row-major `[batch, tokens]`.
    pub ids: Vec<i64>,
    /// Which of `ids` are the caption's (its special tokens included) and not padding, row-major `[batch, tokens]`.
    pub mask: Vec<bool>,
    /// Number of rows.
    pub batch: usize,
    /// Length of a row, in tokens.
    pub tokens: usize,
    /// Number of tokens of each row that are not padding, `[batch]`. In a row with an end token, that token stands at
    /// `lengths[row] - 1`, or at the row's end if the padding is on the left.
    pub lengths: Vec<usize>,
}

impl TokenBatch {
    /// Pads `rows`, of at most `context` ids each.
    pub(super) fn from_rows(
        rows: &[Vec<u32>],
        context: usize,
        padding: Padding,
        (pad, left): (u32, bool),
    ) -> Self {
        let lengths = rows.iter().map(Vec::len).collect::<Vec<_>>();
        let tokens = padding.row_length(lengths.iter().copied().max().unwrap_or(0), context);
        let mut ids = Vec::with_capacity(rows.len() * tokens);
        let mut mask = Vec::with_capacity(rows.len() * tokens);
        for (index, row) in rows.iter().enumerate() {
            let end = (index + 1) * tokens;
            if left {
                ids.resize(end - row.len(), i64::from(pad));
                mask.resize(ids.len(), false);
            }
            ids.extend(row.iter().map(|&id| i64::from(id)));
            mask.resize(ids.len(), true);
            ids.resize(end, i64::from(pad));
            mask.resize(end, false);
        }
        Self {
            ids,
            mask,
            batch: rows.len(),
            tokens,
            lengths,
        }
    }

    /// Row `index` of `ids`: `tokens` ids, padding included.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, index: usize) -> &[i64] {
        &self.ids[index * self.tokens..(index + 1) * self.tokens]
    }
}

impl Tokenizer {
    /// Encodes `captions` with their special tokens into rows of at most `context` tokens; a longer caption loses its
    /// last tokens, not its end token. The rows are padded as [`Tokenizer::with_padding`] says.
    ///
    /// # Errors
    /// If `context` has no room for the special tokens, a caption has no encoding, or the tokenizer pads on the left and
    /// rows are cut to the longest of the batch.
    pub fn encode_batch<S: AsRef<str>>(
        &self,
        captions: &[S],
        context: usize,
    ) -> Result<TokenBatch, TokenizerError> {
        let Specials { before, pad, .. } = self.specials();
        if self.pads_left() && self.padding() != Padding::Context {
            return Err(TokenizerError::PadsLeft);
        }
        let room = context
            .checked_sub(self.specials().count())
            .filter(|_| context > 0)
            .ok_or_else(|| TokenizerError::ContextTooShort {
                expected: self.specials().count().max(1),
                found: context,
            })?;
        let rows = captions.iter().map(|caption| {
            let mut row = Vec::with_capacity(context.min(32));
            row.extend_from_slice(before);
            self.encode_first(caption.as_ref(), &mut row, room)?;
            row.truncate(before.len() + room);
            self.close(&mut row);
            Ok(row)
        });
        let rows = rows.collect::<Result<Vec<_>, TokenizerError>>()?;
        Ok(TokenBatch::from_rows(
            &rows,
            context,
            self.padding(),
            (*pad, self.pads_left()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_grow_in_steps_but_not_beyond_the_context() {
        let rows = vec![vec![7, 8, 9], vec![7]];
        let stepped =
            TokenBatch::from_rows(&rows, 77, Padding::Longest { multiple: 4 }, (5, false));
        assert_eq!(
            (stepped.batch, stepped.tokens, stepped.lengths.clone()),
            (2, 4, vec![3, 1])
        );
        assert_eq!(stepped.ids, [7, 8, 9, 5, 7, 5, 5, 5]);
        assert_eq!(
            stepped.mask,
            [true, true, true, false, true, false, false, false]
        );
        assert_eq!(stepped.row(1), [7, 5, 5, 5]);
        assert_eq!(
            TokenBatch::from_rows(&rows, 3, Padding::Longest { multiple: 4 }, (5, false)).tokens,
            3
        );
        assert_eq!(
            TokenBatch::from_rows(&rows, 9, Padding::Context, (5, false)).tokens,
            9
        );
        assert_eq!(
            TokenBatch::from_rows(&[], 9, Padding::default(), (5, false))
                .ids
                .len(),
            0
        );
    }

    #[test]
    fn padding_on_the_left_moves_the_caption_to_the_end_of_the_row() {
        let rows = vec![vec![7, 8, 9], vec![7]];
        let batch = TokenBatch::from_rows(&rows, 4, Padding::Context, (5, true));
        assert_eq!(batch.ids, [5, 7, 8, 9, 5, 5, 5, 7]);
        assert_eq!(
            batch.mask,
            [false, true, true, true, false, false, false, true]
        );
        assert_eq!(batch.lengths, [3, 1]);
    }

    #[test]
    fn a_long_caption_keeps_its_end_token() {
        let words = ["one two three four five six seven"; 2];
        let tokenizer = Tokenizer::train_bpe(words.into_iter(), 4096).expect("trains");
        let end = i64::from(tokenizer.end_id().expect("an end token"));
        for context in 2..=9 {
            let batch = tokenizer
                .encode_batch(&words[..1], context)
                .expect("encodes");
            assert_eq!(batch.tokens, context.min(9));
            assert_eq!(batch.row(0).last(), Some(&end));
        }
    }

    #[test]
    fn a_context_without_room_for_the_special_tokens_is_an_error() {
        let tokenizer = Tokenizer::train_bpe(["a"].into_iter(), 600).expect("trains");
        for context in [0, 1] {
            let error = tokenizer
                .encode_batch(&["a"], context)
                .expect_err("is too short");
            assert!(
                matches!(error, TokenizerError::ContextTooShort { expected: 2, found } if found == context)
            );
        }
    }
}
