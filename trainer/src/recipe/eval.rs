//! `[eval]` and `[run]`: what is measured, and where a run is kept.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What is measured on every validation source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Eval {
    /// Retrieval counts a hit within the first k, for each of these k.
    pub recall: Vec<usize>,
    /// Zero-shot classification, where the tables have a column of classes.
    pub zero_shot: Option<ZeroShot>,
}

impl Default for Eval {
    fn default() -> Self {
        Self {
            recall: vec![1, 5, 10],
            zero_shot: None,
        }
    }
}

/// Classification by the nearest prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZeroShot {
    /// The column of the validation tables that holds the class of a picture.
    pub column: String,
    /// The classes, as they stand in that column.
    pub classes: Vec<String>,
    /// Prompts in which `{}` is the class; their embeddings are averaged.
    pub templates: Vec<String>,
}

/// Where a run is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Run {
    /// The folder that gets one folder a run. Unlike the other paths it starts from the current folder, so that a
    /// recipe of somebody else's does not write into theirs.
    pub dir: PathBuf,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("runs"),
        }
    }
}
