//! From hidden states to features: the last segment of a text tower.

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor},
};
use checkpointing::{
    Call, Cost, Forward, Gradients, HIDDEN, Outline, Parameter, Saved, Seed, Segment, State,
    Streams, parameters,
};
use peft::{Adaptable, Linear, LinearCall, LinearConfig, Visit};
use precision::Stored;
use transformer::{HeadEnd, HeadEndSaved, LayerNorm, POOLED, PooledToken};

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
        let d_model = config.sizes.d_model;
        Self {
            norm: config
                .final_norm
                .then(|| LayerNorm::new(d_model, config.sizes.norm_epsilon, device)),
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
        self.end()
            .pool(self.tokens(self.pick(hidden, ids).0), Seed::evaluation())
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

    /// Whether the pullback reads the picked token.
    fn needs_token(&self, wants_input: bool) -> bool {
        self.norm.is_some() && self.pulls_normed(wants_input) || self.end().needs_input()
    }

    /// The call of the head's end.
    fn end_call(&self, call: &Call<'_>) -> LinearCall {
        LinearCall {
            seed: call.seed,
            wants_input: self.pulls_normed(call.wants.has(HIDDEN)),
            keep: call.keep,
        }
    }

    fn end(&self) -> HeadEnd<'_> {
        HeadEnd {
            pooler: self.pooler.as_ref(),
            projection: self.projection.as_ref(),
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

/// What a [`TextHead`] keeps.
pub struct TextHeadSaved {
    /// Of the hidden states.
    shape: [usize; 3],
    place: Option<PooledToken>,
    token: Option<Stored<3>>,
    end: HeadEndSaved,
}

impl Saved for TextHeadSaved {
    fn bytes(&self) -> usize {
        self.token.as_ref().map_or(0, Stored::bytes) + self.end.bytes()
    }
}

impl Forward for TextHead {
    fn forward(&self, input: State, seed: Seed) -> State {
        let ids = input.ids("ids").expect("pooling reads the token ids");
        input.without(POOLED).map_hidden(|hidden| {
            let normed = self.tokens(self.pick(hidden, ids).0);
            self.end().forward(normed, seed)
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
        let normed: Tensor<2> = self.tokens(token).squeeze_dim(1);
        let (output, end) = self.end().record(normed, &self.end_call(call));
        let output = output.unsqueeze_dim(1);
        let saved = TextHeadSaved {
            shape,
            place,
            token: kept,
            end,
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
        let Some(cotangent) = cotangents.take(HIDDEN) else {
            return Streams::default();
        };
        let end = self.end();
        let normed = token.clone().filter(|_| end.needs_input());
        let normed = normed.map(|token| flat(self.tokens(token)));
        let of_end = self.end_call(call);
        let pulled = end.pull(normed, saved.end, flat(cotangent), &of_end, gradients);
        let Some(mut cotangent) = pulled else {
            return Streams::default();
        };
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
        let end = self.end();
        let cost = end.cost(batch, d_model, &self.end_call(call));
        let token = if self.needs_token(wants) {
            call.keep.bytes(batch * d_model)
        } else {
            0
        };
        Cost {
            output: input
                .clone()
                .without(POOLED)
                .with_stream(HIDDEN, [batch, 1, end.d_output(d_model)]),
            forward_flops: cost.forward_flops,
            backward_flops: cost.backward_flops,
            saved_bytes: token + cost.saved_bytes,
        }
    }
}

impl Adaptable for TextHead {
    fn places(&mut self, visit: &mut Visit<'_>) {
        visit.optional("pooler", &mut self.pooler);
        visit.optional("projection", &mut self.projection);
    }
}
