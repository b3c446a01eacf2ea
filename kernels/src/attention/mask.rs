//! Which keys a query sees.

use std::ops::Range;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// Which keys each query sees: those that are real, within the range that its place gives it.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    /// True for a real token, false for padding, `[batch, keys]`.
    pub real: Option<Tensor<2, Bool>>,
    /// The range of keys, by the query's place.
    pub sees: Sees,
}

/// The range of keys that a query sees.
#[derive(Clone, Debug, Default)]
pub enum Sees {
    /// All of them.
    #[default]
    All,
    /// Itself and those before it.
    Causal,
    /// Itself and those before it, and the first so many keys of its sequence, `[batch, 1]`.
    Prefix(Tensor<2, Int>),
    /// The tokens of one picture (Alayrac et al. 2022, "Flamingo").
    Pictures {
        /// Which picture each query sees, counted from 1; 0 sees none. `[batch, queries]`.
        of: Tensor<2, Int>,
        /// Keys of each picture.
        tokens: usize,
    },
}

impl Mask {
    /// Each query sees itself and what is before it.
    pub fn causal() -> Self {
        Self {
            real: None,
            sees: Sees::Causal,
        }
    }

    /// As [`causal`](Self::causal), but for the first keys of each sequence, which all queries see: `lengths` `[batch, 1]`.
    pub fn prefix(lengths: Tensor<2, Int>) -> Self {
        Self {
            real: None,
            sees: Sees::Prefix(lengths),
        }
    }

    /// Each query sees the keys of one picture, `tokens` of them each: `of` `[batch, queries]` counts from 1, 0 sees none.
    pub fn pictures(of: Tensor<2, Int>, tokens: usize) -> Self {
        Self {
            real: None,
            sees: Sees::Pictures { of, tokens },
        }
    }

    /// The same for sequences of which only some tokens are real, `[batch, keys]`.
    pub fn with_real(self, real: Option<Tensor<2, Bool>>) -> Self {
        Self { real, ..self }
    }

    /// Panics unless it is one for sequences of these sizes.
    pub(super) fn check(&self, batch: usize, [queries, keys]: [usize; 2]) {
        if let Some(real) = &self.real {
            assert_eq!(
                real.dims(),
                [batch, keys],
                "real tokens are `[batch, keys]`"
            );
        }
        match &self.sees {
            Sees::All | Sees::Causal => {}
            Sees::Prefix(lengths) => assert_eq!(lengths.dims(), [batch, 1], "a length a sequence"),
            Sees::Pictures { of, .. } => {
                assert_eq!(of.dims(), [batch, queries], "a picture a query");
            }
        }
    }

    /// The mask in the host's memory.
    pub(super) fn read(&self) -> Read {
        let ints = |ids: &Tensor<2, Int>| -> Vec<usize> {
            let data = ids.clone().into_data();
            data.iter::<i64>().map(|id| id.max(0) as usize).collect()
        };
        Read {
            real: self
                .real
                .as_ref()
                .map(|real| real.clone().into_data().iter::<bool>().collect()),
            sees: match &self.sees {
                Sees::All => ReadSees::All,
                Sees::Causal => ReadSees::Causal,
                Sees::Prefix(lengths) => ReadSees::Prefix(ints(lengths)),
                Sees::Pictures { of, tokens } => ReadSees::Pictures {
                    of: ints(of),
                    tokens: *tokens,
                },
            },
        }
    }

    /// Whether a query may see no key.
    pub(super) fn may_hide_all(&self) -> bool {
        self.real.is_some() || matches!(self.sees, Sees::Pictures { .. })
    }

    /// True where a key is hidden, `[rows of the batch or 1, 1, queries of the range, keys]`; none if nothing is.
    pub(super) fn hidden(
        &self,
        sequences: Range<usize>,
        queries: Range<usize>,
        [all_queries, keys]: [usize; 2],
        device: &Device,
    ) -> Option<Tensor<4, Bool>> {
        let real = self.real.clone().map(|real| {
            let real = real.slice([sequences.clone(), 0..keys]);
            real.bool_not().unsqueeze_dims::<4>(&[1, 2])
        });
        let read = match &self.sees {
            Sees::All => None,
            Sees::Causal => Some((0..1, Read::causal())),
            _ => Some((sequences, self.read())),
        };
        let by_place = read.map(|(sequences, read)| {
            let mut hidden = Vec::with_capacity(sequences.len() * queries.len() * keys);
            for sequence in sequences.clone() {
                for query in queries.clone() {
                    let seen = read.seen(sequence, query, [all_queries, keys]);
                    hidden.extend((0..keys).map(|key| !seen.contains(&key)));
                }
            }
            let shape = [sequences.len(), 1, queries.len(), keys];
            Tensor::from_data(TensorData::new(hidden, shape), device)
        });
        match (real, by_place) {
            (Some(real), Some(by_place)) => {
                let [sequences, ..] = real.dims();
                let shape = [sequences, 1, queries.len(), keys];
                Some(real.expand(shape).bool_or(by_place.expand(shape)))
            }
            (real, by_place) => real.or(by_place),
        }
    }
}

/// A [`Mask`] in the host's memory.
pub(super) struct Read {
    real: Option<Vec<bool>>,
    sees: ReadSees,
}

enum ReadSees {
    All,
    Causal,
    Prefix(Vec<usize>),
    Pictures { of: Vec<usize>, tokens: usize },
}

impl Read {
    fn causal() -> Self {
        Self {
            real: None,
            sees: ReadSees::Causal,
        }
    }

    /// The real tokens of a sequence.
    pub(super) fn real(&self, sequence: usize, keys: usize) -> Option<&[bool]> {
        let real = self.real.as_deref()?;
        Some(&real[sequence * keys..][..keys])
    }

    /// The keys that a query sees by its place.
    pub(super) fn seen(
        &self,
        sequence: usize,
        query: usize,
        [queries, keys]: [usize; 2],
    ) -> Range<usize> {
        match &self.sees {
            ReadSees::All => 0..keys,
            ReadSees::Causal => 0..(query + 1).min(keys),
            ReadSees::Prefix(lengths) => 0..(query + 1).max(lengths[sequence]).min(keys),
            ReadSees::Pictures { of, tokens } => match of[sequence * queries + query] {
                0 => 0..0,
                picture => {
                    let end = (picture * tokens).min(keys);
                    end.min((picture - 1) * tokens)..end
                }
            },
        }
    }
}
