//! DoRA: LoRA that learns the length of each column of the weight apart (Liu et al. 2024, "DoRA: Weight-Decomposed
//! Low-Rank Adaptation").

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use checkpointing::{Gradients, Seed, is_trainable, product_flops};
use kernels::{column_sums, product};

use crate::{
    Adapter, Base, Folded, Lora, LoraConfig, PeftError, Pulled,
    adapter::{Reads, Wanted},
};

/// `m (W + scale * A B) / |W + scale * A B|` in the place of `W`, the length taken of each column. As in section 4.3 of the
/// paper the length is a constant of the pullback. The bias is added as it is. Where dropout is on, it changes what both `W`
/// and `A` read in what the adapter adds, as in HF PEFT.
#[derive(Module, Debug)]
pub struct Dora {
    /// The direction's update.
    pub lora: Lora,
    /// `m`, `[d_output]`: the lengths of the columns of `W` at the start.
    pub magnitude: Param<Tensor<1>>,
}

impl Dora {
    /// An adapter that changes nothing yet.
    pub fn new(config: &LoraConfig, base: &Base<'_>, device: &Device) -> Self {
        Self {
            lora: config.init(base.sizes(), device),
            magnitude: Param::from_tensor(lengths(base.weight.val())),
        }
    }

    /// The lengths of the columns, `[d_output]`, with the update.
    fn lengths(&self, weight: Tensor<2>) -> Tensor<1> {
        lengths(weight + self.lora.delta()).detach()
    }

    fn length_flops(&self, [d_input, d_output]: [usize; 2]) -> u64 {
        product_flops([d_input, self.lora.rank(), d_output])
    }

    /// `x W`, of what `A` reads where dropout has changed it, or else of the output before the adapter.
    fn straight(
        &self,
        base: &Base<'_>,
        read: impl FnOnce() -> Tensor<2>,
        y: impl FnOnce() -> Tensor<2>,
        seed: Seed,
    ) -> Tensor<2> {
        if self.lora.drops(seed) {
            return product(read(), base.weight.val());
        }
        match base.bias {
            None => y(),
            Some(bias) => y() - bias.val().unsqueeze(),
        }
    }
}

/// The length of each column. Shapes: `[d_input, d_output] -> [d_output]`.
fn lengths(weight: Tensor<2>) -> Tensor<1> {
    column_sums(weight.clone() * weight).sqrt()
}

impl Adapter for Dora {
    fn forward(&self, base: &Base<'_>, x: &Tensor<2>, y: Tensor<2>, seed: Seed) -> Tensor<2> {
        let factors = self.magnitude.val() / self.lengths(base.weight.val());
        let read = self.lora.read(x.clone(), seed);
        let update = product(self.lora.low(read.clone()), self.lora.b.val());
        let straight = self.straight(base, || read, || y.clone(), seed);
        let more = factors.clone().sub_scalar(1.0);
        y + straight * more.unsqueeze() + update * factors.unsqueeze()
    }

    fn pull(
        &self,
        base: &Base<'_>,
        reads: &Reads,
        cotangent: Tensor<2>,
        wanted: &Wanted,
        gradients: &mut Gradients,
    ) -> Pulled {
        let lengths = self.lengths(base.weight.val());
        let factors = self.magnitude.val() / lengths.clone();
        let read = || self.lora.read(reads.input(), wanted.seed);
        gradients.give(&self.magnitude, || {
            let update = product(self.lora.low(read()), self.lora.b.val());
            let straight = self.straight(base, read, || reads.output(), wanted.seed);
            column_sums((straight + update) * cotangent.clone()) / lengths
        });
        let scaled = cotangent.clone() * factors.clone().unsqueeze();
        let needed = self.lora.trains().then(read);
        let input = self.lora.pull_update(needed, &scaled, wanted, gradients);
        let more = cotangent.clone() * factors.sub_scalar(1.0).unsqueeze();
        if !self.lora.drops(wanted.seed) {
            // The output was read without its bias.
            if let Some(bias) = base.bias {
                gradients.give(bias, || column_sums(more).neg());
            }
            return Pulled {
                output: scaled,
                input,
            };
        }
        gradients.give(base.weight, || product(read().transpose(), more.clone()));
        let straight = wanted.input.then(|| {
            let pulled = product(more, base.weight.val().transpose());
            self.lora.read(pulled, wanted.seed)
        });
        Pulled {
            output: cotangent,
            input: match (input, straight) {
                (Some(input), Some(straight)) => Some(input + straight),
                (input, straight) => input.or(straight),
            },
        }
    }

    fn trains(&self) -> bool {
        self.lora.trains() || is_trainable(&self.magnitude)
    }

    fn needs_input(&self) -> bool {
        self.trains()
    }

    fn needs_output(&self, wanted: &Wanted) -> bool {
        is_trainable(&self.magnitude) && !self.lora.drops(wanted.seed)
    }

    fn forward_flops(&self, base: &Base<'_>, rows: usize, seed: Seed) -> u64 {
        let sizes = base.sizes();
        let update: u64 = self.lora.products(sizes, rows).iter().sum();
        let straight = if self.lora.drops(seed) {
            base.product_flops(rows)
        } else {
            0
        };
        self.length_flops(sizes) + update + straight
    }

    fn pull_flops(&self, base: &Base<'_>, rows: usize, wanted: &Wanted) -> u64 {
        let sizes = base.sizes();
        let magnitude = is_trainable(&self.magnitude);
        let update: u64 = self.lora.products(sizes, rows).iter().sum();
        let straight = if self.lora.drops(wanted.seed) {
            let each = [magnitude, is_trainable(base.weight), wanted.input];
            let products = each.into_iter().filter(|is_done| *is_done).count();
            products as u64 * base.product_flops(rows)
        } else {
            0
        };
        let pulled = self.lora.pull_update_flops(sizes, rows, wanted.input);
        let magnitude = if magnitude { update } else { 0 };
        self.length_flops(sizes) + magnitude + pulled + straight
    }

    fn merge(&self, map: Folded) -> Result<Folded, PeftError> {
        let lengths = self.lengths(map.weight.clone());
        let factors = self.magnitude.val() / lengths.clone();
        Ok(Folded {
            weight: (map.weight + self.lora.delta()) * factors.unsqueeze(),
            noted: Some(lengths),
            ..map
        })
    }

    fn unmerge(&self, map: Folded) -> Result<Folded, PeftError> {
        let lengths = map.noted.clone().ok_or(PeftError::NotMerged)?;
        let magnitude = self.magnitude.val();
        no_zeros(&magnitude)?;
        let weight = map.weight * (lengths / magnitude).unsqueeze() - self.lora.delta();
        Ok(Folded {
            weight,
            noted: None,
            ..map
        })
    }
}

/// What a merged map was multiplied by can be divided by.
pub(crate) fn no_zeros(factors: &Tensor<1>) -> Result<(), PeftError> {
    let zero = factors.to_data().iter::<f32>().any(|x| x == 0.0);
    if zero {
        return Err(PeftError::MultipliedByZero);
    }
    Ok(())
}
