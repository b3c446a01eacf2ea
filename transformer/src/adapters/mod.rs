//! Adapters in files: by the names of transformers, as HF PEFT writes them.

mod read;
mod write;

use std::collections::BTreeSet;

use peft::{ModuleNames, PeftError};

use crate::{Bindings, WeightsError};

/// Why an adapter's files do not fit a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// The model has no such module or parameter.
    #[error("`{key}` is of no module of the model; the adapter is of another model")]
    Unknown {
        /// The key in the file.
        key: String,
    },
    /// A tensor does not fit.
    #[error("`{key}`")]
    Tensor {
        /// The key in the file.
        key: String,
        /// Why.
        source: PeftError,
    },
    /// Something cannot be attached.
    #[error(transparent)]
    Attach(#[from] PeftError),
    /// The model's own parameters cannot be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// What the modules and parameters of a model are called in the files of adapters.
#[derive(Clone, Debug)]
pub struct AdapterNames {
    modules: ModuleNames,
    /// The model's own parameters, by the names of transformers.
    bindings: Bindings,
}

impl AdapterNames {
    /// Of a model whose parameters have these names in transformers.
    pub fn new(bindings: Bindings) -> Self {
        Self {
            modules: module_names(&bindings),
            bindings,
        }
    }

    /// The modules by all their names.
    pub fn modules(&self) -> &ModuleNames {
        &self.modules
    }

    /// What a module is called in an adapter's file: as transformers has it in memory.
    fn name(&self, path: &str) -> String {
        let names = self.modules.of(path);
        names.last().cloned().unwrap_or_else(|| path.to_owned())
    }
}

/// The paths of a model's own parameters that are trained beside its adapters.
pub type TrainedPaths = BTreeSet<String>;

/// The names of modules, as transformers has them on disk and in memory.
fn module_names(bindings: &Bindings) -> ModuleNames {
    let mut names = ModuleNames::default();
    for binding in bindings.iter().filter(|binding| binding.part == (0, 1)) {
        let path = module_of(&binding.path);
        let name = module_of(&binding.key);
        names.add(path, name);
        let is_text = path.starts_with("text.") || path.starts_with("bert.");
        if !is_text && name.contains("encoder.layer.") {
            names.add(path, in_memory(name));
        }
    }
    names
}

/// The module of a parameter, here or on disk. A table is one by itself.
fn module_of(parameter: &str) -> &str {
    let ends = [".weight", ".bias", ".gamma", ".beta"];
    let module = ends.iter().find_map(|end| parameter.strip_suffix(end));
    module.unwrap_or(parameter)
}

/// What transformers 5 calls a module of a ViT in memory, where its files have the names of version 4.
fn in_memory(name: &str) -> String {
    let mut name = name.replace("encoder.layer.", "layers.");
    for (file, memory) in [
        (".attention.attention.query", ".attention.q_proj"),
        (".attention.attention.key", ".attention.k_proj"),
        (".attention.attention.value", ".attention.v_proj"),
        (".attention.output.dense", ".attention.o_proj"),
        (".intermediate.dense", ".mlp.fc1"),
        (".output.dense", ".mlp.fc2"),
    ] {
        if let Some(start) = name.strip_suffix(file) {
            name = format!("{start}{memory}");
            break;
        }
    }
    name
}
