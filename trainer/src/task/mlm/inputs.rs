//! From rows of a source to captions with hidden words.

use data::{Ledger, Place, Reason, SampleError, Source};
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
    /// The captions of some rows for an evaluation; one that has no encoding goes to the ledger.
    pub(super) fn batch(
        &self,
        source: &dyn Source,
        rows: &[usize],
        ledger: &mut Ledger,
    ) -> HostBatch {
        let mut captions = Vec::with_capacity(rows.len());
        for row in rows {
            match self.hidden(source, *row, None) {
                Ok(caption) => captions.push(caption),
                Err(error) => ledger.record(not_encoded(source, *row, &error)),
            }
        }
        self.padded(captions.iter())
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

/// A caption that has no encoding.
fn not_encoded(source: &dyn Source, row: usize, error: &anyhow::Error) -> SampleError {
    let message = error.to_string();
    bad(source, row, Reason::NoTokens { message })
}

fn bad(source: &dyn Source, row: usize, reason: Reason) -> SampleError {
    SampleError {
        origin: source.name().to_string(),
        place: Place::Key(source.image_key(row).into_owned()),
        reason,
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
            let caption = self.hidden(source, *row, Some(epoch));
            let caption = caption.map_err(|error| not_encoded(source, *row, &error))?;
            if caption.labels.iter().all(Option::is_none) {
                let caption = source.caption(*row).into_owned();
                return Err(bad(source, *row, Reason::NoWord { caption }));
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
