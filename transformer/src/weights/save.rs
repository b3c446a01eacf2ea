//! From a module to a file.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Tensor, TensorData},
};
use checkpointing::Gradients;

use super::{Binding, Bindings, Weights, WeightsError, transposed};

/// The parameters of `module` as they lie on disk.
///
/// # Errors
///
/// Names a parameter that has no binding.
pub fn save<M: Module>(module: &M, bindings: &Bindings) -> Result<Weights, WeightsError> {
    collect(module, bindings, Values::Parameters)
}

/// The gradients of `module` as they lie on disk; parameters without one are left out.
///
/// # Errors
///
/// Names a parameter that has no binding.
pub fn save_gradients<M: Module>(
    module: &M,
    bindings: &Bindings,
    gradients: &Gradients,
) -> Result<Weights, WeightsError> {
    collect(module, bindings, Values::Gradients(gradients))
}

#[derive(Clone, Copy)]
enum Values<'a> {
    Parameters,
    Gradients(&'a Gradients),
}

fn collect<M: Module>(
    module: &M,
    bindings: &Bindings,
    values: Values<'_>,
) -> Result<Weights, WeightsError> {
    let by_path = bindings
        .iter()
        .map(|binding| (binding.path.as_str(), binding))
        .collect();
    let parts = BTreeMap::new();
    let mut saver = Saver {
        by_path,
        values,
        path: Vec::new(),
        parts,
        error: None,
    };
    module.visit(&mut saver);
    if let Some(error) = saver.error {
        return Err(error);
    }
    let mut weights = Weights::default();
    for (key, (shape, parts)) in saver.parts {
        let values: Vec<f32> = parts.into_values().flatten().collect();
        weights.insert(key, TensorData::new(values, shape));
    }
    Ok(weights)
}

type Parts = BTreeMap<String, (Vec<usize>, BTreeMap<usize, Vec<f32>>)>;

struct Saver<'a> {
    by_path: BTreeMap<&'a str, &'a Binding>,
    values: Values<'a>,
    path: Vec<String>,
    parts: Parts,
    error: Option<WeightsError>,
}

impl ModuleVisitor for Saver<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        let Some(binding) = self.by_path.get(path.as_str()) else {
            self.error = Some(WeightsError::Unbound { path });
            return;
        };
        let shape: Vec<usize> = param.lazy_shape().iter().copied().collect();
        let data = match self.values {
            Values::Parameters => param.val().into_data(),
            Values::Gradients(gradients) => match gradients.get(param.id) {
                Some(gradient) => gradient.clone().into_data(),
                None => return,
            },
        };
        let values: Vec<f32> = data.iter::<f32>().collect();
        let values = if binding.layout.is_transposed() {
            transposed(&values, shape[0], shape[1])
        } else {
            values
        };
        let (part, parts) = binding.part;
        let entry = self.parts.entry(binding.key.clone()).or_default();
        entry.0 = binding.layout.on_disk(&shape, parts);
        entry.1.insert(part, values);
    }
}
