//! The last lines of a run: what is left to do for it.

use std::path::Path;

use super::training::Training;
use crate::{
    recipe::Train,
    run::record,
    say::{command, quoted, say},
    task::Task,
};

impl<T: Task> Training<'_, T> {
    /// Says where the run is and what is left to do.
    pub(super) fn advise(&self) {
        let run = self.folder.path();
        say(format_args!(
            "the run is in {}: the weights and their config in records, the metrics in metrics.jsonl",
            run.display()
        ));
        let advice = Advice {
            run,
            steps: self.steps,
            train: &self.recipe.train,
            is_evaluated: !self.validation.is_empty(),
            best: earlier_best(run, self.steps),
            format: self.task.formats().first().map(|format| format.option()),
        };
        for line in advice.lines() {
            say(line);
        }
    }
}

/// What is known at the end of a run.
struct Advice<'a> {
    run: &'a Path,
    steps: u64,
    train: &'a Train,
    is_evaluated: bool,
    /// An earlier step that did better, and whose record is still there.
    best: Option<u64>,
    /// The value of `export --format` that has a model of this shape.
    format: Option<&'static str>,
}

impl Advice<'_> {
    fn lines(&self) -> Vec<String> {
        let run = quoted(self.run);
        let mut lines = Vec::new();
        if !self.is_evaluated {
            let eval = command(&format!("eval {run} --val TABLE"));
            lines.push(format!(
                "it was evaluated on nothing; on samples that it has not seen: {eval}"
            ));
        }
        let (record, which) = match self.best {
            Some(step) => {
                let record = self.run.join(format!("records/step-{step:08}"));
                (
                    quoted(&record),
                    format!("it did best after step {step}; to use that one"),
                )
            }
            None => (run.clone(), "to use it elsewhere".to_owned()),
        };
        if let Some(format) = self.format {
            let out = quoted(&free(self.run));
            let export = command(&format!(
                "export --run {record} --out {out} --format {format}"
            ));
            lines.push(format!("{which}: {export}"));
        }
        if self.best.is_none() {
            let longer = longer(self.run, self.train, self.steps);
            lines.push(format!("to train it for as long again: {longer}"));
        }
        lines
    }
}

/// The command that trains a run of `steps` for as long again.
pub(crate) fn longer(run: &Path, train: &Train, steps: u64) -> String {
    let longer = match train.epochs {
        Some(epochs) => format!("train.epochs={}", epochs.saturating_mul(2)),
        None => format!("train.steps={}", steps.saturating_mul(2)),
    };
    let run = quoted(run);
    command(&format!(
        "train --resume {run} --set {longer} --allow-changes"
    ))
}

/// A folder of the run that is not there yet.
fn free(run: &Path) -> std::path::PathBuf {
    let numbered = |number: u32| match number {
        1 => run.join("export"),
        number => run.join(format!("export-{number}")),
    };
    let mut free = (1..).map(numbered).filter(|path| !path.exists());
    free.next().unwrap_or_else(|| run.join("export"))
}

/// The step of the record with the highest score, if it is not the last one.
fn earlier_best(run: &Path, last: u64) -> Option<u64> {
    let best = record::best(run).ok().flatten();
    best.filter(|best| *best != last)
}
