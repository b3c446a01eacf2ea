//! What can be wrong with a recipe. Every message names where the key was written, the key, and what to do.

use std::error::Error;

use super::origin::Origin;
use crate::files::FileError;

/// A recipe that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The file cannot be read, and no embedded recipe has its name.
    #[error(
        "recipe {error}{}; give the path of a recipe file, or one of {known}",
        cause(error)
    )]
    Unreadable {
        /// The embedded recipes.
        known: String,
        /// The file, and why it is not read.
        error: FileError,
    },

    /// The text is not TOML.
    #[error("{place}: not valid TOML: {message}")]
    Syntax {
        /// Where it stops being TOML.
        place: Origin,
        /// What the parser expected.
        message: String,
    },

    /// A `--set` without `=`, or with an empty key.
    #[error("--set {text}: expected KEY=VALUE, such as --set train.lr=3e-4")]
    Set {
        /// As given.
        text: String,
    },

    /// No field has this name.
    #[error("{place}: unknown key `{key}`; {hint}")]
    UnknownKey {
        /// Where the key was written.
        place: Origin,
        /// The full path of the key.
        key: String,
        /// The nearest known key, or all of them.
        hint: String,
    },

    /// A choice that does not exist, such as a kind, a family or a preset.
    #[error("{place}: `{key}` cannot be \"{found}\"; {hint}")]
    UnknownChoice {
        /// Where it was written.
        place: Origin,
        /// The full path of the key.
        key: String,
        /// As written.
        found: String,
        /// The nearest choice, or all of them.
        hint: String,
    },

    /// A value of another type than the key's.
    #[error("{place}: `{key}` must be {expected}, found {found}")]
    WrongType {
        /// Where it was written.
        place: Origin,
        /// The full path of the key.
        key: String,
        /// What the key holds.
        expected: String,
        /// What stands there.
        found: String,
    },

    /// A key without a default is absent.
    #[error("{place}: `{key}` is missing; add it, or give --set {key}=...")]
    Missing {
        /// The table it belongs to.
        place: Origin,
        /// The full path of the key.
        key: String,
    },

    /// A value of the right type that cannot work.
    #[error("{place}: `{key}` {problem}; {remedy}")]
    Impossible {
        /// Where the value was written.
        place: Origin,
        /// The full path of the key.
        key: String,
        /// What is wrong, with the numbers.
        problem: String,
        /// What to do.
        remedy: String,
    },

    /// More than one fault.
    #[error("{} faults\n  {}", errors.len(), lines(errors))]
    Several {
        /// Each of them.
        errors: Vec<RecipeError>,
    },

    /// A value that TOML cannot hold, such as a path that is not UTF-8.
    #[error("the resolved recipe cannot be written: {message}")]
    Write {
        /// What the writer says.
        message: String,
    },
}

impl RecipeError {
    /// One or more errors as one.
    pub(super) fn all(mut errors: Vec<Self>) -> Self {
        if errors.len() == 1 {
            errors.remove(0)
        } else {
            Self::Several { errors }
        }
    }

    /// The key that the fault is about, by its full path.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::UnknownKey { key, .. }
            | Self::UnknownChoice { key, .. }
            | Self::WrongType { key, .. }
            | Self::Missing { key, .. }
            | Self::Impossible { key, .. } => Some(key),
            _ => None,
        }
    }

    /// The table that the key stands in.
    pub(super) fn table(&self) -> Option<String> {
        let key = self.key()?;
        Some(
            key.rsplit_once('.')
                .map_or("", |(table, _)| table)
                .to_owned(),
        )
    }
}

/// What the system said, after a colon. The message holds it, so that it is no source to be printed again.
fn cause(error: &FileError) -> String {
    error
        .source()
        .map_or(String::new(), |cause| format!(": {cause}"))
}

fn lines(errors: &[RecipeError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n  ")
}

/// "did you mean ...?" when one of the known names is near, otherwise the list of them. `prefix` goes before each.
pub(super) fn hint(found: &str, known: &[&str], prefix: &str) -> String {
    let near = |name: &&str| strsim::jaro_winkler(found, name);
    let best = known
        .iter()
        .copied()
        .max_by(|a, b| near(a).total_cmp(&near(b)));
    match best {
        Some(name) if near(&name) >= 0.75 => format!("did you mean `{prefix}{name}`?"),
        Some(_) => format!("known: {}", known.join(", ")),
        None => "nothing is known here".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_proposed_with_its_full_path() {
        let hint = hint("wamup", &["batch", "warmup", "lr"], "train.");
        assert_eq!(hint, "did you mean `train.warmup`?");
    }

    #[test]
    fn without_a_near_name_all_are_listed() {
        assert_eq!(hint("zzz", &["batch", "lr"], ""), "known: batch, lr");
    }
}
