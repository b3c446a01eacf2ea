//! `train`: sets a run up, or takes one up again.

use std::{
    path::{Path, PathBuf},
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use anyhow::{Context, ensure};
use burn::{
    module::{Module, ModuleDisplay},
    tensor::Device,
};
use clap::Args;
use data::{Ledger, Source};
use optimizer::{Groups, SlotOptimizer};

use crate::{
    adapters,
    device::{Capabilities, state_memory},
    input::{
        early,
        loader::{Loader, Position, mixture},
        model::parameter_count,
        sources::{self, Joined},
        watched::{self, Watched},
    },
    recipe::{Overrides, Peft, Recipe, Said},
    run::{
        Clock, Contents, Resumed, RunFolder, Training, Unmoved, longer,
        record::{self, Found},
    },
    say::{say, tell},
    signals,
    task::{Built, From, Plan, Task, Validation, WithTask, with_task},
};

/// Options of `train`.
#[derive(Args, Clone, Debug)]
pub(crate) struct TrainArgs {
    /// A recipe file, or the name of an embedded one: default, emoji, photos, towers/vision, towers/text, join,
    /// lora.
    recipe: Option<PathBuf>,
    /// Sets a key of the recipe, as in train.lr=3e-4; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Tables, JSON, Parquet, tar shards (`train-*.tar`) or folders of pictures to train on, in place of the recipe's
    /// sources.
    #[arg(long, value_name = "SOURCE", num_args = 1..)]
    train: Vec<PathBuf>,
    /// The same to evaluate on.
    #[arg(long, value_name = "SOURCE", num_args = 1..)]
    val: Vec<PathBuf>,
    /// Goes on with the run in this folder, from its newest whole record.
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// Goes on even under a recipe or data that differ from the record's.
    #[arg(long, requires = "resume")]
    allow_changes: bool,
    /// Stops at the first sample that cannot be used (`data.strict=true`).
    #[arg(long)]
    strict: bool,
}

impl TrainArgs {
    /// The options with the recipe in its place: `--val a.csv recipe.toml` reads as if it were a source.
    fn with_recipe(&self) -> Self {
        let mut args = self.clone();
        for sources in [&mut args.val, &mut args.train] {
            let is_recipe = |path: &mut PathBuf| path.extension().is_some_and(|e| e == "toml");
            if args.recipe.is_none() && sources.len() > 1 {
                args.recipe = sources.pop_if(is_recipe);
            }
        }
        args
    }

    fn recipe(&self, resumed: Option<&Resumed>) -> anyhow::Result<(Recipe, Said)> {
        let given = self.recipe.as_deref();
        Ok(match resumed {
            None => Recipe::load_said(given.unwrap_or(Path::new("default")), &self.overrides())?,
            Some(resumed) => resumed.recipe(given, &self.overrides(), self.allow_changes)?,
        })
    }

    fn overrides(&self) -> Overrides {
        let strict = self.strict.then(|| "data.strict=true".to_owned());
        Overrides {
            set: self.set.iter().cloned().chain(strict).collect(),
            train: self.train.clone(),
            val: self.val.clone(),
        }
    }
}

/// Trains as the recipe says; ends with a table of results.
///
/// # Errors
///
/// Names the file, key or row, and the remedy.
pub(crate) fn run(args: &TrainArgs, device: &Device) -> anyhow::Result<()> {
    let args = &args.with_recipe();
    let resumed = args.resume.as_deref().map(Resumed::open).transpose()?;
    let (recipe, said) = args.recipe(resumed.as_ref())?;
    if !args.allow_changes && is_complete(resumed.as_ref(), &recipe) {
        return Ok(());
    }
    let capabilities = Capabilities::of(device);
    tell(&capabilities);
    if let Some(resumed) = &resumed {
        resumed.check_device(&capabilities, args.allow_changes)?;
    }
    let task = recipe.task.clone();
    let start = Start {
        recipe,
        said,
        resumed: resumed.as_ref(),
        allow_changes: args.allow_changes,
        capabilities,
        device,
    };
    with_task(&task, start)
}

/// A run that can be set up, or taken up again.
struct Start<'a> {
    recipe: Recipe,
    said: Said,
    resumed: Option<&'a Resumed>,
    allow_changes: bool,
    capabilities: Capabilities,
    device: &'a Device,
}

