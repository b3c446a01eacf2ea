//! What may sit beside a linear map: a low-rank update in activation space.

use burn::{
    module::{Initializer, Module, Param, ParamId},
    tensor::{Device, Tensor},
};

use kernels::product;

use crate::linear::give;

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

    /// Hands the gradients of `A` and `B` to `sink`.
    pub(crate) fn pull_parameters(
        &self,
        input: Tensor<2>,
        cotangent: Tensor<2>,
        sink: &mut dyn FnMut(ParamId, Tensor<1>),
    ) {
        let cotangent = cotangent * self.scale;
        let low = product(input.clone(), self.down.val());
        give(
            &self.up,
            || product(low.transpose(), cotangent.clone()),
            sink,
        );
        let low_cotangent = product(cotangent, self.up.val().transpose());
        give(
            &self.down,
            || product(input.transpose(), low_cotangent),
            sink,
        );
    }
}
