//! How the heads of both towers end: a tanh layer where there is one (BERT's pooler, ViT's), then a projection.

use burn::tensor::Tensor;
use checkpointing::Gradients;
use peft::Linear;
use precision::{Format, Stored};

use crate::LayerCost;

/// The end of a head, on rows `[rows, d_model]`.
#[derive(Clone, Copy, Debug)]
pub struct HeadEnd<'a> {
    /// The tanh layer.
    pub pooler: Option<&'a Linear>,
    /// To the joint dimension, or to the classes.
    pub projection: Option<&'a Linear>,
}

impl HeadEnd<'_> {
    /// Applies both. Shapes: `[..., d_model] -> [..., d_output]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let pooled = self.pool(x);
        match self.projection {
            None => pooled,
            Some(projection) => projection.forward(pooled),
        }
    }

    /// Applies the tanh layer alone.
    pub fn pool<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self.pooler {
            None => x,
            Some(pooler) => pooler.forward(x).tanh(),
        }
    }

    /// As [`forward`](Self::forward), and what the tanh layer gave, where the pullback reads it.
    pub fn record<const D: usize>(
        &self,
        x: Tensor<D>,
        wants_input: bool,
        keep: Format,
    ) -> (Tensor<D>, Option<Stored<D>>) {
        let pooled = self.pool(x);
        let kept = self
            .keeps_pooled(wants_input)
            .then(|| keep.store(pooled.clone()));
        let output = match self.projection {
            None => pooled,
            Some(projection) => projection.forward(pooled),
        };
        (output, kept)
    }

    /// Whether the pullback reads the input.
    pub fn needs_input(&self) -> bool {
        self.pooler
            .or(self.projection)
            .is_some_and(Linear::needs_input)
    }

    /// Whether the cotangent of what is projected is of use.
    fn pulls_pooled(&self, wants_input: bool) -> bool {
        wants_input || self.pooler.is_some_and(Linear::trains)
    }

    fn keeps_pooled(&self, wants_input: bool) -> bool {
        let projects = self.projection.is_some_and(Linear::needs_input);
        self.pooler.is_some() && (projects || self.pulls_pooled(wants_input))
    }

    /// The cotangent of the input, if it is wanted. Shapes: `[rows, d_output] -> [rows, d_model]`.
    ///
    /// # Panics
    ///
    /// Panics without an input where it [needs one](Self::needs_input).
    pub fn pull(
        &self,
        input: Option<Tensor<2>>,
        pooled: Option<Tensor<2>>,
        mut cotangent: Tensor<2>,
        wants_input: bool,
        gradients: &mut Gradients,
    ) -> Option<Tensor<2>> {
        if let Some(projection) = self.projection {
            let read = if self.pooler.is_some() {
                pooled.clone()
            } else {
                input.clone()
            };
            let read = read.filter(|_| projection.needs_input());
            projection.pull_parameters(read, cotangent.clone(), gradients);
            if !self.pulls_pooled(wants_input) {
                return None;
            }
            cotangent = projection.pull_input(cotangent);
        }
        if let (Some(pooler), Some(pooled)) = (self.pooler, pooled) {
            cotangent = cotangent * (pooled.clone() * pooled).neg().add_scalar(1.0);
            let read = input.filter(|_| pooler.needs_input());
            pooler.pull_parameters(read, cotangent.clone(), gradients);
            if wants_input {
                cotangent = pooler.pull_input(cotangent);
            }
        }
        wants_input.then_some(cotangent)
    }

    /// What it costs for so many rows of so many numbers.
    pub fn cost(&self, rows: usize, d_model: usize, wants_input: bool, keep: Format) -> LayerCost {
        let mut cost = LayerCost::default();
        if self.keeps_pooled(wants_input) {
            cost.saved_bytes = keep.bytes(rows * d_model);
        }
        if let Some(projection) = self.projection {
            cost.forward_flops += projection.forward_flops(rows);
            cost.backward_flops += projection.pull_flops(rows, self.pulls_pooled(wants_input));
        }
        if let Some(pooler) = self.pooler {
            cost.forward_flops += pooler.forward_flops(rows);
            if self.pulls_pooled(wants_input) {
                cost.backward_flops += pooler.pull_flops(rows, wants_input);
            }
        }
        cost
    }

    /// The width of what it gives.
    pub fn d_output(&self, d_model: usize) -> usize {
        self.projection.map_or(d_model, Linear::d_output)
    }
}
