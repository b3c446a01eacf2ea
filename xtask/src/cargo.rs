//! Running cargo: the cargo that started us, on this workspace, in the folder the user stands in.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result, bail};

/// The workspace's root folder: the parent of this crate's.
pub(crate) fn root() -> &'static Path {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().unwrap_or(manifest_dir)
}

/// `cargo <subcommand>` on this workspace's manifest. The current folder stays the user's, so that the paths they
/// give keep their meaning.
pub(crate) fn cargo(subcommand: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(subcommand)
        .arg("--manifest-path")
        .arg(root().join("Cargo.toml"));
    command
}

/// Where cargo puts what it builds, as far as the environment says.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs a command to its end and hands back its exit status.
///
/// # Errors
/// When the program cannot be started.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    command.status().with_context(|| {
        format!(
            "cannot start `{}`: is it installed and on the PATH?",
            command.get_program().display()
        )
    })
}

/// Runs a command to its end; a status other than 0 is an error that repeats the command line.
///
/// # Errors
/// When the program cannot be started or fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// The command's exit status as ours; death by signal n becomes 128 + n, as shells have it.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    let code = status.code().or(signal.map(|n| 128 + n)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// The command line as a person would type it, without the manifest path.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem();
    let mut words = vec![program.unwrap_or_default().to_string_lossy().into_owned()];
    let mut arguments = command.get_args();
    while let Some(argument) = arguments.next() {
        if argument == "--manifest-path" {
            arguments.next();
        } else {
            words.push(argument.to_string_lossy().into_owned());
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_leaves_out_the_manifest_path() {
        assert_eq!(
            shown(cargo(&["doc"]).arg("--no-deps")),
            "cargo doc --no-deps"
        );
    }

    #[test]
    fn the_root_holds_the_workspace_manifest() {
        assert!(root().join("xtask").join("Cargo.toml").is_file());
    }
}
