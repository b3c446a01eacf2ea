//! The norm of all gradients together, and clipping by it.

use std::collections::HashSet;

use burn::{
    module::{Module, ModuleVisitor, Param, ParamId},
    tensor::Tensor,
};
use checkpointing::Gradients;

/// The L2 norm of all gradients together, in the module's order. That of a tied weight counts once.
pub fn gradient_norm<M: Module>(module: &M, gradients: &Gradients) -> f64 {
    let mut squares = Squares {
        gradients,
        seen: HashSet::new(),
        sums: Vec::new(),
    };
    module.visit(&mut squares);
    if squares.sums.is_empty() {
        return 0.0;
    }
    // Read back at once: a GPU has to finish all that it does before each read.
    let sums = Tensor::cat(squares.sums, 0).into_data();
    sums.iter::<f32>().map(f64::from).sum::<f64>().sqrt()
}

struct Squares<'a> {
    gradients: &'a Gradients,
    seen: HashSet<ParamId>,
    /// Of each gradient, `[1]`.
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !self.seen.insert(param.id) {
            return;
        }
        let gradient = self.gradients.get(param.id);
        let sum = gradient.map(|gradient| gradient.clone().mul(gradient.clone()).sum());
        self.sums.extend(sum);
    }
}

/// What clipping to `max_norm` multiplies gradients of norm `norm` by, as torch's
/// `clip_grad_norm_`; 0 leaves them as they are.
pub fn clip_scale(norm: f64, max_norm: f64) -> f64 {
    if max_norm > 0.0 {
        (max_norm / (norm + 1e-6)).min(1.0)
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::LinearConfig;

    use super::*;

    #[test]
    fn the_gradient_of_a_tied_weight_counts_once() {
        let device = testing::device();
        let linear = LinearConfig::new(2, 2).with_bias(false).init(&device);
        let mut gradients = Gradients::default();
        gradients.add(linear.weight.id, Tensor::<2>::full([2, 2], 1.5f32, &device));
        assert_eq!(gradient_norm(&linear, &gradients), 3.0);
        assert_eq!(
            gradient_norm(&vec![linear.clone(), linear], &gradients),
            3.0
        );
        assert_eq!(
            gradient_norm(&Vec::<burn::nn::Linear>::new(), &gradients),
            0.0
        );
    }

    #[test]
    fn clipping_leaves_what_is_below_and_zero_means_never() {
        assert_eq!(clip_scale(0.5, 1.0), 1.0);
        assert_eq!(clip_scale(4.0, 1.0), 1.0 / (4.0 + 1e-6));
        assert_eq!(clip_scale(4.0, 0.0), 1.0);
    }
}
