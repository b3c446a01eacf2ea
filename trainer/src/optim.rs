//! AdamW with decoupled weight decay, and clipping by the norm of all gradients together.

use std::collections::HashMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{Device, Tensor, TensorData},
};
use checkpointing::Gradients;
use kernels::host::{Kernel, over_rows, vectorise};

use crate::device;

/// Settings of [`AdamW`] (Loshchilov & Hutter 2019).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Decay rates of the first and second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decay of matrices; biases, norms and the scale (all of one axis) do not decay.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    /// open_clip's settings for vision transformers.
    fn default() -> Self {
        Self {
            betas: [0.9, 0.98],
            eps: 1e-6,
            weight_decay: 0.2,
        }
    }
}

/// First and second moment of one parameter, `[elements]`: the running means of the gradient and of its square.
#[derive(Clone, Debug)]
pub enum Moments {
    /// In the processor's memory, where it computes.
    Host([TensorData; 2]),
    /// In a GPU's.
    Device(Box<[Tensor<1>; 2]>),
}

impl Moments {
    /// Moments from their values, where those of a model on `device` belong.
    pub fn new(values: [TensorData; 2], device: &Device) -> Self {
        // Bytes from a file need not stand where numbers may.
        let aligned =
            |values: TensorData| TensorData::from(&*values.iter::<f32>().collect::<Vec<_>>());
        match device::is_gpu(device) {
            false => Self::Host(values.map(aligned)),
            true => Self::Device(Box::new(
                values.map(|values| Tensor::from_data(values, device)),
            )),
        }
    }

    fn zeros(gradient: &Tensor<1>) -> Self {
        let zeros = || TensorData::zeros::<f32, _>(gradient.dims());
        Self::new([zeros(), zeros()], &gradient.device())
    }

    /// Their values.
    pub fn values(&self) -> [TensorData; 2] {
        match self {
            Self::Host(values) => values.clone(),
            Self::Device(tensors) => tensors.each_ref().map(Tensor::to_data),
        }
    }
}

/// The optimizer and its state.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    moments: HashMap<ParamId, Moments>,
    steps: u64,
}

impl AdamW {
    /// An optimizer that has seen no gradient.
    pub fn new(config: AdamWConfig) -> Self {
        Self {
            config,
            moments: HashMap::new(),
            steps: 0,
        }
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Sets the steps done, for a state that was saved.
    pub fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// Sets the state of a parameter, for a state that was saved.
    pub fn restore(&mut self, id: ParamId, moments: Moments) {
        self.moments.insert(id, moments);
    }

    /// The state of a parameter, if it has been updated.
    pub fn moments(&self, id: ParamId) -> Option<&Moments> {
        self.moments.get(&id)
    }

    /// Updates every parameter that has a gradient, each gradient times `gradient_scale` (from
    /// [`clip_scale`]). Gradients are freed as they are used.
    pub fn step<M: Module>(
        &mut self,
        module: M,
        gradients: Gradients,
        learning_rate: f64,
        gradient_scale: f64,
    ) -> M {
        self.steps += 1;
        let bias = self
            .config
            .betas
            .map(|beta| 1.0 - beta.powi(self.steps as i32));
        module.map(&mut Updater {
            optimizer: self,
            gradients,
            learning_rate,
            gradient_scale,
            bias,
        })
    }
}

struct Updater<'a> {
    optimizer: &'a mut AdamW,
    gradients: Gradients,
    learning_rate: f64,
    gradient_scale: f64,
    /// `1 - beta^t` of both moments.
    bias: [f64; 2],
}

