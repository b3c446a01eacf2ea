//! What may sit beside a linear map: a low-rank update in activation space.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};

use checkpointing::{Gradients, is_trainable, product_flops};
use kernels::product;

/// A low-rank update `scale * (x A) B` with `scale = alpha / rank` (Hu et al. 2021).
#[derive(Module, Debug)]
pub struct Adapter {
    /// `A`, `[d_input, rank]`.
    pub down: Param<Tensor<2>>,
    /// `B`, `[rank, d_output]`, zero at the start.
    pub up: Param<Tensor<2>>,
    scale: f64,
}

impl Adapter {
    /// An adapter that changes nothing yet: `A` is drawn, `B` is zero.
    pub fn new(d_input: usize, d_output: usize, rank: usize, alpha: f64, device: &Device) -> Self {
        let bound = 1.0 / (d_input as f64).sqrt();
        let down = Initializer::Uniform {
            min: -bound,
            max: bound,
        };
        Self {
            down: down.init([d_input, rank], device),
            up: Initializer::Zeros.init([rank, d_output], device),
            scale: alpha / rank as f64,
        }
    }

    /// The update for `input`. Shapes: `[rows, d_input] -> [rows, d_output]`.
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        product(product(input, self.down.val()), self.up.val()) * self.scale
    }

    /// The cotangent of the input for the cotangent of the update.
    pub(crate) fn pull_input(&self, cotangent: Tensor<2>) -> Tensor<2> {
        let low = product(cotangent, self.up.val().transpose()) * self.scale;
        product(low, self.down.val().transpose())
    }

    /// Adds the gradients of `A` and `B`.
    pub(crate) fn pull_parameters(
        &self,
        input: Tensor<2>,
        cotangent: Tensor<2>,
        gradients: &mut Gradients,
    ) {
        let cotangent = cotangent * self.scale;
        gradients.give(&self.up, || {
            let low = product(input.clone(), self.down.val());
            product(low.transpose(), cotangent.clone())
        });
        gradients.give(&self.down, || {
            let low = product(cotangent.clone(), self.up.val().transpose());
            product(input.transpose(), low)
        });
    }

    pub(crate) fn trains(&self) -> bool {
        is_trainable(&self.down) || is_trainable(&self.up)
    }

    /// Floating-point operations of one product with each matrix, of `rows` rows.
    pub(crate) fn products(&self, rows: usize) -> [u64; 2] {
        let [d_input, rank] = self.down.lazy_shape().dims();
        let [_, d_output] = self.up.lazy_shape().dims();
        [
            product_flops([rows, d_input, rank]),
            product_flops([rows, rank, d_output]),
        ]
    }

    pub(crate) fn pull_flops(&self, rows: usize, wants_input: bool) -> u64 {
        let [down, up] = self.products(rows);
        let each = [
            wants_input,
            is_trainable(&self.up),
            is_trainable(&self.down),
        ];
        each.into_iter().filter(|is_done| *is_done).count() as u64 * (down + up)
    }
}
