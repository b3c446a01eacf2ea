//! Which records stay.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

use super::{Scores, State, find, folder, name, sums::remove};
use crate::{
    files::{TEXT, read_file},
    recipe::Run,
};

/// Removes all records but the newest `keep_last` and, if wanted, the best.
///
/// # Errors
///
/// If a record cannot be removed, or lies behind a link.
pub fn prune(run: &Path, settings: &Run) -> anyhow::Result<()> {
    refuse_link(&folder(run))?;
    let mut records = unlinked(run)?;
    let old = records.len().saturating_sub(settings.keep_last.max(1));
    let best = if settings.keep_best { best(run)? } else { None };
    records.truncate(old);
    for (step, path) in records {
        if Some(step) == best {
            continue;
        }
        // First out of sight, so that half a record is never taken for one.
        let aside = folder(run).join(format!(".old-{}", name(step)));
        remove(&aside)?;
        fs::rename(&path, &aside).with_context(|| path.display().to_string())?;
        remove(&aside)?;
    }
    Ok(())
}

/// The step of the record with the highest score, the later of two that tie; `None` if no record has one.
///
/// # Errors
///
/// If the folder of the records cannot be read.
pub fn best(run: &Path) -> anyhow::Result<Option<u64>> {
    let scores = Scores::read(run);
    // In format 1 the score stands in the record.
    let own = |path: &Path| -> Option<f64> {
        let text = read_file(&path.join("state.json"), TEXT).ok()?;
        serde_json::from_slice::<State>(&text).ok()?.score
    };
    let score = |step: u64, path: &Path| match scores.after(step) {
        Some(found) => found.score,
        None => own(path),
    };
    let scored = unlinked(run)?
        .into_iter()
        .filter_map(|(step, path)| Some((score(step, &path)?, step)));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    Ok(best.map(|(_, step)| step))
}

/// All records of a run by step, but for links to such.
fn unlinked(run: &Path) -> anyhow::Result<Vec<(u64, PathBuf)>> {
    let mut records = find::steps(run)?;
    records.retain(|(_, path)| !path.is_symlink());
    Ok(records)
}

/// Removes what a run that was killed left half written, and sets the records after step `resumed` aside: they are
/// damaged, or the run would have gone on from them. What is a link stays where it is, and so does what it leads to.
///
/// # Errors
///
/// If the folder of the records is a link, or something in it cannot be removed.
pub fn sweep(run: &Path, resumed: u64) -> anyhow::Result<()> {
    let records = folder(run);
    refuse_link(&records)?;
    for (step, path) in unlinked(run)? {
        if step > resumed {
            let aside = records.join(format!("damaged-{}", name(step)));
            remove(&aside)?;
            fs::rename(&path, &aside).with_context(|| path.display().to_string())?;
        }
    }
    let Ok(entries) = fs::read_dir(&records) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry.with_context(|| records.display().to_string())?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let is_half =
            name.is_some_and(|name| name.starts_with(".new-") || name.starts_with(".old-"));
        if is_half && !path.is_symlink() {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Records are deleted in the run's own folder only.
fn refuse_link(records: &Path) -> anyhow::Result<()> {
    ensure!(
        !records.is_symlink(),
        "{}: is a link, and records are not deleted behind one; put the folder itself in its place",
        records.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::run::record::Score;

    fn run_with(steps: &[u64]) -> tempfile::TempDir {
        let run = tempfile::tempdir().unwrap();
        for step in steps {
            fs::create_dir_all(folder(run.path()).join(name(*step))).unwrap();
        }
        run
    }

    fn left(run: &Path) -> Vec<u64> {
        let steps = find::steps(run).unwrap();
        steps.into_iter().map(|(step, _)| step).collect()
    }

    #[test]
    fn the_newest_records_stay_and_the_best() {
        let run = run_with(&[1, 2, 3, 4, 5]);
        let mut scores = Scores::read(run.path());
        for (step, score) in [(1, 0.1), (2, 0.9), (3, 0.5), (5, 0.2)] {
            let score = Some(score);
            scores
                .add(Score {
                    step,
                    score,
                    lines: Vec::new(),
                })
                .unwrap();
        }
        prune(run.path(), &Run::default()).unwrap();
        assert_eq!(left(run.path()), [2, 4, 5]);
        prune(
            run.path(),
            &Run {
                keep_best: false,
                ..Run::default()
            },
        )
        .unwrap();
        assert_eq!(left(run.path()), [4, 5]);
    }

    #[test]
    fn nothing_is_deleted_behind_a_link() {
        let run = run_with(&[4, 5]);
        let theirs = run_with(&[]);
        let precious = theirs.path().join("precious");
        fs::write(&precious, "").unwrap();
        for name in ["step-00000001", "step-00000009", ".new-x", ".old-x"] {
            symlink(theirs.path(), folder(run.path()).join(name)).unwrap();
        }
        prune(run.path(), &Run::default()).unwrap();
        sweep(run.path(), 5).unwrap();
        assert_eq!(left(run.path()), [1, 4, 5, 9]);
        assert!(precious.exists());

        let linked = tempfile::tempdir().unwrap();
        symlink(folder(run.path()), folder(linked.path())).unwrap();
        assert!(prune(linked.path(), &Run::default()).is_err());
        assert!(sweep(linked.path(), 0).is_err());
        assert_eq!(left(run.path()), [1, 4, 5, 9]);
    }
}
