//! From token ids to hidden states: the first segment of a text tower.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Int, Tensor, module::embedding},
};
use checkpointing::{
    Call, Cost, Forward, Gradients, HIDDEN, Outline, Parameter, Saved, Seed, Segment, State,
    Streams, is_trainable, parameters,
};
use peft::{Adaptable, EmbeddingLora, Visit, pull_look_up};
use precision::Stored;
use transformer::{LayerNorm, dropout};

use crate::TextConfig;

/// Looks up tokens, positions and segments.
///
/// Reads the passenger `"ids"` `[batch, tokens]` and, if there is one, `"segments"`.
#[derive(Module, Debug)]
pub struct TextEmbed {
    /// `[vocabulary, d_model]`.
    pub tokens: Param<Tensor<2>>,
    /// The place for an adapter of the tokens; empty unless one is put there.
    pub token_adapter: Option<EmbeddingLora>,
    /// `[context, d_model]`.
    pub positions: Param<Tensor<2>>,
    /// `[segment types, d_model]` (BERT).
    pub segments: Option<Param<Tensor<2>>>,
    /// A norm on the sum (BERT).
    pub norm: Option<LayerNorm>,
    padding_id: Option<usize>,
    dropout: f64,
}

impl TextEmbed {
    pub(crate) fn new(config: &TextConfig, device: &Device) -> Self {
        let normal = |std| Initializer::Normal { mean: 0.0, std };
        let d_model = config.sizes.d_model;
        Self {
            tokens: normal(0.02).init([config.vocab_size, d_model], device),
            token_adapter: None,
            // CLIP's, and BERT's.
            positions: normal(if config.embed_norm { 0.02 } else { 0.01 })
                .init([config.context, d_model], device),
            segments: (config.segment_types > 0)
                .then(|| normal(0.02).init([config.segment_types, d_model], device)),
            norm: config
                .embed_norm
                .then(|| LayerNorm::new(d_model, config.sizes.norm_epsilon, device)),
            padding_id: config.padding_id,
            dropout: if config.embed_norm {
                config.sizes.dropout
            } else {
                0.0
            },
        }
    }

    fn sum(&self, input: &State) -> Tensor<3> {
        let ids = input.ids("ids").expect("the chain needs token ids `ids`");
        let [_, tokens] = ids.dims();
        let [context, d_model] = self.positions.lazy_shape().dims();
        assert!(
            tokens <= context,
            "{tokens} tokens are more than the context of {context}"
        );
        let table = self.tokens.val();
        let mut sum = match self.padding_id {
            // The padding row takes part, but its look-ups give it no gradient.
            Some(padding) if table.is_autodiff() => {
                let real = ids.clone().not_equal_elem(padding as i64).float();
                let real = real.unsqueeze_dim::<3>(2);
                let looked_up = embedding(table, ids.clone());
                let still = looked_up.clone().detach();
                still.clone() + (looked_up - still) * real
            }
            _ => embedding(table, ids.clone()),
        };
        if let Some(adapter) = &self.token_adapter {
            sum = sum + self.adapted(adapter, ids.clone());
        }
        sum = sum
            + self
                .positions
                .val()
                .slice([0..tokens, 0..d_model])
                .unsqueeze::<3>();
        if let Some(segments) = &self.segments {
            let types = input.ids("segments").unwrap_or_else(|| ids.zeros_like());
            sum = sum + embedding(segments.val(), types);
        }
        sum
    }

    /// What the adapter of the tokens adds. The padding row takes part, but its look-ups give it no gradient.
    fn adapted(&self, adapter: &EmbeddingLora, ids: Tensor<2, Int>) -> Tensor<3> {
        let Some(padding) = self.padding_id.filter(|_| adapter.a.val().is_autodiff()) else {
            return adapter.forward(ids);
        };
        let [_, rank] = adapter.a.lazy_shape().dims();
        let mut still = adapter.clone();
        still.a = still.a.map(|a| {
            let row = a.clone().slice([padding..padding + 1, 0..rank]).detach();
            a.slice_assign([padding..padding + 1, 0..rank], row)
        });
        still.forward(ids)
    }

    fn trains(&self) -> bool {
        self.norm.as_ref().is_some_and(LayerNorm::trains)
            || is_trainable(&self.tokens)
            || self
                .token_adapter
                .as_ref()
                .is_some_and(EmbeddingLora::trains)
            || is_trainable(&self.positions)
            || self.segments.as_ref().is_some_and(is_trainable)
    }

    /// The gradient of the table of tokens: a sum for each token, none for the padding.
    fn pull_tokens(&self, cotangent: Tensor<3>, ids: Tensor<2, Int>) -> Tensor<2> {
        let table = pull_look_up(self.tokens.val(), cotangent, ids);
        let Some(padding) = self.padding_id else {
            return table;
        };
        let [_, d_model] = table.dims();
        let zeros = Tensor::zeros([1, d_model], &table.device());
        table.slice_assign([padding..padding + 1, 0..d_model], zeros)
    }

