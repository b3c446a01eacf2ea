//! From a file to a module.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Tensor, TensorData},
};

use super::{
    Binding, Bindings, ElementType, TensorSource, WeightsError, naming::Naming, transposed,
};

/// A module with its parameters, and what a person should know of them.
#[derive(Debug)]
pub struct Loaded<M> {
    /// The module.
    pub module: M,
    /// What was taken off the front of the keys: what wrappers put there.
    pub prefix: String,
    /// Keys that hold NaN or infinities.
    pub not_finite: Vec<String>,
    /// Keys that the file leaves out and may leave out; their parameters are zero.
    pub zeros: Vec<String>,
}

/// Loads every parameter of `module` from `source`.
///
/// # Errors
///
/// Names a key that is missing, extra or of another shape.
pub fn load<M: Module>(
    module: M,
    bindings: &Bindings,
    source: &dyn TensorSource,
) -> Result<M, WeightsError> {
    load_from(module, bindings, source).map(|loaded| loaded.module)
}

/// As [`load`], and says what was found on the way. One tensor is read after another: the source is never in memory as a
/// whole.
///
/// # Errors
///
/// As [`load`].
pub fn load_from<M: Module>(
    module: M,
    bindings: &Bindings,
    source: &dyn TensorSource,
) -> Result<Loaded<M>, WeightsError> {
    let naming = Naming::find(bindings, source)?;
    let mut loader = Loader {
        by_path: bindings
            .iter()
            .map(|binding| (binding.path.as_str(), binding))
            .collect(),
        source,
        naming: &naming,
        held: BTreeMap::new(),
        path: Vec::new(),
        not_finite: Vec::new(),
        zeros: Vec::new(),
        error: None,
    };
    let module = module.map(&mut loader);
    if let Some(error) = loader.error {
        return Err(error);
    }
    Ok(Loaded {
        module,
        prefix: naming.prefix.clone(),
        not_finite: loader.not_finite,
        zeros: loader.zeros,
    })
}

/// Whether `source` has every tensor that `bindings` name and no other, what wrappers put in front aside.
///
/// # Errors
///
/// Names a key that is missing or extra.
pub fn check_keys(bindings: &Bindings, source: &dyn TensorSource) -> Result<(), WeightsError> {
    Naming::find(bindings, source).map(|_| ())
}

struct Loader<'a> {
    by_path: BTreeMap<&'a str, &'a Binding>,
    source: &'a dyn TensorSource,
    naming: &'a Naming<'a>,
    /// Tensors that hold several parameters, and how many of those are still to come.
    held: BTreeMap<String, (TensorData, usize)>,
    path: Vec<String>,
    not_finite: Vec<String>,
    zeros: Vec<String>,
    error: Option<WeightsError>,
}

impl Loader<'_> {
    fn values(&mut self, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let path = self.path.join(".");
        let Some(binding) = self.by_path.get(path.as_str()).copied() else {
            return Err(WeightsError::Unbound { path });
        };
        let Some(key) = self.naming.on_disk(&binding.key) else {
            // The naming has every key but those that may be missing.
            self.zeros.push(binding.key.clone());
            return Ok(vec![0.0; shape.iter().product()]);
        };
        let (part, parts) = binding.part;
        let (data, left) = match self.held.remove(key) {
            Some(held) => held,
            None => (self.read(key, binding, shape)?, parts),
        };
        let all = floats(key, &data)?;
        let size = all.len() / parts;
        let values = &all[part * size..(part + 1) * size];
        let values = if binding.layout.is_transposed() {
            transposed(values, shape[1], shape[0])
        } else {
            values.to_vec()
        };
        if left > 1 {
            self.held.insert(key.to_string(), (data, left - 1));
        }
        Ok(values)
    }

    /// Reads a tensor whose type and shape were found to be right before.
    fn read(
        &mut self,
        key: &str,
        binding: &Binding,
        shape: &[usize],
    ) -> Result<TensorData, WeightsError> {
        let entry = self
            .source
            .entry(key)
            .ok_or_else(|| WeightsError::Missing {
                keys: vec![key.to_string()],
            })?;
        if let ElementType::Other(found) = entry.element_type {
            let key = key.to_string();
            return Err(WeightsError::Type { key, found });
        }
        let expected = binding.layout.on_disk(shape, binding.part.1);
        if !binding.layout.fits(&entry.shape, &expected) {
            return Err(WeightsError::Shape {
                key: key.to_string(),
                expected,
                found: entry.shape,
            });
        }
        let data = self.source.read(key)?.convert::<f32>();
        if !floats(key, &data)?.iter().all(|value| value.is_finite()) {
            self.not_finite.push(key.to_string());
        }
        Ok(data)
    }
}

fn floats<'d>(key: &str, data: &'d TensorData) -> Result<&'d [f32], WeightsError> {
    data.as_slice().map_err(|error| WeightsError::Type {
        key: key.to_string(),
        found: error.to_string(),
    })
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
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}
