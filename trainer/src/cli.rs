//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    bench::{self, BenchArgs},
    data_check::{self, CheckArgs},
    device::{self, Choice},
    embed::{self, EmbedArgs},
    evaluate::{self, EvalArgs},
    export::{self, ExportArgs},
    train::{self, TrainArgs},
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
    /// Evaluates the record of a run.
    Eval(EvalArgs),
    /// Writes a run's model for transformers or open_clip.
    Export(ExportArgs),
    /// Writes the embeddings of a source's pictures and captions.
    Embed(EmbedArgs),
    /// Looks at data without training.
    #[command(subcommand)]
    Data(DataCommand),
    /// Measures one case and prints a JSON line.
    Bench(BenchArgs),
}

#[derive(Subcommand, Debug)]
enum DataCommand {
    /// Reads every sample of a source: what is bad, and what the rest is like.
    Check(CheckArgs),
}

/// Prints a line to standard output. A reader that has gone (`| head`) is no error.
pub(crate) fn say(line: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Runs the program: exit status 0 if all went well, 1 on an error, 2 on wrong arguments.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let device = || device::open(cli.device);
    match cli.command {
        Command::Train(args) => train::run(&args, &device()?),
        Command::Eval(args) => evaluate::run(&args, &device()?),
        Command::Export(args) => export::run(&args, &device()?),
        Command::Embed(args) => embed::run(&args, &device()?),
        Command::Data(DataCommand::Check(args)) => data_check::run(&args),
        Command::Bench(mut args) => {
            args.device = cli.device;
            bench::run(&args, &device()?)
        }
    }
}
