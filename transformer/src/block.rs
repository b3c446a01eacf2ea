//! The transformer block: two residual branches, attention and an MLP.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};
use checkpointing::{
    Call, Cost, Forward, Gradients, HIDDEN, Outline, Parameter, Saved, Seed, Segment, State,
    Streams, parameters,
};
use kernels::Mask;
use peft::{Adaptable, Visit};
use precision::Stored;

use crate::{
    Activation, Attention, AttentionConfig, Branch, BranchEnd, BranchSaved, LayerCall, LayerNorm,
    Mlp, NormOrder, attention::AttentionSaved, layer::elements, mlp::MlpSaved,
};

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

/// One transformer block. Reads the passenger `"mask"` (true for real tokens), if there is one.
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
    pub(crate) norm_order: NormOrder,
    pub(crate) dropout: f64,
}

/// What a [`Block`] keeps.
pub struct BlockSaved {
    input: Option<Stored<3>>,
    attention: BranchSaved<AttentionSaved>,
    /// Between the branches, where it is not made again from the first one's sum.
    middle: Option<Stored<3>>,
    mlp: BranchSaved<MlpSaved>,
    mask: Mask,
}

impl Saved for BlockSaved {
    fn bytes(&self) -> usize {
        let tensors = [&self.input, &self.middle].into_iter().flatten();
        tensors.map(Stored::bytes).sum::<usize>() + self.attention.bytes() + self.mlp.bytes()
    }
}

impl Block {
    /// The branch of the attention layer.
    pub(crate) fn attention_branch(&self, seed: Seed) -> Branch<'_, Attention> {
        Branch {
            norm: &self.attention_norm,
            layer: &self.attention,
            end: BranchEnd {
                scale: self.attention_scale.as_ref(),
                dropout: self.dropout,
                seed: seed.child(1),
            },
            order: self.norm_order,
        }
    }

    /// The branch of the MLP.
    pub(crate) fn mlp_branch(&self, seed: Seed) -> Branch<'_, Mlp> {
        Branch {
            norm: &self.mlp_norm,
            layer: &self.mlp,
            end: BranchEnd {
                scale: self.mlp_scale.as_ref(),
                dropout: self.dropout,
                seed: seed.child(2),
            },
            order: self.norm_order,
        }
    }

    /// Whether the cotangent between the branches is of use.
    pub(crate) fn pulls_middle(&self, call: &Call<'_>) -> bool {
        call.wants.has(HIDDEN) || self.attention_branch(call.seed).trains()
    }

    /// Whether the pullback of the MLP's branch reads the state between the branches.
    pub(crate) fn needs_middle(&self, call: &Call<'_>) -> bool {
        let second = self.mlp_branch(call.seed);
        second.needs_input(self.pulls_middle(call))
    }

    /// Whether it is kept, and not made again.
    pub(crate) fn keeps_middle(&self, call: &Call<'_>) -> bool {
        self.needs_middle(call) && self.norm_order == NormOrder::Pre
    }

    /// Whether the sum before the first of two norms after the branches is kept.
    pub(crate) fn keeps_sum(&self, call: &Call<'_>) -> bool {
        let needs = self.pulls_middle(call) || self.needs_middle(call);
        needs && self.norm_order == NormOrder::Post
    }

    /// The call of the branch of attention.
    pub(crate) fn attention_call<'a>(call: &Call<'_>, mask: &'a Mask) -> LayerCall<'a> {
        LayerCall {
            mask,
            seed: call.seed.child(0),
            wants_input: call.wants.has(HIDDEN),
            keep: call.keep,
        }
    }

    /// The call of the branch of the MLP.
    pub(crate) fn mlp_call<'a>(&self, call: &Call<'_>, mask: &'a Mask) -> LayerCall<'a> {
        LayerCall {
            mask,
            seed: call.seed,
            wants_input: self.pulls_middle(call),
            keep: call.keep,
        }
    }
}

