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
