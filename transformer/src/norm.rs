//! Layer normalisation, with its pullback in closed form.

use burn::{
    module::{Initializer, Module, Param, ParamId},
    tensor::{Device, Tensor, module::layer_norm},
};

use peft::{column_sums, product};

use crate::host::{HostTensor, Kernel, LANES, dot_by, over_rows, vectorise};

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
        let opens = [&input, &cotangent, &residual]
            .into_iter()
            .all(HostTensor::opens);
        let (pulled, gamma, beta) = match opens && HostTensor::opens(&self.gamma.val()) {
            true => self.pull_rows(input, cotangent, residual),
            false => self.pull_tensor(input, cotangent, residual),
        };
        for (param, gradient) in [(&self.gamma, gamma), (&self.beta, beta)] {
            if checkpointing::is_trainable(param) {
                sink(param.id, gradient);
            }
        }
        pulled
    }

    fn pull_rows(
        &self,
        input: Tensor<2>,
        cotangent: Tensor<2>,
        residual: Tensor<2>,
    ) -> (Tensor<2>, Tensor<1>, Tensor<1>) {
        let device = cotangent.device();
        let [_, width] = cotangent.dims();
        let gamma = HostTensor::fetch(self.gamma.val());
        let (gamma, epsilon) = (gamma.slice(), self.epsilon as f32);
        let ([output], parts) = over_rows(
            width,
            [input, cotangent],
            [residual],
            [],
            |[x, g], [out], []| {
                vectorise(PullRows {
                    x,
                    g,
                    gamma,
                    epsilon,
                    out,
                })
            },
        );
        let mut gradients = [vec![0.0f32; width], vec![0.0f32; width]];
        for (gamma_part, beta_part) in parts {
            add(&mut gradients[0], &gamma_part);
            add(&mut gradients[1], &beta_part);
        }
        let [gamma, beta] = gradients.map(|sums| Tensor::from_floats(sums.as_slice(), &device));
        (output, gamma, beta)
    }

    fn pull_tensor(
        &self,
        input: Tensor<2>,
        cotangent: Tensor<2>,
        residual: Tensor<2>,
    ) -> (Tensor<2>, Tensor<1>, Tensor<1>) {
        let [_, width] = input.dims();
        let gamma = self.gamma.val();
        // Means of products with gamma are matrix products, which read their operand once and write no other.
        let mean_with_gamma = gamma.clone().unsqueeze_dim::<2>(1) / width as f64;
        let centred = input.clone() - input.mean_dim(1);
        let rstd = ((centred.clone() * centred.clone()).mean_dim(1) + self.epsilon)
            .sqrt()
            .recip();
        let normal = centred * rstd.clone();
        let scaled = cotangent.clone() * normal.clone();
        let projected = product(scaled.clone(), mean_with_gamma.clone());
        let mean = product(cotangent.clone(), mean_with_gamma);
        let gamma_gradient = column_sums(scaled);
        let beta_gradient = column_sums(cotangent.clone());
        let inner = cotangent * gamma.unsqueeze() - normal * projected - mean;
        (residual + inner * rstd, gamma_gradient, beta_gradient)
    }
}

fn add(sum: &mut [f32], part: &[f32]) {
    sum.iter_mut()
        .zip(part)
        .for_each(|(sum, part)| *sum += part);
}

/// Adds the cotangent of `x` to `out`, row by row, and returns the gradients of scale and shift.
struct PullRows<'a> {
    x: &'a [f32],
    g: &'a [f32],
    gamma: &'a [f32],
    epsilon: f32,
    out: &'a mut [f32],
}

impl Kernel for PullRows<'_> {
    type Output = (Vec<f32>, Vec<f32>);

    #[inline(always)]
    fn call(self) -> Self::Output {
        let width = self.gamma.len();
        let mut sums = (vec![0.0f32; width], vec![0.0f32; width]);
        let rows = self.x.chunks_exact(width).zip(self.g.chunks_exact(width));
        for ((x, g), out) in rows.zip(self.out.chunks_exact_mut(width)) {
            pull_row(x, g, self.gamma, self.epsilon, out, &mut sums);
        }
        sums
    }
}

#[inline(always)]
fn pull_row(
    x: &[f32],
    g: &[f32],
    gamma: &[f32],
    epsilon: f32,
    out: &mut [f32],
    sums: &mut (Vec<f32>, Vec<f32>),
) {
    let width = x.len();
    let (g, gamma, out) = (&g[..width], &gamma[..width], &mut out[..width]);
    let (gamma_sum, beta_sum) = (&mut sums.0[..width], &mut sums.1[..width]);
    let n = width as f32;
    let mean = dot_by(x, x, |x, _| x) / n;
    let variance = dot_by(x, x, |x, _| (x - mean) * (x - mean)) / n;
    let rstd = 1.0 / (variance + epsilon).sqrt();
    let scaled_mean = dot_by(g, gamma, |g, gamma| g * gamma) / n;
    for i in 0..width {
        let normal = (x[i] - mean) * rstd;
        gamma_sum[i] += g[i] * normal;
        beta_sum[i] += g[i];
    }
    let mut projected = [0.0f32; LANES];
    for first in (0..width).step_by(LANES) {
        let run = first..(first + LANES).min(width);
        let terms = x[run.clone()].iter().zip(&g[run.clone()]).zip(&gamma[run]);
        for (sum, ((x, g), gamma)) in projected.iter_mut().zip(terms) {
            *sum += g * gamma * (x - mean);
        }
    }
    let projected_mean = projected.iter().sum::<f32>() * rstd / n;
    for i in 0..width {
        let normal = (x[i] - mean) * rstd;
        out[i] += rstd * (g[i] * gamma[i] - scaled_mean - normal * projected_mean);
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn host_rows_equal_tensor_operations() {
        let device = testing::host();
        for width in [5, 16, 40, 384] {
            let random =
                || Tensor::<2>::random([37, width], Distribution::Normal(0.5, 1.5), &device);
            let mut norm = LayerNorm::new(width, 1e-5, &device);
            norm.gamma = Initializer::Normal {
                mean: 1.0,
                std: 0.5,
            }
            .init([width], &device);
            let (x, g, r) = (random(), random(), random());
            let want = norm.pull_tensor(x.clone(), g.clone(), r.clone());
            let got = norm.pull_rows(x, g, r);
            testing::assert_close(&got.0, &want.0, 3e-6);
            testing::assert_close(&got.1, &want.1, 3e-6);
            testing::assert_close(&got.2, &want.2, 3e-6);
        }
    }
}
