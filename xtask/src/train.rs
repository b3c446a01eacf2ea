//! `cargo xtask train`: builds the trainer for a backend and trains from a recipe.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::trainer::{self, Backend};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What computes.
    #[arg(long, value_enum, default_value_t)]
    backend: Backend,
    /// A recipe file or the name of an embedded one, then any of the trainer's own options (`-- --help` lists them).
    #[arg(
        value_name = "[RECIPE] [ARGS]",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    trainer::spawn("train", args.backend, args.rest)
}
