//! The linear layer all models use.

use burn::{
    module::{Initializer, Module, Param, ParamId},
    tensor::{Device, Tensor},
};

use kernels::{column_sums, linear, product};

use crate::Adapter;

/// Sizes and initialisation of a [`Linear`].
#[derive(Clone, Debug)]
pub struct LinearConfig {
    /// Width of the input.
    pub d_input: usize,
    /// Width of the output.
    pub d_output: usize,
    /// Whether a bias is added.
    pub bias: bool,
    /// How the weight is drawn.
    pub initializer: Initializer,
    /// How the bias is drawn.
    pub bias_initializer: Initializer,
}

impl LinearConfig {
    /// A layer with a bias of zeros, its weight drawn from U(-k, k) with `k = 1 / sqrt(d_input)`.
    pub fn new(d_input: usize, d_output: usize) -> Self {
        Self {
            d_input,
            d_output,
            bias: true,
            initializer: torch_uniform(d_input),
            bias_initializer: Initializer::Zeros,
        }
    }

    /// Draws the bias from U(-k, k), too, as torch's `nn.Linear` does.
    pub fn with_drawn_bias(mut self) -> Self {
        self.bias_initializer = torch_uniform(self.d_input);
        self
    }

    /// With or without a bias.
    pub fn with_bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Draws the weight from another distribution.
    pub fn with_initializer(mut self, initializer: Initializer) -> Self {
        self.initializer = initializer;
        self
    }

    /// Draws the weight from N(0, std).
    pub fn with_std(self, std: f64) -> Self {
        self.with_initializer(Initializer::Normal { mean: 0.0, std })
    }

    /// Initialises the layer. Nothing is allocated until the first use.
    pub fn init(&self, device: &Device) -> Linear {
        Linear {
            weight: self.initializer.init_with(
                [self.d_input, self.d_output],
                Some(self.d_input),
                Some(self.d_output),
                device,
            ),
            bias: self
                .bias
                .then(|| self.bias_initializer.init([self.d_output], device)),
            adapter: None,
        }
    }
}

fn torch_uniform(d_input: usize) -> Initializer {
    let bound = 1.0 / (d_input.max(1) as f64).sqrt();
    Initializer::Uniform {
        min: -bound,
        max: bound,
    }
}

/// `y = x W + b`, plus what an [`Adapter`] adds.
#[derive(Module, Debug)]
pub struct Linear {
    /// `W`, `[d_input, d_output]`.
    pub weight: Param<Tensor<2>>,
    /// `b`, `[d_output]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// The place for an adapter; empty unless one is put there.
    pub adapter: Option<Adapter>,
}

impl Linear {
    /// Puts an adapter in its place.
    pub fn with_adapter(mut self, adapter: Adapter) -> Self {
        self.adapter = Some(adapter);
        self
    }

    /// Applies the layer. Shapes: `[..., d_input] -> [..., d_output]`.
    ///
    /// # Panics
    ///
    /// Panics if the last axis of `input` is not `d_input`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let mut shape = input.dims();
        let [d_input, d_output] = self.weight.lazy_shape().dims();
        assert_eq!(
            shape[D - 1],
            d_input,
            "the input's last axis must be d_input"
        );
        let rows = shape[..D - 1].iter().product();
        let input: Tensor<2> = input.reshape([rows, d_input]);
        let base = linear(
            input.clone(),
            self.weight.val(),
            self.bias.as_ref().map(|bias| bias.val()),
        );
        let output = match &self.adapter {
            None => base,
            Some(adapter) => base + adapter.forward(input),
        };
        shape[D - 1] = d_output;
        output.reshape(shape)
    }

    /// The pullback of the input. Shapes: `[rows, d_output] -> [rows, d_input]`.
    pub fn pull_input(&self, cotangent: Tensor<2>) -> Tensor<2> {
        let through_adapter = self
            .adapter
            .as_ref()
            .map(|adapter| adapter.pull_input(cotangent.clone()));
        let base = product(cotangent, self.weight.val().transpose());
        match through_adapter {
            None => base,
            Some(adapter) => base + adapter,
        }
    }

    /// The pullback of the parameters: hands the gradient of each that trains to `sink`,
    /// flattened to `[elements]`.
    ///
    /// Shapes: input `[rows, d_input]`, cotangent `[rows, d_output]`.
    pub fn pull_parameters(
        &self,
        input: Tensor<2>,
        cotangent: Tensor<2>,
        sink: &mut dyn FnMut(ParamId, Tensor<1>),
    ) {
        if let Some(adapter) = &self.adapter {
            adapter.pull_parameters(input.clone(), cotangent.clone(), sink);
        }
        if let Some(bias) = &self.bias {
            give(bias, || column_sums(cotangent.clone()), sink);
        }
        give(&self.weight, || product(input.transpose(), cotangent), sink);
    }
}

