//! The transformer block: a segment that knows its pullback in closed form.

use burn::{
    module::{Initializer, Module, Param, ParamId},
    tensor::{Bool, Device, Int, Tensor},
};
use checkpointing::{Gradients, Pulled, Seed, Segment, State, Tape, record_with_autodiff};
use kernels::Mask;

use crate::{
    Activation, Attention, AttentionConfig, LayerNorm, Mlp, POOLED, attention::mask_of,
    dropout::dropout, pick_token, pooled::PooledToken,
};

/// Where a block normalises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NormOrder {
    /// Before attention and MLP (GPT-2, ViT, CLIP).
    #[default]
    Pre,
    /// After each residual sum (BERT).
    Post,
}

/// Sizes of a [`Block`].
#[derive(Clone, Debug)]
pub struct BlockConfig {
    /// The attention layer.
    pub attention: AttentionConfig,
    /// Width inside the MLP.
    pub d_hidden: usize,
    /// The activation of the MLP.
    pub activation: Activation,
    /// Epsilon of the norms.
    pub norm_epsilon: f64,
    /// Where the norms stand.
    pub norm_order: NormOrder,
    /// Start of a learned scale on each branch (LayerScale, Touvron et al. 2021), if there is one.
    pub layer_scale: Option<f64>,
    /// Dropout on both branches in training.
    pub dropout: f64,
    /// Whether it is the last of a tower: it then computes the pooled token alone, where the state carries [`POOLED`].
    pub is_last: bool,
}

impl BlockConfig {
    /// A pre-norm block with gelu and epsilon 1e-5.
    pub fn new(attention: AttentionConfig, d_hidden: usize) -> Self {
        Self {
            attention,
            d_hidden,
            activation: Activation::Gelu,
            norm_epsilon: 1e-5,
            norm_order: NormOrder::Pre,
            layer_scale: None,
            dropout: 0.0,
            is_last: false,
        }
    }

    /// The blocks of a tower of `n_layers`.
    pub fn tower(&self, n_layers: usize) -> impl Iterator<Item = Self> {
        (1..=n_layers).map(move |layer| Self {
            is_last: layer == n_layers,
            ..self.clone()
        })
    }

    /// Initialises the block.
    pub fn init(&self, device: &Device) -> Block {
        let d_model = self.attention.d_model;
        let norm = || LayerNorm::new(d_model, self.norm_epsilon, device);
        let scale = || {
            let value = self.layer_scale?;
            Some(Initializer::Constant { value }.init([d_model], device))
        };
        Block {
            attention_norm: norm(),
            attention: self.attention.init(device),
            attention_scale: scale(),
            mlp_norm: norm(),
            mlp: Mlp::new(d_model, self.d_hidden, self.activation, device),
            mlp_scale: scale(),
            norm_order: self.norm_order,
            dropout: self.dropout,
            is_last: self.is_last,
        }
    }
}

/// One transformer block. Reads the passenger mask `"mask"` (true for real tokens), if there is
/// one; the last of a tower also [`POOLED`].
#[derive(Module, Debug)]
pub struct Block {
    /// Before attention, or after its residual sum.
    pub attention_norm: LayerNorm,
    /// The attention layer.
    pub attention: Attention,
    /// LayerScale of the attention branch.
    pub attention_scale: Option<Param<Tensor<1>>>,
    /// Before the MLP, or after its residual sum.
    pub mlp_norm: LayerNorm,
    /// The MLP.
    pub mlp: Mlp,
    /// LayerScale of the MLP branch.
    pub mlp_scale: Option<Param<Tensor<1>>>,
    #[module(skip)]
    norm_order: NormOrder,
    dropout: f64,
    is_last: bool,
}

impl Block {
    fn branch(&self, x: Tensor<3>, scale: &Option<Param<Tensor<1>>>, seed: Seed) -> Tensor<3> {
        let x = match scale {
            None => x,
            Some(scale) => x * scale.val().unsqueeze(),
        };
        dropout(x, self.dropout, seed)
    }

