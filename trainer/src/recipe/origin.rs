//! Where a value of a recipe was written.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a value was written: a line of a recipe or preset, or an option of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    text: Arc<Text>,
    /// Counted from 1; 0 where lines mean nothing.
    line: usize,
}

/// One text that keys come from.
#[derive(Debug, PartialEq, Eq)]
struct Text {
    label: String,
    folder: PathBuf,
    /// Whether it is part of the program: a preset, or a recipe that came with it.
    embedded: bool,
}

impl Origin {
    /// A text of the user's, with a name for messages and the folder its relative paths start from.
    pub(super) fn new(label: impl Into<String>, folder: &Path) -> Self {
        Self::of(label.into(), folder, false)
    }

    /// A text that is part of the program.
    pub(super) fn embedded(label: impl Into<String>, folder: &Path) -> Self {
        Self::of(label.into(), folder, true)
    }

    fn of(label: String, folder: &Path, embedded: bool) -> Self {
        let folder = folder.to_owned();
        Self {
            text: Arc::new(Text {
                label,
                folder,
                embedded,
            }),
            line: 0,
        }
    }

    /// Whether the user wrote it, and not a preset or a recipe that came with the program.
    pub(super) fn is_users(&self) -> bool {
        !self.text.embedded
    }

    /// The folder that relative paths start from.
    pub(super) fn folder(&self) -> &Path {
        &self.text.folder
    }

    pub(super) fn at(&self, line: usize) -> Self {
        Self {
            text: Arc::clone(&self.text),
            line,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text.label)?;
        match self.line {
            0 => Ok(()),
            line => write!(f, ":{line}"),
        }
    }
}
