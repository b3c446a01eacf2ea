//! Starting the trainer with a backend: `cargo run --release -p trainer --no-default-features --features <backend> --
//! <subcommand> ...`.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::backend::Backend;
use crate::{cargo, setup};

/// What every command that the trainer does takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What computes.
    #[arg(long, value_enum, default_value_t)]
    backend: Backend,
    /// The trainer's own arguments (`-- --help` lists them).
    #[arg(
        value_name = "ARGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    rest: Vec<OsString>,
}

/// Builds the trainer if need be and hands over to it, exit status included.
///
/// `--backend` may stand anywhere before a `--`; the rest goes to the trainer.
///
/// # Errors
/// When `--backend` has no known value, or cargo cannot be started.
pub(crate) fn run(subcommand: &str, args: Args) -> Result<ExitCode> {
    let (backend, rest) = split_backend(args.backend, args.rest)?;
    announce_first_build();
    let mut command = command(subcommand, backend, rest);
    command.envs(setup::environment(&[backend])?);
    command.env("SHOESTRING_COMMAND", typed(backend));
    Ok(cargo::exit_code(cargo::status(&mut command)?))
}

/// How the user started the trainer, for the commands in its messages: `{}` stands for the subcommand.
fn typed(backend: Backend) -> String {
    if backend == Backend::default() {
        "cargo xtask {}".to_owned()
    } else {
        format!("cargo xtask {{}} --backend {}", backend.feature())
    }
}

fn command(subcommand: &str, backend: Backend, rest: Vec<OsString>) -> Command {
    let mut command = cargo::cargo(&["run", "--release", "-p", "trainer"]);
    command
        .args(["--no-default-features", "--features"])
        .args([&backend.features(), "--", subcommand])
        .args(rest);
    command
}

/// Takes `--backend` out of arguments that clap has left alone because they follow the first positional one.
fn split_backend(given: Backend, arguments: Vec<OsString>) -> Result<(Backend, Vec<OsString>)> {
    let (mut backend, mut rest) = (given, Vec::new());
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            rest.extend(arguments);
            break;
        }
        let value = match argument.to_str() {
            Some("--backend") => arguments.next(),
            Some(text) => text.strip_prefix("--backend=").map(OsString::from),
            None => None,
        };
        match value {
            Some(value) => backend = Backend::parse(&value)?,
            None if argument == "--backend" => {
                bail!("--backend needs a value: {}", Backend::names())
            }
            None => rest.push(argument),
        }
    }
    Ok((backend, rest))
}

/// Says that minutes of compiling are to be expected, so that nobody takes them for a hang.
fn announce_first_build() {
    let binary = format!("shoestring{}", std::env::consts::EXE_SUFFIX);
    if !cargo::target_dir().join("release").join(binary).exists() {
        eprintln!(
            "First build of the trainer (release): this takes several minutes, later ones seconds."
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn backend_may_stand_after_the_recipe() {
        let (backend, rest) = split_backend(
            Backend::Flex,
            words("emoji.toml --backend cuda --set train.lr=1"),
        )
        .unwrap();
        assert_eq!(backend, Backend::Cuda);
        assert_eq!(rest, words("emoji.toml --set train.lr=1"));
    }

    #[test]
    fn backend_with_an_equals_sign_is_taken_too() {
        let (backend, rest) = split_backend(Backend::Flex, words("a.toml --backend=wgpu")).unwrap();
        assert_eq!((backend, rest), (Backend::Wgpu, words("a.toml")));
    }

    #[test]
    fn what_follows_two_dashes_is_the_trainers() {
        let (backend, rest) =
            split_backend(Backend::Wgpu, words("a.toml -- --backend cuda")).unwrap();
        assert_eq!(backend, Backend::Wgpu);
        assert_eq!(rest, words("a.toml --backend cuda"));
    }

    #[test]
    fn an_unknown_backend_is_an_error_that_lists_the_known_ones() {
        let error = split_backend(Backend::Flex, words("--backend tpu")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown backend `tpu`; choose one of flex, libtorch, wgpu, cuda"
        );
        assert!(split_backend(Backend::Flex, words("--backend")).is_err());
    }

    #[test]
    fn the_trainer_is_built_in_release_with_one_backend() {
        let command = command("train", Backend::Cuda, words("a.toml"));
        assert_eq!(
            cargo::shown(&command),
            "cargo run --release -p trainer --no-default-features --features cuda,tune -- train a.toml"
        );
        assert_eq!(command.get_current_dir(), None, "paths are the user's");
    }
}