    /// The attention branch. `queries` are the tokens themselves, or the one that is pooled, which `seen` is then of.
    fn attend(
        &self,
        queries: Tensor<3>,
        tokens: Tensor<3>,
        seen: Option<&Tensor<2, Bool>>,
        is_pooled: bool,
        seed: Seed,
    ) -> Tensor<3> {
        let child = seed.child(0);
        let x = match is_pooled {
            false => self.attention.forward(queries, tokens, seen, child),
            true => self.attention.forward_one(queries, tokens, seen, child),
        };
        self.branch(x, &self.attention_scale, seed.child(1))
    }

    /// The place of the token that is pooled, `[batch, 1]`, if only that is to be computed.
    fn pooled(&self, input: &State) -> Option<Tensor<2, Int>> {
        input.ids(POOLED).filter(|_| self.is_last)
    }

    fn feed(&self, x: Tensor<3>, seed: Seed) -> Tensor<3> {
        self.branch(self.mlp.forward(x), &self.mlp_scale, seed.child(2))
    }

    /// Whether [`Saved::record`] covers the block: pre-norm, no LayerScale, no active dropout.
    fn is_plain(&self, seed: Seed) -> bool {
        self.norm_order == NormOrder::Pre
            && self.attention_scale.is_none()
            && self.mlp_scale.is_none()
            && (self.dropout == 0.0 || seed.training().is_none())
            && self.attention.is_plain(seed)
    }
}

impl Segment for Block {
    fn forward(&self, input: State, seed: Seed) -> State {
        let (mask, pooled) = (input.mask("mask"), self.pooled(&input));
        let is_pooled = pooled.is_some();
        input.map_hidden(|x| {
            let [_, tokens, _] = x.dims();
            let queries = |x: &Tensor<3>| match &pooled {
                None => x.clone(),
                Some(place) => pick_token(x.clone(), place.clone()),
            };
            let seen = match &pooled {
                None => mask,
                Some(place) => {
                    let token = PooledToken::new(place.clone(), tokens);
                    token.sees(tokens, self.attention.is_causal(), mask)
                }
            };
            match self.norm_order {
                NormOrder::Pre => {
                    let normed = self.attention_norm.forward(x.clone());
                    let branch =
                        self.attend(queries(&normed), normed, seen.as_ref(), is_pooled, seed);
                    let x = queries(&x) + branch;
                    let normed = self.mlp_norm.forward(x.clone());
                    x + self.feed(normed, seed)
                }
                NormOrder::Post => {
                    let queries = queries(&x);
                    let sum =
                        queries.clone() + self.attend(queries, x, seen.as_ref(), is_pooled, seed);
                    let x = self.attention_norm.forward(sum);
                    self.mlp_norm.forward(x.clone() + self.feed(x, seed))
                }
            }
        })
    }

    fn record<'a>(&'a self, input: State, seed: Seed, input_cotangent: bool) -> (State, Tape<'a>) {
        if !self.is_plain(seed) {
            return record_with_autodiff(self, input, seed, input_cotangent);
        }
        let mask = input.mask("mask");
        let [batch, tokens, d_model] = input.tensors[0].dims();
        let pooled = self.pooled(&input);
        let pooled = pooled.map(|place| PooledToken::new(place, tokens));
        let queries = if pooled.is_some() { 1 } else { tokens };
        let mut saved = None;
        let output = input.map_hidden(|x| {
            let (output, kept) = Saved::record(
                self,
                x.reshape([batch * tokens, d_model]),
                [batch, tokens],
                mask,
                pooled,
            );
            saved = Some(kept);
            output.reshape([batch, queries, d_model])
        });
        let tape = move |mut cotangent: Vec<Tensor<3>>| {
            let first: Tensor<2> = cotangent.swap_remove(0).reshape([batch * queries, d_model]);
            let mut gradients = Gradients::default();
            let pulled = saved.map(|saved| {
                saved.pull(self, first, batch, &mut |id, gradient: Tensor<1>| {
                    gradients.add(id, gradient);
                })
            });
            let cotangent = pulled
                .into_iter()
                .map(|x| x.reshape([batch, tokens, d_model]))
                .collect();
            Pulled {
                cotangent,
                gradients,
            }
        };
        (output, Box::new(tape))
    }
}

