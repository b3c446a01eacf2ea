//! The training loop.

use std::{
    io::IsTerminal,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use burn::tensor::Device;
use checkpointing::{Policy, Seed};
use clap::Args;
use data::{Source, Table, TableConfig};
use fusion::{DualConfig, StepConfig, contrastive_step};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::{
    corpus::{self, Batches, HostBatch, Inputs, Joined},
    eval::{self, Evaluator, Retrieval},
    memory::peak_bytes,
    model::{self, Model},
    optim::{AdamW, AdamWConfig, clip_scale, gradient_norm},
    recipe::{Checkpointing, Overrides, Recipe, Schedule},
    run::RunFolder,
    schedule::{Decay, LearningRate},
    vocabulary,
};

/// Options of `train`.
#[derive(Args, Clone, Debug)]
pub struct TrainArgs {
    /// A recipe file, or the name of an embedded one: default, emoji, photos.
    #[arg(default_value = "default")]
    recipe: PathBuf,
    /// Sets a key of the recipe, as in train.lr=3e-4; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A table to train on, in place of the recipe's sources; may be repeated.
    #[arg(long, value_name = "TABLE")]
    train: Vec<PathBuf>,
    /// A table to evaluate on, in place of the recipe's sources; may be repeated.
    #[arg(long, value_name = "TABLE")]
    val: Vec<PathBuf>,
}

/// Trains as the recipe says; ends with a table of results.
///
/// # Errors
///
/// Names the file, key or row, and the remedy.
pub fn run(args: &TrainArgs, device: &Device) -> anyhow::Result<()> {
    let overrides = Overrides {
        set: args.set.clone(),
        train: args.train.clone(),
        val: args.val.clone(),
    };
    let recipe = Recipe::load(&args.recipe, &overrides)?;
    let source = Joined::new(corpus::open(&recipe.data.train, &recipe)?);
    let validation = corpus::open(&recipe.data.val, &recipe)?;
    eval::not_empty(&validation)?;
    let steps = recipe.total_steps(source.len())?;
    let tokenizer = vocabulary::tokenizer(&recipe, &source)?;
    let config = model::config_of(&recipe, tokenizer.vocab_size())?;
    let model = model::build(&recipe, &config, device)?;
    anyhow::ensure!(
        tokenizer.vocab_size() <= config.text.vocab_size,
        "the tokenizer has {} tokens, the text tower {}; use the tokenizer of these weights",
        tokenizer.vocab_size(),
        config.text.vocab_size
    );
    let folder = RunFolder::create(&recipe, &config, &tokenizer)?;
    let tokenizer = vocabulary::padded(tokenizer, &config.text);
    let inputs = Inputs::new(&recipe, config.vision.image_size, &config.text, tokenizer);
    eprintln!(
        "{}: {} pairs, {:.1} M parameters, {steps} steps of {}; {}",
        recipe.name,
        source.len(),
        model::parameter_count(&model) as f64 / 1e6,
        recipe.train.batch,
        folder.path().display()
    );
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
        steps,
        stop,
    }
    .run(model, &source, &validation)
}

/// What does not change during a run.
struct Training<'a> {
    recipe: &'a Recipe,
    config: &'a DualConfig,
    inputs: &'a Inputs,
    device: &'a Device,
    folder: RunFolder,
    steps: u64,
    stop: Arc<AtomicBool>,
}

/// Metrics of one step.
struct Metrics {
    loss: f64,
    norm: f64,
    rate: f64,
}

