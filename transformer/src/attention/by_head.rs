//! The core of attention, between its maps, as one pass over each head in host memory.

use burn::tensor::{Bool, Tensor};
use rayon::prelude::*;

use super::products::{Panels, store};
use crate::host::{HostTensor, Kernel, LANES, dot_by, exp, largest, map_lanes, vectorise};

/// Heads that make a task, with memory of its own for panels.
const TASK: usize = 4;

/// The attention weights, `[batch, heads, queries, keys]`, and what they mix of the values, `[batch, queries, d_model]`.
pub(super) fn forward(
    [q, k, v]: [&HostTensor<3>; 3],
    heads: usize,
    mask: Option<&Tensor<2, Bool>>,
    causal: bool,
) -> (Tensor<4>, Tensor<3>) {
    let ([batch, queries, d_model], [_, keys, _]) = (q.dims(), k.dims());
    let real: Option<Vec<bool>> =
        mask.map(|mask| mask.clone().into_data().iter::<bool>().collect());
    let mut weights = vec![0.0f32; batch * heads * queries * keys];
    let mut mixed = vec![0.0f32; batch * queries * d_model];
    weights
        .par_chunks_mut((queries * keys).max(1))
        .zip(by_head(&mut mixed, batch, heads, d_model))
        .enumerate()
        .with_max_len(TASK)
        .for_each_init(Panels::default, |panels, (i, (weights, mixed))| {
            let sequence = i / heads;
            vectorise(Forward {
                q: Head::new(q, i, heads),
                k: Head::new(k, i, heads),
                v: Head::new(v, i, heads),
                shape: [queries, keys, d_model / heads],
                real: real.as_deref().map(|real| &real[sequence * keys..][..keys]),
                causal,
                panels,
                weights,
                mixed,
            });
        });
    (
        q.with_shape(weights, [batch, heads, queries, keys]),
        q.with(mixed),
    )
}

/// The cotangents of queries, keys and values, in the place of these.
pub(super) fn pull(
    qkv: [HostTensor<3>; 3],
    weights: &HostTensor<4>,
    cotangent: &HostTensor<3>,
) -> [Tensor<3>; 3] {
    let [mut q, mut k, mut v] = qkv;
    let [batch, heads, queries, keys] = weights.dims();
    let [_, _, d_model] = q.dims();
    let weights = weights.slice();
    let parts = |x| by_head(x, batch, heads, d_model);
    parts(q.slice_mut())
        .zip(parts(k.slice_mut()))
        .zip(parts(v.slice_mut()))
        .enumerate()
        .with_max_len(TASK)
        .for_each_init(Room::default, |room, (i, ((q, k), v))| {
            vectorise(Pull {
                weights: &weights[i * queries * keys..][..queries * keys],
                cotangent: Head::new(cotangent, i, heads),
                shape: [queries, keys, d_model / heads],
                q,
                k,
                v,
                room,
            });
        });
    [q.close(), k.close(), v.close()]
}

/// The rows of each head of `[batch, tokens, d_model]`, head by head of sequence by sequence.
fn by_head(
    data: &mut [f32],
    batch: usize,
    heads: usize,
    d_model: usize,
) -> rayon::vec::IntoIter<Vec<&mut [f32]>> {
    let tokens = data.len() / (batch * d_model).max(1);
    let mut all: Vec<Vec<&mut [f32]>> = (0..batch * heads)
        .map(|_| Vec::with_capacity(tokens))
        .collect();
    for (i, row) in data.chunks_exact_mut(d_model).enumerate() {
        let first = i / tokens * heads;
        let parts = row.chunks_exact_mut(d_model / heads);
        for (head, part) in all[first..].iter_mut().zip(parts) {
            head.push(part);
        }
    }
    all.into_par_iter()
}

/// One head of one sequence in `[batch, tokens, d_model]`.
#[derive(Clone, Copy)]
struct Head<'a> {
    rows: &'a [f32],
    first: usize,
    d_model: usize,
    d_head: usize,
}

impl<'a> Head<'a> {
    /// The `i`th, counting the heads of a sequence first.
    fn new(all: &'a HostTensor<3>, i: usize, heads: usize) -> Self {
        let [_, tokens, d_model] = all.dims();
        let d_head = d_model / heads;
        Self {
            rows: all.slice(),
            first: i / heads * tokens * d_model + i % heads * d_head,
            d_model,
            d_head,
        }
    }

    #[inline(always)]
    fn row(&self, token: usize) -> &'a [f32] {
        &self.rows[self.first + token * self.d_model..][..self.d_head]
    }
}

