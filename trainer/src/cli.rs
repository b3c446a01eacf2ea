//! The command line.

use std::process::ExitCode;

use anyhow::ensure;
use clap::{Parser, Subcommand};

use crate::{
    commands::{
        adapters::{self, AdaptersArgs},
        bench::{self, BenchArgs},
        data_check::{self, CheckArgs},
        embed::{self, EmbedArgs},
        eval::{self, EvalArgs},
        export::{self, ExportArgs, MergeArgs},
        show_recipe::{self, RecipeArgs},
        train::{self, TrainArgs},
    },
    device::{self, Choice},
    say::{is_lost, tell},
};

/// Trains vision-language models on little hardware.
#[derive(Parser, Debug)]
#[command(name = "shoestring", version)]
struct Cli {
    /// The GPU that computes, counted from 0, or `cpu`; without it the first GPU that is found, or the processor.
    #[arg(long, global = true, value_name = "N")]
    device: Option<Choice>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Trains from a recipe.
    Train(TrainArgs),
    /// Evaluates the record of a run, or a folder of weights.
    Eval(EvalArgs),
    /// Writes the model of a run or of a folder of weights for transformers or open_clip.
    Export(ExportArgs),
    /// Folds the adapters of a run into its base, and writes the whole model for transformers or open_clip.
    Merge(MergeArgs),
    /// Says what an adapter is.
    Adapters(AdaptersArgs),
    /// Writes the embeddings of a source's pictures and captions.
    Embed(EmbedArgs),
    /// Looks at data without training.
    #[command(subcommand)]
    Data(DataCommand),
    /// Prints a recipe as it is read, or every key that one may have.
    Recipe(RecipeArgs),
    /// Measures one case and prints a JSON line.
    Bench(BenchArgs),
}

#[derive(Subcommand, Debug)]
enum DataCommand {
    /// Reads every sample of a source: what is bad, and what the rest is like.
    Check(CheckArgs),
}

/// Runs the program: exit status 0 if all went well, 1 on an error, 2 on wrong arguments.
pub fn main() -> ExitCode {
    let result = run(Cli::parse()).and_then(|product| {
        ensure!(
            product == Product::Files || !is_lost(),
            "standard output: not all of it could be written"
        );
        Ok(())
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Where what a command found ends up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Product {
    /// In files; what is said beside them may get lost.
    Files,
    /// On standard output alone.
    Output,
}

fn run(cli: Cli) -> anyhow::Result<Product> {
    let device = || device::open(cli.device);
    let product = match &cli.command {
        Command::Train(_) | Command::Export(_) | Command::Merge(_) | Command::Embed(_) => {
            Product::Files
        }
        Command::Adapters(_)
        | Command::Eval(_)
        | Command::Data(_)
        | Command::Recipe(_)
        | Command::Bench(_) => Product::Output,
    };
    match cli.command {
        Command::Train(args) => train::run(&args, &device()?),
        Command::Eval(args) => eval::run(&args, &device()?),
        Command::Export(args) => export::run(&args, &device()?),
        Command::Merge(args) => export::merge(&args, &device()?),
        Command::Adapters(args) => adapters::run(&args),
        Command::Embed(args) => embed::run(&args, &device()?),
        Command::Data(DataCommand::Check(args)) => data_check::run(&args),
        Command::Recipe(args) => show_recipe::run(&args),
        Command::Bench(mut args) => {
            args.device = cli.device;
            bench::run(&args, &device()?)
        }
    }?;
    Ok(product)
}
