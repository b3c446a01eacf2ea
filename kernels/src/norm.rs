//! The pullback of a layer norm.

use burn::tensor::Tensor;

use crate::{
    column_sums,
    host::{HostTensor, Kernel, LANES, dot_by, over_rows, vectorise},
    product::uncounted_product,
};

/// What [`pull_layer_norm`] gives.
pub struct PulledNorm {
    /// The residual plus the cotangent of the input, `[rows, d_model]`.
    pub input: Tensor<2>,
    /// The gradient of the scale, `[d_model]`.
    pub gamma: Tensor<1>,
    /// The gradient of the shift, `[d_model]`.
    pub beta: Tensor<1>,
}

/// The pullback of a layer norm over the last axis (Ba et al. 2016), added to `residual`.
///
/// Shapes: `gamma` `[d_model]`, all others `[rows, d_model]`.
pub fn pull_layer_norm(
    input: Tensor<2>,
    gamma: Tensor<1>,
    epsilon: f64,
    cotangent: Tensor<2>,
    residual: Tensor<2>,
) -> PulledNorm {
    let opens = [&input, &cotangent, &residual]
        .into_iter()
        .all(HostTensor::opens);
    if opens && HostTensor::opens(&gamma) {
        pull_rows(input, gamma, epsilon, cotangent, residual)
    } else {
        pull_tensor(input, gamma, epsilon, cotangent, residual)
    }
}

fn pull_rows(
    input: Tensor<2>,
    gamma: Tensor<1>,
    epsilon: f64,
    cotangent: Tensor<2>,
    residual: Tensor<2>,
) -> PulledNorm {
    let device = cotangent.device();
    let [_, width] = cotangent.dims();
    let gamma = HostTensor::fetch(gamma);
    let (gamma, epsilon) = (gamma.slice(), epsilon as f32);
    let ([input], parts) = over_rows(
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
    PulledNorm { input, gamma, beta }
}

fn pull_tensor(
    input: Tensor<2>,
    gamma: Tensor<1>,
    epsilon: f64,
    cotangent: Tensor<2>,
    residual: Tensor<2>,
) -> PulledNorm {
    let [_, width] = input.dims();
    // Means of products with gamma are matrix products, which read their operand once and write no other.
    let mean_with_gamma = gamma.clone().unsqueeze_dim::<2>(1) / width as f64;
    let centred = input.clone() - input.mean_dim(1);
    let rstd = ((centred.clone() * centred.clone()).mean_dim(1) + epsilon)
        .sqrt()
        .recip();
    let normal = centred * rstd.clone();
    let scaled = cotangent.clone() * normal.clone();
    let projected = uncounted_product(scaled.clone(), mean_with_gamma.clone());
    let mean = uncounted_product(cotangent.clone(), mean_with_gamma);
    let gamma_gradient = column_sums(scaled);
    let beta = column_sums(cotangent.clone());
    let inner = cotangent * gamma.unsqueeze() - normal * projected - mean;
    PulledNorm {
        input: residual + inner * rstd,
        gamma: gamma_gradient,
        beta,
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
            let gamma = Tensor::random([width], Distribution::Normal(1.0, 0.5), &device);
            let (x, g, r) = (random(), random(), random());
            let want = pull_tensor(x.clone(), gamma.clone(), 1e-5, g.clone(), r.clone());
            let got = pull_rows(x, gamma, 1e-5, g, r);
            testing::assert_close(&got.input, &want.input, 3e-6);
            testing::assert_close(&got.gamma, &want.gamma, 3e-6);
            testing::assert_close(&got.beta, &want.beta, 3e-6);
        }
    }
}
