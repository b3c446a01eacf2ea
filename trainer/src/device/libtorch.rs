//! LibTorch as a device.

#![allow(
    deprecated,
    reason = "0.22 is the last line of Burn with LibTorch, which is why we stay on it"
)]

use burn::{
    backend::{BackendTensor, DispatchTensor, DispatchTensorKind},
    tensor::Device,
};
use kernels::RawAccess;

/// The processor.
pub(super) fn cpu() -> Device {
    Device::libtorch()
}

/// How to get to the elements of a tensor on the processor, whose memory LibTorch does not lend.
pub(super) const RAW_ACCESS: RawAccess = RawAccess { read, write };

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
    use kernels::{DeviceProfile, host::over_rows, set_profile};

    use super::*;

    fn device() -> Device {
        let device = cpu();
        set_profile(
            &device,
            DeviceProfile {
                product: None,
                raw_access: Some(RAW_ACCESS),
            },
        );
        device
    }

    fn random(shape: [usize; 2]) -> Tensor<2> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device())
    }

    fn place(tensor: &Tensor<2>) -> usize {
        let tensor = tensor.clone().into_dispatch();
        let DispatchTensorKind::LibTorch(BackendTensor::Float(tensor)) = tensor.kind else {
            panic!("a float tensor of LibTorch's is wanted");
        };
        tensor.tensor.data_ptr() as usize
    }

    /// `target + source`, and the rows of each run.
    fn sum(target: Tensor<2>, source: &Tensor<2>) -> (Tensor<2>, Vec<usize>) {
        let [_, width] = target.dims();
        let add = |[source]: [&[f32]; 1], [target]: [&mut [f32]; 1], []: [&mut [f32]; 0]| {
            for (x, y) in target.iter_mut().zip(source) {
                *x += y;
            }
            target.len() / width
        };
        let ([sum], rows) = over_rows(width, [source.clone()], [target], [], add);
        (sum, rows)
    }

    #[test]
    fn a_tensor_is_overwritten_where_it_is_unless_something_else_holds_it() {
        let source = random([397, 301]);
        let check = |target: Tensor<2>, is_held: bool| {
            let want = target.clone() * 1.0 + source.clone();
            let before = place(&target);
            let (got, rows) = sum(target, &source);
            assert_eq!(place(&got) != before, is_held);
            assert_eq!(rows, [108, 108, 108, 73]);
            got.into_data().assert_eq(&want.into_data(), true);
        };
        check(random([397, 301]), false);

        let held = random([397, 301]);
        let before = (held.clone() * 1.0).into_data();
        check(held.clone(), true);
        held.into_data().assert_eq(&before, true);

        let whole = random([400, 301]);
        let before = (whole.clone() * 1.0).into_data();
        check(whole.clone().slice([2..399, 0..301]), true);
        whole.into_data().assert_eq(&before, true);

        check(random([301, 397]).transpose(), true);
    }

    #[test]
    fn every_shape_is_taken() {
        for shape in [[1, 1], [40_000, 1], [3, 40_000], [0, 3], [3, 0]] {
            let (target, source) = (random(shape), random(shape));
            let want = target.clone() + source.clone();
            let (got, _) = sum(target, &source);
            assert_eq!(got.dims(), shape);
            got.into_data().assert_eq(&want.into_data(), true);
        }
        let column = |x: Tensor<2>| x.slice([0..50, 1..2]);
        let [target, source] = [random([50, 3]), random([50, 3])].map(column);
        let want = target.clone() + source.clone();
        let (got, _) = sum(target, &source);
        got.into_data().assert_eq(&want.into_data(), true);
    }
}
