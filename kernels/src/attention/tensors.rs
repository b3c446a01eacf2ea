//! The core of attention as tensor operations, for any device, in tiles of bounded size.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData, activation::softmax};

use super::{Mask, scale};
use crate::{Dropout, product};

/// Scores that a tile has at most, unless one query of all heads has more: 64 MB of float32.
pub(super) const TILE: usize = 1 << 24;

/// What each query mixes of the values, `[batch, queries, d_model]`.
pub(super) fn forward(
    qkv: [Tensor<3>; 3],
    n_heads: usize,
    mask: &Mask,
    dropout: Option<Dropout>,
    tile: usize,
) -> Tensor<3> {
    let sizes = Sizes::new(&qkv, n_heads);
    let [q, k, v] = qkv.map(|x| heads(x, n_heads));
    let mut parts = Vec::new();
    for sequences in sizes.sequences(tile) {
        let of = |x: &Tensor<4>| part(x, &sequences);
        let (q, k, v) = (of(&q), of(&k), of(&v));
        let mut mixed = Vec::new();
        for queries in sizes.queries(tile) {
            let rows = Rows {
                sequences: sequences.clone(),
                queries,
            };
            let weights = sizes.weights(rows.of(&q), &k, mask, &rows);
            let weights = match sizes.factors(dropout, &rows, &weights) {
                None => weights,
                Some(factors) => weights * factors,
            };
            mixed.push(product(weights, v.clone()));
        }
        parts.push(cat(mixed, 2));
    }
    merge(cat(parts, 0))
}

/// The cotangents of queries, keys and values.
pub(super) fn pull(
    qkv: [Tensor<3>; 3],
    n_heads: usize,
    mask: &Mask,
    dropout: Option<Dropout>,
    cotangent: Tensor<3>,
    tile: usize,
) -> [Tensor<3>; 3] {
    let sizes = Sizes::new(&qkv, n_heads);
    let [q, k, v, cotangent] = qkv_and(qkv, cotangent).map(|x| heads(x, n_heads));
    let mut parts: [Vec<Tensor<4>>; 3] = Default::default();
    for sequences in sizes.sequences(tile) {
        let of = |x: &Tensor<4>| part(x, &sequences);
        let (q, k, v, cotangent) = (of(&q), of(&k), of(&v), of(&cotangent));
        let mut q_parts = Vec::new();
        let mut sums: Option<[Tensor<4>; 2]> = None;
        for queries in sizes.queries(tile) {
            let rows = Rows {
                sequences: sequences.clone(),
                queries,
            };
            let (q, cotangent) = (rows.of(&q), rows.of(&cotangent));
            let weights = sizes.weights(q.clone(), &k, mask, &rows);
            let factors = sizes.factors(dropout, &rows, &weights);
            let dropped = |x: Tensor<4>| match &factors {
                None => x,
                Some(factors) => x * factors.clone(),
            };
            let kept = dropped(weights.clone()).swap_dims(2, 3);
            let v_part = product(kept, cotangent.clone());
            let weights_cotangent = dropped(product(cotangent, v.clone().swap_dims(2, 3)));
            let scores = pull_softmax(weights, weights_cotangent) * scale(sizes.d_head);
            q_parts.push(product(scores.clone(), k.clone()));
            let k_part = product(scores.swap_dims(2, 3), q);
            sums = Some(match sums {
                None => [k_part, v_part],
                Some([k, v]) => [k + k_part, v + v_part],
            });
        }
        parts[0].push(cat(q_parts, 2));
        for (all, sum) in parts[1..].iter_mut().zip(sums.into_iter().flatten()) {
            all.push(sum);
        }
    }
    parts.map(|parts| merge(cat(parts, 0)))
}

fn qkv_and([q, k, v]: [Tensor<3>; 3], cotangent: Tensor<3>) -> [Tensor<3>; 4] {
    [q, k, v, cotangent]
}

/// Some queries of some sequences.
struct Rows {
    sequences: Range<usize>,
    queries: Range<usize>,
}

impl Rows {
    /// The rows of `[sequences, n_heads, queries, d_head]`, of the right sequences already.
    fn of(&self, x: &Tensor<4>) -> Tensor<4> {
        let [sequences, heads, queries, d_head] = x.dims();
        if self.queries.len() == queries {
            return x.clone();
        }
        x.clone()
            .slice([0..sequences, 0..heads, self.queries.clone(), 0..d_head])
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    n_heads: usize,
    queries: usize,
    keys: usize,
    d_head: usize,
}

impl Sizes {
    fn new([q, k, _]: &[Tensor<3>; 3], n_heads: usize) -> Self {
        let ([batch, queries, d_model], [_, keys, _]) = (q.dims(), k.dims());
        Self {
            batch,
            n_heads,
            queries,
            keys,
            d_head: d_model / n_heads,
        }
    }

