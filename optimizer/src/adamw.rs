//! AdamW with decoupled weight decay (Loshchilov & Hutter 2019).

use burn::tensor::Tensor;
use kernels::host::{Kernel, over_rows, vectorise};

use crate::{Group, Optimizer, State, Turn};

/// AdamW. Its state is the first and second moment: the running means of the gradient and of its square.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay rates of the first and second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
}

impl Default for AdamW {
    /// open_clip's settings for vision transformers.
    fn default() -> Self {
        Self {
            betas: [0.9, 0.98],
            eps: 1e-6,
        }
    }
}

impl Optimizer for AdamW {
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

impl AdamW {
    fn numbers(&self, turn: &Turn, group: &Group) -> Update {
        let rate = turn.learning_rate * group.rate;
        // `1 - beta^t` of both moments, which begin at zero.
        let bias = self.betas.map(|beta| 1.0 - beta.powi(turn.step as i32));
        Update {
            betas: self.betas.map(|beta| beta as f32),
            decay: (1.0 - rate * group.weight_decay) as f32,
            gradient_scale: turn.gradient_scale as f32,
            rate: (rate / bias[0]) as f32,
            second_scale: (1.0 / bias[1]) as f32,
            eps: self.eps as f32,
        }
    }
}

/// The numbers of one parameter's update.
struct Update {
    betas: [f32; 2],
    decay: f32,
    gradient_scale: f32,
    /// `lr / (1 - beta1^t)`.
    rate: f32,
    /// `1 / (1 - beta2^t)`.
    second_scale: f32,
    eps: f32,
}

impl Update {
    /// One pass over memory instead of a dozen tensor operations.
    fn on_host(
        &self,
        value: Tensor<1>,
        gradient: Tensor<1>,
        moments: [&mut [f32]; 2],
    ) -> Tensor<1> {
        let ([value], _) = over_rows(
            1,
            [gradient],
            [value],
            moments,
            |[gradient], [value], [first, second]| {
                vectorise(UpdateRun {
                    update: self,
                    value,
                    gradient,
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
        let [beta1, beta2] = self.betas;
        let g = gradient * self.gradient_scale;
        let first = first * beta1 + g.clone() * (1.0 - beta1);
        let second = second * beta2 + g.clone() * g * (1.0 - beta2);
        let root = (second.clone() * self.second_scale).sqrt() + self.eps;
        let value = value * self.decay - first.clone() * self.rate / root;
        (value, [first, second])
    }
}

/// One pass of [`Update`] over a run of a parameter.
struct UpdateRun<'a> {
    update: &'a Update,
    value: &'a mut [f32],
    gradient: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl Kernel for UpdateRun<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Update {
            betas: [beta1, beta2],
            decay,
            gradient_scale,
            rate,
            second_scale,
            eps,
        } = *self.update;
        let moments = self.first.iter_mut().zip(self.second);
        for ((p, g), (m, v)) in self.value.iter_mut().zip(self.gradient).zip(moments) {
            let g = g * gradient_scale;
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            let root = (*v * second_scale).sqrt() + eps;
            *p = *p * decay - rate * *m / root;
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn host_update_equals_tensor_operations() {
        let device = testing::device();
        let random = || Tensor::<1>::random([77], Distribution::Normal(0.0, 1.0), &device);
        let update = Update {
            betas: [0.9, 0.98],
            decay: 0.999,
            gradient_scale: 0.5,
            rate: 0.01,
            second_scale: 3.0,
            eps: 1e-6,
        };
        let (value, gradient, moments) = (random(), random(), [random(), random().abs()]);
        let mut host = moments.each_ref().map(Tensor::to_data);
        let (want, want_moments) = update.on_device(value.clone(), gradient.clone(), moments);
        let slices = host.each_mut().map(|data| data.as_mut_slice().unwrap());
        let got = update.on_host(value, gradient, slices);
        testing::assert_close(&got, &want, 1e-6);
        for (got, want) in host.into_iter().zip(want_moments) {
            testing::assert_close(&Tensor::from_data(got, &device), &want, 1e-6);
        }
    }
}
