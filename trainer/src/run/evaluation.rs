//! Evaluations during a run.

use serde_json::json;

use super::training::Training;
use crate::{run::record::Score, say::say, task::Task};

impl<T: Task> Training<'_, T> {
    /// Evaluates after a step, and keeps what was found.
    ///
    /// # Errors
    ///
    /// As [`Task::evaluate`], and if the folder is gone.
    pub(super) fn evaluate(&mut self, model: &T::Model, step: u64) -> anyhow::Result<()> {
        let is_last = step == self.steps;
        let found = self
            .task
            .evaluate(model, self.validation, Some(&self.stop), is_last)?;
        let seconds = self.clock.trained.as_secs_f64();
        let taken = if is_last {
            format!(", {seconds:.0} s")
        } else {
            String::new()
        };
        say(format_args!("after {step} steps{taken}"));
        found.said.iter().for_each(say);
        let lines = found.lines.into_iter().map(|mut line| {
            line.insert("step".to_owned(), json!(step));
            line.insert("machine".to_owned(), json!({ "seconds": seconds }));
            serde_json::Value::Object(line).to_string()
        });
        self.folder.evaluated(Score {
            step,
            score: found.score,
            lines: lines.collect(),
        })
    }
}
