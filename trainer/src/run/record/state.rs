//! What no tensor holds.

use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::input::loader::Position;

/// The layout of records that this program writes. It reads the one before, too: see [`State::score`].
pub const FORMAT: u32 = 2;

/// The most seconds that a run may have taken: three hundred years.
const SECONDS: f64 = 1e10;

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
    /// Which optimizer the record's moments are of.
    #[serde(default)]
    pub optimizer: optimizer::Kind,
    /// Updates the optimizer has seen, by which its moments are corrected.
    pub optimizer_steps: u64,
    /// All randomness is a function of this, the step, and the sample's place in the data.
    pub seed: u64,
    /// Where in the data the next batch begins.
    pub position: Position,
    /// The training sources by name, and their samples.
    pub sources: Vec<(String, usize)>,
    /// A digest of the paths and captions of each of them; none in format 1.
    #[serde(default)]
    pub digests: Vec<String>,
    /// Seconds spent training.
    pub seconds: f64,
    /// Whether an evaluation follows this step. What it finds stands beside the records: see [`Scores`](super::Scores).
    #[serde(default)]
    pub evaluation_due: bool,
    /// Format 1 only: the mean R@1 both ways on the first validation source, where it was measured at this step.
    #[serde(default, skip_serializing)]
    pub score: Option<f64>,
    /// Format 1 only: whether the run is complete.
    #[serde(default, skip_serializing)]
    pub complete: bool,
}

impl State {
    /// Samples of all training sources.
    pub fn samples(&self) -> u64 {
        let samples = self.sources.iter().map(|(_, samples)| *samples as u64);
        samples.fold(0, u64::saturating_add)
    }

    /// Checks that a run can have been in this state, under the recipe of its record and in a folder for `step`.
    ///
    /// # Errors
    ///
    /// Names the value that cannot be.
    pub(super) fn check(&self, step: Option<u64>, recipe: &str) -> anyhow::Result<()> {
        ensure!(
            (1..=FORMAT).contains(&self.format),
            "`format` is {}, and this program reads 1 to {FORMAT}",
            self.format
        );
        ensure!(
            step.is_none_or(|step| step == self.step),
            "`step` is {}, which is not its folder's",
            self.step
        );
        ensure!(
            self.step <= self.steps,
            "`step` is {}, of {} steps",
            self.step,
            self.steps
        );
        ensure!(
            self.optimizer_steps <= self.step,
            "`optimizer_steps` is {} after {} steps",
            self.optimizer_steps,
            self.step
        );
        // NaN is in no range.
        ensure!(
            (0.0..=SECONDS).contains(&self.seconds),
            "`seconds` is {}",
            self.seconds
        );
        ensure!(
            self.score.is_none_or(|score| (0.0..=1.0).contains(&score)),
            "`score` is not a share"
        );
        self.check_sources(recipe)
    }

    fn check_sources(&self, recipe: &str) -> anyhow::Result<()> {
        let weights = weights(recipe)?;
        let sources = self.sources.len();
        ensure!(
            sources == weights.len(),
            "`sources` has {sources}, and the recipe beside it {}",
            weights.len()
        );
        ensure!(
            self.digests.len() == if self.format == 1 { 0 } else { sources },
            "`digests` has {} for {sources} sources",
            self.digests.len()
        );
        let samples = self.sources.iter().map(|(_, samples)| *samples as f64);
        let draws = samples.zip(weights).map(|(len, weight)| len * weight);
        let epoch = draws.map(f64::round).sum::<f64>();
        let Position {
            epoch: epochs,
            next,
            skipped,
        } = self.position;
        ensure!(
            next as f64 <= epoch,
            "`position.next` is {next}, of {epoch} samples an epoch"
        );
        ensure!(
            skipped <= next,
            "`position.skipped` is {skipped}, of {next} samples gone through"
        );
        // A batch may leave an epoch behind without a step, and then the next one.
        ensure!(
            epochs <= self.step.saturating_mul(2) && epochs as f64 * epoch.max(1.0) < 1e15,
            "`position.epoch` is {epochs} after {} steps",
            self.step
        );
        Ok(())
    }
}

/// The weights of the training sources in a recipe's text.
fn weights(recipe: &str) -> anyhow::Result<Vec<f64>> {
    let recipe: toml::Table = toml::from_str(recipe).context("the recipe beside it")?;
    let sources = recipe.get("data").and_then(|data| data.get("train"));
    let sources = sources.and_then(toml::Value::as_array);
    let weight = |source: &toml::Value| {
        let weight = source.get("weight");
        let whole = |weight: &toml::Value| weight.as_integer().map(|weight| weight as f64);
        weight
            .and_then(|weight| weight.as_float().or(whole(weight)))
            .unwrap_or(1.0)
    };
    let sources = sources.context("the recipe beside it names no training sources")?;
    Ok(sources.iter().map(weight).collect())
}

/// The step of a record's folder, if it is one.
pub(super) fn step_of(path: &Path) -> Option<u64> {
    path.file_name()?
        .to_str()?
        .strip_prefix("step-")?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = "[data]\n[[data.train]]\nkind = \"table\"\nweight = 2.0\n";

    fn state() -> State {
        State {
            format: FORMAT,
            step: 6,
            steps: 9,
            optimizer: optimizer::Kind::AdamW,
            optimizer_steps: 6,
            seed: 0,
            position: Position {
                epoch: 1,
                next: 12,
                skipped: 2,
            },
            sources: vec![("t.csv".to_owned(), 10)],
            digests: vec!["d".to_owned()],
            seconds: 1.5,
            evaluation_due: false,
            score: None,
            complete: false,
        }
    }

    #[test]
    fn a_state_that_cannot_be_is_told_by_its_key() {
        state().check(Some(6), RECIPE).unwrap();
        state().check(None, RECIPE).unwrap();
        type Change = fn(&mut State);
        let changes: [(&str, Change); 13] = [
            ("format", |state| state.format = 3),
            ("format", |state| state.format = 0),
            ("step", |state| state.step = 7),
            ("step", |state| state.steps = 5),
            ("optimizer_steps", |state| state.optimizer_steps = 7),
            ("seconds", |state| state.seconds = -1.0),
            ("seconds", |state| state.seconds = f64::NAN),
            ("seconds", |state| state.seconds = f64::MAX),
            ("position.next", |state| state.position.next = 21),
            ("position.skipped", |state| state.position.skipped = 13),
            ("position.epoch", |state| state.position.epoch = 13),
            ("digests", |state| state.digests.clear()),
            ("sources", |state| state.sources.clear()),
        ];
        for (key, change) in changes {
            let mut state = state();
            change(&mut state);
            let error = state.check(Some(6), RECIPE).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{key}` ")), "{key}: {error}");
        }
    }
}
