//! SigLIP's loss: a logistic loss of every pair, summed and divided by the batch.
//!
//! A pair that matches has the target 1, any other -1; with the logit `s` the loss of a pair is
//! `softplus(-target * s)` and its derivative `-target * sigmoid(-target * s)`. A tile needs nothing
//! from other tiles, so that each is visited once.

use std::ops::AddAssign;

use burn::tensor::{Tensor, activation};
use kernels::host::{HostTensor, Kernel, LANES, exp, sum_rows, vectorise};

use super::tiles::{Features, Place, Reads};
use super::{LogitMap, LossAndGrads};

pub(super) fn evaluate(features: Features, logits: LogitMap) -> LossAndGrads {
    let batch = features.batch();
    let LogitMap { scale, bias } = logits;
    let pairs = Pairs {
        scale,
        bias: bias.unwrap_or(0.0),
        share: 1.0 / batch as f32,
    };
    let mut totals = Totals::default();
    let mut reads = Reads::default();
    let (grad_image, grad_text) =
        features.gradients(|place, products| match HostTensor::open(products) {
            Ok(mut host) => {
                totals += pairs.derive_slice(place, host.slice_mut());
                host.close()
            }
            Err(products) => {
                let (parts, derivative) = pairs.derive_tensor(place, products);
                totals.add(reads.push((), parts));
                derivative
            }
        });
    totals.add(reads.finish());
    let mean = |total: f64| total / batch as f64;
    LossAndGrads {
        loss: mean(totals.loss),
        grad_image,
        grad_text,
        grad_scale: mean(totals.moment),
        grad_bias: bias.map(|_| mean(totals.slope)),
    }
}

/// Sums over pairs.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    loss: f64,
    /// Of the derivatives with respect to the logits.
    slope: f64,
    /// Of those times the products.
    moment: f64,
}

impl Totals {
    /// Adds what was read of tiles: by column, of each the losses, then the slopes, then the moments.
    fn add(&mut self, read: Vec<((), Vec<f32>)>) {
        for ((), numbers) in read {
            let columns = numbers.len() / 3;
            let sum = |part: usize| {
                let part = &numbers[part * columns..][..columns];
                part.iter().copied().map(f64::from).sum()
            };
            *self += Self {
                loss: sum(0),
                slope: sum(1),
                moment: sum(2),
            };
        }
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.loss += other.loss;
        self.slope += other.slope;
        self.moment += other.moment;
    }
}

#[derive(Clone, Copy)]
struct Pairs {
    scale: f32,
    bias: f32,
    /// `1 / batch`
    share: f32,
}

impl Pairs {
    /// The sums by column of the losses, of their derivatives and of those times the products; and the derivatives.
    fn derive_tensor(self, place: &Place, products: Tensor<2>) -> (Vec<Tensor<1>>, Tensor<2>) {
        let logits = products.clone() * self.scale + self.bias;
        let mut signed = logits.clone();
        let mut derivative = activation::sigmoid(logits.clone());
        if let Some(mask) = place.diagonal_mask(&products) {
            signed = signed.mask_where(mask.clone(), -logits.clone());
            // Not `sigmoid - 1`, which cancels.
            derivative = derivative.mask_where(mask, -activation::sigmoid(-logits));
        }
        // softplus, in the form that neither overflows nor loses small values
        let loss = signed.clone().clamp_min(0.0) + (-signed.abs()).exp().log1p();
        let by_column = |x: Tensor<2>| x.sum_dim(0).flatten(0, 1);
        let parts = vec![
            by_column(loss),
            by_column(derivative.clone()),
            by_column(derivative.clone() * products),
        ];
        (parts, derivative * (self.scale * self.share))
    }

    fn derive_slice(self, place: &Place, products: &mut [f32]) -> Totals {
        let width = place.columns.len();
        let mut totals = Totals::default();
        sum_rows(
            products,
            width,
            |first, rows| {
                let mut part = Totals::default();
                for (i, row) in (first..).zip(rows.chunks_exact_mut(width)) {
                    match place.diagonal(i) {
                        None => part += self.derive(row, 1.0),
                        Some(j) => {
                            let (before, rest) = row.split_at_mut(j);
                            let (matching, after) = rest.split_at_mut(1);
                            part += self.derive(before, 1.0);
                            part += self.derive(matching, -1.0);
                            part += self.derive(after, 1.0);
                        }
                    }
                }
                part
            },
            |part| totals += part,
        );
        totals
    }

    fn derive(self, run: &mut [f32], sign: f32) -> Totals {
        vectorise(Derive {
            pairs: self,
            run,
            sign,
        })
    }
}

/// Turns products of pairs into the loss's derivatives with respect to them.
struct Derive<'a> {
    pairs: Pairs,
    run: &'a mut [f32],
    /// Minus the target.
    sign: f32,
}

impl Kernel for Derive<'_> {
    type Output = Totals;

    #[inline(always)]
    fn call(self) -> Totals {
        let (Pairs { scale, bias, share }, sign) = (self.pairs, self.sign);
        let [mut loss, mut slope, mut moment] = [[0.0f32; LANES]; 3];
        let factor = scale * share;
        for xs in self.run.chunks_mut(LANES) {
            let sums = loss.iter_mut().zip(&mut slope).zip(&mut moment);
            for (x, ((loss, slope), moment)) in xs.iter_mut().zip(sums) {
                let (value, derivative) = softplus(sign * (*x * scale + bias));
                let derivative = sign * derivative;
                *loss += value;
                *slope += derivative;
                *moment += derivative * *x;
                *x = derivative * factor;
            }
        }
        let total = |lanes: [f32; LANES]| lanes.iter().map(|x| f64::from(*x)).sum();
        Totals {
            loss: total(loss),
            slope: total(slope),
            moment: total(moment),
        }
    }
}

/// `log(1 + e^x)` and its derivative, the sigmoid of `x`.
#[inline(always)]
fn softplus(x: f32) -> (f32, f32) {
    let small = exp(-x.abs());
    let inverse = 1.0 / (1.0 + small);
    let positive = if x > 0.0 { x } else { x * 0.0 }; // NaN stays NaN
    (
        positive + log1p(small),
        if x > 0.0 { inverse } else { small * inverse },
    )
}

/// `log(1 + x)` for `x` of 0 to 1, to about one unit in the last place, in a form that vectorises:
/// `2 artanh(x / (2 + x))` as a series.
#[inline(always)]
fn log1p(x: f32) -> f32 {
    let t = x / (2.0 + x);
    let square = t * t;
    let p = 1.0 / 15.0;
    let p = p * square + 1.0 / 13.0;
    let p = p * square + 1.0 / 11.0;
    let p = p * square + 1.0 / 9.0;
    let p = p * square + 1.0 / 7.0;
    let p = p * square + 1.0 / 5.0;
    let p = p * square + 1.0 / 3.0;
    2.0 * (t + t * square * p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softplus_matches_double_precision() {
        for i in -8000..8000 {
            let x = i as f32 * 0.01;
            let wide = f64::from(x);
            let want = [
                wide.max(0.0) + (-wide.abs()).exp().ln_1p(),
                1.0 / (1.0 + (-wide).exp()),
            ];
            let (value, slope) = softplus(x);
            for (got, want) in [value, slope].into_iter().zip(want) {
                assert!(
                    (f64::from(got) - want).abs() <= 4e-7 * want,
                    "at {x}: {got}, not {want}"
                );
            }
        }
        let (value, slope) = softplus(f32::NAN);
        assert!(value.is_nan() && slope.is_nan());
    }
}
