//! The training loop.

use std::{
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use burn::tensor::Device;
use checkpointing::{Policy, Seed};
use data::{Ledger, Source, Table, TableConfig};
use fusion::{DualConfig, StepConfig, contrastive_step};
use indicatif::ProgressBar;
use serde_json::json;

use crate::{
    corpus::{HostBatch, Inputs, Joined},
    device::{self, compute},
    eval::{self, Evaluator, Retrieval},
    loader::{Loader, Next, Position, mixture, queue},
    memory::peak_of,
    model::{self, Model},
    optim::{AdamW, clip_scale, gradient_norm},
    progress,
    recipe::{Checkpointing, Recipe, SaveEvery, Schedule},
    record::{self, State},
    run::RunFolder,
    say::{say, tell},
    schedule::{Decay, LearningRate},
};

/// A run from one of its steps on.
pub(crate) struct Training<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) config: &'a DualConfig,
    pub(crate) inputs: &'a Inputs,
    pub(crate) device: &'a Device,
    pub(crate) folder: RunFolder,
    /// The training sources by name, and their samples.
    pub(crate) sources: Vec<(String, usize)>,
    /// Steps done before.
    pub(crate) first: u64,
    pub(crate) steps: u64,
    pub(crate) position: Position,
    pub(crate) trained: Duration,
    /// Time in which there was no batch.
    pub(crate) waited: Duration,
    /// Time in which training stood still for a record.
    pub(crate) saving: Duration,
    /// When the last record was saved.
    pub(crate) saved: Instant,
    /// The mean R@1 on the first validation source, where it was measured after the last step.
    pub(crate) score: Option<f64>,
    pub(crate) stop: Arc<AtomicBool>,
}

/// Metrics of one step.
struct Metrics {
    loss: f64,
    norm: f64,
    rate: f64,
}

