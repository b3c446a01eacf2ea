//! `cargo xtask bench`: builds the trainer for a backend and measures one case.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::trainer::{self, Backend};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What computes.
    #[arg(long, value_enum, default_value_t)]
    backend: Backend,
    /// full, checkpointed, loss, images or tokens, then --batch, --steps, --data and the trainer's other options.
    #[arg(
        value_name = "CASE [ARGS]",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    trainer::spawn("bench", args.backend, args.rest)
}
