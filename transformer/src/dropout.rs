//! Dropout that a recomputation repeats.

use std::sync::Mutex;

use burn::tensor::{Distribution, Tensor};
use checkpointing::Seed;

/// Zeroes elements with probability `p` and scales the rest by `1 / (1 - p)`; in evaluation, or
/// with `p = 0`, gives the input back.
pub fn dropout<const D: usize>(input: Tensor<D>, p: f64, seed: Seed) -> Tensor<D> {
    let Some(seed) = seed.training().filter(|_| p > 0.0) else {
        return input;
    };
    // A device has one generator: seeding it and drawing from it must not be interleaved with
    // another thread's.
    static DRAWING: Mutex<()> = Mutex::new(());
    let device = input.device();
    let keep = {
        let _drawing = DRAWING
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        device.seed(seed);
        let keep = Distribution::Bernoulli(1.0 - p);
        Tensor::<D>::random(input.dims(), keep, &device.clone().without_autodiff())
    };
    let keep = if device.is_autodiff() {
        keep.autodiff()
    } else {
        keep
    };
    input * keep * (1.0 / (1.0 - p))
}
