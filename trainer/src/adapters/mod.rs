//! Adapters on a model that stands still: from `[peft]` to a model that can be trained, and to its files.

mod build;
mod files;
mod identity;
mod plan;

use anyhow::Context;
use burn::module::Module;
use peft::{Adaptable, HfConfig, Place, for_places};
use transformer::{AdapterNames, TrainedPaths, Weights};

use crate::input::ConfigFile;

pub(crate) use build::{build, is_adapters, with_files};
pub(crate) use files::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterFiles};

/// The name of an adapter that is trained.
const NAME: &str = "default";

/// What is known of the adapters of a model.
pub(crate) struct Adapters {
    /// As HF PEFT has it.
    pub(crate) config: HfConfig,
    names: AdapterNames,
    trained: TrainedPaths,
}

impl Adapters {
    /// The tensors of a model's adapters and of its own parameters that train, by the names of HF PEFT.
    ///
    /// # Errors
    ///
    /// If the model is another than the names are of.
    pub(crate) fn weights<M: Module + Adaptable>(&self, model: &M) -> anyhow::Result<Weights> {
        Ok(self.names.save(model, &self.trained)?)
    }

    /// The config as a file.
    fn config_file(&self) -> ConfigFile {
        ConfigFile {
            name: ADAPTER_CONFIG,
            json: self.config.write(),
        }
    }
}

/// The model with its adapters folded into its weights.
///
/// # Errors
///
/// Names the module whose adapter cannot be folded.
pub(crate) fn merged<M: Module + Adaptable>(model: &M) -> anyhow::Result<M> {
    let mut model = model.clone();
    let mut error = None;
    for_places(&mut model, |path, place| {
        let result = match place {
            Place::Linear(map) => {
                let merged = map.merge();
                map.adapters.clear();
                merged
            }
            Place::Embedding { place, table } => {
                if let Some(lora) = place.take() {
                    *table = table.clone().map(|table| lora.merge(table));
                }
                Ok(())
            }
            Place::Beside { place, .. } => match place.take() {
                None => Ok(()),
                Some(_) => Err(peft::PeftError::NotLinear),
            },
        };
        if let Err(reason) = result
            && error.is_none()
        {
            error = Some((path.to_owned(), reason));
        }
    });
    match error {
        None => Ok(model),
        Some((path, reason)) => Err(reason).with_context(|| format!("`{path}`")),
    }
}
