//! How the heads of both towers end: a tanh layer where there is one (BERT's pooler, ViT's), then a projection.

use burn::tensor::Tensor;
use checkpointing::{Gradients, Saved, Seed};
use peft::{Linear, LinearCall, LinearSaved};
use precision::Stored;

use crate::{LayerCost, layer::map_seed};

/// The end of a head, on rows `[rows, d_model]`.
#[derive(Clone, Copy, Debug)]
pub struct HeadEnd<'a> {
    /// The tanh layer.
    pub pooler: Option<&'a Linear>,
    /// To the joint dimension, or to the classes.
    pub projection: Option<&'a Linear>,
}

/// What a [`HeadEnd`] keeps.
#[derive(Debug)]
pub struct HeadEndSaved {
    /// What the tanh layer gave.
    pooled: Option<Stored<2>>,
    pooler: LinearSaved,
    projection: LinearSaved,
}

impl Saved for HeadEndSaved {
    fn bytes(&self) -> usize {
        let pooled = self.pooled.as_ref().map_or(0, Stored::bytes);
        pooled + self.pooler.bytes() + self.projection.bytes()
    }
}

impl HeadEnd<'_> {
    /// Applies both. Shapes: `[..., d_model] -> [..., d_output]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>, seed: Seed) -> Tensor<D> {
        let pooled = self.pool(x, seed);
        match self.projection {
            None => pooled,
            Some(projection) => projection.forward_at(pooled, projection_seed(seed)),
        }
    }

    /// Applies the tanh layer alone.
    pub fn pool<const D: usize>(&self, x: Tensor<D>, seed: Seed) -> Tensor<D> {
        match self.pooler {
            None => x,
            Some(pooler) => pooler.forward_at(x, pooler_seed(seed)).tanh(),
        }
    }

    /// As [`forward`](Self::forward), and what the pullback needs besides the input. Shapes:
    /// `[rows, d_model] -> [rows, d_output]`.
    pub fn record(&self, x: Tensor<2>, call: &LinearCall) -> (Tensor<2>, HeadEndSaved) {
        let [of_pooler, of_projection] = self.calls(call);
        let mut saved = HeadEndSaved {
            pooled: None,
            pooler: LinearSaved::default(),
            projection: LinearSaved::default(),
        };
        let mut pooled = x;
        if let Some(pooler) = self.pooler {
            let (output, kept) = pooler.record(pooled, &of_pooler);
            pooled = output.tanh();
            saved.pooler = kept;
            let keeps = self.keeps_pooled(call.wants_input);
            saved.pooled = keeps.then(|| call.keep.store(pooled.clone()));
        }
        let Some(projection) = self.projection else {
            return (pooled, saved);
        };
        let (output, kept) = projection.record(pooled, &of_projection);
        saved.projection = kept;
        (output, saved)
    }

    /// The calls of both maps.
    fn calls(&self, call: &LinearCall) -> [LinearCall; 2] {
        let of_pooler = LinearCall {
            seed: pooler_seed(call.seed),
            ..*call
        };
        let of_projection = LinearCall {
            seed: projection_seed(call.seed),
            wants_input: self.pulls_pooled(call.wants_input),
            ..*call
        };
        [of_pooler, of_projection]
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
        saved: HeadEndSaved,
        mut cotangent: Tensor<2>,
        call: &LinearCall,
        gradients: &mut Gradients,
    ) -> Option<Tensor<2>> {
        let [of_pooler, of_projection] = self.calls(call);
        let pooled = saved.pooled.map(Stored::load);
        if let Some(projection) = self.projection {
            let read = if self.pooler.is_some() {
                pooled.clone()
            } else {
                input.clone()
            };
            let read = read.filter(|_| projection.needs_input());
            cotangent =
                projection.pull(read, saved.projection, cotangent, &of_projection, gradients)?;
        }
        match (self.pooler, pooled) {
            (Some(pooler), Some(pooled)) => {
                cotangent = cotangent * (pooled.clone() * pooled).neg().add_scalar(1.0);
                let read = input.filter(|_| pooler.needs_input());
                pooler.pull(read, saved.pooler, cotangent, &of_pooler, gradients)
            }
            _ => call.wants_input.then_some(cotangent),
        }
    }

    /// What it costs for so many rows of so many numbers.
    pub fn cost(&self, rows: usize, d_model: usize, call: &LinearCall) -> LayerCost {
        let [of_pooler, of_projection] = self.calls(call);
        let mut cost = LayerCost::default();
        if self.keeps_pooled(call.wants_input) {
            cost.saved_bytes = call.keep.bytes(rows * d_model);
        }
        if let Some(projection) = self.projection {
            cost.forward_flops += projection.forward_flops(rows, of_projection.seed);
            cost.backward_flops += projection.pull_flops(rows, &of_projection);
            cost.saved_bytes += projection.saved_bytes(rows, &of_projection);
        }
        if let Some(pooler) = self.pooler {
            cost.forward_flops += pooler.forward_flops(rows, of_pooler.seed);
            cost.saved_bytes += pooler.saved_bytes(rows, &of_pooler);
            if self.pulls_pooled(call.wants_input) {
                cost.backward_flops += pooler.pull_flops(rows, &of_pooler);
            }
        }
        cost
    }

    /// The width of what it gives.
    pub fn d_output(&self, d_model: usize) -> usize {
        self.projection.map_or(d_model, Linear::d_output)
    }
}

fn pooler_seed(seed: Seed) -> Seed {
    map_seed(seed, 0)
}

fn projection_seed(seed: Seed) -> Seed {
    map_seed(seed, 1)
}
