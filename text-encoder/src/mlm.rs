//! BERT's masked-language-model head.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};
use checkpointing::{
    Call, Cost, Forward, Gradients, HIDDEN, Outline, Parameter, Saved, Seed, Segment, State,
    Streams, is_trainable, parameters, product_flops,
};
use kernels::{column_sums, product};
use peft::{Linear, LinearConfig};
use precision::Stored;
use transformer::LayerNorm;

use crate::{TextConfig, TextEmbed};

/// What the head owns: a transform and a bias for each word. Its decoder is the word embedding.
#[derive(Module, Debug)]
pub struct MlmHead {
    /// Before the activation.
    pub dense: Linear,
    /// After the activation.
    pub norm: LayerNorm,
    /// `[vocabulary]`.
    pub bias: Param<Tensor<1>>,
}

impl MlmHead {
    /// Initialises the head.
    pub fn new(config: &TextConfig, device: &Device) -> Self {
        Self {
            dense: LinearConfig::new(config.d_model, config.d_model).init(device),
            norm: LayerNorm::new(config.d_model, config.norm_epsilon, device),
            bias: Initializer::Zeros.init([config.vocab_size], device),
        }
    }

    /// The head as the last segment of a chain, tied to the word embedding: both uses give their
    /// gradient to the same parameter.
    pub fn tied(&self, embed: &TextEmbed, config: &TextConfig) -> MlmSegment {
        MlmSegment {
            head: self.clone(),
            decoder: embed.tokens.clone(),
            activation: config.activation,
        }
    }
}

/// From hidden states to logits, `[batch, tokens, d_model] -> [batch, tokens, vocabulary]`.
#[derive(Module, Debug)]
pub struct MlmSegment {
    head: MlmHead,
    decoder: Param<Tensor<2>>,
    #[module(skip)]
    activation: transformer::Activation,
}

/// What an [`MlmSegment`] keeps.
pub struct MlmSaved {
    hidden: Option<Stored<2>>,
    /// Before the activation.
    dense: Option<Stored<2>>,
}

impl Saved for MlmSaved {
    fn bytes(&self) -> usize {
        let tensors = [&self.hidden, &self.dense].into_iter().flatten();
        tensors.map(Stored::bytes).sum()
    }
}

impl MlmSegment {
    fn logits(&self, normed: Tensor<2>) -> Tensor<2> {
        product(normed, self.decoder.val().transpose()) + self.head.bias.val().unsqueeze()
    }
}

impl Forward for MlmSegment {
    fn forward(&self, input: State, _seed: Seed) -> State {
        input.map_hidden(|hidden| {
            let [batch, tokens, width] = hidden.dims();
            let hidden: Tensor<2> = hidden.reshape([batch * tokens, width]);
            let active = self.activation.forward(self.head.dense.forward(hidden));
            let logits = self.logits(self.head.norm.forward(active));
            logits.reshape([batch as i32, tokens as i32, -1])
        })
    }
}

impl Segment for MlmSegment {
    type Saved = MlmSaved;

    fn parameters(&self) -> Vec<Parameter> {
        parameters(self)
    }

    fn record(&self, mut input: State, call: &Call<'_>) -> (State, MlmSaved) {
        let hidden = input.take_hidden();
        let [batch, tokens, width] = hidden.dims();
        let hidden: Tensor<2> = hidden.reshape([batch * tokens, width]);
        let [keeps_hidden, keeps_dense] = self.keeps(call.wants.has(HIDDEN));
        let kept = keeps_hidden.then(|| call.keep.store(hidden.clone()));
        let dense = self.head.dense.forward(hidden);
        let (active, dense) = if keeps_dense {
            let (active, dense) = self.activation.forward_keeping(dense);
            (active, Some(call.keep.store(dense)))
        } else {
            (self.activation.forward(dense), None)
        };
        let logits = self.logits(self.head.norm.forward(active));
        let logits = logits.reshape([batch as i32, tokens as i32, -1]);
        (
            input.with_stream(HIDDEN, logits),
            MlmSaved {
                hidden: kept,
                dense,
            },
        )
    }

    fn pull(
        &self,
        saved: MlmSaved,
        mut cotangents: Streams,
        call: &Call<'_>,
        gradients: &mut Gradients,
    ) -> Streams {
        let Some(cotangent) = cotangents.take(HIDDEN) else {
            return Streams::default();
        };
        let [batch, tokens, vocabulary] = cotangent.dims();
        let cotangent: Tensor<2> = cotangent.reshape([batch * tokens, vocabulary]);
        let (dense, norm) = (&self.head.dense, &self.head.norm);
        gradients.give(&self.head.bias, || column_sums(cotangent.clone()));
        let Some(before) = saved.dense.map(Stored::load) else {
            return Streams::default();
        };
        let active = self.activation.forward(before.clone());
        gradients.give(&self.decoder, || {
            product(cotangent.clone().transpose(), norm.forward(active.clone()))
        });
        let wants = call.wants.has(HIDDEN);
        if !self.pulls_decoded(wants) {
            return Streams::default();
        }
        let normed = product(cotangent, self.decoder.val());
        let active = norm.pull(active, normed, None, gradients);
        let (_, inner) = self.activation.pull(before, active);
        let hidden = saved.hidden.map(Stored::load);
        dense.pull_parameters(hidden, inner.clone(), gradients);
        if !wants {
            return Streams::default();
        }
        let pulled = dense.pull_input(inner);
        Streams::hidden(pulled.reshape([batch as i32, tokens as i32, -1]))
    }

    fn cost(&self, input: &Outline, call: &Call<'_>) -> Cost {
        let [batch, tokens, width] = input.stream(HIDDEN);
        let [vocabulary, _] = self.decoder.lazy_shape().dims();
        let rows = batch * tokens;
        let wants = call.wants.has(HIDDEN);
        let decoded = product_flops([rows, width, vocabulary]);
        let pulls = [self.pulls_decoded(wants), is_trainable(&self.decoder)];
        let products = pulls.into_iter().filter(|is_done| *is_done).count() as u64;
        let kept = self.keeps(wants).into_iter().filter(|is_kept| *is_kept);
        let dense = if self.pulls_decoded(wants) {
            self.head.dense.pull_flops(rows, wants)
        } else {
            0
        };
        Cost {
            output: input
                .clone()
                .with_stream(HIDDEN, [batch, tokens, vocabulary]),
            forward_flops: self.head.dense.forward_flops(rows) + decoded,
            backward_flops: products * decoded + dense,
            saved_bytes: call.keep.bytes(kept.count() * rows * width),
        }
    }
}

impl MlmSegment {
    /// Whether the pullback reads the hidden states, and what is before the activation.
    fn keeps(&self, wants_input: bool) -> [bool; 2] {
        let pulls = self.pulls_decoded(wants_input);
        [
            pulls && self.head.dense.needs_input(),
            pulls || is_trainable(&self.decoder),
        ]
    }

    /// Whether the cotangent of what is decoded is of use.
    fn pulls_decoded(&self, wants_input: bool) -> bool {
        wants_input || self.head.dense.trains() || self.head.norm.trains()
    }
}
