//! Products of matrices, in which devices differ: some round what they multiply.

use std::sync::{PoisonError, RwLock};

use burn::{
    backend::DispatchTensor,
    tensor::{Device, Tensor, module},
};

/// A product of float tensors, on a graph or not. Shapes: `[..., m, k]`, `[..., k, n] -> [..., m, n]`.
pub type Product = fn(DispatchTensor, DispatchTensor) -> DispatchTensor;

static PRODUCTS: RwLock<Vec<(Device, Product)>> = RwLock::new(Vec::new());

/// From now on [`product`] multiplies by `product` on `device`, instead of as the framework does.
pub fn multiply_by(product: Product, device: &Device) {
    let mut products = PRODUCTS.write().unwrap_or_else(PoisonError::into_inner);
    let device = device.clone().inner();
    products.retain(|(other, _)| *other != device);
    products.push((device, product));
}

fn multiplier(device: Device) -> Option<Product> {
    let products = PRODUCTS.read().unwrap_or_else(PoisonError::into_inner);
    if products.is_empty() {
        return None;
    }
    let device = device.inner();
    let own = products.iter().find(|(other, _)| *other == device);
    own.map(|(_, product)| *product)
}

/// The product of matrices. Shapes: `[..., m, k]`, `[..., k, n] -> [..., m, n]`.
///
/// # Panics
///
/// Panics if the shapes do not fit.
pub fn product<const D: usize>(left: Tensor<D>, right: Tensor<D>) -> Tensor<D> {
    match multiplier(left.device()) {
        None => left.matmul(right),
        Some(product) => {
            Tensor::from_dispatch(product(left.into_dispatch(), right.into_dispatch()))
        }
    }
}

/// `input weight + bias`. Shapes: `[rows, d_input]`, `[d_input, d_output]`, `[d_output]`.
pub(crate) fn linear(input: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    if multiplier(input.device()).is_none() {
        return module::linear(input, weight, bias);
    }
    let output = product(input, weight);
    match bias {
        None => output,
        Some(bias) => output + bias.unsqueeze(),
    }
}