/// The forward pass of one head.
struct Forward<'a, 'b> {
    q: Head<'a>,
    k: Head<'a>,
    v: Head<'a>,
    /// Queries, keys, d_head.
    shape: [usize; 3],
    /// The sequence's real tokens, `[keys]`.
    real: Option<&'a [bool]>,
    causal: bool,
    panels: &'a mut Panels,
    /// `[queries, keys]`.
    weights: &'a mut [f32],
    /// `[queries, d_head]`.
    mixed: Vec<&'b mut [f32]>,
}

impl Kernel for Forward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let [queries, keys, d_head] = self.shape;
        let scale = super::scale(d_head);
        let (panels, weights, mut mixed) = (self.panels, self.weights, self.mixed);
        panels.pack_columns([d_head, keys], |key| self.k.row(key));
        panels.times_rows(queries, |query| self.q.row(query), put(weights, keys));
        for (query, row) in weights.chunks_exact_mut(keys).enumerate() {
            if let Some(real) = self.real {
                for (x, real) in row.iter_mut().zip(real) {
                    *x = if *real { *x } else { f32::NEG_INFINITY };
                }
            }
            let seen = match self.causal {
                true => (query + 1).min(keys),
                false => keys,
            };
            let (seen, hidden) = row.split_at_mut(seen);
            softmax_row(seen, scale);
            hidden.fill(0.0);
        }
        panels.pack([keys, d_head], |key| self.v.row(key));
        let row = |query| &weights[query * keys..][..keys];
        panels.times_rows(queries, row, put_rows(&mut mixed));
    }
}

/// What the pullback of a head needs beside what it is given.
#[derive(Default)]
struct Room {
    cotangent: Panels,
    q: Panels,
    k: Panels,
    v: Panels,
    scores: Vec<f32>,
}

/// The pullback of one head.
struct Pull<'a, 'b> {
    /// `[queries, keys]`.
    weights: &'a [f32],
    cotangent: Head<'a>,
    /// Queries, keys, d_head.
    shape: [usize; 3],
    q: Vec<&'b mut [f32]>,
    k: Vec<&'b mut [f32]>,
    v: Vec<&'b mut [f32]>,
    room: &'a mut Room,
}

impl Kernel for Pull<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let [queries, keys, d_head] = self.shape;
        let scale = super::scale(d_head);
        let (weights, mut q, mut k, mut v) = (self.weights, self.q, self.k, self.v);
        let Room {
            cotangent,
            q: q_panels,
            k: k_panels,
            v: v_panels,
            scores,
        } = self.room;
        let cotangent_row = |query| self.cotangent.row(query);
        q_panels.pack([queries, d_head], |query| &*q[query]);
        k_panels.pack([keys, d_head], |key| &*k[key]);
        v_panels.pack_columns([d_head, keys], |key| &*v[key]);
        cotangent.pack([queries, d_head], cotangent_row);

        let weights_row = |query| &weights[query * keys..][..keys];
        cotangent.times_columns(keys, weights_row, put_rows(&mut v));
        scores.resize(queries * keys, 0.0);
        v_panels.times_rows(queries, cotangent_row, put(scores, keys));
        for (p, g) in weights
            .chunks_exact(keys)
            .zip(scores.chunks_exact_mut(keys))
        {
            let mean = dot_by(p, g, |p, g| p * g);
            for (g, p) in g.iter_mut().zip(p) {
                *g = scale * p * (*g - mean);
            }
        }
        let scores_row = |query| &scores[query * keys..][..keys];
        k_panels.times_rows(queries, scores_row, put_rows(&mut q));
        q_panels.times_columns(keys, scores_row, put_rows(&mut k));
    }
}

/// Puts parts of rows into a matrix of `width` columns.
#[inline(always)]
fn put(to: &mut [f32], width: usize) -> impl FnMut(usize, usize, &[f32; LANES]) {
    move |row, column, part| store(&mut to[row * width..][..width][column..], part)
}

/// Puts parts of rows into rows.
#[inline(always)]
fn put_rows(to: &mut [&mut [f32]]) -> impl FnMut(usize, usize, &[f32; LANES]) {
    move |row, column, part| store(&mut to[row][column..], part)
}

#[inline(always)]
fn softmax_row(row: &mut [f32], scale: f32) {
    let top = largest(row);
    // An infinite score gives NaN, as it should, and not a weight.
    let shift = if top == f32::NEG_INFINITY { 0.0 } else { top };
    // The vectorised exponential ends at e^-87, far below the rounding of the sum; a hidden key
    // must weigh exactly nothing.
    map_lanes(row, |x| {
        let weight = exp((x - shift) * scale);
        if x == f32::NEG_INFINITY { 0.0 } else { weight }
    });
    let sum = dot_by(row, row, |x, _| x);
    let norm = if sum > 0.0 { 1.0 / sum } else { 0.0 };
    map_lanes(row, |x| x * norm);
}
