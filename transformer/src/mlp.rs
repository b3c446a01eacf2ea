//! The two-layer perceptron of a transformer block.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use peft::{Linear, LinearConfig};

use crate::Activation;

/// `fc2(act(fc1(x)))`.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[d_model, d_hidden]`.
    pub fc1: Linear,
    /// `[d_hidden, d_model]`.
    pub fc2: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    /// Initialises the layer, its biases drawn as torch draws them.
    pub fn new(d_model: usize, d_hidden: usize, activation: Activation, device: &Device) -> Self {
        Self {
            fc1: LinearConfig::new(d_model, d_hidden)
                .with_drawn_bias()
                .init(device),
            fc2: LinearConfig::new(d_hidden, d_model)
                .with_drawn_bias()
                .init(device),
            activation,
        }
    }

    /// The activation between the two maps.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Applies the layer. Shapes: `[..., d_model] -> [..., d_model]`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.fc2
            .forward(self.activation.forward(self.fc1.forward(input)))
    }
}