    /// The gradient of the positions, which is zero behind the tokens.
    fn pull_positions(&self, cotangent: Tensor<3>) -> Tensor<2> {
        let sum: Tensor<2> = cotangent.sum_dim(0).squeeze_dim(0);
        let zeros = Tensor::<2>::zeros(self.positions.val().dims(), &sum.device());
        let [tokens, d_model] = sum.dims();
        zeros.slice_assign([0..tokens, 0..d_model], sum)
    }
}

/// What a [`TextEmbed`] keeps.
pub struct TextEmbedSaved {
    /// The caller's ids.
    ids: Tensor<2, Int>,
    /// The caller's segments.
    segments: Option<Tensor<2, Int>>,
    /// The sum before the norm.
    sum: Option<Stored<3>>,
}

impl Saved for TextEmbedSaved {
    fn bytes(&self) -> usize {
        self.sum.as_ref().map_or(0, Stored::bytes)
    }
}

impl Forward for TextEmbed {
    fn forward(&self, input: State, seed: Seed) -> State {
        let sum = self.sum(&input);
        let hidden = match &self.norm {
            None => sum,
            Some(norm) => norm.forward(sum),
        };
        input.with_stream(HIDDEN, dropout(hidden, self.dropout, seed))
    }

    fn reads(&self) -> &'static [&'static str] {
        &[]
    }
}

impl Segment for TextEmbed {
    type Saved = TextEmbedSaved;

    fn parameters(&self) -> Vec<Parameter> {
        parameters(self)
    }

    fn record(&self, input: State, call: &Call<'_>) -> (State, TextEmbedSaved) {
        let sum = self.sum(&input);
        let (hidden, sum) = match &self.norm {
            None => (sum, None),
            Some(norm) => {
                let hidden = norm.forward(sum.clone());
                (hidden, self.trains().then(|| call.keep.store(sum)))
            }
        };
        let saved = TextEmbedSaved {
            ids: input.ids("ids").expect("the chain needs token ids `ids`"),
            segments: input.ids("segments"),
            sum,
        };
        let hidden = dropout(hidden, self.dropout, call.seed);
        (input.with_stream(HIDDEN, hidden), saved)
    }

    fn pull(
        &self,
        saved: TextEmbedSaved,
        mut cotangents: Streams,
        call: &Call<'_>,
        gradients: &mut Gradients,
    ) -> Streams {
        let Some(cotangent) = cotangents.take(HIDDEN) else {
            return Streams::default();
        };
        let cotangent = dropout(cotangent, self.dropout, call.seed);
        let cotangent = match (&self.norm, saved.sum) {
            (Some(norm), Some(sum)) => norm.pull(sum.load(), cotangent, None, gradients),
            _ => cotangent,
        };
        gradients.give(&self.positions, || self.pull_positions(cotangent.clone()));
        if let Some(segments) = &self.segments {
            gradients.give(segments, || {
                let types = saved.segments.unwrap_or_else(|| saved.ids.zeros_like());
                pull_look_up(segments.val(), cotangent.clone(), types)
            });
        }
        if let Some(adapter) = &self.token_adapter {
            let a = adapter.a.id;
            adapter.pull(saved.ids.clone(), cotangent.clone(), gradients);
            if let Some(padding) = self.padding_id
                && let Some(table) = gradients.take(a)
            {
                let rank = adapter.rank();
                let row = Tensor::zeros([rank], &table.device());
                let of_padding = padding * rank..(padding + 1) * rank;
                gradients.add(a, table.slice_assign([of_padding], row));
            }
        }
        gradients.give(&self.tokens, || self.pull_tokens(cotangent, saved.ids));
        Streams::default()
    }

    fn cost(&self, input: &Outline, call: &Call<'_>) -> Cost {
        let ids = input.passenger("ids");
        let ids = ids.expect("the chain needs token ids `ids`");
        let [_, d_model] = self.tokens.lazy_shape().dims();
        let hidden = [ids[0], ids[1], d_model];
        let keeps = self.norm.is_some() && self.trains();
        let adapter = self.token_adapter.as_ref();
        let tokens = ids[0] * ids[1];
        Cost {
            forward_flops: adapter.map_or(0, |adapter| adapter.forward_flops(tokens)),
            backward_flops: adapter.map_or(0, |adapter| adapter.pull_flops(tokens)),
            saved_bytes: if keeps {
                call.keep.bytes(hidden.iter().product())
            } else {
                0
            },
            ..Cost::free(input.clone().with_stream(HIDDEN, hidden))
        }
    }
}

impl Adaptable for TextEmbed {
    fn places(&mut self, visit: &mut Visit<'_>) {
        visit.embedding("tokens", &mut self.token_adapter, &mut self.tokens);
    }
}
