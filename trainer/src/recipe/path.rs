//! Paths in a recipe.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A path as a recipe means it: relative ones start from the folder of the recipe file that names them, and those of
/// the command line from the current folder. Once read it no longer depends on either.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecipePath(PathBuf);

impl RecipePath {
    /// What serde calls this type; by it the reader knows which texts are paths.
    pub(super) const NAME: &'static str = "RecipePath";

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl From<PathBuf> for RecipePath {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl AsRef<Path> for RecipePath {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}
