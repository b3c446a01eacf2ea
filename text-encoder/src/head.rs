//! From hidden states to features: the last segment of a text tower.

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor},
};
use checkpointing::{Seed, Segment, State};
use peft::{Linear, LinearConfig};
use transformer::LayerNorm;

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
    pub fn pool(&self, hidden: Tensor<3>, ids: Option<Tensor<2, Int>>) -> Tensor<3> {
        // The norm works token by token: pool first, and it touches one token only.
        let pooled = self.tokens(self.pick(hidden, ids));
        match &self.pooler {
            None => pooled,
            Some(pooler) => pooler.forward(pooled).tanh(),
        }
    }

    fn pick(&self, hidden: Tensor<3>, ids: Option<Tensor<2, Int>>) -> Tensor<3> {
        let [batch, tokens, d_model] = hidden.dims();
        let place = match self.pooling {
            TextPooling::First => return hidden.slice([0..batch, 0..1, 0..d_model]),
            TextPooling::Last => return hidden.slice([0..batch, tokens - 1..tokens, 0..d_model]),
            TextPooling::HighestId => ids.expect("pooling reads the token ids").argmax(1),
            TextPooling::FirstOf(id) => ids
                .expect("pooling reads the token ids")
                .equal_elem(id)
                .int()
                .argmax(1),
        };
        let device = hidden.device();
        let place: Tensor<1, Int> = place.reshape([batch]);
        let starts = Tensor::<1, Int>::arange(0..batch as i64, &place.device()) * tokens as i64;
        let row = place.cast(starts.dtype()) + starts;
        let row = if device.is_autodiff() {
            row.autodiff()
        } else {
            row
        };
        let flat: Tensor<2> = hidden.reshape([batch * tokens, d_model]);
        flat.select(0, row).reshape([batch, 1, d_model])
    }
}

impl Segment for TextHead {
    fn forward(&self, input: State, _seed: Seed) -> State {
        let ids = input.ids("ids");
        input.map_hidden(|hidden| {
            let pooled = self.pool(hidden, ids);
            match &self.projection {
                None => pooled,
                Some(projection) => projection.forward(pooled),
            }
        })
    }
}
