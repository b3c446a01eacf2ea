//! LibTorch as a device.

#![allow(
    deprecated,
    reason = "0.22 is the last line of Burn with LibTorch, which is why we stay on it"
)]

use burn::{
    backend::{BackendTensor, DispatchTensor, DispatchTensorKind},
    tensor::Device,
};
use transformer::host::Reach;

/// The processor.
pub(super) fn cpu() -> Device {
    Device::libtorch()
}

/// How to get to the elements of a tensor on the processor, whose memory LibTorch does not lend.
pub(super) const REACH: Reach = Reach { read, write };

fn read(tensor: &DispatchTensor, start: usize, to: &mut [f32]) {
    part(tensor, start, to.len()).copy_data(to, to.len());
}

fn write(tensor: &DispatchTensor, start: usize, from: &[f32]) {
    part(tensor, start, from.len()).copy_(&tch::Tensor::from_slice(from));
}

/// A view of some of its elements.
fn part(tensor: &DispatchTensor, start: usize, length: usize) -> tch::Tensor {
    let DispatchTensorKind::LibTorch(BackendTensor::Float(tensor)) = &tensor.kind else {
        panic!("a float tensor of LibTorch's is wanted");
    };
    let [start, length] = [start, length].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    tensor.tensor.narrow(0, start, length)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, Tensor};
    use transformer::host::{over_rows, reach_by};

    use super::*;

    #[test]
    fn tensors_are_overwritten_and_what_else_holds_them_is_not() {
        let device = cpu();
        reach_by(REACH, &device);
        let shape = [397, 301];
        let random = || Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let (read, lone, shared) = (random(), random(), random());
        let [lone_before, held] = [lone.clone() * 1.0, shared.clone()];
        let shared_before = shared.clone() * 1.0;
        let mut counts = vec![0.0; 397 * 301];
        let ([sum, difference], _) = over_rows(
            301,
            [read.clone()],
            [lone, shared],
            [&mut counts],
            |[x], [a, b], [count]| {
                for (((x, a), b), count) in x.iter().zip(a).zip(b).zip(count) {
                    (*a, *b, *count) = (*a + x, *b - x, *count + 1.0);
                }
            },
        );
        let same = |a: Tensor<2>, b: Tensor<2>| a.into_data().assert_eq(&b.into_data(), true);
        same(sum, lone_before + read.clone());
        same(difference, shared_before.clone() - read);
        same(held, shared_before);
        assert!(counts.iter().all(|count| *count == 1.0));
    }
}