impl Training<'_> {
    pub(crate) fn run(
        mut self,
        model: Model,
        optimizer: AdamW,
        source: &Joined,
        validation: &[Box<dyn Source>],
    ) -> anyhow::Result<()> {
        let loader = Loader::new(source, self.inputs, self.recipe, self.position)?;
        let per_epoch = mixture(source, self.recipe).epoch_len() / self.recipe.train.batch;
        let (sender, receiver) = queue(self.recipe.data.prefetch);
        let left = self.steps.saturating_sub(self.first);
        thread::scope(|scope| {
            let producer = scope.spawn(move || loader.feed(left, &sender));
            let per_epoch = per_epoch.max(1) as u64;
            let result = self.train(model, optimizer, &receiver, per_epoch, validation);
            drop(receiver);
            producer
                .join()
                .map_err(|_| anyhow::anyhow!("the thread that reads the data panicked"))?;
            result
        })
    }

    fn train(
        &mut self,
        mut model: Model,
        mut optimizer: AdamW,
        batches: &Receiver<Next>,
        per_epoch: u64,
        validation: &[Box<dyn Source>],
    ) -> anyhow::Result<()> {
        let bar = progress::bar(self.steps);
        bar.set_position(self.first);
        bar.reset_eta();
        let mut skipped = Ledger::new();
        let every = |epochs: u64, step: u64| epochs > 0 && step.is_multiple_of(epochs * per_epoch);
        for step in self.first..self.steps {
            let start = Instant::now();
            let batch = batches
                .recv()
                .context("the thread that reads the data has ended")?;
            let batch = match batch {
                Ok(batch) => batch,
                Err(failed) => {
                    self.folder.note_bad(&failed.skipped)?;
                    return self.save_and_fail(&model, &optimizer, step, failed.error);
                }
            };
            self.waited += start.elapsed();
            self.position = batch.after;
            self.folder.note_bad(&batch.skipped)?;
            batch
                .skipped
                .into_iter()
                .for_each(|error| skipped.record(error));
            let metrics;
            (model, metrics) = self.step(model, &mut optimizer, batch.batches, step)?;
            self.trained += start.elapsed();
            self.score = None;
            let done = step + 1;
            self.report(&bar, &model, &metrics, done)?;
            if done == self.steps {
                break;
            }
            if self.stop.load(Ordering::Relaxed) {
                bar.finish_and_clear();
                self.save(&model, &optimizer, done, false)?;
                self.folder.finish()?;
                let path = self.folder.path().display();
                tell(format_args!(
                    "stopped after step {done} of {}; go on with: cargo xtask train --resume {path}",
                    self.steps
                ));
                return Ok(());
            }
            if every(self.recipe.train.eval_every, done) {
                let results = bar.suspend(|| self.evaluate(&model, validation, done));
                let results = match results {
                    Ok(results) => results,
                    Err(error) => return self.save_and_fail(&model, &optimizer, done, error),
                };
                bar.suspend(|| {
                    say(format_args!(
                        "after {done} steps\n{}",
                        eval::table(&results)
                    ))
                });
            }
            let due = match self.recipe.run.save_every {
                SaveEvery::Epochs(epochs) => every(epochs, done),
                SaveEvery::Steps(steps) => done.is_multiple_of(steps),
                SaveEvery::Minutes(minutes) => self.saved.elapsed().as_secs() >= 60 * minutes,
                SaveEvery::End => false,
            };
            if due {
                self.save(&model, &optimizer, done, false)?;
            }
        }
        bar.finish_and_clear();
        let results = match self.evaluate(&model, validation, self.steps) {
            Ok(results) => results,
            Err(error) => return self.save_and_fail(&model, &optimizer, self.steps, error),
        };
        say(format_args!(
            "after {} steps, {:.0} s\n{}",
            self.steps,
            self.trained.as_secs_f64(),
            eval::table(&results)
        ));
        if let Err(error) = self.zero_shot(&model, validation) {
            return self.save_and_fail(&model, &optimizer, self.steps, error);
        }
        self.save(&model, &optimizer, self.steps, true)?;
        self.folder.finish()?;
        if !skipped.is_empty() {
            tell(format_args!("{skipped}; all are in bad-samples.jsonl"));
        }
        let path = self.folder.path().display();
        say(format_args!(
            "the run is in {path}: weights and config in {path}/records, metrics.jsonl beside them"
        ));
        say(format_args!(
            "try next: cargo xtask eval {path}, or your own table:"
        ));
        say(format_args!(
            "  cargo xtask train --train my.csv --val my-val.csv --set train.epochs=20"
        ));
        Ok(())
    }

    /// Keeps what was trained before giving an error back.
    fn save_and_fail(
        &mut self,
        model: &Model,
        optimizer: &AdamW,
        step: u64,
        error: anyhow::Error,
    ) -> anyhow::Result<()> {
        if step > self.first {
            self.save(model, optimizer, step, false)?;
            self.folder.finish()?;
        }
        let path = self.folder.path().display();
        Err(error.context(format!(
            "stopped after step {step}; the record is in {path}"
        )))
    }

    fn save(
        &mut self,
        model: &Model,
        optimizer: &AdamW,
        step: u64,
        complete: bool,
    ) -> anyhow::Result<()> {
        let state = State {
            format: record::FORMAT,
            step,
            steps: self.steps,
            optimizer_steps: optimizer.steps(),
            seed: self.recipe.seed,
            position: self.position,
            sources: self.sources.clone(),
            seconds: self.trained.as_secs_f64(),
            score: self.score,
            complete,
        };
        self.saved = Instant::now();
        self.folder.save(model, self.config, optimizer, state)?;
        self.saving += self.saved.elapsed();
        Ok(())
    }

    fn step(
        &self,
        mut model: Model,
        optimizer: &mut AdamW,
        batch: Vec<HostBatch>,
        step: u64,
    ) -> anyhow::Result<(Model, Metrics)> {
        let (recipe, config, device) = (self.recipe, self.config, self.device);
        let rate = self.learning_rate().at(step);
        compute(device, move || {
            let settings = &recipe.train;
            let batches: Vec<_> = batch
                .into_iter()
                .map(|batch| batch.to_device(device))
                .collect();
            let policy = match settings.checkpointing {
                Checkpointing::StoreAll => Policy::StoreAll,
                Checkpointing::EveryCut => Policy::EveryCut,
                Checkpointing::Every(n) => Policy::Every(n),
            };
            let loss = model::loss_of(config);
            let seed = Seed::new(recipe.seed).child(step);
            let pairs = settings.micro_batch.unwrap_or(settings.batch);
            let config = StepConfig {
                loss,
                policy,
                parts: device::parts(device, pairs),
            };
            let out = device::apart(config.parts, || {
                contrastive_step(&model, &batches, &config, seed)
            });
            let norm = gradient_norm(&model, &out.gradients);
            anyhow::ensure!(
                out.loss.is_finite() && norm.is_finite(),
                "the loss is {}, the norm of the gradients {norm} at step {}; lower `train.lr` or raise `train.warmup`",
                out.loss,
                step + 1
            );
            let scale = clip_scale(norm, settings.clip_norm);
            model = optimizer.step(model, out.gradients, rate, scale);
            model.clamp_scale(settings.max_scale);
            let metrics = Metrics {
                loss: out.loss,
                norm,
                rate,
            };
            Ok((model, metrics))
        })
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

    fn report(
        &mut self,
        bar: &ProgressBar,
        model: &Model,
        metrics: &Metrics,
        done: u64,
    ) -> anyhow::Result<()> {
        bar.inc(1);
        if !done.is_multiple_of(self.recipe.train.log_every.max(1)) && done != self.steps {
            return Ok(());
        }
        let samples = done as f64 * self.recipe.train.batch as f64 / self.trained.as_secs_f64();
        let peak = peak_of(self.device) / (1 << 20);
        let message = format!(
            "loss {:.3}  {samples:.0} samples/s  peak {peak} MB  waited {:.1} s",
            metrics.loss,
            self.waited.as_secs_f64()
        );
        if !std::io::stderr().is_terminal() {
            tell(format_args!("step {done}/{}  {message}", self.steps));
        }
        bar.set_message(message);
        self.folder.log(&json!({
            "step": done,
            "loss": metrics.loss,
            "grad_norm": metrics.norm,
            "lr": metrics.rate,
            "scale": model.scale(),
            "machine": {
                "samples_per_s": samples,
                "seconds": self.trained.as_secs_f64(),
                "waited_s": self.waited.as_secs_f64(),
                "saving_s": self.saving.as_secs_f64(),
                "peak_rss_mb": peak,
            },
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
    ) -> anyhow::Result<Vec<Retrieval>> {
        let results = validation
            .iter()
            .map(|source| {
                self.evaluator(model)
                    .retrieval(source.as_ref(), &self.recipe.eval.recall)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        for retrieval in &results {
            let machine = json!({ "seconds": self.trained.as_secs_f64() });
            self.folder
                .log(&json!({ "step": step, "retrieval": retrieval, "machine": machine }))?;
        }
        self.score = results.first().and_then(Retrieval::mean_first);
        Ok(results)
    }

    fn zero_shot(&mut self, model: &Model, validation: &[Box<dyn Source>]) -> anyhow::Result<()> {
        for (name, accuracy) in zero_shot(self.recipe, &self.evaluator(model), validation)? {
            say(format_args!(
                "{name}: zero-shot accuracy {:.1} %",
                100.0 * accuracy
            ));
            self.folder
                .log(&json!({ "zero_shot": { "name": name, "accuracy": accuracy } }))?;
        }
        Ok(())
    }
}

/// Zero-shot accuracy on each validation table, where the recipe asks for it.
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
