//! The optimizer's state, to and from a record.

use std::path::Path;

use anyhow::{Context, ensure};
use burn::{
    module::Module,
    tensor::{Device, TensorData},
};
use checkpointing::parameters;
use optimizer::SlotOptimizer;
use transformer::Weights;

use crate::files::{WEIGHTS, read_file};

/// The tensors of all states, by the path of the parameter and the name of the tensor: `text.embed.tokens.first`.
pub(crate) fn moments(optimizer: &SlotOptimizer) -> Weights {
    let mut weights = Weights::default();
    for (slot, state) in optimizer.states() {
        for (name, values) in optimizer.state_names().iter().zip(state.values()) {
            weights.insert(format!("{}.{name}", slot.path), values);
        }
    }
    weights
}

/// Puts the states of a record back. Those of parameters that have been frozen since are passed over.
///
/// # Errors
///
/// Names the file, and the tensor that does not fit the model.
pub fn optimizer<M: Module>(
    record: &Path,
    model: &M,
    optimizer: &mut SlotOptimizer,
    steps: u64,
    device: &Device,
) -> anyhow::Result<()> {
    let path = record.join("optimizer.safetensors");
    let name = || path.display().to_string();
    let bytes = read_file(&path, WEIGHTS)?;
    let weights = Weights::from_safetensors(&bytes).with_context(name)?;
    let used = restored(&weights, model, optimizer, device).with_context(name)?;
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

/// Puts the states in `weights` back, and counts the tensors that belong to the model.
fn restored<M: Module>(
    weights: &Weights,
    model: &M,
    optimizer: &mut SlotOptimizer,
    device: &Device,
) -> anyhow::Result<usize> {
    let names = optimizer.state_names();
    let mut used = 0;
    for parameter in parameters(model) {
        let path = &parameter.path;
        let of_name = |name: &&str| weights.get(&format!("{path}.{name}")).cloned();
        let values: Vec<TensorData> = names.iter().filter_map(of_name).collect();
        if values.is_empty() {
            continue;
        }
        ensure!(
            values.len() == names.len(),
            "of the state of `{path}` there are {} tensors, not {}",
            values.len(),
            names.len()
        );
        used += values.len();
        if optimizer.slot(path).is_some() {
            optimizer.restore(path, &values, device)?;
        }
    }
    Ok(used)
}
