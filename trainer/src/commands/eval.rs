//! `eval`: measures a run's record, or a folder of weights.

use std::path::PathBuf;

use anyhow::ensure;
use burn::tensor::Device;
use clap::Args;

use crate::{
    recipe::Overrides,
    say::{say, tell},
    task::{OpenedModel, Task, WithTask, with_task},
};

/// Options of `eval`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EvalArgs {
    /// The folder of a run, or of weights.
    #[arg(required_unless_present = "val")]
    run: Option<PathBuf>,
    /// What to evaluate on, in place of the run's own sources: tables, JSON, Parquet, tar shards or folders of pictures.
    #[arg(long, value_name = "SOURCE", num_args = 1..)]
    val: Vec<PathBuf>,
    /// Sets a key of the recipe, as in eval.recall=[1,5]; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl EvalArgs {
    /// The folder of the run, and the sources: in `--val a.csv RUN` the run reads as if it were a source.
    fn run_and_val(&self) -> anyhow::Result<(PathBuf, Vec<PathBuf>)> {
        let mut val = self.val.clone();
        let run = match &self.run {
            Some(run) => run.clone(),
            None if val.len() > 1 => val.remove(val.len() - 1),
            None => anyhow::bail!("name the folder of a run: shoestring eval RUN --val SOURCE"),
        };
        Ok((run, val))
    }
}

/// Prints what a run's record, or weights that somebody trained, reach on its validation sources.
///
/// # Errors
///
/// Names the file that is missing or does not fit.
pub(crate) fn run(args: &EvalArgs, device: &Device) -> anyhow::Result<()> {
    let (run, val) = args.run_and_val()?;
    let overrides = Overrides {
        set: args.set.clone(),
        val,
        ..Overrides::default()
    };
    let opened = OpenedModel::find(&run, &overrides)?;
    ensure!(
        !opened.recipe.data.val.is_empty(),
        "{}: says nothing of what to evaluate on; add --val SOURCE",
        run.display()
    );
    let task = opened.recipe.task.clone();
    with_task(&task, Evaluate { opened, device })
}

struct Evaluate<'a> {
    opened: OpenedModel,
    device: &'a Device,
}

impl WithTask for Evaluate<'_> {
    type Output = anyhow::Result<()>;

    fn run<T: Task>(mut self) -> anyhow::Result<()> {
        let built = self.opened.build::<T>(self.device)?;
        built.log_lines.iter().for_each(tell);
        let validation = T::validation(&self.opened.recipe)?;
        for on in &validation {
            built.task.check(on.source.as_ref())?;
        }
        let found = built.task.evaluate(&built.model, &validation, None, true)?;
        found.said.iter().for_each(|said| say(said.trim_end()));
        Ok(())
    }
}
