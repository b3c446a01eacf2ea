#![doc = include_str!("../README.md")]

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, Tensor};

const SEED: u64 = 7041;

/// The device that the enabled backend features choose, with its generator seeded.
///
/// Devices have one generator, and what a test draws is to be the same whichever tests run beside it. So a test that has
/// asked for a device holds up all others of the process that ask, until its thread ends.
pub fn device() -> Device {
    wait_for_turn();
    let device = Device::default();
    device.seed(SEED);
    device
}

/// As [`device()`], and its memory is the host's whichever backend the tests run on.
pub fn host() -> Device {
    wait_for_turn();
    let device = Device::flex();
    device.seed(SEED);
    device
}

fn wait_for_turn() {
    static TURN: Mutex<()> = Mutex::new(());
    thread_local! {
        // A test that failed has left nothing behind.
        static HELD: MutexGuard<'static, ()> = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    }
    HELD.with(|_| ());
}

/// The largest absolute value; zero of an empty tensor.
pub fn largest<const D: usize>(values: &Tensor<D>) -> f64 {
    let values = values.to_data();
    values
        .iter::<f64>()
        .fold(0.0, |largest, x| largest.max(x.abs()))
}

/// Whether `got` is `want` within `share` of the largest value of `want`: rounding is a share of what was summed, and
/// processors differ in how they sum.
///
/// # Panics
///
/// If it is not, or if the shapes differ; names the worst place.
#[track_caller]
pub fn assert_close<const D: usize>(got: &Tensor<D>, want: &Tensor<D>, share: f64) {
    assert_within(got, want, share * largest(want));
}

/// Whether `got` is `want` within `bound` everywhere.
///
/// # Panics
///
/// If it is not, or if the shapes differ; names the worst place.
#[track_caller]
pub fn assert_within<const D: usize>(got: &Tensor<D>, want: &Tensor<D>, bound: f64) {
    assert_eq!(got.dims(), want.dims(), "shapes differ");
    let (got, want) = (got.to_data(), want.to_data());
    let pairs = got.iter::<f64>().zip(want.iter::<f64>()).enumerate();
    // Not a number is the worst of all.
    let distance = |(_, (got, want)): &(usize, (f64, f64))| {
        let distance = (got - want).abs();
        if distance.is_nan() {
            f64::INFINITY
        } else {
            distance
        }
    };
    let worst = pairs.max_by(|a, b| distance(a).total_cmp(&distance(b)));
    if let Some(worst @ (place, (got, want))) = worst {
        assert!(
            distance(&worst) <= bound,
            "at {place} {got} is not {want} within {bound:e}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: [f32; 3]) -> Tensor<1> {
        Tensor::from_floats(values, &device())
    }

    #[test]
    fn distance_is_judged_by_the_largest_value() {
        assert_close(&of([1000.0, 0.0005, 0.0]), &of([1000.0, 0.0, 0.0]), 1e-6);
    }

    #[test]
    #[should_panic(expected = "at 1 0.5 is not 0 within 1e-3")]
    fn the_worst_place_is_named() {
        assert_close(&of([1000.0, 0.5, 0.001]), &of([1000.0, 0.0, 0.0]), 1e-6);
    }

    #[test]
    #[should_panic(expected = "at 2 NaN is not 0")]
    fn not_a_number_is_never_close() {
        assert_within(&of([0.0, 9.0, f32::NAN]), &of([0.0; 3]), 1e3);
    }
}
