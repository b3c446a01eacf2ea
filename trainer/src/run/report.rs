//! What a run tells and logs of its steps.

use std::io::IsTerminal;

use indicatif::ProgressBar;
use serde_json::json;

use super::{metrics::Metrics, training::Training};
use crate::{device::memory::peak_of, say::tell, task::Task};

impl<T: Task> Training<'_, T> {
    /// Tells of a step, and logs it where the recipe wants it.
    pub(super) fn report(
        &mut self,
        bar: &ProgressBar,
        model: &T::Model,
        metrics: &Metrics,
        done: u64,
    ) -> anyhow::Result<()> {
        bar.inc(1);
        if metrics.is_skipped {
            return self.report_skipped(bar, metrics, done);
        }
        if !done.is_multiple_of(self.recipe.train.log_every.max(1)) && done != self.steps {
            return Ok(());
        }
        let samples =
            done as f64 * self.recipe.train.batch as f64 / self.clock.trained.as_secs_f64();
        let peak = peak_of(self.device) / (1 << 20);
        let message = format!(
            "loss {:.3}  {samples:.0} samples/s  peak {peak} MB  waited {:.1} s",
            metrics.loss,
            self.clock.waited.as_secs_f64()
        );
        if !std::io::stderr().is_terminal() {
            tell(format_args!("step {done}/{}  {message}", self.steps));
        }
        bar.set_message(message);
        let mut line = self.task.metrics(model);
        let of_step = [
            ("step", json!(done)),
            ("loss", json!(metrics.loss)),
            ("grad_norm", json!(metrics.norm)),
            ("lr", json!(metrics.rate)),
            (
                "machine",
                json!({
                    "samples_per_s": samples,
                    "seconds": self.clock.trained.as_secs_f64(),
                    "waited_s": self.clock.waited.as_secs_f64(),
                    "saving_s": self.clock.saving.as_secs_f64(),
                    "peak_rss_mb": peak,
                }),
            ),
        ];
        line.extend(of_step.map(|(key, value)| (key.to_owned(), value)));
        self.folder.log(&line)
    }

    /// Tells of a step that was skipped, and logs it.
    fn report_skipped(
        &mut self,
        bar: &ProgressBar,
        metrics: &Metrics,
        done: u64,
    ) -> anyhow::Result<()> {
        let Metrics { loss, norm, .. } = metrics;
        bar.suspend(|| {
            tell(format_args!(
                "step {done} was skipped: the loss is {loss}, the norm of the gradients {norm}"
            ));
        });
        self.folder.log(&json!({"step": done, "skipped": true}))
    }
}