/// Computes a gradient only for a parameter that trains.
pub(crate) fn give<const D: usize>(
    param: &Param<Tensor<D>>,
    gradient: impl FnOnce() -> Tensor<D>,
    sink: &mut dyn FnMut(ParamId, Tensor<1>),
) {
    if param.clone().train().is_require_grad() {
        sink(param.id, gradient().flatten(0, D - 1));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use burn::tensor::Distribution;

    use super::*;

    fn adapted(device: &Device) -> Linear {
        let mut adapter = Adapter::new(5, 3, 2, 4.0, device);
        adapter.up = Initializer::Normal {
            mean: 0.0,
            std: 1.0,
        }
        .init([2, 3], device);
        LinearConfig::new(5, 3).init(device).with_adapter(adapter)
    }

    #[test]
    fn adapter_equals_the_weight_space_update() {
        let device = testing::device();
        let layer = adapted(&device);
        let adapter = layer.adapter.clone().unwrap();
        let merged = layer.weight.val() + adapter.down.val().matmul(adapter.up.val()) * 2.0;
        let input = Tensor::<2>::random([7, 5], Distribution::Default, &device);
        let want = input.clone().matmul(merged) + layer.bias.as_ref().unwrap().val().unsqueeze();
        testing::assert_close(&layer.forward(input), &want, 1e-5);
    }

    #[test]
    fn closed_form_pullback_equals_autodiff() {
        let device = testing::device();
        let layer = adapted(&device);
        let input = Tensor::<2>::random([7, 5], Distribution::Default, &device);
        let cotangent = Tensor::<2>::random([7, 3], Distribution::Default, &device);

        let tracked = layer.clone().train();
        let leaf = Tensor::from_inner(input.clone()).require_grad();
        let objective = tracked.forward(leaf.clone()) * Tensor::from_inner(cotangent.clone());
        let mut grads = objective.sum().backward();

        let mut got = HashMap::new();
        let pulled = layer.pull_input(cotangent.clone());
        layer.pull_parameters(input, cotangent, &mut |id, gradient| {
            got.insert(id, gradient);
        });
        let want = leaf.grad_remove(&mut grads).unwrap();
        testing::assert_close(&pulled, &want, 1e-5);
        let adapter = tracked.adapter.as_ref().unwrap();
        for param in [&tracked.weight, &adapter.down, &adapter.up] {
            let want: Tensor<1> = param.val().grad_remove(&mut grads).unwrap().flatten(0, 1);
            let got = got.remove(&param.id).unwrap();
            testing::assert_close(&got, &want, 1e-5);
        }
        let bias = tracked.bias.as_ref().unwrap();
        let want = bias.val().grad_remove(&mut grads).unwrap();
        testing::assert_close(&got.remove(&bias.id).unwrap(), &want, 1e-5);
    }

    #[test]
    fn a_frozen_weight_receives_no_gradient() {
        let device = Device::default();
        let mut layer = adapted(&device);
        layer.weight = layer.weight.set_require_grad(false);
        let mut ids = Vec::new();
        let ones = Tensor::<2>::ones([7, 3], &device);
        layer.pull_parameters(Tensor::ones([7, 5], &device), ones, &mut |id, _| {
            ids.push(id)
        });
        assert!(!ids.contains(&layer.weight.id));
        assert_eq!(ids.len(), 3);
    }
}
