//! The optimizer's state, to and from a record.

use std::path::Path;

use anyhow::{Context, ensure};
use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, Tensor},
};
use transformer::Weights;

use crate::{
    files::{WEIGHTS, read_file},
    model::Model,
    optim::{AdamW, Moments},
};

/// First and second moments by parameter path.
pub(crate) fn moments(model: &Model, optimizer: &AdamW) -> Weights {
    let mut weights = Weights::default();
    visit(model, |path, param| {
        if let Some(moments) = optimizer.moments(param.id) {
            for (name, values) in ["first", "second"].into_iter().zip(moments.values()) {
                weights.insert(format!("{path}.{name}"), values);
            }
        }
        Ok(())
    })
    .unwrap_or_default();
    weights
}

/// Puts the moments of a record back.
///
/// # Errors
///
/// Names the file, and the tensor that does not fit the model.
pub fn optimizer(
    record: &Path,
    model: &Model,
    optimizer: &mut AdamW,
    steps: u64,
    device: &Device,
) -> anyhow::Result<()> {
    let path = record.join("optimizer.safetensors");
    let name = || path.display().to_string();
    let bytes = read_file(&path, WEIGHTS)?;
    let weights = Weights::from_safetensors(&bytes).with_context(name)?;
    let mut used = 0;
    visit(model, |path, param| {
        let key = |part: &str| format!("{path}.{part}");
        let (first, second) = match (weights.get(&key("first")), weights.get(&key("second"))) {
            (Some(first), Some(second)) => (first, second),
            (None, None) => return Ok(()),
            _ => anyhow::bail!("one of the two moments of `{path}` is missing"),
        };
        used += 2;
        let elements = param.elements;
        for data in [first, second] {
            ensure!(
                data.num_elements() == elements,
                "the moments of `{path}` have {} elements, the parameter {elements}",
                data.num_elements()
            );
        }
        let values = [first.clone(), second.clone()];
        optimizer.restore(param.id, Moments::new(values, device));
        Ok(())
    })
    .with_context(name)?;
    let found = weights.keys().count();
    ensure!(
        used == found,
        "{}: {} tensors belong to no parameter of this model",
        name(),
        found - used
    );
    optimizer.set_steps(steps);
    Ok(())
}

/// A parameter as [`visit`] shows it.
struct Seen {
    id: burn::module::ParamId,
    elements: usize,
}

/// Visits every parameter with its path, until one fails.
fn visit(model: &Model, f: impl FnMut(&str, &Seen) -> anyhow::Result<()>) -> anyhow::Result<()> {
    struct Visitor<F> {
        path: Vec<String>,
        f: F,
        result: anyhow::Result<()>,
    }
    impl<F: FnMut(&str, &Seen) -> anyhow::Result<()>> ModuleVisitor for Visitor<F> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_string());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.result.is_ok() {
                let seen = Seen {
                    id: param.id,
                    elements: param.lazy_shape().num_elements(),
                };
                self.result = (self.f)(&self.path.join("."), &seen);
            }
        }
    }
    let mut visitor = Visitor {
        path: Vec::new(),
        f,
        result: Ok(()),
    };
    model.visit(&mut visitor);
    visitor.result
}
