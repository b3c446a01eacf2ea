//! Multi-head attention, with its core's pullback in closed form.

use burn::{
    module::{Initializer, Module, ParamId},
    tensor::{Bool, Device, Tensor, TensorData, activation::softmax},
};
use checkpointing::Seed;
use peft::{Linear, LinearConfig};

use crate::{
    LayerNorm,
    dropout::dropout,
    host::{HostTensor, Kernel, dot_by, exp, for_rows, largest, map_lanes, vectorise},
    pooled::PooledToken,
};

/// Sizes of an [`Attention`].
#[derive(Clone, Debug)]
pub struct AttentionConfig {
    /// Width of the hidden states.
    pub d_model: usize,
    /// Number of heads; divides `d_model`.
    pub n_heads: usize,
    /// Whether a token sees only itself and those before it.
    pub causal: bool,
    /// Whether the query, key and value maps have biases.
    pub qkv_bias: bool,
    /// The epsilon of a norm on queries and keys within each head, if there is one (timm).
    pub qk_norm: Option<f64>,
    /// Dropout on the attention weights in training.
    pub dropout: f64,
}

impl AttentionConfig {
    /// Bidirectional attention with biases, no norm on queries and keys, no dropout.
    pub fn new(d_model: usize, n_heads: usize) -> Self {
        Self {
            d_model,
            n_heads,
            causal: false,
            qkv_bias: true,
            qk_norm: None,
            dropout: 0.0,
        }
    }

    /// Initialises the layer. Each map may be drawn anew by the model.
    pub fn init(&self, device: &Device) -> Attention {
        let d_model = self.d_model;
        // torch's MultiheadAttention: Xavier's bound for the three maps as one, `[3 d_model, d_model]`.
        let bound = (1.5 / d_model.max(1) as f64).sqrt();
        let xavier = Initializer::Uniform {
            min: -bound,
            max: bound,
        };
        let qkv = || {
            LinearConfig::new(d_model, d_model)
                .with_bias(self.qkv_bias)
                .with_initializer(xavier.clone())
                .init(device)
        };
        let norm = || {
            self.qk_norm
                .map(|eps| LayerNorm::new(d_model / self.n_heads, eps, device))
        };
        Attention {
            query: qkv(),
            key: qkv(),
            value: qkv(),
            output: LinearConfig::new(d_model, d_model).init(device),
            query_norm: norm(),
            key_norm: norm(),
            n_heads: self.n_heads,
            causal: self.causal,
            dropout: self.dropout,
        }
    }
}

/// Scaled dot-product attention in several heads (Vaswani et al. 2017).
#[derive(Module, Debug)]
pub struct Attention {
    /// The query map.
    pub query: Linear,
    /// The key map.
    pub key: Linear,
    /// The value map.
    pub value: Linear,
    /// The output map.
    pub output: Linear,
    /// A norm on the queries of each head.
    pub query_norm: Option<LayerNorm>,
    /// A norm on the keys of each head.
    pub key_norm: Option<LayerNorm>,
    n_heads: usize,
    causal: bool,
    dropout: f64,
}

impl Attention {
    /// Attention from `queries` to `keys`, whose real tokens `mask` tells.
    ///
    /// Shapes: `[batch, queries, d_model]`, `[batch, keys, d_model]`, mask `[batch, keys]`
    /// -> `[batch, queries, d_model]`.
    pub fn forward(
        &self,
        queries: Tensor<3>,
        keys: Tensor<3>,
        mask: Option<&Tensor<2, Bool>>,
        seed: Seed,
    ) -> Tensor<3> {
        self.mix(queries, keys, mask, self.causal, seed)
    }

    /// Attention of one query of each sequence, `[batch, 1, d_model]`, to all that `seen` tells, `[batch, keys]`.
    pub(crate) fn forward_one(
        &self,
        query: Tensor<3>,
        keys: Tensor<3>,
        seen: Option<&Tensor<2, Bool>>,
        seed: Seed,
    ) -> Tensor<3> {
        self.mix(query, keys, seen, false, seed)
    }

    fn mix(
        &self,
        queries: Tensor<3>,
        keys: Tensor<3>,
        mask: Option<&Tensor<2, Bool>>,
        causal: bool,
        seed: Seed,
    ) -> Tensor<3> {
        let q = self.normed(&self.query_norm, self.heads(self.query.forward(queries)));
        let k = self.normed(&self.key_norm, self.heads(self.key.forward(keys.clone())));
        let v = self.heads(self.value.forward(keys));
        let weights = dropout(self.weights(q, k, mask, causal), self.dropout, seed);
        self.output.forward(self.merge(weights.matmul(v)))
    }

