//! `eval`: measures a run's record.

use std::path::PathBuf;

use burn::tensor::Device;
use clap::Args;

use crate::{
    corpus::{self, Inputs},
    eval::{self, Evaluator},
    model,
    recipe::{Overrides, Recipe},
    say::say,
    training::zero_shot,
    vocabulary,
};

/// Options of `eval`.
#[derive(Args, Clone, Debug)]
pub struct EvalArgs {
    /// The folder of a run.
    run: PathBuf,
    /// The same to evaluate on; may be repeated.
    #[arg(long, value_name = "SOURCE")]
    val: Vec<PathBuf>,
    /// Sets a key of the recipe, as in eval.recall=[1,5]; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Prints the retrieval table of a run's record.
///
/// # Errors
///
/// Names the file that is missing or does not fit.
pub fn run(args: &EvalArgs, device: &Device) -> anyhow::Result<()> {
    let overrides = Overrides {
        set: args.set.clone(),
        val: args.val.clone(),
        ..Overrides::default()
    };
    let recipe = Recipe::load(&args.run.join("recipe.toml"), &overrides)?;
    let record = model::weights_folder(&args.run)?;
    let (config, keys) = model::read_config(&record)?;
    let model = model::load_weights(&record, &config, keys, device)?;
    let tokenizer = vocabulary::saved(&recipe, &args.run.join("tokenizer.json"))?;
    let tokenizer = vocabulary::padded(tokenizer, &config.text);
    let image_size = config.vision.image_size;
    let inputs = Inputs::new(&recipe, image_size, &config.text, tokenizer);
    let validation = corpus::open(&recipe.data.val, &recipe)?.sources;
    eval::not_empty(&validation)?;
    let evaluator = Evaluator {
        model: &model,
        inputs: &inputs,
        image_size,
        device,
    };
    let results = validation
        .iter()
        .map(|source| evaluator.retrieval(source.as_ref(), &recipe.eval.recall))
        .collect::<anyhow::Result<Vec<_>>>()?;
    say(eval::table(&results).trim_end());
    for (name, accuracy) in zero_shot(&recipe, &evaluator, &validation)? {
        say(format_args!(
            "{name}: zero-shot accuracy {:.1} %",
            100.0 * accuracy
        ));
    }
    Ok(())
}
