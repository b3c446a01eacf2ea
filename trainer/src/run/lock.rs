//! One process at a time trains in a run's folder. Readers of its records take no lock: a record never changes.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
};

use anyhow::{Context, bail};

use crate::say::tell;

const NAME: &str = "lock";

/// A run's folder as this process's own, as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Locks the folder of a run.
    ///
    /// # Errors
    ///
    /// If another process has it, which is named; if the file of the lock is a link or cannot be written.
    pub(crate) fn take(run: &Path) -> anyhow::Result<Self> {
        let path = run.join(NAME);
        // What a link leads to is not a run's to write.
        if path.is_symlink() {
            bail!("{}: is a link; remove it", path.display());
        }
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        let mut file = options
            .open(&path)
            .with_context(|| format!("{}: cannot be written", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "{}: another process{} trains in this folder; wait for its end, or stop it",
                run.display(),
                owner(&file).map_or(String::new(), |id| format!(" ({id})"))
            ),
            // Some network file systems have no locks.
            Err(TryLockError::Error(error)) => tell(format_args!(
                "{}: cannot be locked ({error}); let no other process train in this folder",
                path.display()
            )),
        }
        let id = std::process::id().to_string();
        let mut note = || -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(id.as_bytes())
        };
        note().with_context(|| format!("{}: cannot be written", path.display()))?;
        Ok(Self { _file: file })
    }
}

/// The process that has written its number into the file.
fn owner(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_once_until_it_is_let_go() {
        let run = tempfile::tempdir().unwrap();
        let first = Lock::take(run.path()).unwrap();
        let error = Lock::take(run.path()).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        Lock::take(run.path()).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn what_a_link_leads_to_is_not_written() {
        let run = tempfile::tempdir().unwrap();
        let theirs = run.path().join("theirs");
        std::fs::write(&theirs, "kept").unwrap();
        std::os::unix::fs::symlink(&theirs, run.path().join(NAME)).unwrap();
        assert!(Lock::take(run.path()).is_err());
        assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "kept");
    }
}
