//! From captions to the token ids that a tower reads.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use data::Source;
use text_encoder::tokenizer::{TokenBatch, Tokenizer};

/// How captions become token ids.
pub struct CaptionReader {
    tokenizer: Tokenizer,
    context: usize,
    needs_mask: bool,
}

/// Token ids of captions in host memory, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct HostCaptions {
    ids: Vec<i64>,
    mask: Option<Vec<bool>>,
    shape: [usize; 2],
}

impl HostCaptions {
    /// Rows of ids with a mask of the real ones.
    pub fn new(ids: Vec<i64>, mask: Option<Vec<bool>>, shape: [usize; 2]) -> Self {
        Self { ids, mask, shape }
    }

    /// How many captions there are.
    pub fn rows(&self) -> usize {
        self.shape[0]
    }

    /// Ids and mask, `[captions, tokens]`.
    pub fn to_device(self, device: &Device) -> (Tensor<2, Int>, Option<Tensor<2, Bool>>) {
        let mask = self.mask;
        (
            Tensor::from_data(TensorData::new(self.ids, self.shape), device),
            mask.map(|mask| Tensor::from_data(TensorData::new(mask, self.shape), device)),
        )
    }
}

impl CaptionReader {
    /// Captions of up to `context` tokens. The tokenizer must already pad as the tower needs it; `needs_mask` is whether
    /// the tower must be told which tokens are padding.
    pub fn new(tokenizer: Tokenizer, context: usize, needs_mask: bool) -> Self {
        Self {
            tokenizer,
            context,
            needs_mask,
        }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The most tokens of a caption.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The tokens of a row, where the longest caption has so many.
    pub fn row_length(&self, longest: usize) -> usize {
        self.tokenizer.padding().row_length(longest, self.context)
    }

    /// Token ids of captions, padded as the tower needs them.
    ///
    /// # Errors
    ///
    /// If a caption has no encoding.
    pub fn read<S: AsRef<str>>(&self, captions: &[S]) -> anyhow::Result<HostCaptions> {
        let TokenBatch {
            ids,
            mask,
            batch,
            tokens,
            ..
        } = self.tokenizer.encode_batch(captions, self.context)?;
        let mask = self.needs_mask.then_some(mask);
        Ok(HostCaptions::new(ids, mask, [batch, tokens]))
    }

    /// The token ids of one caption, special ones included, without padding.
    ///
    /// # Errors
    ///
    /// If the caption has no encoding.
    pub fn tokens(&self, caption: &str) -> anyhow::Result<Vec<i64>> {
        let mut batch = self.tokenizer.encode_batch(&[caption], self.context)?;
        batch.ids.truncate(batch.lengths[0]);
        Ok(batch.ids)
    }

    /// Tokens of each caption of a source.
    ///
    /// # Errors
    ///
    /// If a caption has no encoding.
    pub fn lengths(&self, source: &dyn Source) -> anyhow::Result<Vec<u16>> {
        const CAPTIONS: usize = 4096;
        let mut lengths = Vec::with_capacity(source.len());
        for start in (0..source.len()).step_by(CAPTIONS) {
            let rows = start..(start + CAPTIONS).min(source.len());
            let captions: Vec<_> = rows.map(|row| source.caption(row)).collect();
            let batch = self.tokenizer.encode_batch(&captions, self.context)?;
            lengths.extend(batch.lengths.into_iter().map(|n| n as u16));
        }
        Ok(lengths)
    }
}
