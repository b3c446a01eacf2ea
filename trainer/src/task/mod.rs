//! What is learnt. All that is special to it is a `Task`: the loop, the loader, the records and the commands know no model.
//! `with_task` is the one place that knows all of them.

mod classify;
pub mod contrastive;
mod mlm;

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use anyhow::{bail, ensure};
use burn::{
    module::{Module, ModuleDisplay},
    tensor::Device,
};
use checkpointing::{Execution, Gradients, Seed};
use clap::ValueEnum;
use data::Source;
use peft::Adaptable;
use serde_json::{Map, Value};
use transformer::{Bindings, Weights};

use crate::{
    adapters::{self, Adapters},
    device,
    input::{ConfigFile, Folder, HF, OPEN_CLIP, WeightsFolder, loader::Collate, sources},
    recipe::{self, Overrides, Recipe},
};

pub(crate) use classify::Classify;
pub(crate) use contrastive::Contrastive;
pub(crate) use mlm::Mlm;

/// What is learnt, and all that is special to it.
pub(crate) trait Task: Sync + Sized {
    /// What is trained.
    type Model: Module + ModuleDisplay + Adaptable + 'static;
    /// From rows of a source to batches.
    type Inputs: Collate;

    /// What a sample is called: "pairs".
    const SAMPLES: &'static str;
    /// Whether it looks at pictures.
    const READS_PICTURES: bool;

    /// Opens a source of a recipe as this task reads it.
    ///
    /// # Errors
    ///
    /// Names the source and what is wrong with it.
    fn open(source: &recipe::Source, recipe: &Recipe) -> anyhow::Result<Box<dyn Source>>;

    /// Opens the validation sources of a recipe.
    ///
    /// # Errors
    ///
    /// Names the source and what is wrong with it; if one is empty.
    fn validation(recipe: &Recipe) -> anyhow::Result<Vec<Validation>> {
        let opened = sources::open(&recipe.data.val, recipe, Self::open)?.sources;
        not_empty(&opened)?;
        Ok(opened.into_iter().map(Validation::of).collect())
    }

    /// Makes the task and its model. The recipe gets what was found out, so that it reads back the same.
    ///
    /// # Errors
    ///
    /// Names the file, or the key of the recipe, and the remedy.
    fn build(plan: Plan<'_>) -> anyhow::Result<Built<Self>>;

    /// From rows of a source to batches.
    fn inputs(&self) -> &Self::Inputs;

    /// Checks that a validation source is one that this task can be evaluated on.
    ///
    /// # Errors
    ///
    /// Names the source and what is wrong with it.
    fn check(&self, _source: &dyn Source) -> anyhow::Result<()> {
        Ok(())
    }

    /// Loss and gradients of a step, given as one or more micro-batches.
    fn step(&self, model: &Self::Model, batches: Vec<BatchOf<Self>>, seed: Seed) -> Learnt;

    /// What must hold of the model after an update.
    fn constrain(&self, _model: &mut Self::Model) {}

    /// Numbers of the model for the metrics of a step.
    fn metrics(&self, _model: &Self::Model) -> Map<String, Value> {
        Map::new()
    }

    /// Evaluates; after the last step what is measured once, too. Ends once `stop` is set.
    ///
    /// # Errors
    ///
    /// [`Stopped`] at a signal; if a source cannot be evaluated on.
    fn evaluate(
        &self,
        model: &Self::Model,
        on: &[Validation],
        stop: Option<&AtomicBool>,
        is_last: bool,
    ) -> anyhow::Result<Evaluated>;

    /// The tensors by their names in a record.
    ///
    /// # Errors
    ///
    /// If the model is another than the names are of.
    fn weights(&self, model: &Self::Model) -> anyhow::Result<Weights>;

    /// The parameters by the names of transformers, which adapters go by.
    fn transformers_names(&self) -> Bindings;

    /// The formats of other programs that have such a model, the model's own first.
    fn formats(&self) -> Vec<Format>;

    /// The files of the model in a format; none if the format has no such model.
    ///
    /// # Errors
    ///
    /// If one of them cannot be written.
    fn export(&self, model: &Self::Model, format: Format) -> anyhow::Result<Option<Export>>;
}

/// A micro-batch of a task, in host memory.
pub(crate) type BatchOf<T> = <<T as Task>::Inputs as Collate>::Batch;

/// What a task is made from.
pub(crate) struct Plan<'a> {
    pub(crate) recipe: &'a mut Recipe,
    pub(crate) from: From<'a>,
    /// Bytes of memory: a model that cannot be trained in them is refused before it is made.
    pub(crate) memory: Option<u64>,
    pub(crate) device: &'a Device,
}

