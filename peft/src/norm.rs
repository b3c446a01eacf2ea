//! Layer normalisation, with its pullback in closed form.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor, module::layer_norm},
};
use checkpointing::{Gradients, is_trainable};
use kernels::pull_layer_norm;

/// Layer normalisation over the last axis (Ba et al. 2016).
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale, `[d_model]`.
    pub gamma: Param<Tensor<1>>,
    /// Shift, `[d_model]`.
    pub beta: Param<Tensor<1>>,
    epsilon: f64,
}

impl LayerNorm {
    /// The identity scale and shift.
    pub fn new(d_model: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            gamma: Initializer::Ones.init([d_model], device),
            beta: Initializer::Zeros.init([d_model], device),
            epsilon,
        }
    }

    /// Normalises. Shapes: `[..., d_model] -> [..., d_model]`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        layer_norm(input, self.gamma.val(), Some(self.beta.val()), self.epsilon)
    }

    /// Whether any parameter trains.
    pub fn trains(&self) -> bool {
        is_trainable(&self.gamma) || is_trainable(&self.beta)
    }

    /// The cotangent of the input, to which `residual` is added. Gradients of the parameters that train are added to
    /// `gradients`.
    ///
    /// Shapes: all `[..., d_model]`.
    pub fn pull<const D: usize>(
        &self,
        input: Tensor<D>,
        cotangent: Tensor<D>,
        residual: Option<Tensor<D>>,
        gradients: &mut Gradients,
    ) -> Tensor<D> {
        let shape = input.dims();
        let flat = |x: Tensor<D>| -> Tensor<2> {
            let rows = shape[..D - 1].iter().product();
            x.reshape([rows, shape[D - 1]])
        };
        let residual = residual.unwrap_or_else(|| input.zeros_like());
        let pulled = pull_layer_norm(
            flat(input),
            self.gamma.val(),
            self.epsilon,
            flat(cotangent),
            flat(residual),
        );
        gradients.give(&self.gamma, || pulled.gamma);
        gradients.give(&self.beta, || pulled.beta);
        pulled.input.reshape(shape)
    }
}
