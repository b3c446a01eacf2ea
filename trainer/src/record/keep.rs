//! Which records stay.

use std::{fs, path::Path};

use anyhow::Context;

use super::{State, find, folder, write::remove};
use crate::recipe::Run;

/// Removes all records but the newest `keep_last` and, if wanted, the best.
pub(super) fn prune(run: &Path, settings: &Run) -> anyhow::Result<()> {
    let mut records = find::steps(run)?;
    let old = records.len().saturating_sub(settings.keep_last.max(1));
    let best = match settings.keep_best {
        true => best(&records),
        false => None,
    };
    records.truncate(old);
    for (step, path) in records {
        if Some(step) == best {
            continue;
        }
        // First out of sight, so that half a record is never taken for one.
        let aside = folder(run).join(format!(".old-{}", super::name(step)));
        remove(&aside)?;
        fs::rename(&path, &aside).with_context(|| path.display().to_string())?;
        remove(&aside)?;
    }
    Ok(())
}

/// The step with the highest score, the later of two that tie.
fn best(records: &[(u64, std::path::PathBuf)]) -> Option<u64> {
    let score = |path: &Path| -> Option<f64> {
        let text = fs::read(path.join("state.json")).ok()?;
        serde_json::from_slice::<State>(&text).ok()?.score
    };
    let scored = records
        .iter()
        .filter_map(|(step, path)| Some((score(path)?, *step)));
    scored
        .max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
        .map(|(_, step)| step)
}

/// Removes what a run that was killed left half written, and sets the records after step `resumed` aside: they are
/// damaged, or the run would have gone on from them.
pub fn sweep(run: &Path, resumed: u64) -> anyhow::Result<()> {
    let records = folder(run);
    for (step, path) in find::steps(run)? {
        if step > resumed {
            let aside = records.join(format!("damaged-{}", super::name(step)));
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
        if name.is_some_and(|name| name.starts_with(".new-") || name.starts_with(".old-")) {
            remove(&path)?;
        }
    }
    Ok(())
}
