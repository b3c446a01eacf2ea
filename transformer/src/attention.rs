//! Multi-head attention, with its pullback in closed form.

use burn::{
    module::{Initializer, Module},
    tensor::{Bool, Device, Tensor},
};
use checkpointing::{Gradients, Saved, Seed, product_flops};
use kernels::{Dropout, Mask, attend, pull_attend};
use peft::{Adaptable, Linear, LinearCall, LinearConfig, LinearSaved, Visit};
use precision::Stored;

use crate::{
    Layer, LayerCall, LayerCost, LayerNorm,
    layer::{elements, rows, sequences},
};

/// Sizes of an [`Attention`].
#[derive(Clone, Debug)]
pub struct AttentionConfig {
    /// Width of the hidden states.
    pub d_model: usize,
    /// Width of what keys and values are made of, where it is another.
    pub d_context: Option<usize>,
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
            d_context: None,
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
        let d_context = self.d_context.unwrap_or(d_model);
        // torch's MultiheadAttention: Xavier's bound for the three maps as one, `[3 d_model, d_model]`, or for each where
        // the context has a width of its own.
        let outputs = if self.d_context.is_some() {
            d_model
        } else {
            3 * d_model
        };
        let map = |d_input: usize| {
            let bound = (6.0 / (d_input + outputs).max(1) as f64).sqrt();
            LinearConfig::new(d_input, d_model)
                .with_bias(self.qkv_bias)
                .with_initializer(Initializer::Uniform {
                    min: -bound,
                    max: bound,
                })
                .init(device)
        };
        let norm = || {
            self.qk_norm
                .map(|eps| LayerNorm::new(d_model / self.n_heads, eps, device))
        };
        Attention {
            query: map(d_model),
            key: map(d_context),
            value: map(d_context),
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

/// What an [`Attention`] keeps.
pub struct AttentionSaved {
    /// Queries, keys and values before their norms.
    qkv: Option<[Stored<3>; 3]>,
    /// What is mixed of the values, where the output map trains.
    mixed: Option<Stored<3>>,
    /// Of the maps of queries, keys, values and outputs.
    maps: [LinearSaved; 4],
}

impl Saved for AttentionSaved {
    fn bytes(&self) -> usize {
        let tensors = self.qkv.iter().flatten().chain(&self.mixed);
        let maps: usize = self.maps.iter().map(LinearSaved::bytes).sum();
        tensors.map(Stored::bytes).sum::<usize>() + maps
    }
}

impl Attention {
    /// Which keys each query sees: the real ones, and none behind itself where the layer is causal.
    pub fn mask(&self, real: Option<Tensor<2, Bool>>) -> Mask {
        let mask = if self.causal {
            Mask::causal()
        } else {
            Mask::default()
        };
        mask.with_real(real)
    }

    /// Whether a token sees only itself and those before it.
    pub(crate) fn is_causal(&self) -> bool {
        self.causal
    }

    /// Attention from `queries` to `keys`, without anything kept.
    ///
    /// Shapes: `[batch, queries, d_model]`, `[batch, keys, d_context]` -> `[batch, queries, d_model]`.
    pub fn forward_from(
        &self,
        queries: Tensor<3>,
        keys: Tensor<3>,
        mask: &Mask,
        seed: Seed,
    ) -> Tensor<3> {
        let nothing = LayerCall::forward(mask, seed);
        self.record_from(queries, keys, &nothing).0
    }

    /// As [`forward_from`](Self::forward_from), and what the pullback needs besides the two inputs.
    pub fn record_from(
        &self,
        queries: Tensor<3>,
        keys: Tensor<3>,
        call: &LayerCall<'_>,
    ) -> (Tensor<3>, AttentionSaved) {
        let [of_q, of_k, of_v, of_output] = self.calls(call);
        let (q, q_saved) = self.query.record(queries, &of_q);
        let (k, k_saved) = self.key.record(keys.clone(), &of_k);
        let (v, v_saved) = self.value.record(keys, &of_v);
        let qkv = [q, k, v];
        let raw = (self.has_norm() && self.pulls_core(call)).then(|| qkv.clone());
        let (qkv, mixed) = attend(
            self.normed(qkv),
            self.n_heads,
            call.mask,
            self.drawn(call.seed),
        );
        let needs = self.output.needs_input();
        let kept = needs.then(|| call.keep.store(mixed.clone()));
        let qkv = raw.or_else(|| self.pulls_core(call).then_some(qkv));
        let (output, output_saved) = self.output.record(mixed, &of_output);
        let saved = AttentionSaved {
            qkv: qkv.map(|qkv| qkv.map(|x| call.keep.store(x))),
            mixed: kept,
            maps: [q_saved, k_saved, v_saved, output_saved],
        };
        (output, saved)
    }

    /// The cotangents of queries and keys as they were given, if they are wanted. `inputs` are these, given where
    /// [`needs_input`](Layer::needs_input) says so.
    ///
    /// Shapes: inputs and results `[batch, queries, d_model]` and `[batch, keys, d_context]`, cotangent
    /// `[batch, queries, d_model]`.
    pub fn pull_from(
        &self,
        inputs: Option<[Tensor<3>; 2]>,
        saved: AttentionSaved,
        cotangent: Tensor<3>,
        call: &LayerCall<'_>,
        gradients: &mut Gradients,
    ) -> Option<[Tensor<3>; 2]> {
        let [batch, queries, _] = cotangent.dims();
        let cotangent = rows(cotangent);
        let [of_q, of_k, of_v, of_output] = self.calls(call);
        let [q_saved, k_saved, v_saved, output_saved] = saved.maps;
        let mixed = self.output.pull(
            saved.mixed.map(|x| rows(x.load())),
            output_saved,
            cotangent,
            &of_output,
            gradients,
        );
        let mixed = sequences(mixed?, [batch, queries]);
        let raw = saved.qkv.expect("kept where it is pulled back");
        let raw = raw.map(Stored::load);
        let [_, keys, _] = raw[1].dims();
        // Where there is no norm, the cotangents take the place of queries, keys and values.
        let before = [(&self.query_norm, &raw[0]), (&self.key_norm, &raw[1])];
        let before = before.map(|(norm, x)| Some((norm.as_ref()?, x.clone())));
        let cotangents = pull_attend(
            self.normed(raw),
            self.n_heads,
            call.mask,
            self.drawn(call.seed),
            mixed,
        );
        let [q, k, v] = self.pull_norms(before, cotangents, gradients).map(rows);
        let [from, to] = match inputs {
            None => [None, None],
            Some(inputs) => inputs.map(|x| Some(rows(x))),
        };
        let q = self.query.pull(from, q_saved, q, &of_q, gradients);
        let k = self.key.pull(to.clone(), k_saved, k, &of_k, gradients);
        let v = self.value.pull(to, v_saved, v, &of_v, gradients);
        Some([
            sequences(q?, [batch, queries]),
            sequences(k? + v?, [batch, keys]),
        ])
    }

    /// What it costs from `queries` to `keys` tokens.
    pub fn cost_from(
        &self,
        batch: usize,
        [queries, keys]: [usize; 2],
        call: &LayerCall<'_>,
    ) -> LayerCost {
        let d_model = self.output.d_output();
        let (from, to) = (batch * queries, batch * keys);
        let core =
            (batch * self.n_heads) as u64 * product_flops([queries, d_model / self.n_heads, keys]);
        let maps = [&self.query, &self.key, &self.value, &self.output];
        let calls = self.calls(call);
        let maps = maps.into_iter().zip(&calls).zip([from, to, to, from]);
        let maps: Vec<_> = maps.collect();
        let forward = maps
            .iter()
            .map(|((map, call), rows)| map.forward_flops(*rows, call.seed));
        let kept = maps
            .iter()
            .map(|((map, call), rows)| map.saved_bytes(*rows, call));
        let pulls = maps[..3]
            .iter()
            .map(|((map, call), rows)| map.pull_flops(*rows, call));
        let pulls_core = self.pulls_core(call);
        let inner = if pulls_core {
            5 * core + pulls.sum::<u64>()
        } else {
            0
        };
        let qkv = [queries, keys, keys].map(|tokens| [batch, tokens, d_model]);
        let qkv = qkv.into_iter().filter(|_| pulls_core);
        let mixed = self
            .output
            .needs_input()
            .then_some([batch, queries, d_model]);
        LayerCost {
            forward_flops: 2 * core + forward.sum::<u64>(),
            backward_flops: self.output.pull_flops(from, &calls[3]) + inner,
            saved_bytes: call.keep.bytes(elements(qkv.chain(mixed))) + kept.sum::<usize>(),
        }
    }

    /// Whether the cotangents of queries, keys and values are of use.
    fn pulls_core(&self, call: &LayerCall<'_>) -> bool {
        let maps = [&self.query, &self.key, &self.value];
        let norms = [&self.query_norm, &self.key_norm];
        call.wants_input
            || maps.into_iter().any(Linear::trains)
            || norms.into_iter().flatten().any(LayerNorm::trains)
    }

    /// The calls of the maps of queries, keys, values and outputs.
    fn calls(&self, call: &LayerCall<'_>) -> [LinearCall; 4] {
        let inner = |map| call.linear(map, call.wants_input);
        let output = call.linear(3, self.pulls_core(call));
        [inner(0), inner(1), inner(2), output]
    }

    fn has_norm(&self) -> bool {
        self.query_norm.is_some() || self.key_norm.is_some()
    }

    /// The dropout of the attention weights, if there is one.
    fn drawn(&self, seed: Seed) -> Option<Dropout> {
        let seed = seed.training().filter(|_| self.dropout > 0.0)?;
        Some(Dropout {
            p: self.dropout,
            seed,
        })
    }

    /// Queries and keys after the norms within each head.
    fn normed(&self, [q, k, v]: [Tensor<3>; 3]) -> [Tensor<3>; 3] {
        let normed = |norm: &Option<LayerNorm>, x: Tensor<3>| match norm {
            None => x,
            Some(norm) => self.merge(norm.forward(self.heads(x))),
        };
        [normed(&self.query_norm, q), normed(&self.key_norm, k), v]
    }

    /// Through the norms, given with the queries and keys before them.
    fn pull_norms(
        &self,
        [q_norm, k_norm]: [Option<(&LayerNorm, Tensor<3>)>; 2],
        [q, k, v]: [Tensor<3>; 3],
        gradients: &mut Gradients,
    ) -> [Tensor<3>; 3] {
        let mut pull = |norm: Option<(&LayerNorm, Tensor<3>)>, cotangent| match norm {
            None => cotangent,
            Some((norm, x)) => {
                let cotangent = self.heads(cotangent);
                self.merge(norm.pull(self.heads(x), cotangent, None, gradients))
            }
        };
        [pull(q_norm, q), pull(k_norm, k), v]
    }

    /// `[batch, tokens, d_model] -> [batch, tokens, n_heads, d_head]`.
    fn heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, tokens, d_model] = x.dims();
        x.reshape([batch, tokens, self.n_heads, d_model / self.n_heads])
    }

