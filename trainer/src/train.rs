//! `train`: sets a run up, or takes one up again.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use burn::tensor::Device;
use clap::Args;
use data::Source;

use crate::{
    corpus::{self, Inputs, Joined},
    device::Capabilities,
    eval,
    loader::{Position, mixture},
    model,
    optim::{AdamW, AdamWConfig},
    recipe::{Overrides, Recipe},
    record,
    resume::Resumed,
    run::RunFolder,
    say::{say, tell},
    training::Training,
    vocabulary,
};

/// Options of `train`.
#[derive(Args, Clone, Debug)]
pub struct TrainArgs {
    /// A recipe file, or the name of an embedded one: default, emoji, photos.
    recipe: Option<PathBuf>,
    /// Sets a key of the recipe, as in train.lr=3e-4; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A table, JSON lines, tar shards (`'train-{000..041}.tar'`) or a folder of classes to train on, in place of the
    /// recipe's sources; may be repeated.
    #[arg(long, value_name = "SOURCE", requires = "val")]
    train: Vec<PathBuf>,
    /// The same to evaluate on; may be repeated.
    #[arg(long, value_name = "SOURCE")]
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
    let resumed = args.resume.as_deref().map(Resumed::open).transpose()?;
    let given = args.recipe.as_deref();
    let recipe = match &resumed {
        None => Recipe::load(given.unwrap_or(Path::new("default")), &args.overrides())?,
        Some(resumed) => resumed.recipe(given, &args.overrides(), args.allow_changes)?,
    };
    let record = resumed.as_ref().and_then(|resumed| resumed.record.as_ref());
    if let Some(found) = record.filter(|found| found.state.complete) {
        say(format_args!(
            "the run is complete, at step {}: {}",
            found.state.step,
            found.path.display()
        ));
        return Ok(());
    }
    let capabilities = Capabilities::of(device);
    tell(format_args!("{capabilities}"));
    if let Some(resumed) = &resumed {
        resumed.check_device(&capabilities, args.allow_changes)?;
    }
    let opened = corpus::open(&recipe.data.train, &recipe)?;
    let source = Joined::new(opened.sources);
    let sources = source.lengths();
    if let Some(resumed) = &resumed {
        resumed.check_sources(&sources, args.allow_changes)?;
    }
    let validation = corpus::open(&recipe.data.val, &recipe)?.sources;
    eval::not_empty(&validation)?;
    let steps = recipe.total_steps(mixture(&source, &recipe).epoch_len())?;
    let tokenizer = match record {
        None => vocabulary::tokenizer(&recipe, &source)?,
        Some(found) => vocabulary::saved(&recipe, &found.path.join("tokenizer.json"))?,
    };
    let config = model::config_of(&recipe, tokenizer.vocab_size())?;
    let model = model::build(&recipe, &config, record.map(|found| &*found.path), device)?;
    vocabulary::check(&tokenizer, &config.text)?;
    let settings = &recipe.train;
    let mut optimizer = AdamW::new(AdamWConfig {
        betas: settings.betas,
        eps: settings.eps,
        weight_decay: settings.weight_decay,
    });
    if let Some(found) = record {
        let updates = found.state.optimizer_steps;
        record::optimizer(&found.path, &model, &mut optimizer, updates, device)?;
    }
    let mut folder = match &resumed {
        None => RunFolder::create(&recipe, &config, &tokenizer, &capabilities)?,
        Some(resumed) => RunFolder::reopen(
            &resumed.run,
            record,
            &recipe,
            &config,
            &tokenizer,
            &capabilities,
        )?,
    };
    if record.is_none() {
        folder.note_bad(opened.skipped.errors())?;
    }
    let tokenizer = vocabulary::padded(tokenizer, &config.text);
    let inputs = Inputs::new(&recipe, config.vision.image_size, &config.text, tokenizer);
    let start = record.map(|found| found.state.clone());
    tell(format_args!(
        "{}: {} pairs, {:.1} M parameters, {steps} steps of {}; {}",
        recipe.name,
        source.len(),
        model::parameter_count(&model) as f64 / 1e6,
        recipe.train.batch,
        folder.path().display()
    ));
    if let Some(state) = &start {
        tell(format_args!("going on after step {}", state.step));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let on_signal = Arc::clone(&stop);
    ctrlc::set_handler(move || on_signal.store(true, Ordering::Relaxed))
        .context("installing the Ctrl-C handler")?;
    Training {
        recipe: &recipe,
        config: &config,
        inputs: &inputs,
        device,
        folder,
        sources,
        first: start.as_ref().map_or(0, |state| state.step),
        steps,
        position: start
            .as_ref()
            .map_or_else(Position::default, |s| s.position),
        trained: Duration::from_secs_f64(start.map_or(0.0, |state| state.seconds)),
        waited: Duration::ZERO,
        saving: Duration::ZERO,
        saved: Instant::now(),
        score: None,
        stop,
    }
    .run(model, optimizer, &source, &validation)
}
