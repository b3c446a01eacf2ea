//! Finding the newest record that is whole.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};

use super::{FORMAT, State, folder, step_of, write};
use crate::say::tell;

/// A record whose checksums hold.
#[derive(Debug)]
pub struct Found {
    /// Its folder.
    pub path: PathBuf,
    /// What no tensor holds.
    pub state: State,
}

/// The newest record of a run that is whole; the damaged ones are told of on standard error. `None` if there is no
/// record yet.
///
/// # Errors
///
/// If there are records, but all are damaged.
pub fn newest(run: &Path) -> anyhow::Result<Option<Found>> {
    let records = steps(run)?;
    for (_, path) in records.iter().rev() {
        match open(path) {
            Ok(found) => return Ok(Some(found)),
            Err(error) => tell(format_args!("damaged record passed over: {error:#}")),
        }
    }
    ensure!(
        records.is_empty(),
        "{}: every record is damaged; start the run anew",
        folder(run).display()
    );
    Ok(None)
}

/// All records of a run by step, whole or not.
pub(super) fn steps(run: &Path) -> anyhow::Result<Vec<(u64, PathBuf)>> {
    let records = folder(run);
    let entries = match fs::read_dir(&records) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| records.display().to_string())?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| records.display().to_string())?.path();
        found.extend(step_of(&path).map(|step| (step, path)));
    }
    found.sort();
    Ok(found)
}

/// Opens a record, if every file is there, none is too many, and each has its checksum.
///
/// # Errors
///
/// Names the file that is missing, unexpected or damaged.
pub fn open(record: &Path) -> anyhow::Result<Found> {
    let list = record.join(write::SUMS);
    let sums =
        fs::read_to_string(&list).with_context(|| format!("{}: cannot be read", list.display()))?;
    let mut names = BTreeSet::from([write::SUMS.to_string()]);
    for line in sums.lines() {
        let (sum, name) = line
            .split_once("  ")
            .with_context(|| format!("{}: damaged", list.display()))?;
        let path = record.join(name);
        ensure!(
            Path::new(name).components().count() == 1 && names.insert(name.to_string()),
            "{}: damaged",
            list.display()
        );
        let bytes = fs::read(&path)
            .with_context(|| format!("{}: in {}, cannot be read", path.display(), write::SUMS))?;
        ensure!(
            write::sum(&bytes) == sum,
            "{}: its checksum is not the one in {}",
            path.display(),
            write::SUMS
        );
    }
    for entry in fs::read_dir(record).with_context(|| record.display().to_string())? {
        let name = entry?.file_name();
        let known = name.to_str().is_some_and(|name| names.contains(name));
        ensure!(
            known,
            "{}: is not in {}",
            record.join(&name).display(),
            write::SUMS
        );
    }
    let path = record.join("state.json");
    ensure!(
        names.contains("state.json"),
        "{}: is not in {}",
        path.display(),
        write::SUMS
    );
    let state: State =
        serde_json::from_slice(&fs::read(&path)?).with_context(|| path.display().to_string())?;
    if state.format != FORMAT {
        bail!(
            "{}: a record of format {}; this program reads {FORMAT}",
            path.display(),
            state.format
        );
    }
    Ok(Found {
        path: record.to_path_buf(),
        state,
    })
}
