//! What a block is made of.

use burn::tensor::Tensor;
use checkpointing::{Gradients, Saved, Seed};
use kernels::Mask;
use peft::LinearCall;
use precision::Format;

/// With what a layer is recorded and pulled back: the same for both.
#[derive(Clone, Copy, Debug)]
pub struct LayerCall<'a> {
    /// Which keys each query sees, for layers that mix tokens.
    pub mask: &'a Mask,
    /// All randomness comes from it.
    pub seed: Seed,
    /// Whether the cotangent of the input is wanted.
    pub wants_input: bool,
    /// The number format of what is kept.
    pub keep: Format,
}

impl<'a> LayerCall<'a> {
    /// A call of which no pullback follows that anybody reads.
    pub fn forward(mask: &'a Mask, seed: Seed) -> Self {
        Self {
            mask,
            seed,
            wants_input: false,
            keep: Format::F32,
        }
    }

    /// The call of one of the layer's linear maps, whose adapters have a seed of their own.
    pub fn linear(&self, map: u64, wants_input: bool) -> LinearCall {
        LinearCall {
            seed: map_seed(self.seed, map),
            wants_input,
            keep: self.keep,
        }
    }
}

/// The seed of the adapters of one of the linear maps in a place.
pub(crate) fn map_seed(place: Seed, map: u64) -> Seed {
    /// Behind the other children of a place's seed.
    const MAPS: u64 = 1 << 32;
    place.child(MAPS + map)
}

/// A map of tokens that knows its pullback. It does not keep its input: whoever composes layers keeps it, or computes it
/// again.
pub trait Layer: Sync {
    /// What it keeps between forward and pullback.
    type Saved: Saved;

    /// Applies the layer. Shapes: `[batch, tokens, d_input] -> [batch, tokens, d_output]`.
    fn forward(&self, x: Tensor<3>, call: &LayerCall<'_>) -> Tensor<3> {
        self.record(x, call).0
    }

    /// As [`forward`](Self::forward), and what the pullback needs besides the input.
    fn record(&self, x: Tensor<3>, call: &LayerCall<'_>) -> (Tensor<3>, Self::Saved);

    /// The cotangent of the input, if it is wanted. `x` is the input, given where [`needs_input`](Self::needs_input) says
    /// so. Gradients of the parameters that train are added to `gradients`.
    fn pull(
        &self,
        x: Option<Tensor<3>>,
        saved: Self::Saved,
        cotangent: Tensor<3>,
        call: &LayerCall<'_>,
        gradients: &mut Gradients,
    ) -> Option<Tensor<3>>;

    /// Whether [`pull`](Self::pull) reads the input.
    fn needs_input(&self) -> bool;

    /// Whether any parameter trains.
    fn trains(&self) -> bool;

    /// What it costs for an input `[batch, tokens, d_input]`.
    fn cost(&self, shape: [usize; 3], call: &LayerCall<'_>) -> LayerCost;
}

/// What a layer costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerCost {
    /// Floating-point operations of its products forward.
    pub forward_flops: u64,
    /// Those of its pullback.
    pub backward_flops: u64,
    /// Bytes of what it keeps.
    pub saved_bytes: usize,
}

impl std::ops::Add for LayerCost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            forward_flops: self.forward_flops + other.forward_flops,
            backward_flops: self.backward_flops + other.backward_flops,
            saved_bytes: self.saved_bytes + other.saved_bytes,
        }
    }
}

/// The elements of tensors of these shapes.
pub(crate) fn elements(shapes: impl IntoIterator<Item = [usize; 3]>) -> usize {
    let elements = shapes
        .into_iter()
        .map(|shape| shape.iter().product::<usize>());
    elements.sum()
}

/// `[batch, tokens, width] -> [batch * tokens, width]`.
pub(crate) fn rows(x: Tensor<3>) -> Tensor<2> {
    let [batch, tokens, width] = x.dims();
    x.reshape([batch * tokens, width])
}

/// `[batch * tokens, width] -> [batch, tokens, width]`.
pub(crate) fn sequences(x: Tensor<2>, [batch, tokens]: [usize; 2]) -> Tensor<3> {
    let [_, width] = x.dims();
    x.reshape([batch, tokens, width])
}