    /// Whether the pullback in closed form covers this layer.
    pub(crate) fn is_plain(&self, seed: Seed) -> bool {
        self.query_norm.is_none()
            && self.key_norm.is_none()
            && (self.dropout == 0.0 || seed.training().is_none())
    }

    fn normed(&self, norm: &Option<LayerNorm>, heads: Tensor<4>) -> Tensor<4> {
        match norm {
            None => heads,
            Some(norm) => norm.forward(heads),
        }
    }

    /// `[batch, tokens, d_model] -> [batch, n_heads, tokens, d_head]`, a view.
    pub fn heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, tokens, d_model] = x.dims();
        x.reshape([batch, tokens, self.n_heads, d_model / self.n_heads])
            .swap_dims(1, 2)
    }

    /// `[batch, n_heads, tokens, d_head] -> [batch, tokens, d_model]`.
    pub fn merge(&self, x: Tensor<4>) -> Tensor<3> {
        let [batch, heads, tokens, d_head] = x.dims();
        x.swap_dims(1, 2).reshape([batch, tokens, heads * d_head])
    }

    /// Attention weights, `[batch, n_heads, queries, keys]`.
    pub fn weights(
        &self,
        q: Tensor<4>,
        k: Tensor<4>,
        mask: Option<&Tensor<2, Bool>>,
        causal: bool,
    ) -> Tensor<4> {
        let scale = self.scale(&q);
        let scores = q.matmul(k.swap_dims(2, 3));
        match HostTensor::open(scores) {
            Ok(scores) => softmax_host(scores, scale, mask, causal),
            Err(scores) => softmax_tensor(scores * scale, mask, causal),
        }
    }

    /// Whether a token sees only itself and those before it.
    pub(crate) fn is_causal(&self) -> bool {
        self.causal
    }

    fn scale(&self, heads: &Tensor<4>) -> f32 {
        1.0 / (heads.dims()[3] as f32).sqrt()
    }

    /// The cotangents of `(q, k, v)` for the cotangent of the mixed values. Shapes: weights
    /// `[batch, n_heads, queries, keys]`, the others `[batch, n_heads, tokens, d_head]`.
    pub fn pull_core(
        &self,
        [q, k, v]: [Tensor<4>; 3],
        weights: Tensor<4>,
        cotangent: Tensor<4>,
    ) -> [Tensor<4>; 3] {
        let scale = self.scale(&q);
        let v_cotangent = weights.clone().swap_dims(2, 3).matmul(cotangent.clone());
        let weights_cotangent = cotangent.matmul(v.swap_dims(2, 3));
        let scores = pull_softmax(weights, weights_cotangent, scale);
        let q_cotangent = scores.clone().matmul(k);
        let k_cotangent = scores.swap_dims(2, 3).matmul(q);
        [q_cotangent, k_cotangent, v_cotangent]
    }

    /// The pullback of the three input maps. Shapes: all `[rows, d_model]`; with a pooled token its query's `[batch,
    /// d_model]`.
    pub(crate) fn pull_qkv(
        &self,
        input: Tensor<2>,
        cotangents: [Tensor<2>; 3],
        pooled: Option<&PooledToken>,
        sink: &mut dyn FnMut(ParamId, Tensor<1>),
    ) -> Tensor<2> {
        let [q, k, v] = cotangents;
        let queries = match pooled {
            None => input.clone(),
            Some(pooled) => pooled.pick(input.clone()),
        };
        self.query.pull_parameters(queries, q.clone(), sink);
        self.key.pull_parameters(input.clone(), k.clone(), sink);
        self.value.pull_parameters(input, v.clone(), sink);
        let all = self.key.pull_input(k) + self.value.pull_input(v);
        let queries = self.query.pull_input(q);
        match pooled {
            None => all + queries,
            Some(pooled) => pooled.put(all, queries),
        }
    }
}

fn softmax_tensor(scores: Tensor<4>, mask: Option<&Tensor<2, Bool>>, causal: bool) -> Tensor<4> {
    let [_, _, queries, keys] = scores.dims();
    let mut scores = scores;
    if causal {
        let hidden: Vec<bool> = (0..queries)
            .flat_map(|q| (0..keys).map(move |k| k > q))
            .collect();
        let data = TensorData::new(hidden, [1, 1, queries, keys]);
        let hidden = Tensor::<4, Bool>::from_data(data, &scores.device());
        scores = scores.mask_fill(hidden, f32::MIN);
    }
    if let Some(mask) = mask {
        let hidden = mask.clone().bool_not().unsqueeze_dims::<4>(&[1, 2]);
        scores = scores.mask_fill(hidden, f32::MIN);
    }
    softmax(scores, 3)
}

