//! From hidden states to features: the last segment of a vision tower.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};
use checkpointing::{Seed, Segment, State};
use peft::{Linear, LinearConfig};
use transformer::{Attention, AttentionConfig, LayerNorm, Mlp, POOLED};

use crate::{Pooling, VisionConfig};

/// A learned query that attends to all tokens, then an MLP (SigLIP's head).
#[derive(Module, Debug)]
pub struct AttentionPool {
    /// The query, `[d_model]`.
    pub probe: Param<Tensor<1>>,
    /// From the query to the tokens.
    pub attention: Attention,
    /// Before the MLP.
    pub norm: LayerNorm,
    /// Added to what attention gives.
    pub mlp: Mlp,
}

impl AttentionPool {
    fn new(config: &VisionConfig, device: &Device) -> Self {
        let d_model = config.d_model;
        let probe = Initializer::Normal {
            mean: 0.0,
            std: (d_model as f64).powf(-0.5),
        };
        Self {
            probe: probe.init([d_model], device),
            attention: AttentionConfig::new(d_model, config.n_heads).init(device),
            norm: LayerNorm::new(d_model, config.norm_epsilon, device),
            mlp: Mlp::new(d_model, config.d_hidden, config.activation, device),
        }
    }

    /// Shapes: `[batch, tokens, d_model] -> [batch, 1, d_model]`.
    fn forward(&self, hidden: Tensor<3>, seed: Seed) -> Tensor<3> {
        let [batch, _, d_model] = hidden.dims();
        let probe = self
            .probe
            .val()
            .unsqueeze::<3>()
            .expand([batch, 1, d_model]);
        let pooled = self.attention.forward(probe, hidden, None, seed);
        pooled.clone() + self.mlp.forward(self.norm.forward(pooled))
    }
}

/// Normalises, pools and projects. Output `[batch, 1, d_output]`, or all tokens without pooling.
#[derive(Module, Debug)]
pub struct VisionHead {
    /// On every token, before pooling.
    pub token_norm: Option<LayerNorm>,
    /// Pooling by attention.
    pub attention_pool: Option<AttentionPool>,
    /// On the pooled token.
    pub pooled_norm: Option<LayerNorm>,
    /// To the joint dimension, or to the classes.
    pub projection: Option<Linear>,
    #[module(skip)]
    pooling: Pooling,
    class_tokens: usize,
}

impl VisionHead {
    pub(crate) fn new(config: &VisionConfig, device: &Device) -> Self {
        let d_model = config.d_model;
        let norm =
            |wanted: bool| wanted.then(|| LayerNorm::new(d_model, config.norm_epsilon, device));
        Self {
            token_norm: norm(config.token_norm),
            attention_pool: (config.pooling == Pooling::Attention)
                .then(|| AttentionPool::new(config, device)),
            pooled_norm: norm(config.pooled_norm),
            projection: config.d_output.map(|d_output| {
                LinearConfig::new(d_model, d_output)
                    .with_bias(config.output_bias)
                    .with_std((d_model as f64).powf(-0.5))
                    .init(device)
            }),
            pooling: config.pooling,
            class_tokens: usize::from(config.class_token),
        }
    }

    /// Every token after the norm on tokens, if there is one: the last hidden state.
    pub fn tokens(&self, hidden: Tensor<3>) -> Tensor<3> {
        match &self.token_norm {
            None => hidden,
            Some(norm) => norm.forward(hidden),
        }
    }

    /// The pooled token before the projection, `[batch, 1, d_model]`.
    pub fn pool(&self, hidden: Tensor<3>, seed: Seed) -> Tensor<3> {
        let hidden = self.tokens(hidden);
        let [batch, tokens, d_model] = hidden.dims();
        let pooled = match (&self.pooling, &self.attention_pool) {
            (Pooling::Attention, Some(pool)) => pool.forward(hidden, seed),
            (Pooling::Average, _) => hidden
                .slice([0..batch, self.class_tokens..tokens, 0..d_model])
                .mean_dim(1),
            (Pooling::Class, _) => hidden.slice([0..batch, 0..1, 0..d_model]),
            (Pooling::None | Pooling::Attention, _) => hidden,
        };
        self.normed(pooled)
    }

    fn normed(&self, pooled: Tensor<3>) -> Tensor<3> {
        match &self.pooled_norm {
            None => pooled,
            Some(norm) => norm.forward(pooled),
        }
    }
}

impl Segment for VisionHead {
    fn forward(&self, input: State, seed: Seed) -> State {
        let is_pooled = input.ids(POOLED).is_some();
        input.without(POOLED).map_hidden(|hidden| {
            let pooled = match is_pooled {
                false => self.pool(hidden, seed),
                // The last block has left nothing but the class token.
                true => self.normed(self.tokens(hidden)),
            };
            match &self.projection {
                None => pooled,
                Some(projection) => projection.forward(pooled),
            }
        })
    }
}
