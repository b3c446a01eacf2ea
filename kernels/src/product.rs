//! Products of matrices, in which devices differ: some round what they multiply.

use burn::{
    backend::DispatchTensor,
    tensor::{Device, Tensor, module},
};

use crate::{flops::count_products, profile::profile};

/// A product of float tensors, on a graph or not. Shapes: `[..., m, k]`, `[..., k, n] -> [..., m, n]`.
pub type Product = fn(DispatchTensor, DispatchTensor) -> DispatchTensor;

fn multiplier(device: &Device) -> Option<Product> {
    profile(device).product
}

/// The product of matrices. Shapes: `[..., m, k]`, `[..., k, n] -> [..., m, n]`.
///
/// # Panics
///
/// Panics if the shapes do not fit.
pub fn product<const D: usize>(left: Tensor<D>, right: Tensor<D>) -> Tensor<D> {
    let [shape, other] = [left.dims(), right.dims()];
    let batches = shape[..D - 2].iter().zip(&other[..D - 2]);
    let batches = batches.map(|(a, b)| *a.max(b)).product();
    count_products(batches, [shape[D - 2], shape[D - 1], other[D - 1]]);
    uncounted_product(left, right)
}

/// As [`product`], of what is a sum in other loops: it counts as none.
pub(crate) fn uncounted_product<const D: usize>(left: Tensor<D>, right: Tensor<D>) -> Tensor<D> {
    match multiplier(&left.device()) {
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
    let parts = match multiplier(&matrix.device()) {
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
pub fn linear(input: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    if multiplier(&input.device()).is_none() {
        let ([rows, d_input], [_, d_output]) = (input.dims(), weight.dims());
        count_products(1, [rows, d_input, d_output]);
        return module::linear(input, weight, bias);
    }
    let output = product(input, weight);
    match bias {
        None => output,
        Some(bias) => output + bias.unsqueeze(),
    }
}
