//! `cargo xtask test`: every test, then every doctest.

use std::ffi::OsString;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Result;

use crate::backend::Backend;
use crate::{cargo, setup};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What computes.
    #[arg(long, value_enum, default_value_t)]
    backend: Backend,
    /// Passed to the test runner as it stands, such as a filter; doctests are then left out.
    #[arg(last = true)]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let environment = setup::environment(args.backend)?;
    for mut command in commands(args, nextest_is_installed()) {
        command.envs(environment.iter().cloned());
        let status = cargo::status(&mut command)?;
        if !status.success() {
            return Ok(cargo::exit_code(status));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// All tests with the default backend, as `check` runs them.
pub(crate) fn run_all() -> Result<()> {
    let args = Args {
        backend: Backend::default(),
        rest: Vec::new(),
    };
    commands(&args, nextest_is_installed())
        .iter_mut()
        .try_for_each(cargo::run)
}

fn commands(args: &Args, nextest: bool) -> Vec<Command> {
    let mut runner = if nextest {
        cargo::cargo(&["nextest", "run"])
    } else {
        // The targets nextest runs, so that both runners mean the same tests: no benches, and doctests apart.
        cargo::cargo(&["test", "--lib", "--bins", "--tests", "--examples"])
    };
    runner.arg("--workspace").args(features(args.backend));
    if !args.rest.is_empty() {
        runner.args(&args.rest);
        return vec![runner];
    }
    let mut doctests = cargo::cargo(&["test", "--doc", "--workspace"]);
    doctests.args(features(args.backend));
    vec![runner, doctests]
}

/// Flex comes from the crates' dev-dependencies; any other backend is asked for.
fn features(backend: Backend) -> Vec<String> {
    match backend {
        Backend::Flex => Vec::new(),
        other => vec!["--features".into(), format!("trainer/{}", other.feature())],
    }
}

fn nextest_is_installed() -> bool {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(backend: Backend, rest: &[&str], nextest: bool) -> Vec<String> {
        let rest = rest.iter().map(OsString::from).collect();
        let args = Args { backend, rest };
        commands(&args, nextest).iter().map(cargo::shown).collect()
    }

    #[test]
    fn doctests_follow_the_tests_with_either_runner() {
        let doctests = "cargo test --doc --workspace";
        assert_eq!(
            lines(Backend::Flex, &[], true),
            ["cargo nextest run --workspace", doctests]
        );
        assert_eq!(
            lines(Backend::Flex, &[], false),
            [
                "cargo test --lib --bins --tests --examples --workspace",
                doctests
            ]
        );
    }

    #[test]
    fn a_filter_goes_to_the_runner_alone() {
        assert_eq!(
            lines(Backend::Flex, &["parity"], true),
            ["cargo nextest run --workspace parity"]
        );
    }

    #[test]
    fn another_backend_is_a_feature_of_the_trainer() {
        let lines = lines(Backend::Wgpu, &[], true);
        assert!(
            lines
                .iter()
                .all(|line| line.ends_with("--features trainer/wgpu")),
            "{lines:?}"
        );
    }
}
