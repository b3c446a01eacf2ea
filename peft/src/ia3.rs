//! (IA)3: factors of what a map reads or gives (Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and
//! Cheaper than In-Context Learning").

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};
use checkpointing::{Gradients, Seed, is_trainable};
use kernels::column_sums;

use crate::{
    Adapter, Base, Folded, PeftError, Pulled,
    adapter::{Reads, Wanted},
    dora::no_zeros,
};

/// `l (x W + b)`, or `(l x) W + b` of a feed-forward map.
#[derive(Module, Debug)]
pub struct Ia3 {
    /// `l`, `[d_output]` or `[d_input]`, one at the start.
    pub factors: Param<Tensor<1>>,
    on_input: bool,
}

impl Ia3 {
    /// Factors that change nothing yet, of what a map of these sizes gives, or `on_input` of what it reads.
    pub fn new([d_input, d_output]: [usize; 2], on_input: bool, device: &Device) -> Self {
        let width = if on_input { d_input } else { d_output };
        Self {
            factors: Initializer::Ones.init([width], device),
            on_input,
        }
    }

    /// Whether the factors are of what the map reads.
    pub fn is_on_input(&self) -> bool {
        self.on_input
    }
}

impl Adapter for Ia3 {
    fn forward(&self, _base: &Base<'_>, _x: &Tensor<2>, y: Tensor<2>, _seed: Seed) -> Tensor<2> {
        if self.on_input {
            return y;
        }
        y * self.factors.val().unsqueeze()
    }

    fn pull(
        &self,
        _base: &Base<'_>,
        reads: &Reads,
        cotangent: Tensor<2>,
        wanted: &Wanted,
        gradients: &mut Gradients,
    ) -> Pulled {
        let mut output = cotangent;
        if !self.on_input {
            gradients.give(&self.factors, || {
                column_sums(reads.output() * output.clone())
            });
            if wanted.output {
                output = output * self.factors.val().unsqueeze();
            }
        }
        Pulled {
            output,
            input: None,
        }
    }

    fn input_factors(&self) -> Option<&Param<Tensor<1>>> {
        self.on_input.then_some(&self.factors)
    }

    fn trains(&self) -> bool {
        is_trainable(&self.factors)
    }

    fn needs_input(&self) -> bool {
        self.on_input && self.trains()
    }

    fn needs_output(&self, _wanted: &Wanted) -> bool {
        !self.on_input && self.trains()
    }

    fn forward_flops(&self, _base: &Base<'_>, _rows: usize, _seed: Seed) -> u64 {
        0
    }

    fn pull_flops(&self, _base: &Base<'_>, _rows: usize, _wanted: &Wanted) -> u64 {
        0
    }

    fn merge(&self, map: Folded) -> Result<Folded, PeftError> {
        Ok(self.multiply(map, self.factors.val()))
    }

    fn unmerge(&self, map: Folded) -> Result<Folded, PeftError> {
        let factors = self.factors.val();
        no_zeros(&factors)?;
        Ok(self.multiply(map, factors.recip()))
    }
}

impl Ia3 {
    fn multiply(&self, map: Folded, factors: Tensor<1>) -> Folded {
        if self.on_input {
            let [width] = factors.dims();
            let weight = map.weight * factors.reshape([width, 1]);
            return Folded { weight, ..map };
        }
        Folded {
            weight: map.weight * factors.clone().unsqueeze(),
            bias: map.bias.map(|bias| bias * factors),
            ..map
        }
    }
}
