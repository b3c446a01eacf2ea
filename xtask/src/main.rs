//! The project's commands, `cargo xtask <command>`: one file a command, and no machine-learning crate linked.

mod bench;
mod cargo;
mod check;
mod eval;
mod fuzz;
mod test;
mod train;
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
    Train(train::Args),
    /// Evaluate a run: retrieval, and zero-shot classification where the recipe asks for it.
    Eval(eval::Args),
    /// Measure one case (full, checkpointed, loss, images, tokens); prints one JSON line.
    Bench(bench::Args),
    /// Run every test and doctest.
    Test(test::Args),
    /// Run what CI runs, or one step of it.
    Check(check::Args),
    /// Feed damaged input to the parsers, a minute each.
    Fuzz(fuzz::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Train(args) => train::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Test(args) => test::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