impl Training<'_> {
    fn run(
        mut self,
        model: Model,
        source: &dyn Source,
        validation: &[Box<dyn Source>],
    ) -> anyhow::Result<()> {
        let per_epoch = (source.len() / self.recipe.train.batch).max(1) as u64;
        let (sender, receiver) = sync_channel(2);
        let (inputs, recipe, steps) = (self.inputs, self.recipe, self.steps);
        thread::scope(|scope| {
            let producer = scope.spawn(move || {
                let mut batches = Batches::new(source, inputs, recipe);
                for _ in 0..steps {
                    let batch = batches.next_batch();
                    let failed = batch.is_err();
                    if sender.send(batch).is_err() || failed {
                        break;
                    }
                }
                batches.ledger().clone()
            });
            let result = self.train(model, &receiver, per_epoch, validation);
            drop(receiver);
            let ledger = producer
                .join()
                .map_err(|_| anyhow::anyhow!("the thread that reads the data panicked"))?;
            if !ledger.is_empty() {
                eprintln!("skipped samples: {ledger}");
            }
            result
        })
    }

    fn train(
        &mut self,
        mut model: Model,
        batches: &Receiver<anyhow::Result<Vec<HostBatch>>>,
        per_epoch: u64,
        validation: &[Box<dyn Source>],
    ) -> anyhow::Result<()> {
        let settings = &self.recipe.train;
        let mut optimizer = AdamW::new(AdamWConfig {
            betas: settings.betas,
            eps: settings.eps,
            weight_decay: settings.weight_decay,
        });
        let bar = self.progress_bar();
        let mut waited = Duration::ZERO;
        let mut trained = Duration::ZERO;
        let every = |epochs: u64, step: u64| epochs > 0 && step.is_multiple_of(epochs * per_epoch);
        for step in 0..self.steps {
            let start = Instant::now();
            let batch = batches
                .recv()
                .context("the thread that reads the data has ended")??;
            waited += start.elapsed();
            let metrics;
            (model, metrics) = self.step(model, &mut optimizer, batch, step);
            trained += start.elapsed();
            let done = step + 1;
            self.report(&bar, &model, &metrics, done, trained, waited)?;
            if self.stop.load(Ordering::Relaxed) {
                bar.finish_and_clear();
                self.folder.save(&model, self.config, &optimizer, done)?;
                let path = self.folder.path().display();
                eprintln!(
                    "stopped after step {done} of {}; the record is in {path}",
                    self.steps
                );
                return Ok(());
            }
            if done < self.steps && every(settings.save_every, done) {
                self.folder.save(&model, self.config, &optimizer, done)?;
            }
            if done < self.steps && every(settings.eval_every, done) {
                let results = self.evaluate(&model, validation, done, trained)?;
                bar.suspend(|| println!("after {done} steps\n{}", eval::table(&results)));
            }
        }
        bar.finish_and_clear();
        self.folder
            .save(&model, self.config, &optimizer, self.steps)?;
        let results = self.evaluate(&model, validation, self.steps, trained)?;
        println!(
            "after {} steps, {:.0} s\n{}",
            self.steps,
            trained.as_secs_f64(),
            eval::table(&results)
        );
        self.zero_shot(&model, validation)?;
        let path = self.folder.path().display();
        println!(
            "the run is in {path}: weights and config in {path}/record, metrics.jsonl beside them"
        );
        println!("try next: cargo xtask eval {path}, or your own table:");
        println!("  cargo xtask train --train my.csv --val my-val.csv --set train.epochs=20");
        Ok(())
    }

    fn step(
        &self,
        mut model: Model,
        optimizer: &mut AdamW,
        batch: Vec<HostBatch>,
        step: u64,
    ) -> (Model, Metrics) {
        let settings = &self.recipe.train;
        let batches: Vec<_> = batch
            .into_iter()
            .map(|batch| batch.to_device(self.device))
            .collect();
        let policy = match settings.checkpointing {
            Checkpointing::StoreAll => Policy::StoreAll,
            Checkpointing::EveryCut => Policy::EveryCut,
            Checkpointing::Every(n) => Policy::Every(n),
        };
        let config = StepConfig {
            loss: model::loss_of(self.config),
            policy,
        };
        let seed = Seed::new(self.recipe.seed).child(step);
        let out = contrastive_step(&model, &batches, &config, seed);
        let norm = gradient_norm(&model, &out.gradients);
        let rate = self.learning_rate().at(step);
        let scale = clip_scale(norm, settings.clip_norm);
        model = optimizer.step(model, out.gradients, rate, scale);
        model.clamp_scale(settings.max_scale);
        (
            model,
            Metrics {
                loss: out.loss,
                norm,
                rate,
            },
        )
    }

    fn learning_rate(&self) -> LearningRate {
        let settings = &self.recipe.train;
        let decay = match &settings.schedule {
            Schedule::Cosine => Decay::Cosine,
            Schedule::Constant => Decay::Constant,
            Schedule::ConstantCooldown(cooldown) => Decay::Cooldown {
                steps: cooldown.steps,
                power: cooldown.power,
                end: cooldown.end_lr,
            },
        };
        LearningRate {
            base: settings.lr,
            warmup: settings.warmup,
            steps: self.steps,
            decay,
        }
    }

    fn progress_bar(&self) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(self.steps), ProgressDrawTarget::stderr());
        let template = "{bar:30} {pos}/{len} eta {eta}  {msg}";
        match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }

    fn report(
        &mut self,
        bar: &ProgressBar,
        model: &Model,
        metrics: &Metrics,
        done: u64,
        trained: Duration,
        waited: Duration,
    ) -> anyhow::Result<()> {
        anyhow::ensure!(
            metrics.loss.is_finite(),
            "the loss is {} at step {done}; lower `train.lr` or raise `train.warmup`",
            metrics.loss
        );
        bar.inc(1);
        if !done.is_multiple_of(self.recipe.train.log_every.max(1)) && done != self.steps {
            return Ok(());
        }
        let samples = (done as usize * self.recipe.train.batch) as f64 / trained.as_secs_f64();
        let peak = peak_bytes() / (1 << 20);
        let message = format!(
            "loss {:.3}  {samples:.0} samples/s  peak {peak} MB  waited {:.1} s",
            metrics.loss,
            waited.as_secs_f64()
        );
        if !std::io::stderr().is_terminal() {
            eprintln!("step {done}/{}  {message}", self.steps);
        }
        bar.set_message(message);
        self.folder.log(&json!({
            "step": done,
            "loss": metrics.loss,
            "grad_norm": metrics.norm,
            "lr": metrics.rate,
            "scale": model.scale(),
            "samples_per_s": samples,
            "seconds": trained.as_secs_f64(),
            "waited_s": waited.as_secs_f64(),
            "peak_rss_mb": peak,
        }))
    }

    fn evaluator<'m>(&'m self, model: &'m Model) -> Evaluator<'m> {
        let image_size = self.config.vision.image_size;
        Evaluator {
            model,
            inputs: self.inputs,
            image_size,
            device: self.device,
        }
    }

    fn evaluate(
        &mut self,
        model: &Model,
        validation: &[Box<dyn Source>],
        step: u64,
        trained: Duration,
    ) -> anyhow::Result<Vec<Retrieval>> {
        let results = validation
            .iter()
            .map(|source| {
                self.evaluator(model)
                    .retrieval(source.as_ref(), &self.recipe.eval.recall)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        for retrieval in &results {
            let seconds = trained.as_secs_f64();
            self.folder
                .log(&json!({ "step": step, "seconds": seconds, "retrieval": retrieval }))?;
        }
        Ok(results)
    }

    fn zero_shot(&mut self, model: &Model, validation: &[Box<dyn Source>]) -> anyhow::Result<()> {
        for (name, accuracy) in zero_shot(self.recipe, &self.evaluator(model), validation)? {
            println!("{name}: zero-shot accuracy {:.1} %", 100.0 * accuracy);
            self.folder
                .log(&json!({ "zero_shot": { "name": name, "accuracy": accuracy } }))?;
        }
        Ok(())
    }
}

/// Zero-shot accuracy on each validation table that has the column of classes.
pub(crate) fn zero_shot(
    recipe: &Recipe,
    evaluator: &Evaluator<'_>,
    validation: &[Box<dyn Source>],
) -> anyhow::Result<Vec<(String, f64)>> {
    let Some(zero_shot) = &recipe.eval.zero_shot else {
        return Ok(Vec::new());
    };
    let config = TableConfig {
        caption_column: zero_shot.column.clone(),
        ..recipe.data.table.clone()
    };
    let mut results = Vec::new();
    for source in recipe.data.val.iter().zip(validation) {
        let crate::recipe::Source::Table(table) = source.0 else {
            continue;
        };
        let labelled = Table::open(table.path.as_path(), &config)?;
        let accuracy = evaluator.zero_shot(&labelled, &zero_shot.classes, &zero_shot.templates)?;
        results.push((source.1.name().to_string(), accuracy));
    }
    Ok(results)
}
