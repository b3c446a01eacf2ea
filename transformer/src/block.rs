//! The transformer block: a segment that knows its pullback in closed form.

use burn::{
    module::{Initializer, Module, Param, ParamId},
    tensor::{Bool, Device, Tensor},
};
use checkpointing::{Gradients, Pulled, Seed, Segment, State, Tape, record_with_autodiff};

use crate::{Activation, Attention, AttentionConfig, LayerNorm, Mlp, dropout::dropout};

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
        }
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
        }
    }
}

/// One transformer block. Reads the passenger mask `"mask"` (true for real tokens), if there is
/// one.
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
}

impl Block {
    fn branch(&self, x: Tensor<3>, scale: &Option<Param<Tensor<1>>>, seed: Seed) -> Tensor<3> {
        let x = match scale {
            None => x,
            Some(scale) => x * scale.val().unsqueeze(),
        };
        dropout(x, self.dropout, seed)
    }

    fn attend(&self, x: Tensor<3>, mask: Option<&Tensor<2, Bool>>, seed: Seed) -> Tensor<3> {
        let x = self.attention.forward(x.clone(), x, mask, seed.child(0));
        self.branch(x, &self.attention_scale, seed.child(1))
    }

    fn feed(&self, x: Tensor<3>, seed: Seed) -> Tensor<3> {
        self.branch(self.mlp.forward(x), &self.mlp_scale, seed.child(2))
    }

    /// Whether [`record_closed`] covers the block: pre-norm, no LayerScale, no active dropout.
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
        let mask = input.mask("mask");
        input.map_hidden(|x| match self.norm_order {
            NormOrder::Pre => {
                let normed = self.attention_norm.forward(x.clone());
                let x = x + self.attend(normed, mask.as_ref(), seed);
                let normed = self.mlp_norm.forward(x.clone());
                x + self.feed(normed, seed)
            }
            NormOrder::Post => {
                let sum = x.clone() + self.attend(x, mask.as_ref(), seed);
                let x = self.attention_norm.forward(sum);
                self.mlp_norm.forward(x.clone() + self.feed(x, seed))
            }
        })
    }

    fn record<'a>(&'a self, input: State, seed: Seed, input_cotangent: bool) -> (State, Tape<'a>) {
        if !self.is_plain(seed) {
            return record_with_autodiff(self, input, seed, input_cotangent);
        }
        let mask = input.mask("mask");
        let [batch, tokens, d_model] = input.tensors[0].dims();
        let mut saved = None;
        let output = input.map_hidden(|x| {
            let (output, kept) = Saved::record(
                self,
                x.reshape([batch * tokens, d_model]),
                [batch, tokens],
                mask,
            );
            saved = Some(kept);
            output.reshape([batch, tokens, d_model])
        });
        let tape = move |mut cotangent: Vec<Tensor<3>>| {
            let first: Tensor<2> = cotangent.swap_remove(0).reshape([batch * tokens, d_model]);
            let mut gradients = Gradients::default();
            let pulled = saved.map(|saved| {
                saved.pull(
                    self,
                    first,
                    [batch, tokens],
                    &mut |id, gradient: Tensor<1>| {
                        gradients.add(id, gradient);
                    },
                )
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
    qkv: [Tensor<2>; 3],
    weights: Tensor<4>,
    mixed: Tensor<2>,
    middle: Tensor<2>,
    hidden: Tensor<2>,
}

impl Saved {
    fn record(
        block: &Block,
        input: Tensor<2>,
        [batch, tokens]: [usize; 2],
        mask: Option<Tensor<2, Bool>>,
    ) -> (Tensor<2>, Self) {
        let attention = &block.attention;
        let [rows, d_model] = input.dims();
        let heads = |x: &Tensor<2>| attention.heads(x.clone().reshape([batch, tokens, d_model]));

        let normed = block.attention_norm.forward(input.clone());
        let qkv = [&attention.query, &attention.key, &attention.value]
            .map(|map| map.forward(normed.clone()));
        drop(normed);
        let weights = attention.weights(heads(&qkv[0]), heads(&qkv[1]), mask.as_ref());
        let mixed = attention.merge(weights.clone().matmul(heads(&qkv[2])));
        let mixed: Tensor<2> = mixed.reshape([rows, d_model]);
        let middle = input.clone() + attention.output.forward(mixed.clone());
        let hidden = block
            .mlp
            .fc1
            .forward(block.mlp_norm.forward(middle.clone()));
        let active = block.mlp.activation().forward(hidden.clone());
        let output = middle.clone() + block.mlp.fc2.forward(active);
        (
            output,
            Self {
                input,
                qkv,
                weights,
                mixed,
                middle,
                hidden,
            },
        )
    }

    fn pull(
        self,
        block: &Block,
        cotangent: Tensor<2>,
        [batch, tokens]: [usize; 2],
        sink: &mut dyn FnMut(ParamId, Tensor<1>),
    ) -> Tensor<2> {
        let (attention, mlp) = (&block.attention, &block.mlp);
        let [rows, d_model] = cotangent.dims();
        let heads = |x: Tensor<2>| attention.heads(x.reshape([batch, tokens, d_model]));
        let merge = |x: Tensor<4>| attention.merge(x).reshape([rows, d_model]);

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
            .pull_core(self.qkv.map(heads), self.weights, heads(mixed))
            .map(merge);
        let normed = block.attention_norm.forward(self.input.clone());
        let normed = attention.pull_qkv(normed, cotangents, sink);
        block.attention_norm.pull(self.input, normed, middle, sink)
    }
}