/// Scale, mask and softmax in one pass over the scores.
fn softmax_host(
    scores: HostTensor<4>,
    scale: f32,
    mask: Option<&Tensor<2, Bool>>,
    causal: bool,
) -> Tensor<4> {
    let mut scores = scores;
    let [_, heads, queries, keys] = scores.dims();
    let real: Option<Vec<bool>> =
        mask.map(|mask| mask.clone().into_data().iter::<bool>().collect());
    for_rows(scores.slice_mut(), keys, |first, scores| {
        vectorise(Softmax {
            scores,
            first,
            shape: [heads, queries, keys],
            scale,
            causal,
            real: real.as_deref(),
        });
    });
    scores.close()
}

/// Turns rows of scores into attention weights.
struct Softmax<'a> {
    scores: &'a mut [f32],
    /// The number of the first row among those of all batches, heads and queries.
    first: usize,
    /// Heads, queries, keys.
    shape: [usize; 3],
    scale: f32,
    causal: bool,
    /// The real tokens, `[batch, keys]`.
    real: Option<&'a [bool]>,
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let [heads, queries, keys] = self.shape;
        for (i, row) in self.scores.chunks_exact_mut(keys).enumerate() {
            let (query, batch) = (
                (self.first + i) % queries,
                (self.first + i) / (heads * queries),
            );
            if let Some(real) = self.real {
                for (x, real) in row.iter_mut().zip(&real[batch * keys..]) {
                    *x = if *real { *x } else { f32::NEG_INFINITY };
                }
            }
            let seen = if self.causal {
                (query + 1).min(keys)
            } else {
                keys
            };
            let (seen, hidden) = row.split_at_mut(seen);
            softmax_row(seen, self.scale);
            hidden.fill(0.0);
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

/// `scale * P * (dP - sum(dP * P))` along the last axis.
fn pull_softmax(weights: Tensor<4>, cotangent: Tensor<4>, scale: f32) -> Tensor<4> {
    let [_, _, _, keys] = weights.dims();
    let weights = match HostTensor::open(weights) {
        Ok(weights) => weights,
        Err(weights) => return pull_softmax_tensor(weights, cotangent, scale),
    };
    let mut cotangent = match HostTensor::open(cotangent) {
        Ok(cotangent) => cotangent,
        Err(cotangent) => return pull_softmax_tensor(weights.close(), cotangent, scale),
    };
    let p = weights.slice();
    for_rows(cotangent.slice_mut(), keys, |first, cotangent| {
        let weights = &p[first * keys..][..cotangent.len()];
        vectorise(PullSoftmax {
            weights,
            cotangent,
            keys,
            scale,
        });
    });
    cotangent.close()
}

/// Turns rows of the weights' cotangent into the scores'.
struct PullSoftmax<'a> {
    weights: &'a [f32],
    cotangent: &'a mut [f32],
    keys: usize,
    scale: f32,
}

impl Kernel for PullSoftmax<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let rows = self.weights.chunks_exact(self.keys);
        for (p, g) in rows.zip(self.cotangent.chunks_exact_mut(self.keys)) {
            let mean = dot_by(p, g, |p, g| p * g);
            for (g, p) in g.iter_mut().zip(p) {
                *g = self.scale * p * (*g - mean);
            }
        }
    }
}

fn pull_softmax_tensor(weights: Tensor<4>, cotangent: Tensor<4>, scale: f32) -> Tensor<4> {
    let mean = (weights.clone() * cotangent.clone()).sum_dim(3);
    weights * (cotangent - mean) * scale
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn host_softmax_equals_tensor_operations() {
        let device = testing::host();
        let mask = Tensor::<2, Bool>::from_data(
            [
                [true, true, true, false, false],
                [true, true, false, true, true],
            ],
            &device,
        );
        for causal in [false, true] {
            for mask in [None, Some(&mask)] {
                let scores =
                    Tensor::<4>::random([2, 3, 5, 5], Distribution::Normal(0.0, 4.0), &device);
                let Ok(host) = HostTensor::open(scores.clone()) else {
                    panic!("flex is host memory");
                };
                let got = softmax_host(host, 0.7, mask, causal);
                let want = softmax_tensor(scores.clone() * 0.7, mask, causal);
                testing::assert_close(&got, &want, 1e-6);

                let pulled = pull_softmax(got.clone(), scores.clone(), 0.7);
                let want = pull_softmax_tensor(got, scores, 0.7);
                testing::assert_close(&pulled, &want, 2e-6);
            }
        }
    }
}
