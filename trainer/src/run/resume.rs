//! Going on with a run: from which record, and under which recipe.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use toml::Value;

use crate::{
    device::Capabilities,
    files::{TEXT, read_file},
    recipe::{Overrides, Recipe, Said},
    run::lock::Lock,
    run::record::{self, Found, Scores, State},
    say::tell,
};

/// Keys that change nothing of what is computed: they may differ when a run goes on.
const FREE: [&str; 11] = [
    "data.max_bad",
    "data.prefetch",
    "data.strict",
    "data.val",
    "data.workers",
    "eval",
    "run",
    "train.eval_every",
    "train.log_every",
    "train.skip_nonfinite",
    "name",
];

/// A run that goes on.
#[derive(Debug)]
pub(crate) struct Resumed {
    /// The run's folder.
    pub run: PathBuf,
    /// Its newest whole record; none if it was stopped before the first.
    pub record: Option<Found>,
    /// Keeps other processes from training in the folder.
    _lock: Lock,
}

impl Resumed {
    /// Opens a run's folder.
    ///
    /// # Errors
    ///
    /// If it is no run's folder, another process trains in it, or every record is damaged.
    pub(crate) fn open(run: &Path) -> anyhow::Result<Self> {
        ensure!(
            run.join("recipe.toml").exists(),
            "{}: no recipe.toml; `--resume` takes the folder of a run, as `runs/shapes-1`",
            run.display()
        );
        ensure!(
            !run.join("state.json").exists(),
            "{}: is a record; `--resume` takes the folder of its run",
            run.display()
        );
        let lock = Lock::take(run)?;
        Ok(Self {
            run: run.to_path_buf(),
            record: record::newest(run)?,
            _lock: lock,
        })
    }

    /// The record, if the run has come to its end: no step and no evaluation is left.
    pub(crate) fn complete(&self) -> Option<&Found> {
        let is_complete = |found: &&Found| {
            let state = &found.state;
            let last = state.step == state.steps;
            state.complete || (last && !self.evaluation_due(state.steps))
        };
        self.record.as_ref().filter(is_complete)
    }

    /// Whether the evaluation of the record's step is still to be done, in a run of `steps`.
    pub(crate) fn evaluation_due(&self, steps: u64) -> bool {
        self.record.as_ref().is_some_and(|found| {
            let state = &found.state;
            let due = state.evaluation_due || (state.step == steps && !state.complete);
            due && Scores::read(&self.run).after(state.step).is_none()
        })
    }

    /// The folder that holds the recipe and the tokenizer: the record's, or the run's.
    pub(crate) fn folder(&self) -> &Path {
        self.record
            .as_ref()
            .map_or(self.run.as_path(), |record| record.path.as_path())
    }

    /// The recipe to go on with: the run's own under `overrides`, or `given`, with what the run found out where `given`
    /// says nothing. Changes are told of on standard error.
    ///
    /// # Errors
    ///
    /// If a change would make the run another one than without the interruption, unless `allow_changes`.
    pub(crate) fn recipe(
        &self,
        given: Option<&Path>,
        overrides: &Overrides,
        allow_changes: bool,
    ) -> anyhow::Result<(Recipe, Said)> {
        let own = self.folder().join("recipe.toml");
        let old = Recipe::load(&own, &Overrides::default())?;
        let (mut new, said) = Recipe::load_said(given.unwrap_or(&own), overrides)?;
        new.settle(&said, &old);
        let changed = changes(&old, &new)?;
        for change in &changed {
            tell(format_args!("changed since the record: {change}"));
        }
        let breaking: Vec<&str> = changed
            .iter()
            .map(|change| change.key.as_str())
            .filter(|key| !is_free(key))
            .collect();
        if !breaking.is_empty() && !allow_changes {
            bail!(
                "{}: a run under another {} does not end where the uninterrupted one would; take the changes back, \
                 or add `--allow-changes`",
                self.run.display(),
                breaking.join(", ")
            );
        }
        Ok((new, said))
    }

    /// Checks that the backend is the record's, and tells of another device.
    ///
    /// # Errors
    ///
    /// If the backend differs, unless `allow_changes`: it rounds otherwise. If `device.json` cannot be read.
    pub(crate) fn check_device(
        &self,
        now: &Capabilities,
        allow_changes: bool,
    ) -> anyhow::Result<()> {
        let path = self.folder().join("device.json");
        let text = read_file(&path, TEXT)?;
        let old: Capabilities =
            serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        ensure!(
            old.backend == now.backend || allow_changes,
            "{}: the record was made with `--backend {}`, and another one rounds otherwise, so that the run does not \
             end where the uninterrupted one would; take that one, or add `--allow-changes`",
            self.run.display(),
            old.backend.name()
        );
        if old.name != now.name {
            tell(format_args!(
                "changed since the record: the device, it was {old}; its sums may round otherwise"
            ));
        }
        Ok(())
    }

    /// Checks that the recipe does not end before the record.
    ///
    /// # Errors
    ///
    /// If it does.
    pub(crate) fn check_steps(&self, steps: u64) -> anyhow::Result<()> {
        let done = self.record.as_ref().map_or(0, |found| found.state.step);
        ensure!(
            done <= steps,
            "{}: the record is that of step {done}, and the recipe has {steps} steps; give as many, or more",
            self.run.display()
        );
        Ok(())
    }

