//! The linear layer all models use.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};

use checkpointing::{Gradients, Saved, Seed, is_trainable};
use kernels::{column_sums, linear, product};
use precision::Stored;

use crate::{
    Adapter, Attached, Base,
    adapter::{LinearCall, Reads, Wanted},
};

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
            adapters: Vec::new(),
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

/// `y = x W + b`, and what [adapters](Adapter) make of it.
#[derive(Module, Debug)]
pub struct Linear {
    /// `W`, `[d_input, d_output]`.
    pub weight: Param<Tensor<2>>,
    /// `b`, `[d_output]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// The place for adapters, each after the one before it; empty unless some are put there.
    pub adapters: Vec<Attached>,
}

/// What a [`Linear`] keeps besides its input: for each adapter at work the output before it, where its pullback reads that.
#[derive(Debug, Default)]
pub struct LinearSaved(Vec<Option<Stored<2>>>);

impl Saved for LinearSaved {
    fn bytes(&self) -> usize {
        self.0.iter().flatten().map(Stored::bytes).sum()
    }
}

impl Linear {
    /// Applies the layer without dropout. Shapes: `[..., d_input] -> [..., d_output]`.
    ///
    /// # Panics
    ///
    /// Panics if the last axis of `input` is not `d_input`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.forward_at(input, Seed::evaluation())
    }

    /// Applies the layer, with the dropout of `seed`. Shapes: `[..., d_input] -> [..., d_output]`.
    ///
    /// # Panics
    ///
    /// Panics if the last axis of `input` is not `d_input`.
    pub fn forward_at<const D: usize>(&self, input: Tensor<D>, seed: Seed) -> Tensor<D> {
        self.run(input, seed, |_, _| {})
    }

    /// As [`forward_at`](Self::forward_at), and what the pullback needs besides the input.
    ///
    /// # Panics
    ///
    /// Panics if the last axis of `input` is not `d_input`.
    pub fn record<const D: usize>(
        &self,
        input: Tensor<D>,
        call: &LinearCall,
    ) -> (Tensor<D>, LinearSaved) {
        let mut saved = LinearSaved::default();
        let output = self.run(input, call.seed, |at, y| {
            let adapter = self.adapters[at].method.adapter();
            let needs = adapter.needs_output(&self.wanted(at, call));
            saved.0.push(needs.then(|| call.keep.store(y.clone())));
        });
        (output, saved)
    }

    /// `before` sees the output before each adapter at work.
    fn run<const D: usize>(
        &self,
        input: Tensor<D>,
        seed: Seed,
        mut before: impl FnMut(usize, &Tensor<2>),
    ) -> Tensor<D> {
        let mut shape = input.dims();
        let [d_input, d_output] = self.base().sizes();
        assert_eq!(
            shape[D - 1],
            d_input,
            "the input's last axis must be d_input"
        );
        let rows = shape[..D - 1].iter().product();
        let input: Tensor<2> = input.reshape([rows, d_input]);
        let bias = self.bias.as_ref().map(|bias| bias.val());
        let mut output = linear(self.read(input.clone()), self.weight.val(), bias);
        for (at, adapter) in self.working() {
            before(at, &output);
            output = adapter.forward(&self.base(), &input, output, seed.child(at as u64));
        }
        shape[D - 1] = d_output;
        output.reshape(shape)
    }

    /// The pullback: the cotangent of the input, if it is wanted. `input` may be missing where
    /// [`needs_input`](Self::needs_input) says so. Gradients of the parameters that train are added to `gradients`.
    ///
    /// Shapes: input and result `[rows, d_input]`, cotangent `[rows, d_output]`.
    ///
    /// # Panics
    ///
    /// Panics if the input is missing and a gradient needs it.
    pub fn pull(
        &self,
        input: Option<Tensor<2>>,
        saved: LinearSaved,
        mut cotangent: Tensor<2>,
        call: &LinearCall,
        gradients: &mut Gradients,
    ) -> Option<Tensor<2>> {
        let mut through_adapters: Option<Tensor<2>> = None;
        let working: Vec<_> = self.working().collect();
        let mut saved = saved.0;
        for (at, adapter) in working.into_iter().rev() {
            let reads = Reads {
                input: input.clone(),
                output: saved.pop().flatten().map(Stored::load),
            };
            let wanted = self.wanted(at, call);
            let pulled = adapter.pull(&self.base(), &reads, cotangent, &wanted, gradients);
            cotangent = pulled.output;
            through_adapters = match (through_adapters, pulled.input) {
                (Some(sum), Some(input)) => Some(sum + input),
                (sum, input) => sum.or(input),
            };
        }
        if self.trains_base() {
            let read = input.clone().filter(|_| is_trainable(&self.weight));
            let read = read.map(|input| self.read(input));
            self.pull_parameters(read, cotangent.clone(), gradients);
        }
        if !self.pulls_read(call.wants_input) {
            return None;
        }
        let pulled = self.pull_input(cotangent);
        let pulled = self.pull_factors(input, pulled, gradients);
        call.wants_input.then(|| match through_adapters {
            None => pulled,
            Some(sum) => pulled + sum,
        })
    }

    /// What the map reads of its input.
    fn read(&self, input: Tensor<2>) -> Tensor<2> {
        let factors = self.factors();
        factors.fold(input, |x, factors| x * factors.val().unsqueeze())
    }

    /// The pullback of [`read`](Self::read).
    fn pull_factors(
        &self,
        input: Option<Tensor<2>>,
        mut cotangent: Tensor<2>,
        gradients: &mut Gradients,
    ) -> Tensor<2> {
        let all: Vec<_> = self.factors().collect();
        for (i, factors) in all.iter().enumerate().rev() {
            gradients.give(factors, || {
                let input = input.clone().expect("a gradient needs the layer's input");
                let before = all[..i].iter();
                let read = before.fold(input, |x, factors| x * factors.val().unsqueeze());
                column_sums(read * cotangent.clone())
            });
            cotangent = cotangent * factors.val().unsqueeze();
        }
        cotangent
    }

    /// The pullback of `x W + b` to its input, without adapters. Shapes: `[rows, d_output] -> [rows, d_input]`.
    pub fn pull_input(&self, cotangent: Tensor<2>) -> Tensor<2> {
        product(cotangent, self.weight.val().transpose())
    }

    /// The pullback of `x W + b` to its parameters, without adapters: adds the gradient of each that trains. `input` may be
    /// missing where the weight is frozen.
    ///
    /// Shapes: input `[rows, d_input]`, cotangent `[rows, d_output]`.
    ///
    /// # Panics
    ///
    /// Panics if the input is missing and the weight trains.
    pub fn pull_parameters(
        &self,
        input: Option<Tensor<2>>,
        cotangent: Tensor<2>,
        gradients: &mut Gradients,
    ) {
        if let Some(bias) = &self.bias {
            gradients.give(bias, || column_sums(cotangent.clone()));
        }
        gradients.give(&self.weight, || {
            let input = input.expect("a gradient needs the layer's input");
            product(input.transpose(), cotangent)
        });
    }

    /// Weight and bias.
    pub fn base(&self) -> Base<'_> {
        Base {
            weight: &self.weight,
            bias: self.bias.as_ref(),
        }
    }

    /// Whether adapters work beside the map.
    pub fn is_adapted(&self) -> bool {
        self.adapters.iter().any(Attached::works)
    }

    /// The adapters at work, with their places.
    fn working(&self) -> impl Iterator<Item = (usize, &dyn Adapter)> {
        let all = self.adapters.iter().enumerate();
        let working = all.filter(|(_, attached)| attached.works());
        working.map(|(at, attached)| (at, attached.method.adapter()))
    }

    /// The factors of the input, of the adapters at work that have some.
    fn factors(&self) -> impl Iterator<Item = &Param<Tensor<1>>> {
        self.working()
            .filter_map(|(_, adapter)| adapter.input_factors())
    }

    /// Whether weight or bias trains.
    fn trains_base(&self) -> bool {
        self.base().trains()
    }

    /// Whether the cotangent of what the map reads is of use.
    fn pulls_read(&self, wants_input: bool) -> bool {
        wants_input || self.factors().any(is_trainable)
    }

    /// How the adapter at this place is pulled back.
    fn wanted(&self, at: usize, call: &LinearCall) -> Wanted {
        let mut before = self.working().take_while(|(other, _)| *other < at);
        Wanted {
            seed: call.seed.child(at as u64),
            input: call.wants_input,
            output: self.trains_base()
                || self.pulls_read(call.wants_input)
                || before.any(|(_, adapter)| adapter.trains()),
        }
    }

    /// Whether any parameter trains.
    pub fn trains(&self) -> bool {
        self.trains_base() || self.working().any(|(_, adapter)| adapter.trains())
    }

    /// Whether [`pull`](Self::pull) reads the input.
    pub fn needs_input(&self) -> bool {
        is_trainable(&self.weight) || self.working().any(|(_, adapter)| adapter.needs_input())
    }

    /// Width of the output.
    pub fn d_output(&self) -> usize {
        let [_, d_output] = self.base().sizes();
        d_output
    }

    /// Bytes of what [`record`](Self::record) keeps of `rows` rows.
    pub fn saved_bytes(&self, rows: usize, call: &LinearCall) -> usize {
        let kept = self
            .working()
            .filter(|(at, adapter)| adapter.needs_output(&self.wanted(*at, call)));
        kept.count() * call.keep.bytes(rows * self.d_output())
    }

    /// Floating-point operations of [`forward_at`](Self::forward_at) for `rows` rows.
    pub fn forward_flops(&self, rows: usize, seed: Seed) -> u64 {
        let adapters = self
            .working()
            .map(|(at, adapter)| adapter.forward_flops(&self.base(), rows, seed.child(at as u64)));
        self.base().product_flops(rows) + adapters.sum::<u64>()
    }

    /// Floating-point operations of [`pull`](Self::pull) for `rows` rows.
    pub fn pull_flops(&self, rows: usize, call: &LinearCall) -> u64 {
        let each = [
            self.pulls_read(call.wants_input),
            is_trainable(&self.weight),
        ];
        let products = each.into_iter().filter(|is_done| *is_done).count() as u64;
        let adapters = self
            .working()
            .map(|(at, adapter)| adapter.pull_flops(&self.base(), rows, &self.wanted(at, call)));
        products * self.base().product_flops(rows) + adapters.sum::<u64>()
    }
}
