//! The project's commands, `cargo xtask <command>`: one file a command, and no machine-learning crate linked.

mod backend;
mod cargo;
mod check;
mod fuzz;
mod setup;
mod test;
mod trainer;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Train, evaluate, measure and check Shoestring"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train from a recipe; without one, from the embedded default that needs no download.
    Train(trainer::Args),
    /// Evaluate a run or a folder of weights: retrieval, and zero-shot classification where the recipe asks for it.
    Eval(trainer::Args),
    /// Write the model of a run or of a folder of weights for transformers or open_clip.
    Export(trainer::Args),
    /// Fold the adapters of a run into its base, and write the whole model.
    Merge(trainer::Args),
    /// Say what an adapter is: `adapters PATH`.
    Adapters(trainer::Args),
    /// Write the embeddings of a source's pictures and captions.
    Embed(trainer::Args),
    /// Look at data without training: `data check SOURCE`.
    Data(trainer::Args),
    /// Print a recipe as it is read; `recipe --keys` lists every key with its type, default and meaning.
    Recipe(trainer::Args),
    /// Measure a case (`bench all` has them all), one JSON line each; `bench compare PEER.jsonl` prints ratios.
    Bench(trainer::Args),
    /// Install what a backend needs: `setup libtorch`.
    Setup(setup::Args),
    /// Run every test and doctest.
    Test(test::Args),
    /// Check a change: house rules, dependencies, formatting, Clippy, tests, documentation; or one of them.
    Check(check::Args),
    /// Feed damaged input to the parsers, a minute each.
    Fuzz(fuzz::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Train(args) => trainer::run("train", args),
        Command::Eval(args) => trainer::run("eval", args),
        Command::Export(args) => trainer::run("export", args),
        Command::Merge(args) => trainer::run("merge", args),
        Command::Adapters(args) => trainer::run("adapters", args),
        Command::Embed(args) => trainer::run("embed", args),
        Command::Data(args) => trainer::run("data", args),
        Command::Recipe(args) => trainer::run("recipe", args),
        Command::Bench(args) => trainer::run("bench", args),
        Command::Setup(args) => setup::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
