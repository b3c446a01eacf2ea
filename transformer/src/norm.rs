//! Layer normalisation, with its pullback in closed form.

use burn::{
    module::{Initializer, Module, Param, ParamId},
    tensor::{Device, Tensor, module::layer_norm},
};

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

    /// The pullback: `residual` plus the cotangent of the input; gradients go to `sink`.
    ///
    /// Shapes: all `[rows, d_model]`.
    pub fn pull(
        &self,
        input: Tensor<2>,
        cotangent: Tensor<2>,
        residual: Tensor<2>,
        sink: &mut dyn FnMut(ParamId, Tensor<1>),
    ) -> Tensor<2> {
        let pulled = pull_layer_norm(input, self.gamma.val(), self.epsilon, cotangent, residual);
        let gradients = [(&self.gamma, pulled.gamma), (&self.beta, pulled.beta)];
        for (param, gradient) in gradients {
            if checkpointing::is_trainable(param) {
                sink(param.id, gradient);
            }
        }
        pulled.input
    }
}
