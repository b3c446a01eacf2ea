//! The training loop: step, record, evaluation, in this order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    thread,
    time::Instant,
};

use anyhow::Context;
use burn::tensor::Device;
use data::Ledger;
use indicatif::ProgressBar;
use optimizer::SlotOptimizer;

use super::trains::Unmoved;
use super::{
    clock::Clock,
    folder::RunFolder,
    record::{self, State},
};
use crate::{
    adapters::Adapters,
    input::{
        loader::{Loader, Next, Position, queue},
        watched::Watched,
    },
    progress,
    recipe::{Recipe, SaveEvery},
    say::{command, quoted, tell},
    task::{BatchOf, Stopped, Task, Validation, weights_of_record},
};

/// A run from one of its steps on.
pub(crate) struct Training<'a, T> {
    pub(crate) task: &'a T,
    /// The adapters that are trained, in place of the model.
    pub(crate) adapters: Option<&'a Adapters>,
    pub(crate) recipe: &'a Recipe,
    pub(crate) device: &'a Device,
    pub(crate) folder: RunFolder,
    pub(crate) source: &'a Watched<'a>,
    pub(crate) validation: &'a [Validation],
    /// Of the paths and captions of each training source.
    pub(crate) digests: Vec<String>,
    /// Steps done before.
    pub(crate) first: u64,
    pub(crate) steps: u64,
    pub(crate) position: Position,
    /// Whether the evaluation after step `first` is still to be done.
    pub(crate) evaluation_due: bool,
    pub(crate) clock: Clock,
    /// Set when the run is to save and stop.
    pub(crate) stop: Arc<AtomicBool>,
    /// The step of the newest record.
    pub(crate) saved: Option<u64>,
    /// What trains and has not moved yet; none where everything trains.
    pub(crate) unmoved: Option<Unmoved>,
}

/// Whether there is a next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Goes,
    Stops,
}

/// What is trained: it moves through the loop as one.
pub(super) struct Trained<M> {
    pub(super) model: M,
    pub(super) optimizer: SlotOptimizer,
}

