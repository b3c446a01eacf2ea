//! The core of attention as one pass over each head in host memory, a tile of queries at a time.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{
    Mask,
    mask::Read,
    products::{Panels, store},
};
use crate::{
    Dropout,
    host::{HostTensor, Kernel, LANES, dot_by, exp, largest, map_lanes, vectorise},
};

/// Heads that make a task, with memory of its own for panels.
const TASK: usize = 4;

/// Scores that a tile has at most: 256 KB.
const TILE: usize = 64 * 1024;

/// What each query mixes of the values, `[batch, queries, d_model]`.
pub(super) fn forward(
    [q, k, v]: [&HostTensor<3>; 3],
    heads: usize,
    mask: &Mask,
    dropout: Option<Dropout>,
) -> Tensor<3> {
    let ([batch, queries, d_model], [_, keys, _]) = (q.dims(), k.dims());
    let mask = mask.read();
    let mut mixed = vec![0.0f32; batch * queries * d_model];
    if keys == 0 {
        return q.with(mixed);
    }
    by_head(&mut mixed, batch, heads, d_model)
        .enumerate()
        .with_max_len(TASK)
        .for_each_init(Room::default, |room, (i, mixed)| {
            vectorise(Forward {
                q: Head::new(q, i, heads),
                k: Head::new(k, i, heads),
                v: Head::new(v, i, heads),
                scores: Scores {
                    head: i,
                    sequence: i / heads,
                    shape: [queries, keys, d_model / heads],
                    mask: &mask,
                    dropout,
                },
                room,
                mixed,
            });
        });
    q.with(mixed)
}

