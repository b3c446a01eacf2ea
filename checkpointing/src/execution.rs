//! How a step is executed: in parts side by side, each kept or recomputed as a policy says.

use std::ops::Range;

use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::{Backward, Chain, Gradients, Pass, Policy, Seed, State, Streams, forward};

/// How a step is executed. Nothing of it changes the result, but for the order of sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execution {
    /// What is kept between forward and backward.
    pub policy: Policy,
    /// Parts of a micro-batch that are computed side by side, each by one of rayon's threads; 1 computes it as a whole,
    /// on the thread that calls. With dropout or patch dropout each part draws as a micro-batch of its own.
    ///
    /// For processors: on a GPU, where Burn 0.22 has a queue for each thread, sums of what two threads computed came too
    /// early and were wrong. There it must be 1.
    pub parts: usize,
}

impl Default for Execution {
    fn default() -> Self {
        Self {
            policy: Policy::StoreAll,
            parts: 1,
        }
    }
}

impl Execution {
    /// The rows of each part of a micro-batch: runs of nearly the same length, in order; fewer if there are fewer rows.
    pub fn split(&self, rows: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let parts = self.parts.clamp(1, rows.max(1));
        let start = move |part: usize| part * rows / parts;
        (0..parts).map(move |part| start(part)..start(part + 1))
    }

    /// The gradients of a loss that all parts of a micro-batch have together: their forward passes side by side, the loss of
    /// their outputs, and their pullbacks in lockstep.
    ///
    /// `loss` gives the cotangent of each output, and adds the gradients of what it has parameters for itself.
    ///
    /// # Panics
    ///
    /// Panics if `loss` gives more or fewer cotangents than there are parts.
    pub fn step(
        &self,
        chain: &Chain<'_>,
        parts: Vec<(State, Seed)>,
        loss: impl FnOnce(Vec<Tensor<3>>, &mut Gradients) -> Vec<Tensor<3>>,
        gradients: &mut Gradients,
    ) {
        let schedule = self.policy.schedule(chain.len());
        let recorded = side_by_side(parts, |(state, seed)| {
            forward(chain, &Pass::new(&schedule, seed), state)
        });
        let (outputs, pullbacks): (Vec<_>, Vec<_>) = recorded.into_iter().unzip();
        let outputs = outputs.into_iter().map(State::into_hidden).collect();
        let cotangents = loss(outputs, gradients);
        assert_eq!(
            cotangents.len(),
            pullbacks.len(),
            "a cotangent for each part"
        );
        let started = pullbacks.into_iter().zip(cotangents);
        let started =
            started.map(|(pullback, cotangent)| pullback.start(Streams::hidden(cotangent)));
        pull_in_lockstep(chain, started.collect(), gradients);
    }
}

/// `f` of each piece, in order.
pub fn side_by_side<P: Send, T: Send>(
    pieces: impl IntoIterator<Item = P>,
    f: impl Fn(P) -> T + Send + Sync,
) -> Vec<T> {
    let pieces: Vec<P> = pieces.into_iter().collect();
    if pieces.len() == 1 {
        pieces.into_iter().map(f).collect()
    } else {
        pieces.into_par_iter().with_max_len(1).map(f).collect()
    }
}

/// Pulls the parts of a batch back, all of them one segment before any of them the next, and adds up their gradients in
/// the order of the parts.
pub fn pull_in_lockstep(chain: &Chain<'_>, mut parts: Vec<Backward>, gradients: &mut Gradients) {
    loop {
        let stepped = side_by_side(parts.iter_mut(), |part| part.step(chain));
        if stepped.iter().all(Option::is_none) {
            return;
        }
        for step in stepped.into_iter().flatten() {
            gradients.merge(step.gradients);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_rows_in_order() {
        let split = |parts, rows| {
            let execution = Execution {
                parts,
                ..Execution::default()
            };
            execution.split(rows).collect::<Vec<_>>()
        };
        assert_eq!(split(2, 7), [0..3, 3..7]);
        assert_eq!(split(9, 2), [0..1, 1..2]);
        assert_eq!(split(0, 2), split(1, 2));
        assert_eq!(split(3, 0), split(1, 0));
    }
}
