//! What every way to adapt a linear map has to say of itself.

use burn::{module::Param, tensor::Tensor};
use checkpointing::{Gradients, Seed, is_trainable, product_flops};
use precision::Format;

use crate::PeftError;

/// The map `y = x W + b` that an adapter changes.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// `W`, `[d_input, d_output]`.
    pub weight: &'a Param<Tensor<2>>,
    /// `b`, `[d_output]`.
    pub bias: Option<&'a Param<Tensor<1>>>,
}

impl Base<'_> {
    /// `[d_input, d_output]`.
    pub fn sizes(&self) -> [usize; 2] {
        self.weight.lazy_shape().dims()
    }

    /// Whether weight or bias trains.
    pub(crate) fn trains(&self) -> bool {
        is_trainable(self.weight) || self.bias.is_some_and(is_trainable)
    }

    /// Floating-point operations of a product with the weight, of `rows` rows.
    pub(crate) fn product_flops(&self, rows: usize) -> u64 {
        let [d_input, d_output] = self.sizes();
        product_flops([rows, d_input, d_output])
    }
}

/// With what a map is recorded and pulled back: the same for both.
#[derive(Clone, Copy, Debug)]
pub struct LinearCall {
    /// The dropout of adapters comes from it.
    pub seed: Seed,
    /// Whether the cotangent of the map's input is wanted.
    pub wants_input: bool,
    /// The number format of what is kept.
    pub keep: Format,
}

/// How an adapter is pulled back.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The seed of its dropout.
    pub seed: Seed,
    /// Whether the cotangent of the map's input is wanted.
    pub input: bool,
    /// Whether the cotangent of the output before the adapter is wanted.
    pub output: bool,
}

/// What an adapter reads in its pullback.
#[derive(Debug)]
pub struct Reads {
    /// The map's input, `[rows, d_input]`, given where [`Adapter::needs_input`] says so.
    pub input: Option<Tensor<2>>,
    /// The output before the adapter, `[rows, d_output]`, given where [`Adapter::needs_output`] says so.
    pub output: Option<Tensor<2>>,
}

impl Reads {
    /// The map's input.
    ///
    /// # Panics
    ///
    /// Panics without one.
    pub(crate) fn input(&self) -> Tensor<2> {
        self.input.clone().expect("the adapter reads the input")
    }

    /// The output before the adapter.
    ///
    /// # Panics
    ///
    /// Panics without one.
    pub(crate) fn output(&self) -> Tensor<2> {
        self.output.clone().expect("the adapter reads the output")
    }
}

/// What an adapter gives back.
#[derive(Debug)]
pub struct Pulled {
    /// The cotangent of the output before the adapter, `[rows, d_output]`; anything where it was not wanted.
    pub output: Tensor<2>,
    /// What the adapter adds to the cotangent of the map's input, `[rows, d_input]`.
    pub input: Option<Tensor<2>>,
}

/// One way to adapt a linear map without a gradient of the size of its weight.
///
/// It stands after the map, and after the adapters before it: it sees the map's input `x` and the output `y` so far.
pub trait Adapter {
    /// The output with the adapter. Shapes: `[rows, d_input]`, `[rows, d_output] -> [rows, d_output]`.
    fn forward(&self, base: &Base<'_>, x: &Tensor<2>, y: Tensor<2>, seed: Seed) -> Tensor<2>;

    /// The pullback of [`forward`](Self::forward). Gradients of the parameters that train are added to `gradients`.
    fn pull(
        &self,
        base: &Base<'_>,
        reads: &Reads,
        cotangent: Tensor<2>,
        wanted: &Wanted,
        gradients: &mut Gradients,
    ) -> Pulled;

    /// Factors of the map's input, `[d_input]`, of an adapter that changes what the map reads.
    fn input_factors(&self) -> Option<&Param<Tensor<1>>> {
        None
    }

    /// Whether any parameter trains.
    fn trains(&self) -> bool;

    /// Whether [`pull`](Self::pull) reads the map's input.
    fn needs_input(&self) -> bool;

    /// Whether [`pull`](Self::pull) reads the output before the adapter.
    fn needs_output(&self, wanted: &Wanted) -> bool;

    /// Floating-point operations of the products of [`forward`](Self::forward) for `rows` rows.
    fn forward_flops(&self, base: &Base<'_>, rows: usize, seed: Seed) -> u64;

    /// Floating-point operations of the products of [`pull`](Self::pull) for `rows` rows.
    fn pull_flops(&self, base: &Base<'_>, rows: usize, wanted: &Wanted) -> u64;

    /// Folds the adapter into a map.
    ///
    /// # Errors
    ///
    /// If no weight says the same.
    fn merge(&self, map: Folded) -> Result<Folded, PeftError>;

    /// Undoes [`merge`](Self::merge), to rounding.
    ///
    /// # Errors
    ///
    /// If the adapter has multiplied by zero.
    fn unmerge(&self, map: Folded) -> Result<Folded, PeftError>;
}

/// A map with adapters folded in.
#[derive(Clone, Debug)]
pub struct Folded {
    /// The weight, `[d_input, d_output]`.
    pub weight: Tensor<2>,
    /// The bias, `[d_output]`.
    pub bias: Option<Tensor<1>>,
    /// What [`Adapter::unmerge`] needs to know besides, `[d_output]`.
    pub noted: Option<Tensor<1>>,
}
