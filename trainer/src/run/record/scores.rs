//! What evaluations found: beside the records, each of which is written before the evaluation of its step.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{folder, name};
use crate::{
    files::{self, TEXT},
    say::tell,
};

const NAME: &str = "scores.json";

/// An evaluation that came to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// The step after which it was.
    pub step: u64,
    /// By which the best record is known, of the first validation source, if there is one; higher is better.
    pub score: Option<f64>,
    /// The lines that it left in the metrics.
    pub lines: Vec<String>,
}

impl Score {
    fn can_be(&self) -> bool {
        let is_json = |line: &String| serde_json::from_str::<serde_json::Value>(line).is_ok();
        let is_line = |line: &String| !line.contains('\n') && is_json(line);
        self.score.is_none_or(f64::is_finite) && self.lines.iter().all(is_line)
    }
}

/// The evaluations of a run whose records are kept.
#[derive(Debug)]
pub struct Scores {
    run: PathBuf,
    scores: Vec<Score>,
}

impl Scores {
    /// Reads those of a run. A file that is damaged is told of: its evaluations are done again where they matter.
    pub fn read(run: &Path) -> Self {
        let path = run.join(NAME);
        let scores = match files::read_file(&path, TEXT) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .ok()
                .filter(|scores: &Vec<Score>| scores.iter().all(Score::can_be)),
            Err(error) if error.is_missing() => Some(Vec::new()),
            Err(_) => None,
        };
        if scores.is_none() {
            tell(format_args!("{}: damaged, passed over", path.display()));
        }
        Self {
            run: run.to_path_buf(),
            scores: scores.unwrap_or_default(),
        }
    }

    /// The evaluation after a step, if it came to its end.
    pub fn after(&self, step: u64) -> Option<&Score> {
        self.scores.iter().rfind(|score| score.step == step)
    }

    /// Keeps an evaluation, and those whose records are still there.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn add(&mut self, score: Score) -> anyhow::Result<()> {
        let records = folder(&self.run);
        let step = score.step;
        self.scores
            .retain(|old| old.step != step && records.join(name(old.step)).exists());
        self.scores.push(score);
        self.write()
    }

    /// Forgets the evaluations after step `last`: the run goes on from there.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn forget_after(&mut self, last: Option<u64>) -> anyhow::Result<()> {
        let before = self.scores.len();
        self.scores
            .retain(|old| last.is_some_and(|last| old.step <= last));
        if self.scores.len() == before {
            return Ok(());
        }
        self.write()
    }

    fn write(&self) -> anyhow::Result<()> {
        files::write(
            &self.run.join(NAME),
            &serde_json::to_vec_pretty(&self.scores)?,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_read_as_they_were_kept_and_damaged_ones_are_passed_over() {
        let run = tempfile::tempdir().unwrap();
        let score = |step| Score {
            step,
            score: Some(0.5),
            lines: vec!["{\"step\":3}".to_owned()],
        };
        let mut scores = Scores::read(run.path());
        for step in [3, 6] {
            std::fs::create_dir_all(folder(run.path()).join(name(step))).unwrap();
            scores.add(score(step)).unwrap();
        }
        let mut again = Scores::read(run.path());
        assert_eq!(again.after(3), Some(&score(3)));
        again.forget_after(Some(3)).unwrap();
        assert_eq!(Scores::read(run.path()).after(6), None);
        for damaged in ["[{\"step\":3,\"score\":\"7\",\"lines\":[]}]", "{", ""] {
            std::fs::write(run.path().join(NAME), damaged).unwrap();
            assert_eq!(Scores::read(run.path()).after(3), None);
        }
    }
}