impl<T: Task> Training<'_, T> {
    pub(crate) fn run(
        mut self,
        model: T::Model,
        optimizer: SlotOptimizer,
        loader: Loader<'_, T::Inputs>,
    ) -> anyhow::Result<()> {
        let per_epoch = (loader.epoch_len() / self.recipe.train.batch).max(1) as u64;
        let (sender, receiver) = queue(self.recipe.data.prefetch);
        let left = self.steps.saturating_sub(self.first);
        thread::scope(|scope| {
            let producer = scope.spawn(move || loader.feed(left, &sender));
            let result = self.train(Trained { model, optimizer }, &receiver, per_epoch);
            drop(receiver);
            producer
                .join()
                .map_err(|_| anyhow::anyhow!("the thread that reads the data panicked"))?;
            result
        })
    }

    fn train(
        &mut self,
        mut trained: Trained<T::Model>,
        batches: &Receiver<Next<BatchOf<T>>>,
        per_epoch: u64,
    ) -> anyhow::Result<()> {
        let bar = progress::bar(self.steps);
        bar.set_position(self.first);
        bar.reset_eta();
        let mut skipped = Ledger::new();
        if self.evaluation_due && self.evaluation(&bar, &trained, self.first)? == Flow::Stops {
            return Ok(());
        }
        for step in self.first..self.steps {
            let start = Instant::now();
            let batch = batches
                .recv()
                .context("the thread that reads the data has ended")?;
            let batch = match batch {
                Ok(batch) => batch,
                Err(failed) => {
                    let error = self.save_and_fail(&trained, step, failed.error);
                    self.folder.note_bad(&failed.skipped)?;
                    return Err(error);
                }
            };
            self.clock.waited += start.elapsed();
            let (metrics, lines);
            (trained, metrics, lines) = self.step(trained, batch.batches, step);
            bar.suspend(|| lines.iter().for_each(tell));
            let metrics = match metrics {
                Ok(metrics) => metrics,
                Err(error) => return Err(self.save_and_fail(&trained, step, error)),
            };
            self.clock.trained += start.elapsed();
            self.position = batch.after;
            self.folder.note_bad(&batch.skipped)?;
            for error in batch.skipped {
                skipped.record(error);
            }
            self.report(&bar, &trained.model, &metrics, step + 1)?;
            if self.after(&bar, &trained, step + 1, per_epoch)? == Flow::Stops {
                return Ok(());
            }
        }
        bar.finish_and_clear();
        self.folder.finish()?;
        if !skipped.is_empty() {
            tell(format_args!("{skipped}; all are in bad-samples.jsonl"));
        }
        self.advise();
        Ok(())
    }

    /// What follows a step: its record first, so that nothing that the evaluation does can lose it.
    fn after(
        &mut self,
        bar: &ProgressBar,
        trained: &Trained<T::Model>,
        done: u64,
        per_epoch: u64,
    ) -> anyhow::Result<Flow> {
        let every =
            |epochs: u64| epochs > 0 && done.is_multiple_of(epochs.saturating_mul(per_epoch));
        let last = done == self.steps;
        let evaluates = last || every(self.recipe.train.eval_every);
        let due = match self.recipe.run.save_every {
            SaveEvery::Epochs(epochs) => every(epochs),
            SaveEvery::Steps(steps) => done.is_multiple_of(steps),
            SaveEvery::Minutes(minutes) => {
                self.clock.saved.elapsed().as_secs() >= minutes.saturating_mul(60)
            }
            SaveEvery::End => false,
        };
        let stops = self.stop.load(Ordering::Relaxed);
        if last || due || stops {
            self.save(trained, done, evaluates)?;
        }
        if stops {
            self.stopped(bar, done, evaluates)?;
            return Ok(Flow::Stops);
        }
        if evaluates {
            return self.evaluation(bar, trained, done);
        }
        Ok(Flow::Goes)
    }

    /// Evaluates after a step. If it fails or is stopped there is a record of the step, by which it is done later.
    fn evaluation(
        &mut self,
        bar: &ProgressBar,
        trained: &Trained<T::Model>,
        done: u64,
    ) -> anyhow::Result<Flow> {
        match bar.suspend(|| self.evaluate(&trained.model, done)) {
            Ok(()) => Ok(Flow::Goes),
            Err(error) if error.is::<Stopped>() => {
                self.save(trained, done, true)?;
                self.stopped(bar, done, true)?;
                Ok(Flow::Stops)
            }
            Err(error) => {
                let saved = self.save(trained, done, true);
                Err(self.failed(done, error, saved))
            }
        }
    }

    /// The last words of a run that was told to stop.
    fn stopped(&mut self, bar: &ProgressBar, done: u64, evaluates: bool) -> anyhow::Result<()> {
        bar.finish_and_clear();
        self.folder.finish()?;
        let before = if evaluates {
            ", before its evaluation"
        } else {
            ""
        };
        let run = quoted(self.folder.path());
        tell(format_args!(
            "stopped after step {done} of {}{before}; go on with: {}",
            self.steps,
            command(&format!("train --resume {run}"))
        ));
        Ok(())
    }

    /// Keeps what was trained up to `step`, and makes of `error` what the program ends with.
    fn save_and_fail(
        &mut self,
        trained: &Trained<T::Model>,
        step: u64,
        error: anyhow::Error,
    ) -> anyhow::Error {
        let saved = if step > self.first {
            self.save(trained, step, false)
        } else {
            Ok(())
        };
        self.failed(step, error, saved)
    }

    fn failed(
        &mut self,
        step: u64,
        error: anyhow::Error,
        saved: anyhow::Result<()>,
    ) -> anyhow::Error {
        match saved.and_then(|()| self.folder.wait()) {
            // The reason of both, as where the folder is gone.
            Err(lost) if lost.to_string() == error.to_string() => error,
            Err(lost) => error.context(format!(
                "stopped after step {step}, whose record could not be saved ({lost:#})"
            )),
            Ok(()) if self.saved == Some(step) => error.context(format!(
                "stopped after step {step}; the record is in {}",
                self.folder.path().display()
            )),
            Ok(()) => error.context("stopped before the first step"),
        }
    }

    /// Saves the record of a step, once. An evaluation that is due is done again when the run goes on from the record
    /// and none has come to its end.
    fn save(
        &mut self,
        trained: &Trained<T::Model>,
        step: u64,
        evaluation_due: bool,
    ) -> anyhow::Result<()> {
        if self.saved == Some(step) {
            return Ok(());
        }
        let state = State {
            format: record::FORMAT,
            step,
            steps: self.steps,
            optimizer: self.recipe.train.optimizer,
            optimizer_steps: trained.optimizer.steps(),
            seed: self.recipe.seed,
            position: self.position,
            sources: self.source.joined().lengths(),
            digests: self.digests.clone(),
            seconds: self.clock.trained.as_secs_f64(),
            evaluation_due,
            score: None,
            complete: false,
        };
        self.clock.saved = Instant::now();
        let weights = weights_of_record(self.task, &trained.model, self.adapters)?;
        self.folder
            .save(weights, &trained.optimizer, state, self.source.sizes())?;
        self.saved = Some(step);
        self.clock.saving += self.clock.saved.elapsed();
        Ok(())
    }
}
