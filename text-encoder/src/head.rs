//! From hidden states to features: the last segment of a text tower.

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor},
};
use checkpointing::{
    Call, Cost, Forward, Gradients, HIDDEN, Outline, Parameter, Saved, Seed, Segment, State,
    Streams, parameters,
};
use peft::{Linear, LinearConfig};
use precision::Stored;
use transformer::{LayerNorm, POOLED, PooledToken};

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
        let normed = self.tokens(self.pick(hidden, ids).0);
        match &self.pooler {
            None => normed,
            Some(pooler) => pooler.forward(normed).tanh(),
        }
    }

    /// The pooled token, and where it was; none if the hidden states are of that token alone.
    fn pick(&self, hidden: Tensor<3>, ids: Tensor<2, Int>) -> (Tensor<3>, Option<PooledToken>) {
        let [_, tokens, _] = hidden.dims();
        if tokens == 1 {
            return (hidden, None);
        }
        let place = self.place(ids);
        let place = if hidden.is_autodiff() && !place.is_autodiff() {
            place.autodiff()
        } else {
            place
        };
        let token = PooledToken::new(place, tokens);
        (token.pick(hidden), Some(token))
    }

    /// Whether the cotangent of the normed token is of use.
    fn pulls_normed(&self, wants_input: bool) -> bool {
        wants_input || self.norm.as_ref().is_some_and(LayerNorm::trains)
    }

    /// Whether the cotangent of what is projected is of use.
    fn pulls_pooled(&self, wants_input: bool) -> bool {
        self.pulls_normed(wants_input) || self.pooler.as_ref().is_some_and(Linear::trains)
    }

    fn projection_needs_input(&self) -> bool {
        self.projection.as_ref().is_some_and(Linear::needs_input)
    }

    /// Whether the pullback reads the picked token.
    fn needs_token(&self, wants_input: bool) -> bool {
        self.norm.is_some() && self.pulls_normed(wants_input)
            || self.pooler.as_ref().is_some_and(Linear::needs_input)
            || self.pooler.is_none() && self.projection_needs_input()
    }

    /// Whether the pullback reads what the pooler gave.
    fn needs_pooled(&self, wants_input: bool) -> bool {
        self.pooler.is_some() && (self.pulls_pooled(wants_input) || self.projection_needs_input())
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

/// What a [`TextHead`] keeps.
pub struct TextHeadSaved {
    /// Of the hidden states.
    shape: [usize; 3],
    place: Option<PooledToken>,
    token: Option<Stored<3>>,
    pooled: Option<Stored<3>>,
}

impl Saved for TextHeadSaved {
    fn bytes(&self) -> usize {
        let tensors = [&self.token, &self.pooled].into_iter().flatten();
        tensors.map(Stored::bytes).sum()
    }
}

impl Forward for TextHead {
    fn forward(&self, input: State, _seed: Seed) -> State {
        let ids = input.ids("ids").expect("pooling reads the token ids");
        input.without(POOLED).map_hidden(|hidden| {
            let pooled = self.pool(hidden, ids);
            match &self.projection {
                None => pooled,
                Some(projection) => projection.forward(pooled),
            }
        })
    }
}

impl Segment for TextHead {
    type Saved = TextHeadSaved;

    fn parameters(&self) -> Vec<Parameter> {
        parameters(self)
    }

    fn record(&self, mut input: State, call: &Call<'_>) -> (State, TextHeadSaved) {
        let wants = call.wants.has(HIDDEN);
        let ids = input.ids("ids").expect("pooling reads the token ids");
        let hidden = input.take_hidden();
        let shape = hidden.dims();
        let (token, place) = self.pick(hidden, ids);
        let needs = self.needs_token(wants);
        let kept = needs.then(|| call.keep.store(token.clone()));
        let normed = self.tokens(token);
        let pooled = match &self.pooler {
            None => normed,
            Some(pooler) => pooler.forward(normed).tanh(),
        };
        let needs = self.needs_pooled(wants);
        let kept_pooled = needs.then(|| call.keep.store(pooled.clone()));
        let output = match &self.projection {
            None => pooled,
            Some(projection) => projection.forward(pooled),
        };
        let saved = TextHeadSaved {
            shape,
            place,
            token: kept,
            pooled: kept_pooled,
        };
        (input.without(POOLED).with_stream(HIDDEN, output), saved)
    }

    fn pull(
        &self,
        saved: TextHeadSaved,
        mut cotangents: Streams,
        call: &Call<'_>,
        gradients: &mut Gradients,
    ) -> Streams {
        let wants = call.wants.has(HIDDEN);
        let [batch, _, d_model] = saved.shape;
        let flat = |x: Tensor<3>| -> Tensor<2> { x.squeeze_dim(1) };
        let token = saved.token.map(Stored::load);
        let pooled = saved.pooled.map(Stored::load);
        let Some(cotangent) = cotangents.take(HIDDEN) else {
            return Streams::default();
        };
        let mut cotangent = flat(cotangent);
        let normed = || token.clone().map(|token| flat(self.tokens(token)));
        if let Some(projection) = &self.projection {
            let input = match &self.pooler {
                None if projection.needs_input() => normed(),
                None => None,
                Some(_) => pooled.clone().map(flat),
            };
            projection.pull_parameters(input, cotangent.clone(), gradients);
            if !self.pulls_pooled(wants) {
                return Streams::default();
            }
            cotangent = projection.pull_input(cotangent);
        }
        if let (Some(pooler), Some(pooled)) = (&self.pooler, pooled.clone()) {
            let pooled = flat(pooled);
            cotangent = cotangent * (pooled.clone() * pooled).neg().add_scalar(1.0);
            let input = if pooler.needs_input() { normed() } else { None };
            pooler.pull_parameters(input, cotangent.clone(), gradients);
            if !self.pulls_normed(wants) {
                return Streams::default();
            }
            cotangent = pooler.pull_input(cotangent);
        }
        if let (Some(norm), Some(token)) = (&self.norm, token) {
            cotangent = norm.pull(flat(token), cotangent, None, gradients);
        }
        if !wants {
            return Streams::default();
        }
        let cotangent = cotangent.reshape([batch, 1, d_model]);
        Streams::hidden(match saved.place {
            None => cotangent,
            Some(place) => place.put(Tensor::zeros(saved.shape, &cotangent.device()), cotangent),
        })
    }

    fn cost(&self, input: &Outline, call: &Call<'_>) -> Cost {
        let wants = call.wants.has(HIDDEN);
        let [batch, _, d_model] = input.stream(HIDDEN);
        let kept = [self.needs_token(wants), self.needs_pooled(wants)];
        let kept = kept.into_iter().filter(|is_kept| *is_kept).count();
        let maps = [
            (&self.projection, self.pulls_pooled(wants)),
            (&self.pooler, self.pulls_normed(wants)),
        ];
        let is_pulled = [true, self.pulls_pooled(wants)];
        let mut cost = Cost::free(input.clone().without(POOLED));
        for ((map, wants_input), is_pulled) in maps.into_iter().zip(is_pulled) {
            if let Some(map) = map {
                cost.forward_flops += map.forward_flops(batch);
                if is_pulled {
                    cost.backward_flops += map.pull_flops(batch, wants_input);
                }
            }
        }
        let width = self.projection.as_ref().map_or(d_model, Linear::d_output);
        cost.output = cost.output.with_stream(HIDDEN, [batch, 1, width]);
        cost.saved_bytes = call.keep.bytes(kept * batch * d_model);
        cost
    }
}
