//! Gradients by parameter.

use std::collections::HashMap;

use burn::{
    module::{Param, ParamId},
    tensor::Tensor,
};

use crate::trains::is_trainable;

/// Gradients by parameter, each flattened to `[elements]`, off any graph.
#[derive(Debug, Default)]
pub struct Gradients {
    by_id: HashMap<ParamId, Tensor<1>>,
}

impl Gradients {
    /// Adds `gradient` to what the parameter has already received (tied weights, micro-batches).
    pub fn add<const D: usize>(&mut self, id: ParamId, gradient: Tensor<D>) {
        let gradient = gradient.flatten::<1>(0, D - 1);
        let sum = match self.by_id.remove(&id) {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        self.by_id.insert(id, sum);
    }

    /// Adds the gradient of a parameter that trains; of any other it is not computed.
    pub fn give<const D: usize>(
        &mut self,
        param: &Param<Tensor<D>>,
        gradient: impl FnOnce() -> Tensor<D>,
    ) {
        if is_trainable(param) {
            self.add(param.id, gradient());
        }
    }

    /// Adds every gradient of `other`.
    pub fn merge(&mut self, other: Gradients) {
        if self.by_id.is_empty() {
            self.by_id = other.by_id;
            return;
        }
        for (id, gradient) in other.by_id {
            self.add(id, gradient);
        }
    }

    /// The gradient of a parameter, `[elements]`.
    pub fn get(&self, id: ParamId) -> Option<&Tensor<1>> {
        self.by_id.get(&id)
    }

    /// Takes the gradient of a parameter out, `[elements]`.
    pub fn take(&mut self, id: ParamId) -> Option<Tensor<1>> {
        self.by_id.remove(&id)
    }

    /// How many parameters have a gradient.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether no parameter has a gradient.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
