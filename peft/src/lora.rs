//! LoRA: a low-rank update in activation space (Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models").

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};
use checkpointing::{Gradients, Seed, dropout, is_trainable, product_flops};
use kernels::product;
use serde::{Deserialize, Serialize};

use crate::{
    Adapter, Base, Folded, PeftError, Pulled,
    adapter::{Reads, Wanted},
};

/// How `A` is drawn; `B` begins at zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraStart {
    /// From U(-k, k) with `k = 1 / sqrt(d_input)`, as torch's linear maps.
    #[default]
    Kaiming,
    /// From N(0, 1 / rank).
    Gaussian,
}

/// Sizes of a [`Lora`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoraConfig {
    /// The rank.
    pub rank: usize,
    /// What the update is multiplied by, times the rank's share.
    pub alpha: f64,
    /// Whether the share is `1 / sqrt(rank)` (Kalajdzievski 2023, "rsLoRA") and not `1 / rank`.
    pub rank_stabilised: bool,
    /// Dropout on the input of `A` in training.
    pub dropout: f64,
    /// How `A` is drawn.
    pub start: LoraStart,
}

impl LoraConfig {
    /// What the update is multiplied by.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha
            / if self.rank_stabilised {
                rank.sqrt()
            } else {
                rank
            }
    }

    /// `A`, `[d_input, rank]`.
    pub(crate) fn init_a(&self, d_input: usize, device: &Device) -> Param<Tensor<2>> {
        let initializer = match self.start {
            LoraStart::Kaiming => {
                let bound = 1.0 / (d_input.max(1) as f64).sqrt();
                Initializer::Uniform {
                    min: -bound,
                    max: bound,
                }
            }
            LoraStart::Gaussian => Initializer::Normal {
                mean: 0.0,
                std: 1.0 / self.rank as f64,
            },
        };
        initializer.init([d_input, self.rank], device)
    }

    /// An adapter that changes nothing yet.
    pub fn init(&self, [d_input, d_output]: [usize; 2], device: &Device) -> Lora {
        Lora {
            a: self.init_a(d_input, device),
            b: Initializer::Zeros.init([self.rank, d_output], device),
            scale: self.scale(),
            dropout: self.dropout,
            weight: 1.0,
        }
    }
}

/// `y + scale * (x A) B`.
#[derive(Module, Debug)]
pub struct Lora {
    /// `A`, `[d_input, rank]`.
    pub a: Param<Tensor<2>>,
    /// `B`, `[rank, d_output]`, zero at the start.
    pub b: Param<Tensor<2>>,
    scale: f64,
    dropout: f64,
    /// Among several adapters.
    pub(crate) weight: f64,
}

impl Lora {
    /// What the update is multiplied by.
    pub fn scale(&self) -> f64 {
        self.scale * self.weight
    }

    /// The rank.
    pub fn rank(&self) -> usize {
        let [_, rank] = self.a.lazy_shape().dims();
        rank
    }

    /// Whether dropout changes the input.
    pub(crate) fn drops(&self, seed: Seed) -> bool {
        self.dropout > 0.0 && seed.training().is_some()
    }

    /// What `A` reads.
    pub(crate) fn read(&self, x: Tensor<2>, seed: Seed) -> Tensor<2> {
        dropout(x, self.dropout, seed)
    }

    /// `x A`, scaled, of what `A` reads. Shapes: `[rows, d_input] -> [rows, rank]`.
    pub(crate) fn low(&self, read: Tensor<2>) -> Tensor<2> {
        product(read, self.a.val()) * self.scale()
    }

    /// `scale * A B`, `[d_input, d_output]`.
    pub fn delta(&self) -> Tensor<2> {
        product(self.a.val() * self.scale(), self.b.val())
    }

    /// The pullback of the update: its gradients, and the cotangent of the input if it is wanted. `read` is what `A` reads,
    /// given where a parameter trains.
    pub(crate) fn pull_update(
        &self,
        read: Option<Tensor<2>>,
        cotangent: &Tensor<2>,
        wanted: &Wanted,
        gradients: &mut Gradients,
    ) -> Option<Tensor<2>> {
        let read = || read.clone().expect("a gradient needs what `A` reads");
        gradients.give(&self.b, || {
            product(self.low(read()).transpose(), cotangent.clone())
        });
        if !(is_trainable(&self.a) || wanted.input) {
            return None;
        }
        let low = product(cotangent.clone(), self.b.val().transpose()) * self.scale();
        gradients.give(&self.a, || product(read().transpose(), low.clone()));
        wanted
            .input
            .then(|| self.read(product(low, self.a.val().transpose()), wanted.seed))
    }

    /// Operations of one product with each matrix.
    pub(crate) fn products(&self, [d_input, d_output]: [usize; 2], rows: usize) -> [u64; 2] {
        let rank = self.rank();
        [
            product_flops([rows, d_input, rank]),
            product_flops([rows, rank, d_output]),
        ]
    }

    /// Operations of [`pull_update`](Self::pull_update).
    pub(crate) fn pull_update_flops(&self, sizes: [usize; 2], rows: usize, input: bool) -> u64 {
        let [a, b] = self.products(sizes, rows);
        let [a_trains, b_trains] = [&self.a, &self.b].map(is_trainable);
        let times = |is_done: bool| u64::from(is_done);
        a * (times(b_trains) + times(a_trains) + times(input))
            + b * (times(b_trains) + times(a_trains || input))
    }
}

impl Adapter for Lora {
    fn forward(&self, _base: &Base<'_>, x: &Tensor<2>, y: Tensor<2>, seed: Seed) -> Tensor<2> {
        let low = self.low(self.read(x.clone(), seed));
        y + product(low, self.b.val())
    }

    fn pull(
        &self,
        _base: &Base<'_>,
        reads: &Reads,
        cotangent: Tensor<2>,
        wanted: &Wanted,
        gradients: &mut Gradients,
    ) -> Pulled {
        let read = self.trains().then(|| self.read(reads.input(), wanted.seed));
        Pulled {
            input: self.pull_update(read, &cotangent, wanted, gradients),
            output: cotangent,
        }
    }

    fn trains(&self) -> bool {
        is_trainable(&self.a) || is_trainable(&self.b)
    }

    fn needs_input(&self) -> bool {
        self.trains()
    }

    fn needs_output(&self, _wanted: &Wanted) -> bool {
        false
    }

    fn forward_flops(&self, base: &Base<'_>, rows: usize, _seed: Seed) -> u64 {
        self.products(base.sizes(), rows).iter().sum()
    }

    fn pull_flops(&self, base: &Base<'_>, rows: usize, wanted: &Wanted) -> u64 {
        self.pull_update_flops(base.sizes(), rows, wanted.input)
    }

    fn merge(&self, map: Folded) -> Result<Folded, PeftError> {
        let weight = map.weight + self.delta();
        Ok(Folded { weight, ..map })
    }

    fn unmerge(&self, map: Folded) -> Result<Folded, PeftError> {
        let weight = map.weight - self.delta();
        Ok(Folded { weight, ..map })
    }
}
