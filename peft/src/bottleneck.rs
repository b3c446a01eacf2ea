//! Bottleneck adapters: a small MLP beside the model's own (Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for
//! NLP"; in parallel, He et al. 2022, "Towards a Unified View of Parameter-Efficient Transfer Learning").

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};
use checkpointing::{Gradients, Seed, is_trainable, product_flops};
use kernels::{Activation, column_sums, linear, product};

use crate::{
    Adapter, Base, Folded, LayerNorm, PeftError, Pulled,
    adapter::{Reads, Wanted},
};

/// Sizes of a [`Bottleneck`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BottleneckConfig {
    /// Width inside.
    pub width: usize,
    /// What the update is multiplied by.
    pub scale: f64,
    /// The activation.
    pub activation: Activation,
    /// The epsilon of a norm before it, if there is one.
    pub norm: Option<f64>,
}

impl BottleneckConfig {
    /// An adapter that changes nothing yet: `down` is drawn as torch's linear maps, `up` is zero.
    pub fn init(&self, d_model: usize, device: &Device) -> Bottleneck {
        let bound = 1.0 / (d_model.max(1) as f64).sqrt();
        let down = Initializer::Uniform {
            min: -bound,
            max: bound,
        };
        Bottleneck {
            norm: self.norm.map(|eps| LayerNorm::new(d_model, eps, device)),
            down: down.init([d_model, self.width], device),
            down_bias: Initializer::Zeros.init([self.width], device),
            up: Initializer::Zeros.init([self.width, d_model], device),
            up_bias: Initializer::Zeros.init([d_model], device),
            activation: self.activation,
            scale: self.scale,
            weight: 1.0,
        }
    }
}

/// `scale * up(act(down(norm(z))))`, added to `z`, or beside a layer that reads `z` to what that gives.
#[derive(Module, Debug)]
pub struct Bottleneck {
    /// Before it, if there is one.
    pub norm: Option<LayerNorm>,
    /// `[d_model, width]`.
    pub down: Param<Tensor<2>>,
    /// `[width]`.
    pub down_bias: Param<Tensor<1>>,
    /// `[width, d_model]`, zero at the start.
    pub up: Param<Tensor<2>>,
    /// `[d_model]`, zero at the start.
    pub up_bias: Param<Tensor<1>>,
    #[module(skip)]
    activation: Activation,
    scale: f64,
    /// Among several adapters.
    pub(crate) weight: f64,
}

impl Bottleneck {
    /// What is added for `z`. Shapes: `[rows, d_model] -> [rows, d_model]`.
    pub fn update(&self, z: Tensor<2>) -> Tensor<2> {
        let active = self.activation.forward(self.hidden(self.normed(z)));
        linear(active, self.up.val(), Some(self.up_bias.val())) * self.scale()
    }

    /// The pullback of [`update`](Self::update): the cotangent of `z`, if it is wanted.
    pub fn pull_update(
        &self,
        z: Tensor<2>,
        cotangent: Tensor<2>,
        wants_input: bool,
        gradients: &mut Gradients,
    ) -> Option<Tensor<2>> {
        let cotangent = cotangent * self.scale();
        gradients.give(&self.up_bias, || column_sums(cotangent.clone()));
        if !(wants_input || self.below_up() || is_trainable(&self.up)) {
            return None;
        }
        let normed = self.normed(z.clone());
        let hidden = self.hidden(normed.clone());
        if !(wants_input || self.below_up()) {
            let active = self.activation.forward(hidden);
            gradients.give(&self.up, || product(active.transpose(), cotangent));
            return None;
        }
        let pulled = product(cotangent.clone(), self.up.val().transpose());
        let (active, hidden) = self.activation.pull(hidden, pulled);
        gradients.give(&self.up, || product(active.transpose(), cotangent));
        gradients.give(&self.down_bias, || column_sums(hidden.clone()));
        gradients.give(&self.down, || product(normed.transpose(), hidden.clone()));
        if !(wants_input || self.norm_trains()) {
            return None;
        }
        let pulled = product(hidden, self.down.val().transpose());
        let pulled = match &self.norm {
            None => pulled,
            Some(norm) => norm.pull(z, pulled, None, gradients),
        };
        wants_input.then_some(pulled)
    }

