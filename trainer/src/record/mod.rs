//! Records: everything a run needs to go on exactly where it was.
//!
//! A run's folder holds `records/step-00000120/`, one folder a record:
//!
//! | file | what |
//! |---|---|
//! | `config.json`, `model.safetensors` | the model, as transformers names it (or open_clip's pair of names) |
//! | `optimizer.safetensors` | AdamW's moments by parameter path |
//! | `state.json` | [`State`] |
//! | `recipe.toml`, `tokenizer.json`, `device.json` | what the run was made from, and on |
//! | `metrics.jsonl`, `bad-samples.jsonl` | what had been written by then |
//! | `SHA256SUMS` | of all of them; `sha256sum -c` reads it |
//!
//! A record appears whole or not at all: it is written to a hidden folder, synced, and renamed.

mod find;
mod keep;
mod restore;
mod write;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::loader::Position;

pub use find::{Found, newest, open};
pub use keep::sweep;
pub(crate) use restore::moments;
pub use restore::optimizer;
pub use write::{Snapshot, Writer};

/// The layout of records that this program writes.
pub const FORMAT: u32 = 1;

/// What no tensor holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`FORMAT`].
    pub format: u32,
    /// Optimizer steps done.
    pub step: u64,
    /// Optimizer steps in all, by which the learning rate falls.
    pub steps: u64,
    /// Updates the optimizer has seen, by which its moments are corrected.
    pub optimizer_steps: u64,
    /// All randomness is a function of this, the step, and the sample's place in the data.
    pub seed: u64,
    /// Where in the data the next batch begins.
    pub position: Position,
    /// The training sources by name, and their samples.
    pub sources: Vec<(String, usize)>,
    /// Seconds spent training.
    pub seconds: f64,
    /// Mean R@1 both ways on the first validation source, where it was measured at this step.
    pub score: Option<f64>,
    /// Whether the run is complete.
    pub complete: bool,
}

/// The folder of a run's records.
pub fn folder(run: &Path) -> PathBuf {
    run.join("records")
}

fn name(step: u64) -> String {
    format!("step-{step:08}")
}

/// The step of a record's folder, if it is one.
fn step_of(path: &Path) -> Option<u64> {
    path.file_name()?
        .to_str()?
        .strip_prefix("step-")?
        .parse()
        .ok()
}
