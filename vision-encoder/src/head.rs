//! From hidden states to features: the last segment of a vision tower.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use checkpointing::{
    Call, Cost, Forward, Gradients, HIDDEN, Outline, Parameter, Saved, Seed, Segment, State,
    Streams, Wants, parameters,
};
use peft::{Adaptable, Linear, LinearCall, LinearConfig, Visit};
use precision::Stored;
use transformer::{HeadEnd, HeadEndSaved, Layer, LayerNorm, POOLED};

use crate::{AttentionPool, Pooling, VisionConfig, attention_pool::AttentionPoolSaved};

/// Normalises, pools and projects. Output `[batch, 1, d_output]`, or all tokens without pooling.
#[derive(Module, Debug)]
pub struct VisionHead {
    /// On every token, before pooling.
    pub token_norm: Option<LayerNorm>,
    /// Pooling by attention.
    pub attention_pool: Option<AttentionPool>,
    /// On the pooled token.
    pub pooled_norm: Option<LayerNorm>,
    /// A tanh layer on the pooled token (ViT, where it has one).
    pub pooler: Option<Linear>,
    /// To the joint dimension, or to the classes.
    pub projection: Option<Linear>,
    #[module(skip)]
    pooling: Pooling,
    class_tokens: usize,
}

impl VisionHead {
    pub(crate) fn new(config: &VisionConfig, device: &Device) -> Self {
        let d_model = config.sizes.d_model;
        let norm = |wanted: bool| {
            wanted.then(|| LayerNorm::new(d_model, config.sizes.norm_epsilon, device))
        };
        Self {
            token_norm: norm(config.token_norm),
            attention_pool: (config.pooling == Pooling::Attention)
                .then(|| AttentionPool::new(config, device)),
            pooled_norm: norm(config.pooled_norm),
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
        let tokens = self.tokens(self.pick(hidden));
        let nothing = Wants::nothing();
        let call = Call::new(seed, &nothing);
        self.end()
            .pool(self.normed(self.mix(tokens, &call, false).0), seed)
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

    /// What is read of the hidden states: the class token where that is pooled, or all.
    fn pick(&self, hidden: Tensor<3>) -> Tensor<3> {
        let [batch, _, d_model] = hidden.dims();
        match self.pooling {
            Pooling::Class => hidden.slice([0..batch, 0..1, 0..d_model]),
            Pooling::Average | Pooling::Attention | Pooling::None => hidden,
        }
    }

    /// The shape of what is read.
    fn shape_read(&self, [batch, tokens, d_model]: [usize; 3]) -> [usize; 3] {
        let read = if self.pooling == Pooling::Class {
            1
        } else {
            tokens
        };
        [batch, read, d_model]
    }

    /// What is pooled of the tokens that are read: one token, or all of them without pooling.
    fn mix(
        &self,
        tokens: Tensor<3>,
        call: &Call<'_>,
        wants: bool,
    ) -> (Tensor<3>, Option<AttentionPoolSaved>) {
        let [batch, count, d_model] = tokens.dims();
        match (self.pooling, &self.attention_pool) {
            (Pooling::Attention, Some(pool)) => {
                let (pooled, saved) = pool.record(tokens, call, wants);
                (pooled, Some(saved))
            }
            (Pooling::Average, _) => {
                let patches = tokens.slice([0..batch, self.class_tokens..count, 0..d_model]);
                (patches.mean_dim(1), None)
            }
            _ => (tokens, None),
        }
    }

    fn normed(&self, pooled: Tensor<3>) -> Tensor<3> {
        match &self.pooled_norm {
            None => pooled,
            Some(norm) => norm.forward(pooled),
        }
    }

    /// Whether the cotangent of the tokens after their norm is of use.
    fn pulls_tokens(&self, wants_input: bool) -> bool {
        wants_input || self.token_norm.as_ref().is_some_and(LayerNorm::trains)
    }

    /// Whether the cotangent of what is pooled is of use.
    fn pulls_mixed(&self, wants_input: bool) -> bool {
        let pool = self.attention_pool.as_ref();
        self.pulls_tokens(wants_input) || pool.is_some_and(AttentionPool::trains)
    }

    /// Whether the cotangent of what is pooled and normed is of use.
    fn pulls_normed(&self, wants_input: bool) -> bool {
        let norm = self.pooled_norm.as_ref();
        self.pulls_mixed(wants_input) || norm.is_some_and(LayerNorm::trains)
    }

    /// Whether the pullback reads what is pooled.
    fn needs_mixed(&self, wants_input: bool) -> bool {
        self.end().needs_input() || self.pooled_norm.is_some() && self.pulls_normed(wants_input)
    }

    /// Whether what is pooled is none of the tokens: it is kept, where it is read again, and not made anew from them.
    fn mixes(&self) -> bool {
        matches!(self.pooling, Pooling::Average | Pooling::Attention)
    }

    /// Whether the pullback reads the tokens.
    fn needs_tokens(&self, wants_input: bool) -> bool {
        let pool = self.attention_pool.as_ref();
        self.token_norm.is_some() && self.pulls_tokens(wants_input)
            || pool.is_some_and(|pool| pool.attention.needs_input())
            || !self.mixes() && self.needs_mixed(wants_input)
    }

    fn spread_mean(&self, mean: Tensor<3>, [batch, tokens, d_model]: [usize; 3]) -> Tensor<3> {
        let patches = tokens - self.class_tokens;
        let each = (mean / patches as f64).expand([batch, patches, d_model]);
        if self.class_tokens == 0 {
            return each;
        }
        let zeros = Tensor::zeros([batch, self.class_tokens, d_model], &each.device());
        Tensor::cat(vec![zeros, each], 1)
    }
}

/// What a [`VisionHead`] keeps.
pub struct VisionHeadSaved {
    /// Of the hidden states.
    shape: [usize; 3],
    /// What is read of them.
    tokens: Option<Stored<3>>,
    pool: Option<AttentionPoolSaved>,
    /// What is pooled, where it is none of the tokens.
    mixed: Option<Stored<3>>,
    end: HeadEndSaved,
}

impl Saved for VisionHeadSaved {
    fn bytes(&self) -> usize {
        let tensors = [&self.tokens, &self.mixed].into_iter().flatten();
        let pool = self.pool.as_ref().map_or(0, AttentionPoolSaved::bytes);
        tensors.map(Stored::bytes).sum::<usize>() + pool + self.end.bytes()
    }
}

impl Forward for VisionHead {
    fn forward(&self, input: State, seed: Seed) -> State {
        let nothing = Wants::nothing();
        self.record(input, &Call::new(seed, &nothing)).0
    }
}

impl Segment for VisionHead {
    type Saved = VisionHeadSaved;

    fn parameters(&self) -> Vec<Parameter> {
        parameters(self)
    }

    fn record(&self, mut input: State, call: &Call<'_>) -> (State, VisionHeadSaved) {
        let wants = call.wants.has(HIDDEN);
        let hidden = input.take_hidden();
        let shape = hidden.dims();
        let tokens = self.pick(hidden);
        let needs = self.needs_tokens(wants);
        let kept = needs.then(|| call.keep.store(tokens.clone()));
        let normed = self.tokens(tokens);
        let (mixed, pool) = self.mix(normed, call, self.pulls_tokens(wants));
        let keeps = self.mixes() && self.needs_mixed(wants);
        let kept_mixed = keeps.then(|| call.keep.store(mixed.clone()));
        let normed = self.normed(mixed);
        let [batch, count, width] = normed.dims();
        let rows: Tensor<2> = normed.reshape([batch * count, width]);
        let (output, end) = self.end().record(rows, &self.end_call(call));
        let output: Tensor<3> = output.reshape([batch as i32, count as i32, -1]);
        let saved = VisionHeadSaved {
            shape,
            tokens: kept,
            pool,
            mixed: kept_mixed,
            end,
        };
        (input.without(POOLED).with_stream(HIDDEN, output), saved)
    }

    fn pull(
        &self,
        saved: VisionHeadSaved,
        mut cotangents: Streams,
        call: &Call<'_>,
        gradients: &mut Gradients,
    ) -> Streams {
        let wants = call.wants.has(HIDDEN);
        let Some(cotangent) = cotangents.take(HIDDEN) else {
            return Streams::default();
        };
        let flat = |x: Tensor<3>| -> Tensor<2> {
            let [batch, count, width] = x.dims();
            x.reshape([batch * count, width])
        };
        let tokens = saved.tokens.map(Stored::load);
        let again = || tokens.clone().map(|tokens| self.tokens(tokens));
        let mixed = saved.mixed.map(Stored::load);
        let mixed = mixed.or_else(|| if self.mixes() { None } else { again() });
        let end = self.end();
        let input = mixed.clone().filter(|_| end.needs_input());
        let input = input.map(|mixed| flat(self.normed(mixed)));
        let [batch, count, _] = cotangent.dims();
        let of_end = self.end_call(call);
        let pulled = end.pull(input, saved.end, flat(cotangent), &of_end, gradients);
        let Some(rows) = pulled else {
            return Streams::default();
        };
        let mut cotangent: Tensor<3> = rows.reshape([batch as i32, count as i32, -1]);
        if let (Some(norm), Some(mixed)) = (&self.pooled_norm, mixed) {
            cotangent = norm.pull(mixed, cotangent, None, gradients);
        }
        let read = self.shape_read(saved.shape);
        let pulled = match (saved.pool, &self.attention_pool) {
            (Some(saved), Some(pool)) => {
                let needs = pool.attention.needs_input();
                let hidden = if needs { again() } else { None };
                let wants = self.pulls_tokens(wants);
                pool.pull(hidden, saved, cotangent, call, wants, gradients)
            }
            _ if !self.pulls_tokens(wants) => None,
            _ if self.pooling == Pooling::Average => Some(self.spread_mean(cotangent, read)),
            _ => Some(cotangent),
        };
        let Some(mut cotangent) = pulled.filter(|_| self.pulls_tokens(wants)) else {
            return Streams::default();
        };
        if let (Some(norm), Some(tokens)) = (&self.token_norm, tokens) {
            cotangent = norm.pull(tokens, cotangent, None, gradients);
        }
        if !wants {
            return Streams::default();
        }
        let [batch, count, d_model] = saved.shape;
        let [_, read, _] = read;
        if read < count {
            let rest = Tensor::zeros([batch, count - read, d_model], &cotangent.device());
            cotangent = Tensor::cat(vec![cotangent, rest], 1);
        }
        Streams::hidden(cotangent)
    }

    fn cost(&self, input: &Outline, call: &Call<'_>) -> Cost {
        let wants = call.wants.has(HIDDEN);
        let read @ [batch, count, d_model] = self.shape_read(input.stream(HIDDEN));
        let pool = self.attention_pool.as_ref().map(|pool| {
            let mut cost = pool.cost(read, call, self.pulls_tokens(wants));
            if !self.pulls_mixed(wants) {
                cost.backward_flops = 0;
            }
            cost
        });
        let pool = pool.unwrap_or_default();
        let mixed = [batch, if self.mixes() { 1 } else { count }, d_model];
        let rows = mixed[0] * mixed[1];
        let end = self.end();
        let ends = end.cost(rows, d_model, &self.end_call(call));
        let kept = [
            self.needs_tokens(wants).then_some(read),
            (self.mixes() && self.needs_mixed(wants)).then_some(mixed),
        ];
        let kept = kept.into_iter().flatten();
        let kept: usize = kept.map(|shape| shape.iter().product::<usize>()).sum();
        Cost {
            output: input
                .clone()
                .without(POOLED)
                .with_stream(HIDDEN, [mixed[0], mixed[1], end.d_output(d_model)]),
            forward_flops: pool.forward_flops + ends.forward_flops,
            backward_flops: pool.backward_flops + ends.backward_flops,
            saved_bytes: call.keep.bytes(kept) + pool.saved_bytes + ends.saved_bytes,
        }
    }
}

impl Adaptable for VisionHead {
    fn places(&mut self, visit: &mut Visit<'_>) {
        if let Some(pool) = &mut self.attention_pool {
            visit.within("attention_pool", pool);
        }
        visit.optional("pooler", &mut self.pooler);
        visit.optional("projection", &mut self.projection);
    }
}
