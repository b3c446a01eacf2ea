//! From hidden states to features: the last segment of a text tower.

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor},
};
use checkpointing::{Seed, Segment, State};
use peft::{Linear, LinearConfig};
use transformer::{LayerNorm, POOLED, pick_token};

use crate::{TextConfig, TextPooling};

/// Normalises, pools and projects. Output `[batch, 1, d_output]`.
#[derive(Module, Debug)]
pub struct TextHead {
    /// After the last block.
    pub norm: Option<LayerNorm>,
    /// A tanh layer on the pooled token (BERT).
    pub pooler: Option<Linear>,
    /// To the joint dimension.
    pub projection: Option<Linear>,
    #[module(skip)]
    pooling: TextPooling,
}

impl TextHead {
    pub(crate) fn new(config: &TextConfig, device: &Device) -> Self {
        let d_model = config.d_model;
        Self {
            norm: config
                .final_norm
                .then(|| LayerNorm::new(d_model, config.norm_epsilon, device)),
            pooler: config
                .pooler
                .then(|| LinearConfig::new(d_model, d_model).init(device)),
            projection: config.d_output.map(|d_output| {
                LinearConfig::new(d_model, d_output)
                    .with_bias(config.output_bias)
                    .with_std((d_model as f64).powf(-0.5))
                    .init(device)
            }),
            pooling: config.pooling,
        }
    }

    /// Every token after the final norm: the last hidden state.
    pub fn tokens(&self, hidden: Tensor<3>) -> Tensor<3> {
        match &self.norm {
            None => hidden,
            Some(norm) => norm.forward(hidden),
        }
    }

    /// The pooled token before the projection. Shapes: `[batch, tokens, d_model]`, ids
    /// `[batch, tokens]` -> `[batch, 1, d_model]`.
    pub fn pool(&self, hidden: Tensor<3>, ids: Tensor<2, Int>) -> Tensor<3> {
        // The norm works token by token: pool first, and it touches one token only.
        let place = self.place(ids);
        let place = match hidden.is_autodiff() {
            true => place.autodiff(),
            false => place,
        };
        self.after_pooling(pick_token(hidden, place))
    }

    fn after_pooling(&self, token: Tensor<3>) -> Tensor<3> {
        let pooled = self.tokens(token);
        match &self.pooler {
            None => pooled,
            Some(pooler) => pooler.forward(pooled).tanh(),
        }
    }

    /// The place of the pooled token. Shapes: `[batch, tokens] -> [batch, 1]`.
    pub(crate) fn place(&self, ids: Tensor<2, Int>) -> Tensor<2, Int> {
        let [batch, tokens] = ids.dims();
        match self.pooling {
            TextPooling::First => Tensor::zeros([batch, 1], &ids.device()),
            TextPooling::Last => Tensor::full([batch, 1], tokens as i64 - 1, &ids.device()),
            TextPooling::HighestId => ids.argmax(1),
            TextPooling::FirstOf(id) => ids.equal_elem(id).int().argmax(1),
        }
    }
}

impl Segment for TextHead {
    fn forward(&self, input: State, _seed: Seed) -> State {
        let ids = input.ids("ids").expect("pooling reads the token ids");
        let is_pooled = input.ids(POOLED).is_some();
        input.without(POOLED).map_hidden(|hidden| {
            let pooled = match is_pooled {
                false => self.pool(hidden, ids),
                // The last block has left nothing but the pooled token.
                true => self.after_pooling(hidden),
            };
            match &self.projection {
                None => pooled,
                Some(projection) => projection.forward(pooled),
            }
        })
    }
}
