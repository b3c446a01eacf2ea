//! Segments of which only the forward pass is known.

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::Tensor,
};

use crate::{
    Call, Cost, Forward, Gradients, Outline, Parameter, Saved, Seed, Segment, Slot, State, Streams,
    bytes_of, parameters,
};

/// A segment whose pullback is the framework's autodiff: a forward pass from leaves, and the backward pass of
/// `sum(output * cotangent)`.
///
/// It is for segments that have no closed form yet, and what closed forms are tested by. Its graph holds the weights as
/// they were, and its size is not known: what it says of its bytes and operations leaves them out, and its footprint takes
/// the streams to keep their shapes.
#[derive(Clone, Debug)]
pub struct Autodiff<S>(pub S);

/// A graph, waiting for the cotangent of its output.
pub struct Graph<S> {
    module: S,
    leaves: Streams,
    outputs: Streams,
}

impl<S: Send + 'static> Saved for Graph<S> {
    fn bytes(&self) -> usize {
        self.leaves.iter().map(|(_, leaf)| bytes_of(leaf)).sum()
    }
}

impl<S: Forward> Forward for Autodiff<S> {
    fn forward(&self, input: State, seed: Seed) -> State {
        self.0.forward(input, seed)
    }

    fn reads(&self) -> &'static [&'static str] {
        self.0.reads()
    }

    fn writes(&self) -> &'static [&'static str] {
        self.0.writes()
    }
}

impl<S: Forward + Module + 'static> Segment for Autodiff<S> {
    type Saved = Graph<S>;

    fn parameters(&self) -> Vec<Parameter> {
        parameters(&self.0)
    }

    fn record(&self, input: State, call: &Call<'_>) -> (State, Graph<S>) {
        let module = self.0.clone().train();
        let mut lifted = input.lift();
        let mut leaves = Streams::default();
        for name in self.reads() {
            if let Some(stream) = lifted.streams.take(*name) {
                let leaf = if call.wants.has(name) {
                    stream.require_grad()
                } else {
                    stream
                };
                lifted = lifted.with_stream(*name, leaf.clone());
                leaves = leaves.with(*name, leaf);
            }
        }
        let output = module.forward(lifted, call.seed);
        let mut outputs = Streams::default();
        for name in self.writes() {
            outputs = outputs.with(*name, output.stream(*name));
        }
        let graph = Graph {
            module,
            leaves,
            outputs,
        };
        (output.inner(), graph)
    }

    fn pull(
        &self,
        graph: Graph<S>,
        mut cotangents: Streams,
        call: &Call<'_>,
        gradients: &mut Gradients,
    ) -> Streams {
        let products = graph.outputs.into_iter().filter_map(|(slot, output)| {
            let cotangent = cotangents.take(slot)?;
            Some((output * Tensor::from_inner(cotangent)).sum())
        });
        let objective = products.reduce(|a, b| a + b);
        let Some(objective) = objective.filter(Tensor::is_tracked) else {
            return Streams::default();
        };
        let mut grads = objective.backward();
        let mut pulled = Streams::default();
        for (slot, leaf) in graph.leaves {
            if call.wants.has(slot.name) {
                let zeros = leaf.clone().inner().zeros_like();
                pulled = pulled.with(
                    Slot::from(slot.name),
                    leaf.grad_remove(&mut grads).unwrap_or(zeros),
                );
            }
        }
        graph.module.visit(&mut Collector {
            grads: &mut grads,
            gradients,
        });
        pulled
    }

    fn cost(&self, input: &Outline, _call: &Call<'_>) -> Cost {
        let shapes = self.reads().iter().map(|name| input.stream(*name));
        let elements = shapes.map(|shape| shape.iter().product::<usize>());
        Cost {
            saved_bytes: 4 * elements.sum::<usize>(),
            ..Cost::free(input.clone())
        }
    }
}

struct Collector<'g> {
    grads: &'g mut burn::tensor::Gradients,
    gradients: &'g mut Gradients,
}

impl ModuleVisitor for Collector<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad_remove(self.grads) {
            self.gradients.add(param.id, gradient);
        }
    }
}
