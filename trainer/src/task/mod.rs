//! What is learnt. All that is special to it is a [`Task`]: the loop, the loader and the records know no model.

mod contrastive;

use burn::module::Module;
use checkpointing::{Gradients, Seed};
use serde_json::{Map, Value};
use transformer::Weights;

use crate::loader::Collate;

pub(crate) use contrastive::Contrastive;

/// What is learnt, and all that is special to it.
pub(crate) trait Task: Sync {
    /// What is trained.
    type Model: Module + 'static;
    /// From rows of a source to batches.
    type Inputs: Collate;

    /// From rows of a source to batches.
    fn inputs(&self) -> &Self::Inputs;

    /// Loss and gradients of a step, given as one or more micro-batches.
    fn step(&self, model: &Self::Model, batches: Vec<BatchOf<Self>>, seed: Seed) -> Learnt;

    /// What must hold of the model after an update.
    fn constrain(&self, model: &mut Self::Model);

    /// Numbers of the model for the metrics of a step.
    fn metrics(&self, model: &Self::Model) -> Map<String, Value>;

    /// Whether there is anything to evaluate on.
    fn is_evaluated(&self) -> bool;

    /// Evaluates; after the last step what is measured once, too.
    ///
    /// # Errors
    ///
    /// [`Stopped`](crate::eval::Stopped) at a signal; if a source cannot be evaluated on.
    fn evaluate(&self, model: &Self::Model, is_last: bool) -> anyhow::Result<Evaluated>;

    /// The tensors by their names on disk.
    ///
    /// # Errors
    ///
    /// If the model is another than the names are of.
    fn weights(&self, model: &Self::Model) -> anyhow::Result<Weights>;

    /// Whose files can hold the model: a value of `export --format`.
    fn export_format(&self) -> Option<&'static str>;
}

/// A micro-batch of a task, in host memory.
pub(crate) type BatchOf<T> = <<T as Task>::Inputs as Collate>::Batch;

/// What a step gives.
pub(crate) struct Learnt {
    pub(crate) loss: f64,
    pub(crate) gradients: Gradients,
}

/// What an evaluation found.
#[derive(Default)]
pub(crate) struct Evaluated {
    /// For the one who watches.
    pub(crate) said: Vec<String>,
    /// For the metrics: of the step, and of the model as it is in the end.
    pub(crate) lines: Vec<Map<String, Value>>,
    /// By which the best record is known; higher is better.
    pub(crate) score: Option<f64>,
}
