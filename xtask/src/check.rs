//! `cargo xtask check`: what is asked of a change. Each step also runs alone: `cargo xtask check tidy`.

mod deps;
mod licences;
mod spelling;
mod tidy;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::cargo::{cargo, run as run_cargo};
use crate::test;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these steps; all of them when none is named.
    #[arg(value_enum)]
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// House rules: file headers, lengths, leftovers, machine paths, README files.
    Tidy,
    /// Who may depend on whom, and where a backend may be named.
    Deps,
    /// What crates are licensed under, and those that nothing may bring.
    Licences,
    /// `cargo fmt --check`.
    Fmt,
    /// Misspelled words; asks PyPI for `typos`.
    Spelling,
    /// Clippy without warnings: libraries alone first, since dev-dependencies can hide a missing feature.
    Clippy,
    /// Tests and doctests.
    Test,
    /// Documentation without warnings.
    Doc,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let all = Step::value_variants();
    let steps = if args.steps.is_empty() {
        all
    } else {
        &args.steps
    };
    let mut failed = Vec::new();
    for &step in steps {
        let began = Instant::now();
        let outcome = step.run();
        let seconds = began.elapsed().as_secs_f32();
        match outcome {
            Ok(()) => eprintln!("check {}: ok ({seconds:.1} s)", step.name()),
            Err(error) => {
                eprintln!("check {}: FAILED\n{error:#}", step.name());
                failed.push(step.name());
            }
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Tidy => "tidy",
            Self::Deps => "deps",
            Self::Licences => "licences",
            Self::Fmt => "fmt",
            Self::Spelling => "spelling",
            Self::Clippy => "clippy",
            Self::Test => "test",
            Self::Doc => "doc",
        }
    }

    fn run(self) -> Result<()> {
        match self {
            Self::Tidy => tidy::check(),
            Self::Deps => deps::check(),
            Self::Licences => licences::check(),
            Self::Spelling => spelling::check(),
            Self::Fmt => run_cargo(cargo(&["fmt", "--all"]).args(["--", "--check"])),
            Self::Clippy => clippy(),
            Self::Test => test::run_all(),
            Self::Doc => run_cargo(
                cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"),
            ),
        }
    }
}

fn clippy() -> Result<()> {
    for targets in [&["--lib", "--bins"][..], &["--all-targets"]] {
        run_cargo(
            cargo(&["clippy", "--workspace"])
                .args(targets)
                .args(["--", "-D", "warnings"]),
        )?;
    }
    Ok(())
}
