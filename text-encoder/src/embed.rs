//! From token ids to hidden states: the first segment of a text tower.

use burn::{
    backend::{Dispatch, ops::ModuleOps},
    module::{Initializer, Module, Param},
    tensor::{Device, Int, Tensor, module::embedding},
};
use checkpointing::{
    Gradients, Pulled, Seed, Segment, State, Tape, is_trainable, record_with_autodiff,
};
use transformer::{LayerNorm, dropout};

use crate::TextConfig;

/// Looks up tokens, positions and segments.
///
/// Reads the passenger `"ids"` `[batch, tokens]` and, if there is one, `"segments"`.
#[derive(Module, Debug)]
pub struct TextEmbed {
    /// `[vocabulary, d_model]`.
    pub tokens: Param<Tensor<2>>,
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
        let d_model = config.d_model;
        Self {
            tokens: normal(0.02).init([config.vocab_size, d_model], device),
            positions: normal(0.01).init([config.context, d_model], device),
            segments: (config.segment_types > 0)
                .then(|| normal(0.02).init([config.segment_types, d_model], device)),
            norm: config
                .embed_norm
                .then(|| LayerNorm::new(d_model, config.norm_epsilon, device)),
            padding_id: config.padding_id,
            dropout: if config.embed_norm {
                config.dropout
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

    /// Whether the pullback is a plain scatter: nothing but tokens and positions.
    fn is_plain(&self) -> bool {
        self.segments.is_none() && self.norm.is_none() && self.padding_id.is_none()
    }
}

impl Segment for TextEmbed {
    fn forward(&self, input: State, seed: Seed) -> State {
        let sum = self.sum(&input);
        let hidden = match &self.norm {
            None => sum,
            Some(norm) => norm.forward(sum),
        };
        input.with_tensors(vec![dropout(hidden, self.dropout, seed)])
    }

    fn record<'a>(&'a self, input: State, seed: Seed, input_cotangent: bool) -> (State, Tape<'a>) {
        if !self.is_plain() {
            return record_with_autodiff(self, input, seed, input_cotangent);
        }
        let ids = input.ids("ids").expect("the chain needs token ids `ids`");
        let output = self.forward(input, seed);
        let tape = move |mut cotangent: Vec<Tensor<3>>| {
            let cotangent = cotangent.swap_remove(0);
            let mut gradients = Gradients::default();
            if is_trainable(&self.positions) {
                let sum: Tensor<2> = cotangent.clone().sum_dim(0).squeeze_dim(0);
                let zeros = Tensor::<2>::zeros(self.positions.val().dims(), &sum.device());
                let [tokens, d_model] = sum.dims();
                gradients.add(
                    self.positions.id,
                    zeros.slice_assign([0..tokens, 0..d_model], sum),
                );
            }
            if is_trainable(&self.tokens) {
                let table = pull_look_up(self.tokens.val(), cotangent, ids);
                gradients.add(self.tokens.id, table);
            }
            Pulled {
                cotangent: Vec::new(),
                gradients,
            }
        };
        (output, Box::new(tape))
    }
}

/// The framework's own pullback of [`embedding`]: a table of zeros, to which each row of the cotangent is added in place.
fn pull_look_up(table: Tensor<2>, cotangent: Tensor<3>, ids: Tensor<2, Int>) -> Tensor<2> {
    let (table, cotangent) = (table.into_dispatch(), cotangent.into_dispatch());
    Tensor::from_dispatch(Dispatch::embedding_backward(
        table,
        cotangent,
        ids.into_dispatch(),
    ))
}