impl ModuleMapper for Updater<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.take(param.id) else {
            return param;
        };
        let moments = self
            .optimizer
            .moments
            .remove(&param.id)
            .unwrap_or_else(|| Moments::zeros(&gradient));
        let update = Update::new(
            self,
            if D < 2 {
                0.0
            } else {
                self.optimizer.config.weight_decay
            },
        );
        let id = param.id;
        let mut kept = None;
        let param = param.map(|value| {
            let shape = value.dims();
            let (value, moments) = update.apply(value.flatten(0, D - 1), gradient, moments);
            kept = Some(moments);
            value.reshape(shape)
        });
        self.optimizer
            .moments
            .extend(kept.map(|moments| (id, moments)));
        param
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
    fn new(step: &Updater<'_>, weight_decay: f64) -> Self {
        let config = &step.optimizer.config;
        Self {
            betas: config.betas.map(|beta| beta as f32),
            decay: (1.0 - step.learning_rate * weight_decay) as f32,
            gradient_scale: step.gradient_scale as f32,
            rate: (step.learning_rate / step.bias[0]) as f32,
            second_scale: (1.0 / step.bias[1]) as f32,
            eps: config.eps as f32,
        }
    }

    fn apply(
        &self,
        value: Tensor<1>,
        gradient: Tensor<1>,
        moments: Moments,
    ) -> (Tensor<1>, Moments) {
        match moments {
            Moments::Host(mut moments) => {
                let value = self.apply_host(value, gradient, &mut moments);
                (value, Moments::Host(moments))
            }
            Moments::Device(moments) => {
                let (value, moments) = self.apply_tensor(value, gradient, *moments);
                (value, Moments::Device(Box::new(moments)))
            }
        }
    }

    /// One pass over memory instead of a dozen tensor operations.
    fn apply_host(
        &self,
        value: Tensor<1>,
        gradient: Tensor<1>,
        moments: &mut [TensorData; 2],
    ) -> Tensor<1> {
        let moments = moments.each_mut().map(|moment| {
            let slice = moment.as_mut_slice::<f32>();
            slice.expect("moments are float32")
        });
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

    fn apply_tensor(
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

/// The L2 norm of all gradients together, in the module's order.
pub fn gradient_norm<M: Module>(module: &M, gradients: &Gradients) -> f64 {
    struct Squares<'a>(&'a Gradients, Vec<Tensor<1>>);
    impl ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = self.0.get(param.id);
            self.1
                .extend(gradient.map(|gradient| gradient.clone().mul(gradient.clone()).sum()));
        }
    }
    let mut squares = Squares(gradients, Vec::new());
    module.visit(&mut squares);
    if squares.1.is_empty() {
        return 0.0;
    }
    // Read back at once: a GPU has to finish all that it does before each read.
    let squares = Tensor::cat(squares.1, 0).into_data();
    squares.iter::<f32>().map(f64::from).sum::<f64>().sqrt()
}

/// What clipping to `max_norm` multiplies gradients of norm `norm` by, as torch's
/// `clip_grad_norm_`; 0 leaves them as they are.
pub fn clip_scale(norm: f64, max_norm: f64) -> f64 {
    if max_norm > 0.0 {
        (max_norm / (norm + 1e-6)).min(1.0)
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn host_update_equals_tensor_operations() {
        let device = device::open(None).unwrap();
        let random = || Tensor::<1>::random([77], Distribution::Normal(0.0, 1.0), &device);
        let update = Update {
            betas: [0.9, 0.98],
            decay: 0.999,
            gradient_scale: 0.5,
            rate: 0.01,
            second_scale: 3.0,
            eps: 1e-6,
        };
        let (value, gradient, first, second) = (random(), random(), random(), random().abs());
        let moments = [first, second];
        let host = Moments::Host(moments.each_ref().map(Tensor::to_data));
        let (want, want_moments) = update.apply_tensor(value.clone(), gradient.clone(), moments);
        let (got, got_moments) = update.apply(value, gradient, host);
        testing::assert_close(&got, &want, 1e-6);
        for (got, want) in got_moments.values().into_iter().zip(want_moments) {
            testing::assert_close(&Tensor::from_data(got, &device), &want, 1e-6);
        }
    }
}
