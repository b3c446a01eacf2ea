//! One segment of a chain, and how it is differentiated.

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::Tensor,
};

use crate::{Gradients, Seed, State, gradients::trainable_parameters};

/// What a pullback gives back.
#[derive(Debug, Default)]
pub struct Pulled {
    /// The cotangent of each differentiable input tensor; empty if the input needs none.
    pub cotangent: Vec<Tensor<3>>,
    /// The gradients of the parameters that train.
    pub gradients: Gradients,
}

/// A recorded forward pass, waiting for the cotangent of its output.
pub type Tape<'a> = Box<dyn FnOnce(Vec<Tensor<3>>) -> Pulled + Send + 'a>;

/// A piece of a tower between two cuts.
///
/// A segment needs only [`forward`](Segment::forward). It lives off the autodiff device; the
/// default [`record`](Segment::record) lifts a shallow copy of it onto a graph of its own. A
/// segment that knows its pullback in closed form overrides `record`.
pub trait Segment: Module + Sync {
    /// Runs the segment. All randomness must come from `seed`.
    fn forward(&self, input: State, seed: Seed) -> State;

    /// Runs the segment and keeps what its pullback needs. With `input_cotangent` false the
    /// cotangent of the input may be left empty.
    fn record<'a>(&'a self, input: State, seed: Seed, input_cotangent: bool) -> (State, Tape<'a>) {
        record_with_autodiff(self, input, seed, input_cotangent)
    }
}

/// A [`Segment`] of any type, as a chain holds it.
pub trait Link: Sync {
    /// See [`Segment::forward`].
    fn run(&self, input: State, seed: Seed) -> State;
    /// See [`Segment::record`].
    fn tape<'a>(&'a self, input: State, seed: Seed, input_cotangent: bool) -> (State, Tape<'a>);
    /// Whether any parameter of the segment trains.
    fn trains(&self) -> bool;
}

impl<S: Segment> Link for S {
    fn run(&self, input: State, seed: Seed) -> State {
        self.forward(input, seed)
    }

    fn tape<'a>(&'a self, input: State, seed: Seed, input_cotangent: bool) -> (State, Tape<'a>) {
        self.record(input, seed, input_cotangent)
    }

    fn trains(&self) -> bool {
        !trainable_parameters(self).is_empty()
    }
}

/// Records a segment by the framework's autodiff: a forward from a leaf, and the backward of
/// `sum(output * cotangent)`.
pub fn record_with_autodiff<'a, S: Segment + 'a>(
    segment: &S,
    input: State,
    seed: Seed,
    input_cotangent: bool,
) -> (State, Tape<'a>) {
    let tracked = segment.clone().train();
    let leaves: Vec<Tensor<3>> = input
        .tensors
        .iter()
        .map(|tensor| {
            let leaf = Tensor::from_inner(tensor.clone());
            if input_cotangent {
                leaf.require_grad()
            } else {
                leaf
            }
        })
        .collect();
    let output = tracked.forward(input.lift_passengers().with_tensors(leaves.clone()), seed);
    let tensors = output.tensors.clone();
    let tape: Tape<'a> =
        Box::new(move |cotangent| pull_autodiff(&tracked, leaves, tensors, cotangent));
    (output.inner(), tape)
}

fn pull_autodiff<M: Module>(
    module: &M,
    leaves: Vec<Tensor<3>>,
    outputs: Vec<Tensor<3>>,
    cotangents: Vec<Tensor<3>>,
) -> Pulled {
    assert_eq!(
        outputs.len(),
        cotangents.len(),
        "one cotangent for each output tensor"
    );
    let objective = outputs
        .into_iter()
        .zip(cotangents)
        .map(|(output, cotangent)| (output * Tensor::from_inner(cotangent)).sum())
        .reduce(|a, b| a + b);
    let Some(objective) = objective.filter(Tensor::is_tracked) else {
        return Pulled::default();
    };
    let mut grads = objective.backward();
    let cotangent = leaves
        .iter()
        .filter(|leaf| leaf.is_require_grad())
        .map(|leaf| {
            leaf.grad_remove(&mut grads)
                .unwrap_or_else(|| leaf.clone().inner().zeros_like())
        })
        .collect();

    struct Collector<'g> {
        grads: &'g mut burn::tensor::Gradients,
        gradients: Gradients,
    }
    impl ModuleVisitor for Collector<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = param.val().grad_remove(self.grads) {
                self.gradients.add(param.id, gradient);
            }
        }
    }
    let mut collector = Collector {
        grads: &mut grads,
        gradients: Gradients::default(),
    };
    module.visit(&mut collector);
    Pulled {
        cotangent,
        gradients: collector.gradients,
    }
}
