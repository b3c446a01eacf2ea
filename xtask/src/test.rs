//! `cargo xtask test`: every test, then every doctest.

use std::ffi::OsString;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Result;

use crate::backend::Backend;
use crate::{cargo, setup};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What computes; may be repeated: all are built at once, and the tests run on each.
    #[arg(long, value_enum)]
    backend: Vec<Backend>,
    /// The trainer and all it depends on are compiled for it, and nothing is linked or run; may be repeated.
    #[arg(long, value_enum)]
    also_compile: Vec<Backend>,
    /// Passed to the test runner as it stands, such as a filter; doctests are then left out.
    #[arg(last = true)]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    for mut command in commands(args, nextest_is_installed())? {
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
        backend: Vec::new(),
        also_compile: Vec::new(),
        rest: Vec::new(),
    };
    let mut commands = commands(&args, nextest_is_installed())?;
    commands.iter_mut().try_for_each(cargo::run)
}

fn commands(args: &Args, nextest: bool) -> Result<Vec<Command>> {
    let backends = match &args.backend[..] {
        [] => &[Backend::Flex],
        named => named,
    };
    let environment = setup::environment(backends)?;
    let mut commands = Vec::new();
    for backend in backends {
        commands.extend(on(*backend, backends, &args.rest, nextest));
    }
    for command in &mut commands {
        command.envs(environment.iter().cloned());
    }
    commands.extend(args.also_compile.iter().copied().map(compile));
    Ok(commands)
}

/// Compiles for a backend what the trainer is built of, without optimising it: that takes a third of the time.
fn compile(backend: Backend) -> Command {
    let mut command = cargo::cargo(&["build", "--profile", "xtask", "-p", "trainer", "--lib"]);
    command.args(["--no-default-features", "--features", &backend.features()]);
    if backend == Backend::Cuda {
        // The build script of its kernel compiler would fetch an LLVM to link with.
        command.env("DOCS_RS", "1");
    }
    command
}

/// The tests on one of the backends that are built.
fn on(backend: Backend, built: &[Backend], rest: &[OsString], nextest: bool) -> Vec<Command> {
    let mut runner = if nextest {
        cargo::cargo(&["nextest", "run"])
    } else {
        // The targets nextest runs, so that both runners mean the same tests: no benches, and doctests apart.
        cargo::cargo(&["test", "--lib", "--bins", "--tests", "--examples"])
    };
    let mut doctests = cargo::cargo(&["test", "--doc"]);
    for command in [&mut runner, &mut doctests] {
        command.arg("--workspace").args(features(built));
        command.env("BURN_DEVICE", backend.burn_device());
        if backend == Backend::Libtorch {
            // Threads that wait for each other in a spin are no help to tests that run side by side.
            command.env("OMP_NUM_THREADS", "1");
        }
    }
    let filter = match (rest, backend) {
        // On a software renderer the others take hours.
        ([], Backend::Wgpu) => &["parity".into()][..],
        _ => rest,
    };
    if filter.is_empty() {
        return vec![runner, doctests];
    }
    runner.args(filter);
    vec![runner]
}

/// Flex comes from the crates' dev-dependencies; any other backend is asked for.
fn features(built: &[Backend]) -> Vec<String> {
    let others = built.iter().filter(|backend| **backend != Backend::Flex);
    let features: Vec<_> = others
        .map(|backend| format!("trainer/{}", backend.feature()))
        .collect();
    if features.is_empty() {
        Vec::new()
    } else {
        vec!["--features".into(), features.join(",")]
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

    fn lines(built: &[Backend], backend: Backend, rest: &[&str], nextest: bool) -> Vec<String> {
        let rest: Vec<_> = rest.iter().map(OsString::from).collect();
        let commands = on(backend, built, &rest, nextest);
        commands.iter().map(cargo::shown).collect()
    }

    #[test]
    fn doctests_follow_the_tests_with_either_runner() {
        let doctests = "cargo test --doc --workspace";
        let flex = |nextest| lines(&[Backend::Flex], Backend::Flex, &[], nextest);
        assert_eq!(flex(true), ["cargo nextest run --workspace", doctests]);
        let runner = "cargo test --lib --bins --tests --examples --workspace";
        assert_eq!(flex(false), [runner, doctests]);
    }

    #[test]
    fn a_filter_goes_to_the_runner_alone() {
        assert_eq!(
            lines(&[Backend::Flex], Backend::Flex, &["parity"], true),
            ["cargo nextest run --workspace parity"]
        );
    }

    #[test]
    fn other_backends_are_features_of_the_trainer_built_together() {
        let built = [Backend::Flex, Backend::Libtorch, Backend::Wgpu];
        for line in lines(&built, Backend::Libtorch, &[], true) {
            assert!(
                line.ends_with("--features trainer/libtorch,trainer/wgpu"),
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_compiled_is_what_training_would_build() {
        assert_eq!(
            cargo::shown(&compile(Backend::Cuda)),
            "cargo build --profile xtask -p trainer --lib --no-default-features --features cuda,tune"
        );
    }

    #[test]
    fn on_wgpu_only_parity_is_tested() {
        assert_eq!(
            lines(&[Backend::Wgpu], Backend::Wgpu, &[], true),
            ["cargo nextest run --workspace --features trainer/wgpu parity"]
        );
    }
}
