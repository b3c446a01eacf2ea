//! From rows of a source to captions with hidden words.

use data::{Place, Reason, SampleError, Source};
use rayon::prelude::*;

use super::masking::Masking;
use crate::input::{
    caption_reader::{CaptionReader, HostCaptions},
    loader::Collate,
};

/// The epoch of evaluations, which no training reaches.
const EVALUATION: u64 = u64::MAX;

/// How captions are read.
pub(crate) struct Inputs {
    pub(super) captions: CaptionReader,
    pub(super) masking: Masking,
    pub(super) seed: u64,
}

/// A caption with hidden words, without padding.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Caption {
    ids: Vec<i64>,
    labels: Vec<Option<usize>>,
}

/// A batch in host memory.
pub(crate) struct HostBatch {
    pub(super) captions: HostCaptions,
    pub(super) labels: Vec<Option<usize>>,
}

impl Inputs {
    /// The captions of some rows; the words that are hidden are others in each epoch.
    ///
    /// # Errors
    ///
    /// If a caption has no encoding.
    pub(super) fn batch(
        &self,
        source: &dyn Source,
        rows: &[usize],
        epoch: Option<u64>,
    ) -> anyhow::Result<HostBatch> {
        let captions = rows.iter().map(|row| self.hidden(source, *row, epoch));
        let captions = captions.collect::<anyhow::Result<Vec<_>>>()?;
        Ok(self.padded(captions.iter()))
    }

    fn hidden(
        &self,
        source: &dyn Source,
        row: usize,
        epoch: Option<u64>,
    ) -> anyhow::Result<Caption> {
        let mut ids = self.captions.tokens(&source.caption(row))?;
        let draw = [self.seed, epoch.unwrap_or(EVALUATION), row as u64];
        let labels = self.masking.hide(&mut ids, draw);
        Ok(Caption { ids, labels })
    }

    /// Captions as rows of equal length.
    fn padded<'c>(&self, captions: impl Iterator<Item = &'c Caption> + Clone) -> HostBatch {
        let longest = captions.clone().map(|caption| caption.ids.len()).max();
        let tokens = self.captions.row_length(longest.unwrap_or(1));
        let pad = i64::from(self.captions.tokenizer().pad_id());
        let (mut ids, mut mask, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        let mut rows = 0;
        for caption in captions {
            rows += 1;
            let end = rows * tokens;
            ids.extend(&caption.ids);
            labels.extend(&caption.labels);
            mask.resize(ids.len(), true);
            ids.resize(end, pad);
            labels.resize(end, None);
            mask.resize(end, false);
        }
        HostBatch {
            captions: HostCaptions::new(ids, Some(mask), [rows, tokens]),
            labels,
        }
    }
}

impl Collate for Inputs {
    type Item = Caption;
    type Batch = HostBatch;

    /// A caption that has no word is of no use.
    fn items(
        &self,
        source: &dyn Source,
        rows: &[usize],
        epoch: u64,
    ) -> Vec<Result<(usize, Caption), SampleError>> {
        let rows = rows.par_iter();
        rows.map(|row| {
            let bad = |reason| SampleError {
                origin: source.name().to_string(),
                place: Place::Key(source.image_key(*row).into_owned()),
                reason,
            };
            let caption = self.hidden(source, *row, Some(epoch));
            let caption = caption.map_err(|error| {
                bad(Reason::NoTokens {
                    message: error.to_string(),
                })
            })?;
            if caption.labels.iter().all(Option::is_none) {
                return Err(bad(Reason::NoWord {
                    caption: source.caption(*row).into_owned(),
                }));
            }
            Ok((*row, caption))
        })
        .collect()
    }

    fn collate(
        &self,
        _source: &dyn Source,
        captions: &[(usize, Caption)],
    ) -> anyhow::Result<HostBatch> {
        Ok(self.padded(captions.iter().map(|(_, caption)| caption)))
    }

    fn lengths(&self, source: &dyn Source) -> anyhow::Result<Vec<u16>> {
        self.captions.lengths(source)
    }
}