impl WithTask for Start<'_> {
    type Output = anyhow::Result<()>;

    fn run<T: Task>(mut self) -> anyhow::Result<()> {
        let data = Data::open::<T>(&self.recipe, self.resumed, self.allow_changes)?;
        let samples = mixture(&data.source, &self.recipe).epoch_len();
        if self.record().is_none() {
            self.recipe.fit(&self.said, samples).iter().for_each(tell);
        }
        let steps = self.recipe.total_steps(samples)?;
        if let Some(resumed) = self.resumed {
            resumed.check_steps(steps)?;
        }
        let state = self.record().map(|found| &found.state);
        let is_at_end = state.is_some_and(|state| state.step == steps);
        if is_at_end && is_complete(self.resumed, &self.recipe) {
            return Ok(());
        }
        self.train::<T>(data, steps)
    }
}

impl Start<'_> {
    fn record(&self) -> Option<&Found> {
        self.resumed.and_then(|resumed| resumed.record.as_ref())
    }

    /// Makes the model, the batches and the folder, in this order, and trains.
    fn train<T: Task>(mut self, data: Data, steps: u64) -> anyhow::Result<()> {
        let (built, digests) = self.build::<T>(&data)?;
        let Built {
            task,
            model,
            config,
            texts,
            log_lines,
            adapters,
        } = built;
        log_lines.iter().for_each(tell);
        for on in &data.validation {
            task.check(on.source.as_ref())?;
        }
        let (recipe, device, record) = (&self.recipe, self.device, self.record());
        let state = record.map(|found| &found.state);
        let optimizer = optimizer(recipe, &model, record, device)?;
        let contents = Contents::new(recipe, config, texts, &self.capabilities)?;
        let stop = signals::stop_flag()?;
        let before = match record.filter(|_| !self.allow_changes) {
            Some(found) => found.sizes()?,
            None => Vec::new(),
        };
        let watched = Watched::new(&data.source, before);
        let position = state.map_or_else(Position::default, |state| state.position);
        let loader = Loader::new(&watched, task.inputs(), recipe, position)?;
        // What can fail before a step has failed by now: from here on there is a folder.
        let mut folder = match self.resumed {
            None => RunFolder::create(recipe, contents)?,
            Some(resumed) => RunFolder::reopen(&resumed.run, record, recipe, contents)?,
        };
        if record.is_none() {
            folder.note_bad(data.skipped.errors())?;
        }
        let all = parameter_count(&model);
        let unmoved = (trained_count(&optimizer) < all).then(|| Unmoved::of(&optimizer));
        tell(format_args!(
            "{}: {} {}, {}, {steps} steps of {}; {}",
            recipe.name,
            data.source.len(),
            T::SAMPLES,
            parameters(all, trained_count(&optimizer)),
            recipe.train.batch,
            folder.path().display()
        ));
        if let Some(state) = state {
            tell(format_args!("going on after step {}", state.step));
        }
        let seconds = state.map_or(0.0, |state| state.seconds);
        Training {
            task: &task,
            adapters: adapters.as_ref(),
            recipe,
            device,
            folder,
            source: &watched,
            validation: &data.validation,
            digests,
            first: state.map_or(0, |state| state.step),
            steps,
            position,
            evaluation_due: self
                .resumed
                .is_some_and(|resumed| resumed.evaluation_due(steps)),
            clock: Clock::after(Duration::from_secs_f64(seconds)),
            stop: stop.clone(),
            saved: state.map(|state| state.step),
            unmoved,
        }
        .run(model, optimizer, loader)
    }

    /// The task and its model, and the digests of the data. A record is the first to need those: a million captions are
    /// hashed while the model is made.
    fn build<T: Task>(&mut self, data: &Data) -> anyhow::Result<(Built<T>, Vec<String>)> {
        let source = &data.source;
        let record = self.resumed.and_then(|resumed| resumed.record.as_ref());
        let plan = Plan {
            from: record.map_or(From::Recipe(Some(source)), |found| {
                From::Record(&found.path)
            }),
            memory: record
                .is_none()
                .then_some(self.capabilities.memory)
                .flatten(),
            recipe: &mut self.recipe,
            device: self.device,
        };
        let (built, hashed) = thread::scope(|scope| {
            let hashing = data
                .digests
                .is_none()
                .then(|| scope.spawn(|| digests(source)));
            let built = adapters::build::<T>(plan)?;
            let hashed = hashing.map(ScopedJoinHandle::join).transpose();
            let hashed = hashed
                .map_err(|_| anyhow::anyhow!("the thread that hashes the captions panicked"))?;
            anyhow::Ok((built, hashed))
        })?;
        let digests = data.digests.clone().or(hashed).unwrap_or_default();
        Ok((built, digests))
    }
}