    /// Checks that the training sources are those of the record: their names, their samples, and the digests of paths
    /// and captions. What changed is told of where it is allowed.
    ///
    /// # Errors
    ///
    /// Names the sources that differ, unless `allow_changes`.
    pub(crate) fn check_sources(
        &self,
        sources: &[(String, usize)],
        digests: &[String],
        allow_changes: bool,
    ) -> anyhow::Result<()> {
        let Some(record) = &self.record else {
            return Ok(());
        };
        let changes = changed_sources(&record.state, sources, digests);
        if allow_changes {
            for change in changes {
                tell(format_args!("changed since the record: {change}"));
            }
            return Ok(());
        }
        ensure!(
            changes.is_empty(),
            "{}: the training samples are not those of the record: {}; bring the data back, or add `--allow-changes`",
            self.run.display(),
            changes.join(", ")
        );
        Ok(())
    }
}

/// What is not as in the record, source by source.
fn changed_sources(state: &State, sources: &[(String, usize)], digests: &[String]) -> Vec<String> {
    let old = &state.sources;
    let mut changes = Vec::new();
    for place in 0..old.len().max(sources.len()) {
        match (old.get(place), sources.get(place)) {
            (Some((name, len)), None) => changes.push(format!("{name} ({len}) is gone")),
            (None, Some((name, len))) => changes.push(format!("{name} ({len}) is new")),
            (Some((old, was)), Some((name, len))) if old != name => {
                changes.push(format!("{name} ({len}) in place of {old} ({was})"));
            }
            (Some((_, was)), Some((name, len))) if was != len => {
                changes.push(format!("{name} has {len}, was {was}"));
            }
            (Some(_), Some((name, _))) => {
                // A record of format 1 holds no digests.
                let digest = state.digests.get(place);
                if digest.is_some_and(|old| Some(old) != digests.get(place)) {
                    changes.push(format!(
                        "{name} has other paths or captions, or another order"
                    ));
                }
            }
            (None, None) => {}
        }
    }
    changes
}

/// A key whose value differs.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    key: String,
    old: Option<String>,
    new: Option<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".to_owned());
        write!(
            f,
            "{} = {}, was {}",
            self.key,
            shown(&self.new),
            shown(&self.old)
        )
    }
}

fn is_free(key: &str) -> bool {
    FREE.iter().any(|free| {
        key.strip_prefix(free)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

fn changes(old: &Recipe, new: &Recipe) -> anyhow::Result<Vec<Change>> {
    let flat = |recipe: &Recipe| -> anyhow::Result<BTreeMap<String, String>> {
        let tree: Value = toml::from_str(&recipe.to_toml()?).context("a recipe as TOML")?;
        let mut flat = BTreeMap::new();
        flatten(String::new(), &tree, &mut flat);
        Ok(flat)
    };
    let (old, new) = (flat(old)?, flat(new)?);
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changes = keys.into_iter().filter_map(|key| {
        let (old, new) = (old.get(key).cloned(), new.get(key).cloned());
        let key = key.clone();
        (old != new).then_some(Change { key, old, new })
    });
    Ok(changes.collect())
}

fn flatten(key: String, value: &Value, flat: &mut BTreeMap<String, String>) {
    let under = |part: &str| match key.as_str() {
        "" => part.to_owned(),
        key => format!("{key}.{part}"),
    };
    match value {
        Value::Table(table) => {
            for (part, value) in table {
                flatten(under(part), value, flat);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_table) => {
            for (index, value) in items.iter().enumerate() {
                flatten(under(&index.to_string()), value, flat);
            }
        }
        value => {
            flat.insert(key, value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Backend;

    fn recipe(set: &[&str]) -> Recipe {
        let overrides = Overrides {
            set: set.iter().map(|text| (*text).to_owned()).collect(),
            ..Overrides::default()
        };
        Recipe::load(Path::new("default"), &overrides).unwrap()
    }

    #[test]
    fn another_backend_is_refused_and_another_device_of_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let resumed = Resumed {
            run: folder.path().to_path_buf(),
            record: None,
            _lock: Lock::take(folder.path()).unwrap(),
        };
        let capabilities = |backend, name: &str| Capabilities {
            backend,
            name: name.to_owned(),
            memory: None,
            dtypes: vec!["f32".to_owned()],
            threads: 2,
        };
        let old = serde_json::to_vec(&capabilities(Backend::Flex, "an old one")).unwrap();
        std::fs::write(folder.path().join("device.json"), old).unwrap();
        let new = capabilities(Backend::Flex, "a new one");
        resumed.check_device(&new, false).unwrap();
        let other = capabilities(Backend::Wgpu, "an old one");
        let error = resumed.check_device(&other, false).unwrap_err().to_string();
        assert!(error.contains("--backend flex") && error.contains("--allow-changes"));
        resumed.check_device(&other, true).unwrap();
    }

    #[test]
    fn changed_keys_are_named_and_only_harmless_ones_are_free() {
        let new = recipe(&["train.lr=2e-3", "run.keep_last=7", "data.workers=3"]);
        let changes = changes(&recipe(&[]), &new).unwrap();
        let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(keys, ["data.workers", "run.keep_last", "train.lr"]);
        assert!(is_free("data.workers") && is_free("run.keep_last") && is_free("data.val.0.path"));
        assert!(!is_free("train.lr") && !is_free("data.train.0.path") && !is_free("runner"));
    }
}
