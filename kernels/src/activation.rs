//! Activation functions, with the derivative in closed form.

use burn::{
    backend::{Dispatch, ops::ActivationOps},
    tensor::{Device, Tensor},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    host::{
        HostTensor, Kernel, TAIL_END, exp, for_rows, map_elements, normal_tail, over_rows,
        vectorise,
    },
    profile::has_exact_gelu_gradient,
};

/// The activations of published transformers. Names in configs differ; these are torch's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x * Phi(x)`, exact (Hendrycks & Gimpel 2016).
    #[default]
    Gelu,
    /// The tanh approximation of gelu.
    #[serde(alias = "gelu_pytorch_tanh", alias = "gelu_new")]
    GeluTanh,
    /// `x * sigmoid(1.702 x)`, as OpenAI's CLIP.
    QuickGelu,
    /// `max(x, 0)`.
    Relu,
}

const SQRT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;
const NORMAL: f32 = 0.398_942_3; // 1 / sqrt(2 pi)
const TANH_SCALE: f32 = 0.797_884_6; // sqrt(2 / pi)
const TANH_CUBIC: f32 = 0.044_715;
const QUICK: f32 = 1.702;

impl Activation {
    /// Applies the function element by element.
    pub fn forward<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        let width = input.dims()[D - 1];
        match HostTensor::open(input) {
            Err(input) => self.forward_tensor(input),
            Ok(mut input) => {
                for_rows(input.slice_mut(), width, |_, x| match self {
                    Self::Gelu => vectorise(Apply { x, f: gelu }),
                    Self::GeluTanh => vectorise(Apply { x, f: gelu_tanh }),
                    Self::QuickGelu => vectorise(Apply { x, f: quick_gelu }),
                    Self::Relu => vectorise(Apply { x, f: relu }),
                });
                input.close()
            }
        }
    }

    /// The value, and the input again for what is still to come: `forward` of a tensor that is held elsewhere copies it
    /// first, and this does not.
    pub fn forward_keeping<const D: usize>(self, input: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
        match HostTensor::open(input) {
            Err(input) => (self.forward_tensor(input.clone()), input),
            Ok(input) => {
                let x = input.slice();
                let value = match self {
                    Self::Gelu => map_elements(x, |x| gelu(x).0),
                    Self::GeluTanh => map_elements(x, |x| gelu_tanh(x).0),
                    Self::QuickGelu => map_elements(x, |x| quick_gelu(x).0),
                    Self::Relu => map_elements(x, |x| relu(x).0),
                };
                (input.with(value), input.close())
            }
        }
    }

    /// The value and the pulled back cotangent at `input`, both of the input's shape.
    pub fn pull<const D: usize>(
        self,
        input: Tensor<D>,
        cotangent: Tensor<D>,
    ) -> (Tensor<D>, Tensor<D>) {
        if !HostTensor::opens(&input) || !HostTensor::opens(&cotangent) {
            return self.pull_tensor(input, cotangent);
        }
        match self {
            Self::Gelu => pull_rows(input, cotangent, gelu),
            Self::GeluTanh => pull_rows(input, cotangent, gelu_tanh),
            Self::QuickGelu => pull_rows(input, cotangent, quick_gelu),
            Self::Relu => pull_rows(input, cotangent, relu),
        }
    }

    /// In tensor operations, for any device and on a graph.
    fn forward_tensor<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu if !x.is_autodiff() || gelu_gradient_is_exact(&x.device()) => {
                burn::tensor::activation::gelu(x)
            }
            Self::Gelu => x.clone() * normal_cdf(x),
            Self::GeluTanh => {
                let inner = (x.clone() * x.clone() * TANH_CUBIC + 1.0) * x.clone() * TANH_SCALE;
                x * (inner.tanh() + 1.0) * 0.5
            }
            Self::QuickGelu => x.clone() * burn::tensor::activation::sigmoid(x * QUICK),
            Self::Relu => burn::tensor::activation::relu(x),
        }
    }

    fn pull_tensor<const D: usize>(
        self,
        x: Tensor<D>,
        cotangent: Tensor<D>,
    ) -> (Tensor<D>, Tensor<D>) {
        if self == Self::Gelu && gelu_gradient_is_exact(&x.device()) {
            return (self.forward_tensor(x.clone()), pull_gelu(x, cotangent));
        }
        if self == Self::Gelu {
            return pull_exact_gelu(x, cotangent);
        }
        let leaf = x.autodiff().require_grad();
        let value = self.forward_tensor(leaf.clone());
        let mut grads = (value.clone() * cotangent.autodiff()).sum().backward();
        let pulled = leaf
            .grad_remove(&mut grads)
            .unwrap_or_else(|| leaf.inner().zeros_like());
        (value.inner(), pulled)
    }
}

/// Whether the framework's gelu has its own gradient on `device`: on some backends it is the tanh approximation's.
fn gelu_gradient_is_exact(device: &Device) -> bool {
    has_exact_gelu_gradient(device, |device| {
        // The approximation is off by 2e-4 here.
        let x = 1.25;
        let at = |x: f32| Tensor::<1>::from_floats([x], device);
        let slope: f32 = pull_gelu(at(x), at(1.0)).into_scalar();
        (slope - gelu(x).1).abs() < 1e-5
    })
}

