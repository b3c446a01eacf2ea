//! The files of a run that grow.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use data::SampleError;
use serde_json::{Value, json};

use crate::files::is_same;

/// A file of JSON lines that only grows.
pub(super) struct Log {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) bytes: u64,
}

impl Log {
    pub(super) fn open(path: PathBuf) -> anyhow::Result<Self> {
        let open = || -> std::io::Result<(File, u64)> {
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        };
        let (file, bytes) = open().with_context(|| path.display().to_string())?;
        Ok(Self { path, file, bytes })
    }

    pub(super) fn append(&mut self, line: &str) -> anyhow::Result<()> {
        let text = format!("{line}\n");
        self.file
            .write_all(text.as_bytes())
            .with_context(|| self.path.display().to_string())?;
        self.bytes += text.len() as u64;
        Ok(())
    }
}

/// A sample that could not be used, as a line of `bad-samples.jsonl`.
pub(crate) fn bad_sample(error: &SampleError) -> Value {
    json!({
        "source": error.origin,
        "place": error.place.to_string(),
        "file": error.reason.file().map(|path| path.display().to_string()),
        "kind": error.reason.kind(),
        "reason": error.reason.to_string(),
    })
}

/// Whether an open file or folder is still the one at a path.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let both = file
        .metadata()
        .and_then(|file| Ok((file, fs::metadata(path)?)));
    both.is_ok_and(|(file, path)| is_same(&file, &path))
}