    /// `[batch, tokens, n_heads, d_head] -> [batch, tokens, d_model]`.
    fn merge(&self, x: Tensor<4>) -> Tensor<3> {
        let [batch, tokens, n_heads, d_head] = x.dims();
        x.reshape([batch, tokens, n_heads * d_head])
    }
}

impl Layer for Attention {
    type Saved = AttentionSaved;

    fn record(&self, x: Tensor<3>, call: &LayerCall<'_>) -> (Tensor<3>, AttentionSaved) {
        self.record_from(x.clone(), x, call)
    }

    fn pull(
        &self,
        x: Option<Tensor<3>>,
        saved: AttentionSaved,
        cotangent: Tensor<3>,
        call: &LayerCall<'_>,
        gradients: &mut Gradients,
    ) -> Option<Tensor<3>> {
        let inputs = x.map(|x| [x.clone(), x]);
        let [from, to] = self.pull_from(inputs, saved, cotangent, call, gradients)?;
        Some(to + from)
    }

    fn needs_input(&self) -> bool {
        [&self.query, &self.key, &self.value]
            .into_iter()
            .any(Linear::needs_input)
    }

    fn trains(&self) -> bool {
        let nothing = &Mask::default();
        let call = LayerCall::forward(nothing, Seed::evaluation());
        self.output.trains() || self.pulls_core(&call)
    }

    fn cost(&self, [batch, tokens, _]: [usize; 3], call: &LayerCall<'_>) -> LayerCost {
        self.cost_from(batch, [tokens, tokens], call)
    }
}

impl Adaptable for Attention {
    fn places(&mut self, visit: &mut Visit<'_>) {
        visit.linear("query", &mut self.query);
        visit.linear("key", &mut self.key);
        visit.linear("value", &mut self.value);
        visit.linear("output", &mut self.output);
    }
}