/// How many parameters there are, and how many train where some stand still.
fn parameters(all: usize, trained: usize) -> String {
    let million = |count: usize| count as f64 / 1e6;
    let all_of_them = format!("{:.1} M parameters", million(all));
    if trained == all {
        all_of_them
    } else {
        format!("{all_of_them}, of which {:.2} M train", million(trained))
    }
}

/// How many numbers an optimizer changes.
fn trained_count(optimizer: &SlotOptimizer) -> usize {
    let shapes = optimizer.slots().iter().map(|slot| &slot.shape);
    shapes.map(|shape| shape.iter().product::<usize>()).sum()
}

/// Says that a run is complete, if it is.
fn is_complete(resumed: Option<&Resumed>, recipe: &Recipe) -> bool {
    let complete = resumed.and_then(|resumed| Some((&resumed.run, resumed.complete()?)));
    if let Some((run, found)) = complete {
        let step = found.state.step;
        say(format_args!(
            "the run is complete, at step {step}: {}\nto train it for as long again: {}",
            found.path.display(),
            longer(run, &recipe.train, step)
        ));
    }
    complete.is_some()
}

/// What a run is trained and evaluated on.
struct Data {
    source: Joined,
    /// Of the sources, where a resumed run has compared them.
    digests: Option<Vec<String>>,
    /// Rows that cannot be used.
    skipped: Ledger,
    validation: Vec<Validation>,
}

impl Data {
    /// Opens the sources of a recipe and a sample of their pictures; those of training must be what they were, unless
    /// `allow_changes`.
    fn open<T: Task>(
        recipe: &Recipe,
        resumed: Option<&Resumed>,
        allow_changes: bool,
    ) -> anyhow::Result<Self> {
        let opened = sources::open(&recipe.data.train, recipe, T::open)?;
        let source = Joined::new(opened.sources);
        let digests = resumed.map(|_| digests(&source));
        if let (Some(resumed), Some(digests)) = (resumed, &digests) {
            resumed.check_sources(&source.lengths(), digests, allow_changes)?;
        }
        let validation = T::validation(recipe)?;
        if T::READS_PICTURES {
            let evaluated = validation.iter().map(|on| &on.source);
            for source in source.sources().iter().chain(evaluated) {
                early::pictures(source.as_ref(), recipe)?;
            }
        }
        Ok(Self {
            source,
            digests,
            skipped: opened.skipped,
            validation,
        })
    }
}

/// The digest of each source.
fn digests(source: &Joined) -> Vec<String> {
    let sources = source.sources().iter();
    sources
        .map(|source| watched::digest(source.as_ref()))
        .collect()
}

/// The optimizer of a model, at the start or as a record has it.
fn optimizer<M: Module + ModuleDisplay>(
    recipe: &Recipe,
    model: &M,
    record: Option<&Found>,
    device: &Device,
) -> anyhow::Result<SlotOptimizer> {
    let settings = &recipe.train;
    let rules = settings.groups.iter();
    let of_b = recipe.peft.as_ref().and_then(Peft::group);
    let groups = Groups {
        weight_decay: settings.weight_decay,
        rules: rules.cloned().chain(of_b).collect(),
        layer_decay: settings.layer_decay,
        ..Groups::default()
    };
    let slots = groups.slots(model).context("`train.groups`")?;
    let kind = settings.optimizer.with(settings.betas, settings.eps);
    let mut optimizer = SlotOptimizer::new(kind, slots, state_memory(device));
    if let Some(found) = record {
        let (was, is) = (found.state.optimizer, settings.optimizer);
        ensure!(
            was == is,
            "`train.optimizer` is {is}, and the state in {} is that of {was}, whose moments mean something else; go on \
             with {was}, or start a new run with `model.pretrained` from that record",
            found.path.display()
        );
        let updates = found.state.optimizer_steps;
        record::optimizer(&found.path, model, &mut optimizer, updates, device)?;
    }
    Ok(optimizer)
}