/// The cotangents of queries, keys and values, in the place of these.
pub(super) fn pull(
    qkv: [HostTensor<3>; 3],
    heads: usize,
    mask: &Mask,
    dropout: Option<Dropout>,
    cotangent: &HostTensor<3>,
) -> [Tensor<3>; 3] {
    let [mut q, mut k, mut v] = qkv;
    let ([batch, queries, d_model], [_, keys, _]) = (q.dims(), k.dims());
    let mask = mask.read();
    if keys == 0 {
        q.slice_mut().fill(0.0);
        return [q.close(), k.close(), v.close()];
    }
    let parts = |x| by_head(x, batch, heads, d_model);
    parts(q.slice_mut())
        .zip(parts(k.slice_mut()))
        .zip(parts(v.slice_mut()))
        .enumerate()
        .with_max_len(TASK)
        .for_each_init(PullRoom::default, |room, (i, ((q, k), v))| {
            vectorise(Pull {
                cotangent: Head::new(cotangent, i, heads),
                scores: Scores {
                    head: i,
                    sequence: i / heads,
                    shape: [queries, keys, d_model / heads],
                    mask: &mask,
                    dropout,
                },
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

/// The scores of one head, and what becomes of them.
struct Scores<'a> {
    /// Counting the heads of a sequence first.
    head: usize,
    sequence: usize,
    /// Queries, keys, d_head.
    shape: [usize; 3],
    mask: &'a Read,
    dropout: Option<Dropout>,
}

impl Scores<'_> {
    /// The first queries of each tile, and how many queries a tile has.
    fn tiles(&self) -> (impl Iterator<Item = usize>, usize) {
        let [queries, keys, _] = self.shape;
        let size = (TILE / keys.max(1)).max(1);
        ((0..queries).step_by(size), size)
    }

    /// Turns the scores of the queries from `first` on, rows of all keys, into weights.
    #[inline(always)]
    fn softmax(&self, first: usize, rows: &mut [f32]) {
        let [queries, keys, d_head] = self.shape;
        let scale = super::scale(d_head);
        let real = self.mask.real(self.sequence, keys);
        for (query, row) in rows.chunks_exact_mut(keys).enumerate() {
            if let Some(real) = real {
                for (x, real) in row.iter_mut().zip(real) {
                    *x = if *real { *x } else { f32::NEG_INFINITY };
                }
            }
            let seen = self
                .mask
                .seen(self.sequence, first + query, [queries, keys]);
            let (seen_end, hidden) = row.split_at_mut(seen.end);
            let (before, seen) = seen_end.split_at_mut(seen.start);
            softmax_row(seen, scale);
            before.fill(0.0);
            hidden.fill(0.0);
        }
    }

    /// What the dropout multiplies the weights of the queries from `first` on by, if there is one.
    fn factors(&self, first: usize, count: usize, factors: &mut Vec<f32>) -> bool {
        let [queries, keys, _] = self.shape;
        let Some(dropout) = self.dropout else {
            return false;
        };
        factors.resize(count * keys, 0.0);
        dropout.factors((self.head * queries + first) * keys, factors);
        true
    }
}

/// What the forward pass of a head needs beside what it is given.
#[derive(Default)]
struct Room {
    k: Panels,
    v: Panels,
    weights: Vec<f32>,
    factors: Vec<f32>,
}

/// The forward pass of one head.
struct Forward<'a, 'b> {
    q: Head<'a>,
    k: Head<'a>,
    v: Head<'a>,
    scores: Scores<'a>,
    room: &'a mut Room,
    /// `[queries, d_head]`.
    mixed: Vec<&'b mut [f32]>,
}

impl Kernel for Forward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let [queries, keys, d_head] = self.scores.shape;
        let mut mixed = self.mixed;
        let Room {
            k,
            v,
            weights,
            factors,
        } = self.room;
        k.pack_columns([d_head, keys], |key| self.k.row(key));
        v.pack([keys, d_head], |key| self.v.row(key));
        let (tiles, size) = self.scores.tiles();
        for first in tiles {
            let count = size.min(queries - first);
            weights.resize(count * keys, 0.0);
            k.times_rows(count, |query| self.q.row(first + query), put(weights, keys));
            self.scores.softmax(first, weights);
            if self.scores.factors(first, count, factors) {
                weights.iter_mut().zip(&*factors).for_each(|(x, f)| *x *= f);
            }
            let row = |query: usize| &weights[query * keys..][..keys];
            v.times_rows(count, row, put_rows(&mut mixed[first..]));
        }
    }
}

/// What the pullback of a head needs beside what it is given.
#[derive(Default)]
struct PullRoom {
    cotangent: Panels,
    q: Panels,
    k: Panels,
    k_columns: Panels,
    v_columns: Panels,
    weights: Vec<f32>,
    scores: Vec<f32>,
    factors: Vec<f32>,
}

/// The pullback of one head.
struct Pull<'a, 'b> {
    cotangent: Head<'a>,
    scores: Scores<'a>,
    q: Vec<&'b mut [f32]>,
    k: Vec<&'b mut [f32]>,
    v: Vec<&'b mut [f32]>,
    room: &'a mut PullRoom,
}

impl Kernel for Pull<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let [queries, keys, d_head] = self.scores.shape;
        let scale = super::scale(d_head);
        let (mut q, mut k, mut v) = (self.q, self.k, self.v);
        let room = self.room;
        room.k.pack([keys, d_head], |key| &*k[key]);
        room.k_columns.pack_columns([d_head, keys], |key| &*k[key]);
        room.v_columns.pack_columns([d_head, keys], |key| &*v[key]);
        let (tiles, size) = self.scores.tiles();
        for first in tiles {
            let count = size.min(queries - first);
            let cotangent_row = |query: usize| self.cotangent.row(first + query);
            room.q.pack([count, d_head], |query| &*q[first + query]);
            room.cotangent.pack([count, d_head], cotangent_row);

            let weights = &mut room.weights;
            weights.resize(count * keys, 0.0);
            let q_row = |query: usize| &*q[first + query];
            room.k_columns.times_rows(count, q_row, put(weights, keys));
            self.scores.softmax(first, weights);
            let scores = &mut room.scores;
            scores.resize(count * keys, 0.0);
            room.v_columns
                .times_rows(count, cotangent_row, put(scores, keys));

            if self.scores.factors(first, count, &mut room.factors) {
                let factors = &room.factors;
                scores.iter_mut().zip(factors).for_each(|(x, f)| *x *= f);
                pull_softmax(weights, scores, keys, scale);
                weights.iter_mut().zip(factors).for_each(|(x, f)| *x *= f);
            } else {
                pull_softmax(weights, scores, keys, scale);
            }

            let weights_row = |query: usize| &weights[query * keys..][..keys];
            let scores_row = |query: usize| &scores[query * keys..][..keys];
            room.k
                .times_rows(count, scores_row, put_rows(&mut q[first..]));
            if first == 0 {
                room.cotangent
                    .times_columns(keys, weights_row, put_rows(&mut v));
                room.q.times_columns(keys, scores_row, put_rows(&mut k));
            } else {
                room.cotangent
                    .times_columns(keys, weights_row, add_rows(&mut v));
                room.q.times_columns(keys, scores_row, add_rows(&mut k));
            }
        }
        if queries == 0 {
            k.into_iter().chain(v).for_each(|row| row.fill(0.0));
        }
    }
}

/// Turns the cotangent of weights into that of the scores before they were scaled, row by row.
#[inline(always)]
fn pull_softmax(weights: &[f32], cotangent: &mut [f32], keys: usize, scale: f32) {
    let rows = weights.chunks_exact(keys);
    for (p, g) in rows.zip(cotangent.chunks_exact_mut(keys)) {
        let mean = dot_by(p, g, |p, g| p * g);
        for (g, p) in g.iter_mut().zip(p) {
            *g = scale * p * (*g - mean);
        }
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

/// Adds parts of rows to rows.
#[inline(always)]
fn add_rows(to: &mut [&mut [f32]]) -> impl FnMut(usize, usize, &[f32; LANES]) {
    move |row, column, part| {
        for (to, x) in to[row][column..].iter_mut().zip(part) {
            *to += x;
        }
    }
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
