//! Dropout that a recomputation repeats.

use burn::tensor::{Tensor, TensorData};
use kernels::Dropout;

use crate::Seed;

/// Zeroes elements with probability `p` and scales the rest by `1 / (1 - p)`; in evaluation, or
/// with `p = 0`, gives the input back.
///
/// The draw is a function of `seed` alone, on every device and whatever other threads draw.
pub fn dropout<const D: usize>(input: Tensor<D>, p: f64, seed: Seed) -> Tensor<D> {
    let Some(seed) = seed.training().filter(|_| p > 0.0) else {
        return input;
    };
    let shape = input.shape();
    let keep = Dropout { p, seed }.all_factors(shape.num_elements());
    let device = input.device();
    let inner = device.clone().without_autodiff();
    let keep = Tensor::<D>::from_data(TensorData::new(keep, shape), &inner);
    if device.is_autodiff() {
        input * keep.autodiff()
    } else {
        input * keep
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn the_share_that_is_dropped_is_p_and_the_mean_stays() {
        let ones = Tensor::<2>::ones([300, 400], &Device::default());
        let out = dropout(ones.clone(), 0.3, Seed::new(4));
        let values: Vec<f32> = out.into_data().iter::<f32>().collect();
        let zeros = values.iter().filter(|x| **x == 0.0).count() as f64 / values.len() as f64;
        let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64;
        assert!((zeros - 0.3).abs() < 0.01, "{zeros}");
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        let again = dropout(ones.clone(), 0.3, Seed::new(4)).into_data();
        assert_eq!(again.iter::<f32>().collect::<Vec<_>>(), values);
        assert_eq!(
            dropout(ones.clone(), 0.3, Seed::evaluation()).into_data(),
            ones.into_data()
        );
    }
}