    /// Whether any parameter trains.
    pub fn trains(&self) -> bool {
        self.below_up() || is_trainable(&self.up) || is_trainable(&self.up_bias)
    }

    /// Whether [`pull_update`](Self::pull_update) reads its input.
    pub fn needs_input(&self, wants_input: bool) -> bool {
        wants_input || self.below_up() || is_trainable(&self.up)
    }

    /// Floating-point operations of [`update`](Self::update) for `rows` rows.
    pub fn update_flops(&self, rows: usize) -> u64 {
        2 * self.product_flops(rows)
    }

    /// Floating-point operations of [`pull_update`](Self::pull_update) for `rows` rows.
    pub fn pull_update_flops(&self, rows: usize, wants_input: bool) -> u64 {
        let below = wants_input || self.below_up();
        let each = [
            // The hidden values again.
            self.needs_input(wants_input),
            is_trainable(&self.up),
            below,
            is_trainable(&self.down),
            wants_input || self.norm_trains(),
        ];
        each.into_iter().filter(|is_done| *is_done).count() as u64 * self.product_flops(rows)
    }

    /// What the update is multiplied by.
    pub fn scale(&self) -> f64 {
        self.scale * self.weight
    }

    fn product_flops(&self, rows: usize) -> u64 {
        let [d_model, width] = self.down.lazy_shape().dims();
        product_flops([rows, d_model, width])
    }

    fn normed(&self, z: Tensor<2>) -> Tensor<2> {
        match &self.norm {
            None => z,
            Some(norm) => norm.forward(z),
        }
    }

    fn hidden(&self, normed: Tensor<2>) -> Tensor<2> {
        linear(normed, self.down.val(), Some(self.down_bias.val()))
    }

    fn norm_trains(&self) -> bool {
        self.norm.as_ref().is_some_and(LayerNorm::trains)
    }

    /// Whether a parameter below the activation trains.
    fn below_up(&self) -> bool {
        is_trainable(&self.down) || is_trainable(&self.down_bias) || self.norm_trains()
    }
}

impl Adapter for Bottleneck {
    fn forward(&self, _base: &Base<'_>, _x: &Tensor<2>, y: Tensor<2>, _seed: Seed) -> Tensor<2> {
        y.clone() + self.update(y)
    }

    fn pull(
        &self,
        _base: &Base<'_>,
        reads: &Reads,
        cotangent: Tensor<2>,
        wanted: &Wanted,
        gradients: &mut Gradients,
    ) -> Pulled {
        if !(wanted.output || self.trains()) {
            return Pulled {
                output: cotangent,
                input: None,
            };
        }
        // Only biases train: nothing is read.
        let z = match reads.output.clone() {
            Some(z) => z,
            None => cotangent.clone(),
        };
        let pulled = self.pull_update(z, cotangent.clone(), wanted.output, gradients);
        Pulled {
            output: match pulled {
                None => cotangent,
                Some(pulled) => cotangent + pulled,
            },
            input: None,
        }
    }

    fn trains(&self) -> bool {
        Bottleneck::trains(self)
    }

    fn needs_input(&self) -> bool {
        false
    }

    fn needs_output(&self, wanted: &Wanted) -> bool {
        Bottleneck::needs_input(self, wanted.output)
    }

    fn forward_flops(&self, _base: &Base<'_>, rows: usize, _seed: Seed) -> u64 {
        self.update_flops(rows)
    }

    fn pull_flops(&self, _base: &Base<'_>, rows: usize, wanted: &Wanted) -> u64 {
        self.pull_update_flops(rows, wanted.output)
    }

    fn merge(&self, _map: Folded) -> Result<Folded, PeftError> {
        Err(PeftError::NotLinear)
    }

    fn unmerge(&self, _map: Folded) -> Result<Folded, PeftError> {
        Err(PeftError::NotLinear)
    }
}