    /// The sequences of each tile.
    fn sequences(self, tile: usize) -> impl Iterator<Item = Range<usize>> {
        let each = (self.n_heads * self.queries * self.keys).max(1);
        chunks(self.batch, tile / each)
    }

    /// The queries of each tile, all of them unless one sequence has more than a tile holds.
    fn queries(self, tile: usize) -> impl Iterator<Item = Range<usize>> {
        let each = (self.n_heads * self.keys).max(1);
        chunks(self.queries, tile / each)
    }

    /// The attention weights `[sequences, n_heads, queries, keys]` of a tile.
    fn weights(self, q: Tensor<4>, k: &Tensor<4>, mask: &Mask, rows: &Rows) -> Tensor<4> {
        let scores = product(q, k.clone().swap_dims(2, 3)) * scale(self.d_head);
        let device = scores.device();
        let hidden = mask.hidden(
            rows.sequences.clone(),
            rows.queries.clone(),
            [self.queries, self.keys],
            &device.clone().without_autodiff(),
        );
        let Some(hidden) = hidden else {
            return softmax(scores, 3);
        };
        let hidden = if device.is_autodiff() {
            hidden.autodiff()
        } else {
            hidden
        };
        let hidden = hidden.expand(scores.dims());
        let weights = softmax(scores.mask_fill(hidden.clone(), f32::MIN), 3);
        if mask.may_hide_all() {
            weights.mask_fill(hidden, 0.0)
        } else {
            weights
        }
    }

    /// What a dropout multiplies the weights of a tile by.
    fn factors(
        self,
        dropout: Option<Dropout>,
        rows: &Rows,
        weights: &Tensor<4>,
    ) -> Option<Tensor<4>> {
        let dropout = dropout?;
        let row = rows.queries.len() * self.keys;
        let mut factors = vec![0.0; rows.sequences.len() * self.n_heads * row];
        for (i, factors) in factors.chunks_mut(row.max(1)).enumerate() {
            let head = rows.sequences.start * self.n_heads + i;
            let first = (head * self.queries + rows.queries.start) * self.keys;
            dropout.factors(first, factors);
        }
        let device = weights.device();
        let data = TensorData::new(factors, weights.dims());
        let factors = Tensor::from_data(data, &device.clone().without_autodiff());
        Some(if device.is_autodiff() {
            factors.autodiff()
        } else {
            factors
        })
    }
}

/// `P * (dP - sum(dP * P))` along the last axis.
fn pull_softmax(weights: Tensor<4>, cotangent: Tensor<4>) -> Tensor<4> {
    let mean = (weights.clone() * cotangent.clone()).sum_dim(3);
    weights * (cotangent - mean)
}

/// `0..count` in runs of `size`, at least 1.
fn chunks(count: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    let size = size.clamp(1, count.max(1));
    let starts = (0..count.max(1)).step_by(size);
    starts.map(move |start| start..(start + size).min(count))
}

fn part(x: &Tensor<4>, sequences: &Range<usize>) -> Tensor<4> {
    let [batch, heads, tokens, d_head] = x.dims();
    if sequences.len() == batch {
        return x.clone();
    }
    x.clone()
        .slice([sequences.clone(), 0..heads, 0..tokens, 0..d_head])
}

fn cat(mut parts: Vec<Tensor<4>>, axis: usize) -> Tensor<4> {
    match parts.len() {
        1 => parts.swap_remove(0),
        _ => Tensor::cat(parts, axis),
    }
}

/// `[batch, tokens, d_model] -> [batch, n_heads, tokens, d_head]`, a view.
fn heads(x: Tensor<3>, n_heads: usize) -> Tensor<4> {
    let [batch, tokens, d_model] = x.dims();
    x.reshape([batch, tokens, n_heads, d_model / n_heads])
        .swap_dims(1, 2)
}

/// `[batch, n_heads, tokens, d_head] -> [batch, tokens, d_model]`.
fn merge(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, tokens, d_head] = x.dims();
    x.swap_dims(1, 2).reshape([batch, tokens, heads * d_head])
}
