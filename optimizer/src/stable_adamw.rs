//! StableAdamW: AdamW with update clipping (Wortsman et al. 2023, "Stable and low-precision training for large-scale
//! vision-language models", algorithm 2).

use burn::tensor::Tensor;
use kernels::host::{Kernel, LANES, over_rows, vectorise};

use crate::{Group, Optimizer, State, Turn};

/// StableAdamW. Where the second moment lags behind the squared gradient, the learning rate of the whole parameter falls:
/// it is divided by `max(1, rms)` with `rms^2 = mean(g^2 / max(v, eps^2))`, as AdaFactor does (Shazeer & Stern 2018).
///
/// Its state is the first and second moment, corrected for their start at zero (debiased betas).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StableAdamW {
    /// Decay rates of the first and second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment; its square is the least that the rms divides by.
    pub eps: f64,
}

impl Default for StableAdamW {
    /// Those of AdamW.
    fn default() -> Self {
        let crate::AdamW { betas, eps } = crate::AdamW::default();
        Self { betas, eps }
    }
}

impl Optimizer for StableAdamW {
    fn state_names(&self) -> &'static [&'static str] {
        &["first", "second"]
    }

    fn update(
        &self,
        turn: &Turn,
        group: &Group,
        value: Tensor<1>,
        gradient: Tensor<1>,
        state: &mut State,
    ) -> Tensor<1> {
        let update = self.numbers(turn, group);
        state.update(
            (value, gradient),
            |(value, gradient), moments| update.on_host(value, gradient, moments),
            |(value, gradient), moments| update.on_device(value, gradient, moments),
        )
    }
}

impl StableAdamW {
    fn numbers(&self, turn: &Turn, group: &Group) -> Update {
        let kept = self.betas.map(|beta| {
            let power = beta.powi(turn.step as i32);
            (beta - power) / (1.0 - power)
        });
        Update {
            kept: kept.map(|kept| kept as f32),
            added: kept.map(|kept| (1.0 - kept) as f32),
            gradient_scale: turn.gradient_scale as f32,
            rate: turn.learning_rate * group.rate,
            weight_decay: group.weight_decay,
            eps: self.eps as f32,
        }
    }
}

/// The numbers of one parameter's update.
struct Update {
    /// The share of both moments that stays: `(beta - beta^t) / (1 - beta^t)`.
    kept: [f32; 2],
    /// The share of the new gradient in them.
    added: [f32; 2],
    gradient_scale: f32,
    rate: f64,
    weight_decay: f64,
    eps: f32,
}

impl Update {
    /// Two passes over memory: the moments, then the values at the rate that the moments allow.
    fn on_host(
        &self,
        value: Tensor<1>,
        gradient: Tensor<1>,
        [first, second]: [&mut [f32]; 2],
    ) -> Tensor<1> {
        let elements = first.len().max(1) as f64;
        let ([], sums) = over_rows(
            1,
            [gradient],
            [],
            [&mut *first, &mut *second],
            |[gradient], [], [first, second]| {
                vectorise(MomentsRun {
                    update: self,
                    gradient,
                    first,
                    second,
                })
            },
        );
        let rms = (sums.iter().sum::<f64>() / elements).sqrt();
        let rate = self.rate / rms.max(1.0);
        let (decay, eps) = ((1.0 - rate * self.weight_decay) as f32, self.eps);
        let rate = rate as f32;
        let ([value], _) = over_rows(
            1,
            [],
            [value],
            [first, second],
            |[], [value], [first, second]| {
                vectorise(ValuesRun {
                    decay,
                    rate,
                    eps,
                    value,
                    first,
                    second,
                });
            },
        );
        value
    }

    fn on_device(
        &self,
        value: Tensor<1>,
        gradient: Tensor<1>,
        [first, second]: [Tensor<1>; 2],
    ) -> (Tensor<1>, [Tensor<1>; 2]) {
        let g = gradient * self.gradient_scale;
        let square = g.clone() * g.clone();
        let first = first * self.kept[0] + g * self.added[0];
        let second = second * self.kept[1] + square.clone() * self.added[1];
        let least = self.eps * self.eps;
        let rms = (square / second.clone().clamp_min(least)).mean().sqrt();
        // [1], so that nothing is read back.
        let slower = rms.clamp_min(1.0).recip();
        let decay = slower.clone() * (-self.rate * self.weight_decay) + 1.0;
        let step = first.clone() * (slower * self.rate) / (second.clone().sqrt() + self.eps);
        (value * decay - step, [first, second])
    }
}