/// Where a task's model comes from.
#[derive(Clone, Copy)]
pub(crate) enum From<'a> {
    /// What the recipe says; vocabulary and classes are learnt from the training data, where there is any.
    Recipe(Option<&'a dyn Source>),
    /// A record of a run, under its recipe.
    Record(&'a Path),
}

/// A task that can start.
pub(crate) struct Built<T: Task> {
    pub(crate) task: T,
    pub(crate) model: T::Model,
    /// Written beside the weights.
    pub(crate) config: ConfigFile,
    /// Small files of a run and of each of its records, by name.
    pub(crate) texts: Vec<(&'static str, String)>,
    /// Lines that say what comes from where.
    pub(crate) log_lines: Vec<String>,
    /// The adapters on the model, if there are some: what a record holds then.
    pub(crate) adapters: Option<Adapters>,
}

impl<T: Task> Built<T> {
    /// The tensors of a record by their names there.
    ///
    /// # Errors
    ///
    /// If the model is another than the names are of.
    pub(crate) fn weights(&self) -> anyhow::Result<Weights> {
        weights_of_record(&self.task, &self.model, self.adapters.as_ref())
    }
}

/// The tensors of a record: of the model, or of what is adapted of it.
pub(crate) fn weights_of_record<T: Task>(
    task: &T,
    model: &T::Model,
    adapters: Option<&Adapters>,
) -> anyhow::Result<Weights> {
    match adapters {
        None => task.weights(model),
        Some(adapters) => adapters.weights(model),
    }
}

/// What a step gives.
pub(crate) struct Learnt {
    pub(crate) loss: f64,
    pub(crate) gradients: Gradients,
}

/// A source that is evaluated on.
pub(crate) struct Validation {
    pub(crate) source: Box<dyn Source>,
    /// The same with the classes of pictures for captions, where those are asked for, too.
    pub(crate) labelled: Option<Box<dyn Source>>,
}

impl Validation {
    fn of(source: Box<dyn Source>) -> Self {
        Self {
            source,
            labelled: None,
        }
    }
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

/// A signal came during an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the evaluation was stopped by a signal")]
pub struct Stopped;

/// Fails once an evaluation is to stop.
fn go_on(stop: Option<&AtomicBool>) -> Result<(), Stopped> {
    if stop.is_some_and(|stop| stop.load(Relaxed)) {
        return Err(Stopped);
    }
    Ok(())
}

/// Checks that there is something to evaluate on.
fn not_empty(sources: &[Box<dyn Source>]) -> anyhow::Result<()> {
    if let Some(empty) = sources.iter().find(|source| source.is_empty()) {
        bail!("{}: nothing to evaluate on", empty.name());
    }
    Ok(())
}

/// Whose files are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Format {
    /// transformers': `CLIPModel.from_pretrained`, `AutoProcessor.from_pretrained`.
    #[default]
    Hf,
    /// open_clip's: `create_model_and_transforms("local-dir:...")`.
    OpenClip,
}

impl Format {
    /// The value of `--format`.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::Hf => "hf",
            Self::OpenClip => "open_clip",
        }
    }

    /// Whose files they are.
    pub(crate) fn library(self) -> &'static str {
        match self {
            Self::Hf => "transformers",
            Self::OpenClip => "open_clip",
        }
    }
}

/// A model as another program loads it.
pub(crate) struct Export {
    pub(crate) config: ConfigFile,
    pub(crate) weights: Weights,
    /// What else is written, by name.
    pub(crate) files: Vec<(&'static str, Vec<u8>)>,
    /// What the files cannot say.
    pub(crate) notes: Vec<String>,
    /// How the folder is loaded there; `{}` stands for it.
    pub(crate) call: &'static str,
}

/// How a step of a micro-batch of so many samples is executed under a recipe.
fn execution(recipe: &Recipe, device: &Device) -> Execution {
    let settings = &recipe.train;
    let samples = settings.micro_batch.unwrap_or(settings.batch);
    Execution {
        policy: settings.checkpointing,
        parts: device::parts_side_by_side(device, samples),
    }
}

/// What is done with a task, whichever it is.
pub(crate) trait WithTask {
    /// What it gives.
    type Output;

    /// Does it.
    fn run<T: Task>(self) -> Self::Output;
}

/// Does something with the task of a recipe. Below this one `match` nothing knows which it is.
pub(crate) fn with_task<W: WithTask>(task: &recipe::Task, with: W) -> W::Output {
    match task {
        recipe::Task::Contrastive => with.run::<Contrastive>(),
        recipe::Task::Classify(_) => with.run::<Classify>(),
        recipe::Task::Mlm(_) => with.run::<Mlm>(),
    }
}

/// A run or a folder of weights that is used without a training step: the one place that opens them.
pub(crate) struct OpenedModel {
    /// The run's recipe, or one that says what the folder says of itself.
    pub(crate) recipe: Recipe,
    folder: Folder,
}

impl OpenedModel {
    /// Finds out what a folder holds.
    ///
    /// # Errors
    ///
    /// If it is neither a run nor a folder of weights, or a file of it is not understood.
    pub(crate) fn find(path: &Path, overrides: &Overrides) -> anyhow::Result<Self> {
        let folder = Folder::find(path)?;
        let recipe = match &folder {
            Folder::Run(found) => Recipe::load(&found.path.join("recipe.toml"), overrides)?,
            Folder::Weights(folder) => {
                ensure!(
                    !(overrides.train.is_empty() && overrides.val.is_empty()),
                    "{}: a folder of weights names no data; add --val SOURCE",
                    folder.display()
                );
                let task = task_of(&WeightsFolder::read(folder)?.file);
                Recipe::of_weights(folder, &task, overrides)?
            }
        };
        Ok(Self { recipe, folder })
    }

    /// Makes its task and model.
    ///
    /// # Errors
    ///
    /// As [`Task::build`].
    pub(crate) fn build<T: Task>(&mut self, device: &Device) -> anyhow::Result<Built<T>> {
        let from = match &self.folder {
            Folder::Run(found) => From::Record(&found.path),
            Folder::Weights(_) => From::Recipe(None),
        };
        adapters::build(Plan {
            recipe: &mut self.recipe,
            from,
            memory: None,
            device,
        })
    }
}

/// What a model with this config was trained for.
fn task_of(config: &ConfigFile) -> recipe::Task {
    let json = &config.json;
    match json["model_type"].as_str() {
        _ if config.name == OPEN_CLIP => recipe::Task::Contrastive,
        Some("bert") => recipe::Task::Mlm(recipe::Mlm::default()),
        Some("vit") => recipe::Task::Classify(recipe::Classify::default()),
        None if config.name == HF && json.get("architecture").is_some() => {
            recipe::Task::Classify(recipe::Classify::default())
        }
        _ => recipe::Task::Contrastive,
    }
}
