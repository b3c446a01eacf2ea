//! The one token that a tower's features are made of.

use burn::tensor::{Bool, Int, Tensor};

/// The name under which a state carries the place of the pooled token in each sequence, ids `[batch, 1]`.
///
/// A chain whose state carries it computes that token alone from the queries of its last block on: nothing reads the
/// others. Its features are the same, and a tower of `n` blocks is cheaper by about `0.8 / n`.
pub const POOLED: &str = "pooled";

/// One token of each sequence as a row of `[batch * tokens, d_model]`.
#[derive(Clone, Debug)]
pub(crate) struct PooledToken {
    place: Tensor<2, Int>,
    /// `[batch]`.
    rows: Tensor<1, Int>,
}

impl PooledToken {
    /// The tokens at `place`, `[batch, 1]`, of sequences of `tokens`.
    pub(crate) fn new(place: Tensor<2, Int>, tokens: usize) -> Self {
        let rows = rows(place.clone(), tokens);
        Self { place, rows }
    }

    /// `[batch * tokens, d_model] -> [batch, d_model]`.
    pub(crate) fn pick(&self, all: Tensor<2>) -> Tensor<2> {
        all.select(0, self.rows.clone())
    }

    /// The pullback of [`pick`](Self::pick), added to `all`.
    pub(crate) fn put(&self, all: Tensor<2>, picked: Tensor<2>) -> Tensor<2> {
        let add = burn::tensor::IndexingUpdateOp::Add;
        all.select_assign(0, self.rows.clone(), picked, add)
    }

    /// What the token sees: the real tokens of `mask`, `[batch, tokens]`, and of a causal tower none behind itself.
    pub(crate) fn sees(
        &self,
        tokens: usize,
        causal: bool,
        mask: Option<Tensor<2, Bool>>,
    ) -> Option<Tensor<2, Bool>> {
        if !causal {
            return mask;
        }
        let places = Tensor::<1, Int>::arange(0..tokens as i64, &self.place.device());
        let places = places.cast(self.place.dtype()).unsqueeze::<2>();
        let [batch, _] = self.place.dims();
        let before = places
            .expand([batch, tokens])
            .lower_equal(self.place.clone().expand([batch, tokens]));
        Some(match mask {
            None => before,
            Some(mask) => before.bool_and(mask),
        })
    }
}

/// One token of each sequence. Shapes: `[batch, tokens, d_model]`, place `[batch, 1]` -> `[batch, 1, d_model]`.
pub fn pick_token(hidden: Tensor<3>, place: Tensor<2, Int>) -> Tensor<3> {
    let [batch, tokens, d_model] = hidden.dims();
    let picked = hidden
        .reshape([batch * tokens, d_model])
        .select(0, rows(place, tokens));
    picked.reshape([batch, 1, d_model])
}

fn rows(place: Tensor<2, Int>, tokens: usize) -> Tensor<1, Int> {
    let [batch, _] = place.dims();
    let place: Tensor<1, Int> = place.reshape([batch]);
    let starts = Tensor::<1, Int>::arange(0..batch as i64, &place.device()) * tokens as i64;
    place.cast(starts.dtype()) + starts
}