impl Adaptable for Block {
    fn places(&mut self, visit: &mut Visit<'_>) {
        visit.within("attention", &mut self.attention);
        visit.within("mlp", &mut self.mlp);
    }
}

impl Forward for Block {
    fn forward(&self, input: State, seed: Seed) -> State {
        let mask = self.attention.mask(input.mask("mask"));
        let call = LayerCall::forward(&mask, seed.child(0));
        let mlp_call = LayerCall::forward(&mask, seed);
        input.map_hidden(|x| {
            let middle = self.attention_branch(seed).forward(x, &call);
            self.mlp_branch(seed).forward(middle, &mlp_call)
        })
    }
}

impl Segment for Block {
    type Saved = BlockSaved;

    fn parameters(&self) -> Vec<Parameter> {
        parameters(self)
    }

    fn record(&self, mut input: State, call: &Call<'_>) -> (State, BlockSaved) {
        let mask = self.attention.mask(input.mask("mask"));
        let (first, second) = (self.attention_branch(call.seed), self.mlp_branch(call.seed));
        let x = input.take_hidden();
        let needs = first.needs_input(call.wants.has(HIDDEN));
        let kept = needs.then(|| call.keep.store(x.clone()));
        let (middle, mut attention) = first.record(x, &Self::attention_call(call, &mask));
        if !self.keeps_sum(call) {
            attention.sum = None;
        }
        let keeps = self.keeps_middle(call);
        let kept_middle = keeps.then(|| call.keep.store(middle.clone()));
        let (output, mlp) = second.record(middle, &self.mlp_call(call, &mask));
        let saved = BlockSaved {
            input: kept,
            attention,
            middle: kept_middle,
            mlp,
            mask,
        };
        (input.with_stream(HIDDEN, output), saved)
    }

    fn pull(
        &self,
        saved: BlockSaved,
        mut cotangents: Streams,
        call: &Call<'_>,
        gradients: &mut Gradients,
    ) -> Streams {
        let (first, second) = (self.attention_branch(call.seed), self.mlp_branch(call.seed));
        let Some(cotangent) = cotangents.take(HIDDEN) else {
            return Streams::default();
        };
        let mask = &saved.mask;
        let middle = if self.norm_order == NormOrder::Post && self.needs_middle(call) {
            first.output(&saved.attention)
        } else {
            saved.middle.map(Stored::load)
        };
        let mlp_call = self.mlp_call(call, mask);
        let pulled = second.pull(middle, saved.mlp, cotangent, &mlp_call, gradients);
        let pulled = pulled.and_then(|middle| {
            let call = Self::attention_call(call, mask);
            let input = saved.input.map(Stored::load);
            first.pull(input, saved.attention, middle, &call, gradients)
        });
        pulled.map(Streams::hidden).unwrap_or_default()
    }

    fn cost(&self, input: &Outline, call: &Call<'_>) -> Cost {
        let shape = input.stream(HIDDEN);
        let (first, second) = (self.attention_branch(call.seed), self.mlp_branch(call.seed));
        let mask = Mask::default();
        let mlp = second.cost(shape, &self.mlp_call(call, &mask));
        let mut attention = first.cost(shape, &Self::attention_call(call, &mask));
        if self.norm_order == NormOrder::Post && !self.keeps_sum(call) {
            attention.saved_bytes -= call.keep.bytes(elements([shape]));
        }
        let pulled = if self.pulls_middle(call) {
            attention.backward_flops
        } else {
            0
        };
        let kept = first.needs_input(call.wants.has(HIDDEN)).then_some(shape);
        let middle = self.keeps_middle(call).then_some(shape);
        Cost {
            output: input.clone(),
            forward_flops: attention.forward_flops + mlp.forward_flops,
            backward_flops: mlp.backward_flops + pulled,
            saved_bytes: call.keep.bytes(elements(kept.into_iter().chain(middle)))
                + attention.saved_bytes
                + mlp.saved_bytes,
        }
    }
}
