//! From a file to a module.

use std::collections::{BTreeMap, BTreeSet};

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Tensor, TensorData},
};

use super::{Binding, Bindings, Weights, WeightsError, transposed};

/// Loads every parameter of `module` from `weights`.
///
/// # Errors
///
/// Names a key that is missing, extra or of another shape.
pub fn load<M: Module>(
    module: M,
    bindings: &Bindings,
    weights: &Weights,
) -> Result<M, WeightsError> {
    let by_path: BTreeMap<&str, &Binding> = bindings
        .iter()
        .map(|binding| (binding.path.as_str(), binding))
        .collect();
    let wanted: BTreeSet<&str> = bindings
        .iter()
        .map(|binding| binding.key.as_str())
        .collect();
    let missing: Vec<String> = wanted
        .iter()
        .filter(|key| weights.get(key).is_none())
        .map(|key| (*key).to_string())
        .collect();
    if !missing.is_empty() {
        return Err(WeightsError::Missing { keys: missing });
    }
    let unexpected: Vec<String> = weights
        .keys()
        .filter(|key| !wanted.contains(key))
        .filter(|key| !bindings.ignored.iter().any(|suffix| key.ends_with(suffix)))
        .map(str::to_string)
        .collect();
    if !unexpected.is_empty() {
        return Err(WeightsError::Unexpected { keys: unexpected });
    }
    let mut loader = Loader {
        by_path,
        weights,
        path: Vec::new(),
        error: None,
    };
    let module = module.map(&mut loader);
    match loader.error {
        Some(error) => Err(error),
        None => Ok(module),
    }
}

struct Loader<'a> {
    by_path: BTreeMap<&'a str, &'a Binding>,
    weights: &'a Weights,
    path: Vec<String>,
    error: Option<WeightsError>,
}

impl Loader<'_> {
    fn values(&self, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let path = self.path.join(".");
        let Some(binding) = self.by_path.get(path.as_str()) else {
            return Err(WeightsError::Unbound { path });
        };
        let key = &binding.key;
        let Some(data) = self.weights.get(key) else {
            return Err(WeightsError::Missing {
                keys: vec![key.clone()],
            });
        };
        let (part, parts) = binding.part;
        let expected = binding.layout.on_disk(shape, parts);
        let found: Vec<usize> = data.shape().iter().copied().collect();
        if found != expected {
            return Err(WeightsError::Shape {
                key: key.clone(),
                expected,
                found,
            });
        }
        let all = data.as_slice::<f32>().map_err(|error| WeightsError::Type {
            key: key.clone(),
            found: error.to_string(),
        })?;
        let size = all.len() / parts;
        let values = &all[part * size..(part + 1) * size];
        Ok(if binding.layout.is_transposed() {
            transposed(values, shape[1], shape[0])
        } else {
            values.to_vec()
        })
    }
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.error.is_some() {
            return param;
        }
        let shape: Vec<usize> = param.lazy_shape().iter().copied().collect();
        match self.values(&shape) {
            Ok(values) => {
                let device = param.lazy_device();
                let tensor = Tensor::from_data(TensorData::new(values, shape), &device);
                {
                    let id = param.id;
                    param.transform_for_load(tensor, id)
                }
            }
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}