/// The framework's own pullback of its gelu, which autodiff reaches only by way of a product and a sum.
fn pull_gelu<const D: usize>(x: Tensor<D>, cotangent: Tensor<D>) -> Tensor<D> {
    let [x, cotangent] = [x, cotangent].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::gelu_backward(x, cotangent))
}

/// The value of gelu and the pulled back cotangent, in tensor operations.
fn pull_exact_gelu<const D: usize>(x: Tensor<D>, cotangent: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
    let cdf = normal_cdf(x.clone());
    let density = (x.clone() * x.clone() * -0.5).exp() * NORMAL;
    let slope = cdf.clone() + x.clone() * density;
    (x * cdf, cotangent * slope)
}

/// The normal distribution's `Phi`, in tensor operations.
fn normal_cdf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    ((x * SQRT_HALF).erf() + 1.0) * 0.5
}

fn pull_rows<const D: usize>(
    input: Tensor<D>,
    cotangent: Tensor<D>,
    f: impl Fn(f32) -> (f32, f32) + Copy + Sync,
) -> (Tensor<D>, Tensor<D>) {
    let written = [input, cotangent];
    let ([value, pulled], _) = over_rows(1, [], written, [], |[], [x, cotangent], []| {
        vectorise(Pull { x, cotangent, f });
    });
    (value, pulled)
}

/// Turns `x` into the value of `f`, which gives value and slope.
struct Apply<'a, F> {
    x: &'a mut [f32],
    f: F,
}

impl<F: Fn(f32) -> (f32, f32)> Kernel for Apply<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for x in self.x {
            *x = (self.f)(*x).0;
        }
    }
}

/// Turns `(x, cotangent)` into `(value, cotangent * slope)`.
struct Pull<'a, F> {
    x: &'a mut [f32],
    cotangent: &'a mut [f32],
    f: F,
}

impl<F: Fn(f32) -> (f32, f32)> Kernel for Pull<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (x, cotangent) in self.x.iter_mut().zip(self.cotangent) {
            let (value, slope) = (self.f)(*x);
            *x = value;
            *cotangent *= slope;
        }
    }
}

#[inline(always)]
fn gelu(x: f32) -> (f32, f32) {
    let (tail, density) = normal_tail(x);
    let (positive, cdf) = if x < 0.0 {
        (0.0, tail)
    } else {
        (x, 1.0 - tail)
    };
    // x Phi(x) = max(x, 0) - |x| Phi(-|x|)
    let value = (-x.abs().min(TAIL_END)).mul_add(tail, positive);
    (value, x.mul_add(NORMAL * density, cdf))
}

#[inline(always)]
fn gelu_tanh(x: f32) -> (f32, f32) {
    // (1 + tanh(u)) / 2 = sigmoid(2u), which does not cancel where tanh nears -1.
    let inner = TANH_SCALE * x * (1.0 + TANH_CUBIC * x * x);
    let sigmoid = 1.0 / (1.0 + exp(-2.0 * inner));
    let slope = TANH_SCALE * (1.0 + 3.0 * TANH_CUBIC * x * x);
    (
        x * sigmoid,
        sigmoid + 2.0 * x * sigmoid * (1.0 - sigmoid) * slope,
    )
}

#[inline(always)]
fn quick_gelu(x: f32) -> (f32, f32) {
    let sigmoid = 1.0 / (1.0 + exp(-QUICK * x));
    (x * sigmoid, sigmoid + QUICK * x * sigmoid * (1.0 - sigmoid))
}

#[inline(always)]
fn relu(x: f32) -> (f32, f32) {
    (
        if x < 0.0 { 0.0 } else { x },
        if x > 0.0 { 1.0 } else { 0.0 },
    )
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn closed_form_of_gelu_equals_host_loops() {
        let device = testing::host();
        let x = Tensor::<2>::random([33, 71], Distribution::Normal(0.0, 3.0), &device);
        let g = Tensor::<2>::random([33, 71], Distribution::Normal(0.0, 1.0), &device);
        let got = pull_exact_gelu(x.clone(), g.clone());
        let want = Activation::Gelu.pull(x, g);
        testing::assert_close(&got.0, &want.0, 4e-6);
        testing::assert_close(&got.1, &want.1, 4e-6);
    }

    #[test]
    fn host_loops_equal_tensor_operations() {
        let device = testing::host();
        for kind in [
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::QuickGelu,
            Activation::Relu,
        ] {
            let x = Tensor::<2>::random([33, 71], Distribution::Normal(0.0, 3.0), &device);
            let g = Tensor::<2>::random([33, 71], Distribution::Normal(0.0, 1.0), &device);
            // The tensor operations cancel where tanh or erf near one.
            let share = 4e-6;
            let want = kind.pull_tensor(x.clone(), g.clone());
            let got = kind.pull(x.clone(), g);
            testing::assert_close(&got.0, &want.0, share);
            testing::assert_close(&got.1, &want.1, share);
            let value = got.0.into_data();
            let (kept_value, kept) = kind.forward_keeping(x.clone() * 1.0);
            kept_value.into_data().assert_eq(&value, true);
            kept.into_data().assert_eq(&x.clone().into_data(), true);
            kind.forward(x).into_data().assert_eq(&value, true);
        }
    }
}
