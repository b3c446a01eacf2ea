//! `cargo xtask eval`: builds the trainer for a backend and evaluates a run.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::trainer::{self, Backend};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What computes.
    #[arg(long, value_enum, default_value_t)]
    backend: Backend,
    /// The run, then any of the trainer's own options (`-- --help` lists them).
    #[arg(
        value_name = "[RUN] [ARGS]",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    trainer::spawn("eval", args.backend, args.rest)
}
