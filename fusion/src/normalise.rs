//! Unit-length features, with the pullback in closed form.

use burn::tensor::Tensor;

/// Smallest norm a feature is divided by.
const EPSILON: f32 = 1e-12;

/// Divides each row by its L2 norm; returns the norms too. Shapes: `[batch, d_joint]` ->
/// `[batch, d_joint]`, `[batch, 1]`.
pub fn normalise(features: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let norms = (features.clone() * features.clone())
        .sum_dim(1)
        .sqrt()
        .clamp_min(EPSILON);
    (features / norms.clone(), norms)
}

/// The cotangent of the features, from that of the unit-length ones. Shapes: `[batch, d_joint]`,
/// norms `[batch, 1]`.
pub(crate) fn pull_normalise(unit: Tensor<2>, norms: Tensor<2>, cotangent: Tensor<2>) -> Tensor<2> {
    let along = (unit.clone() * cotangent.clone()).sum_dim(1);
    (cotangent - unit * along) / norms
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn pullback_equals_autodiff() {
        let device = testing::device();
        let x = Tensor::<2>::random([5, 7], Distribution::Normal(0.0, 2.0), &device);
        let g = Tensor::<2>::random([5, 7], Distribution::Normal(0.0, 1.0), &device);
        let leaf = x.clone().autodiff().require_grad();
        let mut grads = (normalise(leaf.clone()).0 * g.clone().autodiff())
            .sum()
            .backward();
        let want = leaf.grad_remove(&mut grads).unwrap();
        let (unit, norms) = normalise(x);
        testing::assert_close(&pull_normalise(unit, norms, g), &want, 1e-6);
    }
}
