//! Multi-head attention, with its core's pullback in closed form.

use burn::{
    module::{Initializer, Module, ParamId},
    tensor::{Bool, Device, Tensor},
};
use checkpointing::Seed;
use kernels::{Dropout, Mask, attend, pull_attend};
use peft::{Linear, LinearConfig};

use crate::{LayerNorm, pooled::PooledToken};

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
        let q = self.normed(&self.query_norm, self.query.forward(queries));
        let k = self.normed(&self.key_norm, self.key.forward(keys.clone()));
        let v = self.value.forward(keys);
        let (_, mixed) = attend(
            [q, k, v],
            self.n_heads,
            &mask_of(mask, causal),
            self.drawn(seed),
        );
        self.output.forward(mixed)
    }

    /// The core, between the maps, without dropout: queries, keys and values again, and what is mixed. Shapes: `[batch,
    /// tokens, d_model]` each, mask `[batch, keys]`.
    pub(crate) fn core(&self, qkv: [Tensor<3>; 3], mask: &Mask) -> ([Tensor<3>; 3], Tensor<3>) {
        attend(qkv, self.n_heads, mask, None)
    }

    /// The dropout of the attention weights, if there is one.
    fn drawn(&self, seed: Seed) -> Option<Dropout> {
        let seed = seed.training().filter(|_| self.dropout > 0.0)?;
        Some(Dropout {
            p: self.dropout,
            seed,
        })
    }

    /// Whether the pullback in closed form covers this layer.
    pub(crate) fn is_plain(&self, seed: Seed) -> bool {
        self.query_norm.is_none() && self.key_norm.is_none() && self.drawn(seed).is_none()
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

    /// Whether a token sees only itself and those before it.
    pub(crate) fn is_causal(&self) -> bool {
        self.causal
    }

    /// The cotangents of queries, keys and values for the cotangent of what was mixed. Shapes: `[batch, tokens,
    /// d_model]`.
    pub(crate) fn pull_core(
        &self,
        qkv: [Tensor<3>; 3],
        mask: &Mask,
        cotangent: Tensor<3>,
    ) -> [Tensor<3>; 3] {
        pull_attend(qkv, self.n_heads, mask, None, cotangent)
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

/// What each query sees.
pub(crate) fn mask_of(real: Option<&Tensor<2, Bool>>, causal: bool) -> Mask {
    let mask = if causal {
        Mask::causal()
    } else {
        Mask::default()
    };
    mask.with_real(real.cloned())
}
