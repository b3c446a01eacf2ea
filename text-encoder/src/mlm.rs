//! BERT's masked-language-model head.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};
use checkpointing::{Seed, Segment, State};
use kernels::product;
use peft::{Linear, LinearConfig};
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

impl Segment for MlmSegment {
    fn forward(&self, input: State, _seed: Seed) -> State {
        input.map_hidden(|hidden| {
            let hidden = self.activation.forward(self.head.dense.forward(hidden));
            let hidden = self.head.norm.forward(hidden);
            let [batch, tokens, width] = hidden.dims();
            let hidden: Tensor<2> = hidden.reshape([batch * tokens, width]);
            let logits = product(hidden, self.decoder.val().transpose());
            let logits = logits + self.head.bias.val().unsqueeze();
            logits.reshape([batch as i32, tokens as i32, -1])
        })
    }
}
