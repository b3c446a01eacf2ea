//! `eval`: measures a run's record, or a folder of weights.

use std::path::PathBuf;

use anyhow::ensure;
use burn::tensor::Device;
use clap::Args;

use crate::{
    corpus,
    eval::{self, Evaluator},
    input::Setup,
    recipe::Overrides,
    say::{say, tell},
    zero_shot,
};

/// Options of `eval`.
#[derive(Args, Clone, Debug)]
pub struct EvalArgs {
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

/// Prints the retrieval table of a run's record, or of weights that somebody trained.
///
/// # Errors
///
/// Names the file that is missing or does not fit.
pub fn run(args: &EvalArgs, device: &Device) -> anyhow::Result<()> {
    let (run, val) = args.run_and_val()?;
    let overrides = Overrides {
        set: args.set.clone(),
        val,
        ..Overrides::default()
    };
    let (recipe, setup) = Setup::open(&run, &overrides, device)?;
    setup.told.iter().for_each(tell);
    ensure!(
        !recipe.data.val.is_empty(),
        "{}: says nothing of what to evaluate on; add --val SOURCE",
        run.display()
    );
    let validation = corpus::open(&recipe.data.val, &recipe)?.sources;
    let labelled = zero_shot::labelled(&recipe)?;
    eval::not_empty(&validation)?;
    let evaluator = Evaluator {
        model: &setup.model,
        inputs: &setup.inputs,
        device,
        stop: None,
    };
    let results = validation
        .iter()
        .map(|source| evaluator.retrieval(source.as_ref(), &recipe.eval.recall))
        .collect::<anyhow::Result<Vec<_>>>()?;
    say(eval::table(&results).trim_end());
    for (name, accuracy) in zero_shot::measure(&recipe, &labelled, &evaluator)? {
        say(format_args!(
            "{name}: zero-shot accuracy {:.1} %",
            100.0 * accuracy
        ));
    }
    Ok(())
}
