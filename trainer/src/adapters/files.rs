//! `adapter_config.json` and `adapter_model.safetensors`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use peft::{HfConfig, Key, parse_key};
use serde_json::Value;
use transformer::Weights;

use crate::files::{self, TEXT, WEIGHTS};

/// The config of an adapter.
pub(crate) const ADAPTER_CONFIG: &str = "adapter_config.json";
/// The tensors of an adapter.
pub(crate) const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

/// What the two files of an adapter say.
#[derive(Debug)]
pub(crate) struct AdapterFiles {
    /// Where they lie.
    pub(crate) folder: PathBuf,
    /// The config.
    pub(crate) config: HfConfig,
    /// The tensors.
    pub(crate) weights: Weights,
}

impl AdapterFiles {
    /// Reads the files of a folder.
    ///
    /// # Errors
    ///
    /// Names the file, and the key of it that cannot be.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(ADAPTER_CONFIG);
        let name = || path.display().to_string();
        let text = files::read_file(&path, TEXT)?;
        let json: Value = serde_json::from_slice(&text).with_context(name)?;
        let config = HfConfig::read(&json).with_context(name)?;
        let path = folder.join(ADAPTER_WEIGHTS);
        let bytes = files::read_file(&path, WEIGHTS)?;
        let weights =
            Weights::from_safetensors(&bytes).with_context(|| path.display().to_string())?;
        Ok(Self {
            folder: folder.to_path_buf(),
            config,
            weights,
        })
    }

    /// The file of tensors, for an error.
    pub(crate) fn weights_path(&self) -> String {
        self.folder.join(ADAPTER_WEIGHTS).display().to_string()
    }

    /// The names of the modules that have an adapter, each once.
    pub(crate) fn modules(&self) -> Vec<&str> {
        let mut modules: Vec<&str> = self
            .weights
            .keys()
            .filter_map(|key| match parse_key(key) {
                Key::Adapter { module, .. } => Some(module),
                Key::Parameter(_) => None,
            })
            .collect();
        modules.sort_unstable();
        modules.dedup();
        modules
    }

    /// The keys of the model's own parameters, as the model has them, with the keys of the file.
    pub(crate) fn parameters(&self) -> Vec<(String, &str)> {
        let keys = self.weights.keys();
        keys.filter_map(|key| match parse_key(key) {
            Key::Parameter(name) => Some((name, key)),
            Key::Adapter { .. } => None,
        })
        .collect()
    }
}
