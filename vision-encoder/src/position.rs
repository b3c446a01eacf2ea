//! Position embeddings for pictures of another size than the model was made for.

use burn::tensor::{Device, Tensor, TensorData};
use kernels::product;

/// Resamples position embeddings from one grid of patches to another, bicubic with a = -0.75 and
/// without aligned corners, as torch's `interpolate` does.
///
/// Shapes: `[rows * columns, d_model]` -> `[new_rows * new_columns, d_model]`.
pub(crate) fn resample_positions(
    positions: Tensor<2>,
    from: [usize; 2],
    to: [usize; 2],
) -> Tensor<2> {
    if from == to {
        return positions;
    }
    product(matrix(from, to, &positions.device()), positions)
}

/// The pullback of [`resample_positions`]. Shapes: `[new_rows * new_columns, d_model]` -> `[rows * columns, d_model]`.
pub(crate) fn pull_resampled(cotangent: Tensor<2>, from: [usize; 2], to: [usize; 2]) -> Tensor<2> {
    if from == to {
        return cotangent;
    }
    let matrix = matrix(from, to, &cotangent.device());
    product(matrix.transpose(), cotangent)
}

/// The constant matrix that resamples a grid, `[new_rows * new_columns, rows * columns]`.
fn matrix(from: [usize; 2], to: [usize; 2], device: &Device) -> Tensor<2> {
    let (rows, columns) = (weights(from[0], to[0]), weights(from[1], to[1]));
    let mut matrix = Vec::with_capacity(from[0] * from[1] * to[0] * to[1]);
    for row in &rows {
        for column in &columns {
            matrix.extend(row.iter().flat_map(|r| column.iter().map(move |c| r * c)));
        }
    }
    let data = TensorData::new(matrix, [to[0] * to[1], from[0] * from[1]]);
    let matrix = Tensor::from_data(data, &device.clone().without_autodiff());
    if device.is_autodiff() {
        matrix.autodiff()
    } else {
        matrix
    }
}

/// For each output place, the weight of each input place.
fn weights(from: usize, to: usize) -> Vec<Vec<f32>> {
    let scale = from as f64 / to as f64;
    (0..to)
        .map(|place| {
            let centre = (place as f64 + 0.5) * scale - 0.5;
            let mut row = vec![0.0; from];
            for tap in -1..=2 {
                let at = centre.floor() as i64 + tap;
                let clamped = at.clamp(0, from as i64 - 1) as usize;
                row[clamped] += cubic(centre - at as f64) as f32;
            }
            row
        })
        .collect()
}

/// The cubic convolution kernel (Keys 1981) with a = -0.75.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.75;
    let x = x.abs();
    if x <= 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_every_place_sum_to_one() {
        for (from, to) in [(4, 6), (7, 5), (3, 3), (2, 9)] {
            for row in weights(from, to) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            }
        }
    }
}
