//! The linear layer all models use.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};

use checkpointing::{Gradients, is_trainable, product_flops};
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

    /// The pullback of the parameters: adds the gradient of each that trains. `input` may be missing where
    /// [`needs_input`](Self::needs_input) says so.
    ///
    /// Shapes: input `[rows, d_input]`, cotangent `[rows, d_output]`.
    ///
    /// # Panics
    ///
    /// Panics if the input is missing and a gradient needs it.
    pub fn pull_parameters(
        &self,
        input: Option<Tensor<2>>,
        cotangent: Tensor<2>,
        gradients: &mut Gradients,
    ) {
        let needed = || input.clone().expect("a gradient needs the layer's input");
        if let Some(adapter) = self.adapter.as_ref().filter(|adapter| adapter.trains()) {
            adapter.pull_parameters(needed(), cotangent.clone(), gradients);
        }
        if let Some(bias) = &self.bias {
            gradients.give(bias, || column_sums(cotangent.clone()));
        }
        gradients.give(&self.weight, || product(needed().transpose(), cotangent));
    }

    /// Whether any parameter trains.
    pub fn trains(&self) -> bool {
        self.needs_input() || self.bias.as_ref().is_some_and(is_trainable)
    }

    /// Whether [`pull_parameters`](Self::pull_parameters) reads the input.
    pub fn needs_input(&self) -> bool {
        is_trainable(&self.weight) || self.adapter.as_ref().is_some_and(Adapter::trains)
    }

    /// Width of the output.
    pub fn d_output(&self) -> usize {
        let [_, d_output] = self.weight.lazy_shape().dims();
        d_output
    }

    /// Floating-point operations of [`forward`](Self::forward) for `rows` rows.
    pub fn forward_flops(&self, rows: usize) -> u64 {
        let adapter = self.adapter.as_ref();
        let adapter = adapter.map_or(0, |adapter| adapter.products(rows).iter().sum());
        self.product_flops(rows) + adapter
    }

    /// Floating-point operations of both pullbacks for `rows` rows, that of the input only if it is wanted.
    pub fn pull_flops(&self, rows: usize, wants_input: bool) -> u64 {
        let each = [wants_input, is_trainable(&self.weight)];
        let products = each.into_iter().filter(|is_done| *is_done).count() as u64;
        let adapter = self.adapter.as_ref();
        let adapter = adapter.map_or(0, |adapter| adapter.pull_flops(rows, wants_input));
        products * self.product_flops(rows) + adapter
    }

    fn product_flops(&self, rows: usize) -> u64 {
        let [d_input, d_output] = self.weight.lazy_shape().dims();
        product_flops([rows, d_input, d_output])
    }
}

#[cfg(test)]
mod tests {
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

        let mut got = Gradients::default();
        let pulled = layer.pull_input(cotangent.clone());
        layer.pull_parameters(Some(input), cotangent, &mut got);
        let want = leaf.grad_remove(&mut grads).unwrap();
        testing::assert_close(&pulled, &want, 1e-5);
        let adapter = tracked.adapter.as_ref().unwrap();
        for param in [&tracked.weight, &adapter.down, &adapter.up] {
            let want: Tensor<1> = param.val().grad_remove(&mut grads).unwrap().flatten(0, 1);
            let got = got.take(param.id).unwrap();
            testing::assert_close(&got, &want, 1e-5);
        }
        let bias = tracked.bias.as_ref().unwrap();
        let want = bias.val().grad_remove(&mut grads).unwrap();
        testing::assert_close(&got.take(bias.id).unwrap(), &want, 1e-5);
    }

    #[test]
    fn a_frozen_weight_receives_no_gradient() {
        let device = Device::default();
        let mut layer = adapted(&device);
        layer.weight = layer.weight.set_require_grad(false);
        let mut gradients = Gradients::default();
        let ones = Tensor::<2>::ones([7, 3], &device);
        layer.pull_parameters(Some(Tensor::ones([7, 5], &device)), ones, &mut gradients);
        assert!(gradients.get(layer.weight.id).is_none());
        assert_eq!(gradients.len(), 3);
    }
}