/// What the closed-form pullback of a plain pre-norm block needs: the two residual inputs, what
/// attention mixes, and the MLP before its activation. Norms and activation are recomputed.
struct Saved {
    input: Tensor<2>,
    qkv: [Tensor<3>; 3],
    mask: Mask,
    mixed: Tensor<2>,
    middle: Tensor<2>,
    hidden: Tensor<2>,
    pooled: Option<PooledToken>,
}

impl Saved {
    fn record(
        block: &Block,
        input: Tensor<2>,
        [batch, tokens]: [usize; 2],
        mask: Option<Tensor<2, Bool>>,
        pooled: Option<PooledToken>,
    ) -> (Tensor<2>, Self) {
        let attention = &block.attention;
        let [_, d_model] = input.dims();
        let queries = |all: &Tensor<2>| match &pooled {
            None => all.clone(),
            Some(pooled) => pooled.pick(all.clone()),
        };
        let (seen, causal) = match &pooled {
            None => (mask, attention.is_causal()),
            Some(pooled) => (pooled.sees(tokens, attention.is_causal(), mask), false),
        };

        let normed = block.attention_norm.forward(input.clone());
        let qkv = [
            attention.query.forward(queries(&normed)),
            attention.key.forward(normed.clone()),
            attention.value.forward(normed),
        ];
        let qkv = qkv.map(|x| by_sequence(x, batch));
        let mask = mask_of(seen.as_ref(), causal);
        let (qkv, mixed) = attention.core(qkv, &mask);
        let mixed: Tensor<2> = mixed.reshape([-1, d_model as i32]);
        let middle = queries(&input) + attention.output.forward(mixed.clone());
        let hidden = block
            .mlp
            .fc1
            .forward(block.mlp_norm.forward(middle.clone()));
        let (active, hidden) = block.mlp.activation().forward_keeping(hidden);
        let output = middle.clone() + block.mlp.fc2.forward(active);
        (
            output,
            Self {
                input,
                qkv,
                mask,
                mixed,
                middle,
                hidden,
                pooled,
            },
        )
    }

    fn pull(
        self,
        block: &Block,
        cotangent: Tensor<2>,
        batch: usize,
        sink: &mut dyn FnMut(ParamId, Tensor<1>),
    ) -> Tensor<2> {
        let (attention, mlp) = (&block.attention, &block.mlp);
        let [_, d_model] = cotangent.dims();

        let active_cotangent = mlp.fc2.pull_input(cotangent.clone());
        let (active, hidden) = mlp.activation().pull(self.hidden, active_cotangent);
        mlp.fc2.pull_parameters(active, cotangent.clone(), sink);
        let normed = block.mlp_norm.forward(self.middle.clone());
        mlp.fc1.pull_parameters(normed, hidden.clone(), sink);
        let normed = mlp.fc1.pull_input(hidden);
        let middle = block.mlp_norm.pull(self.middle, normed, cotangent, sink);

        let mixed = attention.output.pull_input(middle.clone());
        attention
            .output
            .pull_parameters(self.mixed, middle.clone(), sink);
        let cotangents = attention
            .pull_core(self.qkv, &self.mask, by_sequence(mixed, batch))
            .map(|x| x.reshape([-1, d_model as i32]));
        let normed = block.attention_norm.forward(self.input.clone());
        let pooled = self.pooled.as_ref();
        let normed = attention.pull_qkv(normed, cotangents, pooled, sink);
        let residual = match pooled {
            None => middle,
            Some(pooled) => pooled.put(self.input.zeros_like(), middle),
        };
        block
            .attention_norm
            .pull(self.input, normed, residual, sink)
    }
}

/// `[batch * tokens, d_model] -> [batch, tokens, d_model]`.
fn by_sequence(x: Tensor<2>, batch: usize) -> Tensor<3> {
    let [rows, d_model] = x.dims();
    x.reshape([batch, rows / batch.max(1), d_model])
}
