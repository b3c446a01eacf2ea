//! Multi-head attention, with its core's pullback in closed form.

mod by_head;
mod products;

use burn::{
    module::{Initializer, Module, ParamId},
    tensor::{Bool, Device, Tensor, TensorData, activation::softmax},
};
use checkpointing::Seed;
use peft::{Linear, LinearConfig, product};

use crate::{LayerNorm, dropout::dropout, host::HostTensor, pooled::PooledToken};

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

/// What the core of an [`Attention`] gives.
pub struct Core {
    /// What it was given, queries, keys and values, `[batch, tokens, d_model]`.
    pub qkv: [Tensor<3>; 3],
    /// The attention weights, `[batch, n_heads, queries, keys]`.
    pub weights: Tensor<4>,
    /// What they mix of the values, `[batch, queries, d_model]`.
    pub mixed: Tensor<3>,
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
        let q = self.normed(&self.query_norm, self.query.forward(queries));
        let k = self.normed(&self.key_norm, self.key.forward(keys.clone()));
        let v = self.value.forward(keys);
        let core = match self.drops(seed) {
            false => self.core([q, k, v], mask, causal),
            true => self.core_tensor([q, k, v], mask, causal, seed),
        };
        self.output.forward(core.mixed)
    }

    /// The core, between the maps, without dropout. Shapes: `[batch, tokens, d_model]` each, mask `[batch, keys]`.
    pub fn core(&self, qkv: [Tensor<3>; 3], mask: Option<&Tensor<2, Bool>>, causal: bool) -> Core {
        if is_open(&qkv) {
            let qkv = qkv.map(HostTensor::fetch);
            let (weights, mixed) = by_head::forward(qkv.each_ref(), self.n_heads, mask, causal);
            return Core {
                qkv: qkv.map(HostTensor::close),
                weights,
                mixed,
            };
        }
        self.core_tensor(qkv, mask, causal, Seed::evaluation())
    }

    fn core_tensor(
        &self,
        qkv: [Tensor<3>; 3],
        mask: Option<&Tensor<2, Bool>>,
        causal: bool,
        seed: Seed,
    ) -> Core {
        let [q, k, v] = qkv.clone().map(|x| self.heads(x));
        let scale = scale(q.dims()[3]);
        let scores = product(q, k.swap_dims(2, 3)) * scale;
        let weights = dropout(softmax_masked(scores, mask, causal), self.dropout, seed);
        let mixed = self.merge(product(weights.clone(), v));
        Core {
            qkv,
            weights,
            mixed,
        }
    }

    /// Whether the pullback in closed form covers this layer.
    pub(crate) fn is_plain(&self, seed: Seed) -> bool {
        self.query_norm.is_none() && self.key_norm.is_none() && !self.drops(seed)
    }

    /// Whether attention weights are dropped.
    fn drops(&self, seed: Seed) -> bool {
        self.dropout > 0.0 && seed.training().is_some()
    }

    /// A norm within each head of `[batch, tokens, d_model]`.
    fn normed(&self, norm: &Option<LayerNorm>, x: Tensor<3>) -> Tensor<3> {
        let Some(norm) = norm else {
            return x;
        };
        let shape @ [batch, tokens, d_model] = x.dims();
        let heads = [batch, tokens, self.n_heads, d_model / self.n_heads];
        norm.forward(x.reshape(heads)).reshape(shape)
    }

    /// `[batch, tokens, d_model] -> [batch, n_heads, tokens, d_head]`, a view.
    fn heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, tokens, d_model] = x.dims();
        x.reshape([batch, tokens, self.n_heads, d_model / self.n_heads])
            .swap_dims(1, 2)
    }

    /// `[batch, n_heads, tokens, d_head] -> [batch, tokens, d_model]`.
    fn merge(&self, x: Tensor<4>) -> Tensor<3> {
        let [batch, heads, tokens, d_head] = x.dims();
        x.swap_dims(1, 2).reshape([batch, tokens, heads * d_head])
    }

    /// Whether a token sees only itself and those before it.
    pub(crate) fn is_causal(&self) -> bool {
        self.causal
    }

    /// The cotangents of queries, keys and values for the cotangent of what was mixed. Shapes: `[batch, tokens,
    /// d_model]`, the weights `[batch, n_heads, queries, keys]`.
    pub fn pull_core(
        &self,
        qkv: [Tensor<3>; 3],
        weights: Tensor<4>,
        cotangent: Tensor<3>,
    ) -> [Tensor<3>; 3] {
        if is_open(&qkv) && HostTensor::opens(&weights) && HostTensor::opens(&cotangent) {
            let weights = HostTensor::fetch(weights);
            let cotangent = HostTensor::fetch(cotangent);
            return by_head::pull(qkv.map(HostTensor::fetch), &weights, &cotangent);
        }
        self.pull_core_tensor(qkv, weights, cotangent)
    }

    fn pull_core_tensor(
        &self,
        qkv: [Tensor<3>; 3],
        weights: Tensor<4>,
        cotangent: Tensor<3>,
    ) -> [Tensor<3>; 3] {
        let [q, k, v] = qkv.map(|x| self.heads(x));
        let cotangent = self.heads(cotangent);
        let scale = scale(q.dims()[3]);
        let v_cotangent = product(weights.clone().swap_dims(2, 3), cotangent.clone());
        let weights_cotangent = product(cotangent, v.swap_dims(2, 3));
        let scores = pull_softmax(weights, weights_cotangent) * scale;
        let q_cotangent = product(scores.clone(), k);
        let k_cotangent = product(scores.swap_dims(2, 3), q);
        [q_cotangent, k_cotangent, v_cotangent].map(|x| self.merge(x))
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

fn softmax_masked(scores: Tensor<4>, mask: Option<&Tensor<2, Bool>>, causal: bool) -> Tensor<4> {
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

/// `P * (dP - sum(dP * P))` along the last axis.
fn pull_softmax(weights: Tensor<4>, cotangent: Tensor<4>) -> Tensor<4> {
    let mean = (weights.clone() * cotangent.clone()).sum_dim(3);
    weights * (cotangent - mean)
}

/// What scores are multiplied by.
fn scale(d_head: usize) -> f32 {
    1.0 / (d_head as f32).sqrt()
}

fn is_open(tensors: &[Tensor<3>; 3]) -> bool {
    tensors.iter().all(HostTensor::opens)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn the_core_on_slices_equals_tensor_operations() {
        let device = testing::host();
        let mask = Tensor::<2, Bool>::from_data(
            [
                [true, true, true, false, false],
                [true, true, false, true, true],
            ],
            &device,
        );
        let random =
            |tokens| Tensor::<3>::random([2, tokens, 54], Distribution::Normal(0.0, 2.0), &device);
        let attention = AttentionConfig::new(54, 3).init(&device);
        for queries in [5, 1] {
            for causal in [false, queries > 1] {
                for mask in [None, Some(&mask)] {
                    let qkv = [random(queries), random(5), random(5)];
                    let want = attention.core_tensor(qkv.clone(), mask, causal, Seed::evaluation());
                    let got = attention.core(qkv.clone(), mask, causal);
                    for (got, want) in got.qkv.iter().zip(&qkv) {
                        got.clone()
                            .into_data()
                            .assert_eq(&want.clone().into_data(), true);
                    }
                    testing::assert_close(&got.weights, &want.weights, 2e-6);
                    testing::assert_close(&got.mixed, &want.mixed, 2e-6);

                    let cotangent = random(queries);
                    let weights = want.weights;
                    let want =
                        attention.pull_core_tensor(qkv.clone(), weights.clone(), cotangent.clone());
                    let got = attention.pull_core(qkv, weights, cotangent);
                    for (got, want) in got.iter().zip(&want) {
                        testing::assert_close(got, want, 4e-6);
                    }
                }
            }
        }
    }
}