/// Both moments over a run of a parameter; gives back the sum of `g^2 / max(v, eps^2)`.
struct MomentsRun<'a> {
    update: &'a Update,
    gradient: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl Kernel for MomentsRun<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let update = self.update;
        let (gradients, gradient_tail) = self.gradient.as_chunks::<LANES>();
        let (firsts, first_tail) = self.first.as_chunks_mut::<LANES>();
        let (seconds, second_tail) = self.second.as_chunks_mut::<LANES>();
        let mut sums = [0.0f32; LANES];
        for ((g, m), v) in gradients.iter().zip(firsts).zip(seconds) {
            for lane in 0..LANES {
                sums[lane] += update.moments(g[lane], &mut m[lane], &mut v[lane]);
            }
        }
        let mut sum: f64 = sums.into_iter().map(f64::from).sum();
        for ((g, m), v) in gradient_tail.iter().zip(first_tail).zip(second_tail) {
            sum += f64::from(update.moments(*g, m, v));
        }
        sum
    }
}

impl Update {
    /// Changes both moments of an element, and gives back `g^2 / max(v, eps^2)`.
    #[inline(always)]
    fn moments(&self, g: f32, m: &mut f32, v: &mut f32) -> f32 {
        let g = g * self.gradient_scale;
        *m = self.kept[0] * *m + self.added[0] * g;
        *v = self.kept[1] * *v + self.added[1] * g * g;
        let least = self.eps * self.eps;
        g * g / if *v > least { *v } else { least }
    }
}

/// The new values over a run of a parameter.
struct ValuesRun<'a> {
    decay: f32,
    rate: f32,
    eps: f32,
    value: &'a mut [f32],
    first: &'a [f32],
    second: &'a [f32],
}

impl Kernel for ValuesRun<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let moments = self.first.iter().zip(self.second);
        for (p, (m, v)) in self.value.iter_mut().zip(moments) {
            *p = *p * self.decay - self.rate * m / (v.sqrt() + self.eps);
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    fn turn(step: u64) -> Turn {
        Turn {
            step,
            learning_rate: 0.01,
            gradient_scale: 0.5,
        }
    }

    const GROUP: Group = Group {
        rate: 1.0,
        weight_decay: 0.2,
    };

    #[test]
    fn host_update_equals_tensor_operations() {
        let device = testing::device();
        let random = |elements: usize, spread| {
            Tensor::<1>::random([elements], Distribution::Normal(0.0, spread), &device)
        };
        // A gradient that jumps, so that the update is clipped; one that does not; several tasks; nothing.
        for (elements, spread) in [(77, 30.0), (77, 0.1), (70_001, 5.0), (0, 1.0)] {
            let update = StableAdamW::default().numbers(&turn(5), &GROUP);
            let (value, gradient) = (random(elements, 1.0), random(elements, spread));
            let moments = [random(elements, 1.0), random(elements, 1.0).abs()];
            let mut host = moments.each_ref().map(Tensor::to_data);
            let slices = host.each_mut().map(|data| data.as_mut_slice().unwrap());
            let got = update.on_host(value.clone(), gradient.clone(), slices);
            if elements == 0 {
                assert_eq!(got.dims(), [0]);
                continue;
            }
            let (want, want_moments) = update.on_device(value, gradient, moments);
            testing::assert_close(&got, &want, 1e-6);
            for (got, want) in host.into_iter().zip(want_moments) {
                testing::assert_close(&Tensor::from_data(got, &device), &want, 1e-6);
            }
        }
    }

    #[test]
    fn a_gradient_that_jumps_is_followed_by_a_shorter_step() {
        let device = testing::device();
        let step = |spike: f32| {
            let update = StableAdamW::default().numbers(&turn(1000), &GROUP);
            let (mut first, mut second) = (vec![0.0; 8], vec![1.0; 8]);
            let zeros = Tensor::<1>::zeros([8], &device);
            let gradient = Tensor::full([8], spike, &device);
            let value = update.on_host(zeros, gradient, [&mut first, &mut second]);
            testing::largest(&value) / f64::from(first[0] / second[0].sqrt())
        };
        // The second moment is 1: a gradient (after its scale of 0.5) of 1 passes, one of 50 has an rms of 7.
        assert!((step(2.0) - 0.01).abs() < 1e-6);
        let lagging = 0.98 + 0.02 * 2500.0;
        let want = 0.01 / (2500.0f64 / lagging).sqrt();
        assert!((step(100.0) - want).abs() < 1e-5 * want, "{}", step(100.0));
    }
}
