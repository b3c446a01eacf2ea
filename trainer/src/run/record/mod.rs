//! Records: everything a run needs to go on exactly where it was.
//!
//! A run's folder holds `records/step-00000120/`, one folder a record:
//!
//! | file | what |
//! |---|---|
//! | `config.json`, `model.safetensors` | the model, as transformers names it (or open_clip's pair of names) |
//! | `optimizer.safetensors` | the optimizer's moments by parameter path |
//! | `state.json` | [`State`] |
//! | `sizes.bin` | the size of each training picture that was read |
//! | `recipe.toml`, `tokenizer.json`, `preprocessing.json`, `device.json` | what the run was made from, and on |
//! | `metrics.jsonl`, `bad-samples.jsonl` | what had been written by then |
//! | `SHA256SUMS` | of all of them; `sha256sum -c` reads it |
//!
//! A record appears whole or not at all: it is written to a hidden folder, synced, and renamed. It is written once,
//! before the evaluation of its step. What that finds stands beside the records, in `scores.json`: [`Scores`].

mod find;
mod keep;
mod restore;
mod scores;
mod sizes;
mod state;
mod sums;
mod write;

use std::path::{Path, PathBuf};

use state::step_of;

pub use find::{Found, newest, open};
pub use keep::{best, prune, sweep};
pub(crate) use restore::moments;
pub use restore::optimizer;
pub use scores::{Score, Scores};
pub use state::{FORMAT, State};
pub use write::{Snapshot, Writer};

/// The folder of a run's records.
pub fn folder(run: &Path) -> PathBuf {
    run.join("records")
}

fn name(step: u64) -> String {
    format!("step-{step:08}")
}
