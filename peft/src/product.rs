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
        // A sum can be fused with what comes before and after it.
        Some(_) if right.dims()[D - 1] == 1 => {
            (left * right.swap_dims(D - 2, D - 1)).sum_dim(D - 1)
        }
        Some(product) => {
            Tensor::from_dispatch(product(left.into_dispatch(), right.into_dispatch()))
        }
    }
}

/// The sum of each column. Shapes: `[rows, columns] -> [columns]`.
pub fn column_sums(matrix: Tensor<2>) -> Tensor<1> {
    let [rows, columns] = matrix.dims();
    // A kernel that sums a column in one thread leaves most of a GPU idle: parts of the rows first.
    let parts = match multiplier(matrix.device()) {
        None => 1,
        Some(_) => largest_divisor(rows, 128),
    };
    let sums: Tensor<2> = match parts {
        1 => matrix,
        _ => {
            let parts = matrix.reshape([parts, rows / parts, columns]);
            parts.sum_dim(1).squeeze_dim(1)
        }
    };
    sums.sum_dim(0).squeeze_dim(0)
}

/// The largest divisor of `n` that is at most `most`.
fn largest_divisor(n: usize, most: usize) -> usize {
    let divides = |divisor: &usize| n.is_multiple_of(*divisor);
    (1..=most.min(n)).rev().find(divides).unwrap_or(1)
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
