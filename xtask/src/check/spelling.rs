//! Misspelled words, by `typos` from PyPI: compiling it takes longer than all other checks of text.

use std::process::Command;

use anyhow::Result;

use crate::cargo;
use crate::setup::Venv;

/// A fixed version: what it knows to be misspelled changes between two.
const VERSION: &str = "typos==1.52.0";

pub(super) fn check() -> Result<()> {
    let venv = Venv::make(&cargo::target_dir().join("typos"))?;
    venv.install(&[VERSION])?;
    // Exceptions are in `_typos.toml`.
    cargo::run(
        Command::new(venv.program("typos"))
            .arg("--force-exclude")
            .current_dir(cargo::root()),
    )
}
