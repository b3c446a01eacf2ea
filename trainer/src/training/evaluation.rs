//! Evaluations during a run.

use serde_json::json;

use super::Training;
use crate::{
    eval::{self, Evaluator, Retrieval},
    model::Model,
    record::Score,
    say::say,
    zero_shot,
};

impl Training<'_> {
    /// Evaluates after a step, and keeps what was found; after the last step classes are asked for, too.
    ///
    /// # Errors
    ///
    /// [`Stopped`](eval::Stopped) at a signal; if a source cannot be evaluated on, or the folder is gone.
    pub(super) fn evaluate(&mut self, model: &Model, step: u64) -> anyhow::Result<()> {
        let evaluator = self.evaluator(model);
        let ks = &self.recipe.eval.recall;
        let results = self.validation.iter();
        let results = results.map(|source| evaluator.retrieval(source.as_ref(), ks));
        let results = results.collect::<anyhow::Result<Vec<_>>>()?;
        let last = step == self.steps;
        let seconds = self.clock.trained.as_secs_f64();
        let taken = if last {
            format!(", {seconds:.0} s")
        } else {
            String::new()
        };
        say(format_args!(
            "after {step} steps{taken}\n{}",
            eval::table(&results)
        ));
        let machine = json!({ "seconds": seconds });
        let retrieval = results.iter();
        let retrieval =
            retrieval.map(|found| json!({ "step": step, "retrieval": found, "machine": machine }));
        let mut lines: Vec<_> = retrieval.collect();
        if last {
            for (name, accuracy) in zero_shot::measure(self.recipe, self.labelled, &evaluator)? {
                say(format_args!(
                    "{name}: zero-shot accuracy {:.1} %",
                    100.0 * accuracy
                ));
                lines.push(json!({ "zero_shot": { "name": name, "accuracy": accuracy } }));
            }
        }
        self.folder.evaluated(Score {
            step,
            score: results.first().and_then(Retrieval::mean_first),
            lines: lines.iter().map(ToString::to_string).collect(),
        })
    }

    fn evaluator<'m>(&'m self, model: &'m Model) -> Evaluator<'m> {
        Evaluator {
            model,
            inputs: self.inputs,
            device: self.device,
            stop: Some(&self.stop),
        }
    }
}
