//! What the program says, on standard output and standard error.
//!
//! Nobody may be there to read it: a pipe's reader has gone, a terminal was closed, a disk is full. That ends no run.

use std::{
    fmt::Display,
    io::{self, Write},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// Set by what starts the program under another name: the command to type in its place, with `{}` for the subcommand.
const COMMAND: &str = "SHOESTRING_COMMAND";

/// Whether a line for standard output was lost to something else than a reader that has gone.
static LOST: AtomicBool = AtomicBool::new(false);

/// Says a line on standard output.
pub(crate) fn say(line: impl Display) {
    // In one write, so that it does not mix with lines of other programs.
    if let Err(error) = io::stdout().write_all(format!("{line}\n").as_bytes())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        LOST.store(true, Ordering::Relaxed);
    }
}

/// Tells a line on standard error.
pub(crate) fn tell(line: impl Display) {
    // There is nobody left to tell.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Whether something that was said on standard output got lost, though its reader had not gone.
pub(crate) fn is_lost() -> bool {
    io::stdout()
        .flush()
        .is_err_and(|error| error.kind() != io::ErrorKind::BrokenPipe)
        || LOST.load(Ordering::Relaxed)
}

/// A subcommand of this program as the user would type it.
pub(crate) fn command(subcommand: &str) -> String {
    if let Ok(template) = std::env::var(COMMAND) {
        return template.replace("{}", subcommand);
    }
    let program = std::env::args_os().next().unwrap_or("shoestring".into());
    format!("{} {subcommand}", quoted(Path::new(&program)))
}

/// A path as a shell takes it for one word.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "_./:=@%+,-".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return text;
    }
    let text = text.replace('\'', r"'\''");
    if text.starts_with('-') {
        format!("'./{text}'")
    } else {
        format!("'{text}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        for path in ["runs/small-1", "a b", "it's", "-x", "", "$HOME", "ä"] {
            let script = format!("printf %s {}", quoted(Path::new(path)));
            let output = std::process::Command::new("sh")
                .args(["-c", &script])
                .output();
            let said = String::from_utf8(output.unwrap().stdout).unwrap();
            assert_eq!(said.trim_start_matches("./"), path);
        }
    }
}
