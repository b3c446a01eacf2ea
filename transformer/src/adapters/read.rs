//! From the files of an adapter to a model.

use std::collections::BTreeMap;

use burn::{module::Module, tensor::Device};
use peft::{
    Adaptable, HfConfig, Key, Names, Place, Targets, attach, for_places, parse_key, set_bottleneck,
    set_embedding, set_tensor,
};

use super::{AdapterError, AdapterNames, module_of};
use crate::{Weights, load, save};

impl AdapterNames {
    /// Attaches an adapter by the name `name` that HF PEFT or [`save`](Self::save) has written: to the modules that have
    /// tensors. Gives the paths of these.
    ///
    /// # Errors
    ///
    /// Names the key that is of no module of the model, of another kind or of another shape.
    pub fn load<M: Module + Adaptable>(
        &self,
        model: M,
        name: &str,
        config: &HfConfig,
        weights: &Weights,
        device: &Device,
    ) -> Result<(M, Vec<String>), AdapterError> {
        let mut plan = config.plan.clone();
        plan.targets = Targets {
            names: Names::List(self.adapted(weights)?),
            ..Targets::default()
        };
        let mut model = self.with_parameters(model, weights)?;
        let nothing = Names::List(Vec::new());
        let places = if plan.targets.names == nothing {
            Vec::new()
        } else {
            attach(&mut model, name, &plan, &self.modules, device)?
        };
        self.set_tensors(&mut model, name, weights)?;
        Ok((model, places))
    }

    /// The paths of the modules that have tensors.
    fn adapted(&self, weights: &Weights) -> Result<Vec<String>, AdapterError> {
        let mut paths = Vec::new();
        for key in weights.keys() {
            let Key::Adapter { module, .. } = parse_key(key) else {
                continue;
            };
            let path = self.modules.path(module);
            let path = path.ok_or_else(|| AdapterError::Unknown { key: key.into() })?;
            if !paths.iter().any(|other| other == path) {
                paths.push(path.to_owned());
            }
        }
        Ok(paths)
    }

    /// The model with its own parameters that the files bring.
    fn with_parameters<M: Module>(&self, model: M, weights: &Weights) -> Result<M, AdapterError> {
        let parameters: Vec<(String, &str)> = weights
            .keys()
            .filter_map(|key| match parse_key(key) {
                Key::Parameter(name) => Some((name, key)),
                Key::Adapter { .. } => None,
            })
            .collect();
        if parameters.is_empty() {
            return Ok(model);
        }
        let known = self.parameter_names();
        let mut all = save(&model, &self.bindings)?;
        for (name, key) in parameters {
            let own = known.get(&name);
            let own = own.ok_or_else(|| AdapterError::Unknown { key: key.into() })?;
            if let Some(data) = weights.get(key) {
                all.insert((*own).to_owned(), data.clone());
            }
        }
        Ok(load(model, &self.bindings, &all)?)
    }

    /// The keys of the model's own parameters, by each of their names.
    fn parameter_names(&self) -> BTreeMap<String, &str> {
        let mut known = BTreeMap::new();
        for binding in self.bindings.iter() {
            known.insert(binding.key.clone(), binding.key.as_str());
            let parameter = &binding.key[module_of(&binding.key).len()..];
            for name in self.modules.of(module_of(&binding.path)) {
                known.insert(format!("{name}{parameter}"), &binding.key);
            }
        }
        known
    }

    /// Gives the adapters of a model the values of files.
    fn set_tensors<M: Adaptable>(
        &self,
        model: &mut M,
        name: &str,
        weights: &Weights,
    ) -> Result<(), AdapterError> {
        let mut by_path: BTreeMap<&str, Vec<(&'static str, &str)>> = BTreeMap::new();
        for key in weights.keys() {
            if let Key::Adapter { module, tensor } = parse_key(key)
                && let Some(path) = self.modules.path(module)
            {
                by_path.entry(path).or_default().push((tensor, key));
            }
        }
        let mut result = Ok(());
        for_places(model, |path, mut place| {
            for (tensor, key) in by_path.remove(path).unwrap_or_default() {
                let Some(data) = weights.get(key).cloned() else {
                    continue;
                };
                let set = match &mut place {
                    Place::Linear(map) => set_tensor(map, name, tensor, data),
                    Place::Embedding { place, .. } => match place {
                        Some(lora) => set_embedding(lora, tensor, data),
                        None => Ok(()),
                    },
                    Place::Beside { place, .. } => match place {
                        Some(bottleneck) => set_bottleneck(bottleneck, tensor, data),
                        None => Ok(()),
                    },
                };
                if let (Err(source), true) = (set, result.is_ok()) {
                    let key = key.to_owned();
                    result = Err(AdapterError::Tensor { key, source });
                }
            }
        });
        result
    }
}
