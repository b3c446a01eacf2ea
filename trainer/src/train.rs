//! `train`: sets a run up, or takes one up again.

use std::{
    path::{Path, PathBuf},
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use anyhow::{Context, ensure};
use burn::tensor::Device;
use clap::Args;
use data::{Ledger, Source};
use optimizer::{Groups, SlotOptimizer};

use crate::{
    corpus::{self, Joined},
    device::{Capabilities, state_memory},
    early, eval,
    input::Setup,
    loader::{Loader, Position, mixture},
    model::{self, Model},
    recipe::{Overrides, Recipe, Said},
    record::{self, Found},
    resume::Resumed,
    run::{Contents, RunFolder},
    say::{say, tell},
    signals,
    task::{Contrastive, Task},
    training::{Clock, Training, longer},
    watched::{self, Watched},
    zero_shot,
};

/// Options of `train`.
#[derive(Args, Clone, Debug)]
pub struct TrainArgs {
    /// A recipe file, or the name of an embedded one: default, emoji, photos.
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
pub fn run(args: &TrainArgs, device: &Device) -> anyhow::Result<()> {
    let args = &args.with_recipe();
    let resumed = args.resume.as_deref().map(Resumed::open).transpose()?;
    let resumed = resumed.as_ref();
    let (mut recipe, said) = args.recipe(resumed)?;
    if !args.allow_changes && is_complete(resumed, &recipe) {
        return Ok(());
    }
    let capabilities = Capabilities::of(device);
    tell(&capabilities);
    if let Some(resumed) = resumed {
        resumed.check_device(&capabilities, args.allow_changes)?;
    }
    let data = Data::open(&recipe, resumed, args.allow_changes)?;
    let samples = mixture(&data.source, &recipe).epoch_len();
    let record = resumed.and_then(|resumed| resumed.record.as_ref());
    if record.is_none() {
        recipe.fit(&said, samples).iter().for_each(tell);
    }
    let steps = recipe.total_steps(samples)?;
    if let Some(resumed) = resumed {
        resumed.check_steps(steps)?;
    }
    let state = record.map(|found| &found.state);
    if state.is_some_and(|state| state.step == steps) && is_complete(resumed, &recipe) {
        return Ok(());
    }
    let plan = Plan {
        recipe,
        resumed,
        data,
        steps,
        allow_changes: args.allow_changes,
    };
    plan.train(&capabilities, device)
}

/// A run that can be set up.
struct Plan<'a> {
    recipe: Recipe,
    resumed: Option<&'a Resumed>,
    data: Data,
    steps: u64,
    allow_changes: bool,
}

impl Plan<'_> {
    /// Makes the model, the batches and the folder, in this order, and trains.
    fn train(self, capabilities: &Capabilities, device: &Device) -> anyhow::Result<()> {
        let Self {
            mut recipe,
            resumed,
            data,
            steps,
            allow_changes,
        } = self;
        let source = &data.source;
        let record = resumed.and_then(|resumed| resumed.record.as_ref());
        let state = record.map(|found| &found.state);
        // A record is the first to need the digests: a million captions are hashed while the model is made.
        let (setup, digests) = thread::scope(|scope| {
            let hashing = data
                .digests
                .is_none()
                .then(|| scope.spawn(|| digests(source)));
            let setup = match record {
                None => Setup::new(&mut recipe, Some(source), capabilities.memory, device)?,
                Some(found) => Setup::of_record(&recipe, &found.path, device)?,
            };
            let hashed = hashing.map(ScopedJoinHandle::join).transpose();
            let hashed = hashed
                .map_err(|_| anyhow::anyhow!("the thread that hashes the captions panicked"))?;
            anyhow::Ok((setup, hashed))
        })?;
        let digests = data.digests.or(digests).unwrap_or_default();
        setup.told.iter().for_each(tell);
        let optimizer = optimizer(&recipe, &setup.model, record, device)?;
        let contents = Contents::new(&recipe, &setup, capabilities)?;
        let keys = setup.file.keys;
        let Setup {
            model,
            config,
            inputs,
            ..
        } = setup;
        let stop = signals::stop_flag()?;
        let task = Contrastive {
            recipe: &recipe,
            config,
            keys,
            inputs,
            device,
            validation: &data.validation,
            labelled: &data.labelled,
            stop: &stop,
        };
        let before = match record.filter(|_| !allow_changes) {
            Some(found) => found.sizes()?,
            None => Vec::new(),
        };
        let watched = Watched::new(source, before);
        let position = state.map_or_else(Position::default, |state| state.position);
        let loader = Loader::new(&watched, task.inputs(), &recipe, position)?;
        // What can fail before a step has failed by now: from here on there is a folder.
        let mut folder = match resumed {
            None => RunFolder::create(&recipe, contents)?,
            Some(resumed) => RunFolder::reopen(&resumed.run, record, &recipe, contents)?,
        };
        if record.is_none() {
            folder.note_bad(data.skipped.errors())?;
        }
        tell(format_args!(
            "{}: {} pairs, {:.1} M parameters, {steps} steps of {}; {}",
            recipe.name,
            source.len(),
            model::parameter_count(&model) as f64 / 1e6,
            recipe.train.batch,
            folder.path().display()
        ));
        if let Some(state) = state {
            tell(format_args!("going on after step {}", state.step));
        }
        Training {
            task: &task,
            recipe: &recipe,
            device,
            folder,
            source: &watched,
            digests,
            first: state.map_or(0, |state| state.step),
            steps,
            position,
            evaluation_due: resumed.is_some_and(|resumed| resumed.evaluation_due(steps)),
            clock: Clock::after(Duration::from_secs_f64(
                state.map_or(0.0, |state| state.seconds),
            )),
            stop: stop.clone(),
            saved: state.map(|state| state.step),
        }
        .run(model, optimizer, loader)
    }
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
    validation: Vec<Box<dyn Source>>,
    /// The same with the classes of pictures for captions, where the recipe asks for them.
    labelled: Vec<Box<dyn Source>>,
}

impl Data {
    /// Opens the sources of a recipe and a sample of their pictures; those of training must be what they were, unless
    /// `allow_changes`.
    fn open(
        recipe: &Recipe,
        resumed: Option<&Resumed>,
        allow_changes: bool,
    ) -> anyhow::Result<Self> {
        let opened = corpus::open(&recipe.data.train, recipe)?;
        let source = Joined::new(opened.sources);
        let digests = resumed.map(|_| digests(&source));
        if let (Some(resumed), Some(digests)) = (resumed, &digests) {
            resumed.check_sources(&source.lengths(), digests, allow_changes)?;
        }
        let validation = corpus::open(&recipe.data.val, recipe)?.sources;
        eval::not_empty(&validation)?;
        for source in source.sources().iter().chain(&validation) {
            early::pictures(source.as_ref(), recipe)?;
        }
        Ok(Self {
            labelled: zero_shot::labelled(recipe)?,
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
fn optimizer(
    recipe: &Recipe,
    model: &Model,
    record: Option<&Found>,
    device: &Device,
) -> anyhow::Result<SlotOptimizer> {
    let settings = &recipe.train;
    let groups = Groups {
        weight_decay: settings.weight_decay,
        rules: settings.groups.clone(),
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
