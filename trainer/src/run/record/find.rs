//! Finding the newest record that is whole.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

use super::{
    State, folder, sizes, step_of,
    sums::{self, SUMS},
};
use crate::{
    files::{TEXT, WEIGHTS, read_file, read_text},
    say::tell,
};

/// A record whose checksums hold, and whose state can be.
#[derive(Debug)]
pub struct Found {
    /// Its folder.
    pub path: PathBuf,
    /// What no tensor holds.
    pub state: State,
}

impl Found {
    /// The size in bytes of the picture of each training row, 0 where it was not read; empty in format 1.
    ///
    /// # Errors
    ///
    /// Names the file that cannot be read.
    pub fn sizes(&self) -> anyhow::Result<Vec<u32>> {
        if self.state.format == 1 {
            return Ok(Vec::new());
        }
        let path = self.path.join(sizes::NAME);
        let bytes = read_file(&path, WEIGHTS)?;
        sizes::from_bytes(&bytes, self.state.samples()).with_context(|| path.display().to_string())
    }
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

/// Opens a record, if every file is there, none is too many, each has its checksum, and a run can have been in the
/// state that they hold.
///
/// # Errors
///
/// Names the file that is missing, unexpected or damaged.
pub fn open(record: &Path) -> anyhow::Result<Found> {
    let names = checked_files(record)?;
    let is_there = |name: &str| {
        ensure!(
            names.contains(name),
            "{}: is not in {}",
            record.join(name).display(),
            SUMS
        );
        Ok(record.join(name))
    };
    let path = is_there("state.json")?;
    let place = || path.display().to_string();
    let state: State = serde_json::from_slice(&read_file(&path, TEXT)?).with_context(place)?;
    let recipe = read_text(&is_there("recipe.toml")?, TEXT)?;
    state.check(step_of(record), &recipe).with_context(place)?;
    if state.format > 1 {
        is_there(sizes::NAME)?;
    }
    let found = Found {
        path: record.to_path_buf(),
        state,
    };
    found.sizes()?;
    Ok(found)
}

/// The names of a record's files, all of which have the checksum in its list.
fn checked_files(record: &Path) -> anyhow::Result<BTreeSet<String>> {
    let list = record.join(SUMS);
    let sums = read_text(&list, TEXT)?;
    let mut names = BTreeSet::from([SUMS.to_string()]);
    for line in sums.lines() {
        let (sum, name) = line
            .split_once("  ")
            .with_context(|| format!("{}: damaged", list.display()))?;
        let path = record.join(name);
        let is_name = Path::new(name).components().count() == 1 && !name.contains(char::is_control);
        ensure!(
            is_name && names.insert(name.to_string()),
            "{}: damaged",
            list.display()
        );
        let bytes = read_file(&path, WEIGHTS).with_context(|| format!("in {}", list.display()))?;
        ensure!(
            sums::sum(&bytes) == sum,
            "{}: its checksum is not the one in {}",
            path.display(),
            SUMS
        );
    }
    for entry in fs::read_dir(record).with_context(|| record.display().to_string())? {
        let name = entry?.file_name();
        let known = name.to_str().is_some_and(|name| names.contains(name));
        ensure!(
            known,
            "{}: is not in {}",
            record.join(&name).display(),
            SUMS
        );
    }
    Ok(names)
}
