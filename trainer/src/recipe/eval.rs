//! `[eval]` and `[run]`: what is measured, and where a run is kept.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is measured on every validation source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZeroShot {
    /// The column of the validation tables that holds the class of a picture.
    pub column: String,
    /// The classes, as they stand in that column.
    pub classes: Vec<String>,
    /// Prompts in which `{}` is the class; their embeddings are averaged.
    pub templates: Vec<String>,
}

/// Where a run is kept, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Run {
    /// The folder that gets one folder a run. Unlike the other paths it starts from the current folder, so that a
    /// recipe of somebody else's does not write into theirs.
    pub dir: PathBuf,
    /// When a record is saved, beside the end and Ctrl-C.
    pub save_every: SaveEvery,
    /// How many of the newest records are kept, at least 1.
    pub keep_last: usize,
    /// Whether the record that did best on the first validation source is kept too: by mean R@1, top-1, or the loss of
    /// masked words.
    pub keep_best: bool,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("runs"),
            save_every: SaveEvery::Epochs(1),
            keep_last: 2,
            keep_best: true,
        }
    }
}

/// When a record is saved: `1 epoch`, `500 steps`, `10 minutes`, or `end` for the end only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub enum SaveEvery {
    /// After so many epochs.
    Epochs(u64),
    /// After so many optimizer steps.
    Steps(u64),
    /// At the first step after so many minutes.
    Minutes(u64),
    /// At the end only.
    End,
}

impl TryFrom<String> for SaveEvery {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let known = "\"1 epoch\", \"500 steps\", \"10 minutes\" or \"end\"";
        if text == "end" {
            return Ok(Self::End);
        }
        let (number, unit) = text.split_once(' ').ok_or(known)?;
        let number = number.parse().ok().filter(|n| *n > 0).ok_or(known)?;
        match unit.trim_end_matches('s') {
            "epoch" => Ok(Self::Epochs(number)),
            "step" => Ok(Self::Steps(number)),
            "minute" => Ok(Self::Minutes(number)),
            _ => Err(known),
        }
    }
}

impl From<SaveEvery> for String {
    fn from(every: SaveEvery) -> Self {
        match every {
            SaveEvery::Epochs(n) => format!("{n} epochs"),
            SaveEvery::Steps(n) => format!("{n} steps"),
            SaveEvery::Minutes(n) => format!("{n} minutes"),
            SaveEvery::End => "end".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_reads_as_it_is_written() {
        for every in [
            SaveEvery::Epochs(1),
            SaveEvery::Steps(500),
            SaveEvery::Minutes(10),
            SaveEvery::End,
        ] {
            assert_eq!(SaveEvery::try_from(String::from(every)), Ok(every));
        }
        assert_eq!(
            SaveEvery::try_from("1 epoch".to_owned()),
            Ok(SaveEvery::Epochs(1))
        );
        for text in ["", "5", "0 steps", "5 parsecs", "-1 steps", "steps"] {
            assert!(SaveEvery::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
