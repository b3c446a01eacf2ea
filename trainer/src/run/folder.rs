//! A run's folder: what the run was made from, its metrics, bad samples and records.

use std::{
    fs::{self, File},
    io::Write,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use data::SampleError;
use optimizer::SlotOptimizer;
use serde::Serialize;
use transformer::Weights;

use super::{
    contents::Contents,
    lock::Lock,
    log::{Log, bad_sample, is_at},
    record::{self, Found, Score, Scores, Snapshot, State, Writer},
};
use crate::{
    files::{read_file, write},
    recipe::{Recipe, Run},
    say::{command, quoted},
};

const METRICS: &str = "metrics.jsonl";
const BAD_SAMPLES: &str = "bad-samples.jsonl";

/// The most bytes of the lines of a run.
const LOG: u64 = 16 << 30;

/// The folder of one run: `recipe.toml`, `tokenizer.json`, `preprocessing.json`, `device.json`, `metrics.jsonl`,
/// `bad-samples.jsonl`, `scores.json`, `lock`, and `records/`.
pub(crate) struct RunFolder {
    path: PathBuf,
    /// The folder itself, whatever its name becomes.
    handle: File,
    contents: Contents,
    metrics: Log,
    bad: Log,
    scores: Scores,
    settings: Run,
    writer: Writer,
    /// The step of the record that is being written.
    writing: Option<u64>,
    /// The step of the newest record that is whole.
    whole: Option<u64>,
    /// Of a folder that was made; one that is gone on in was locked before its records were read.
    _lock: Option<Lock>,
}

impl RunFolder {
    /// Makes the next free folder `DIR/NAME-N` and writes what does not change during a run.
    ///
    /// # Errors
    ///
    /// Names the file that cannot be written.
    pub(crate) fn create(recipe: &Recipe, contents: Contents) -> anyhow::Result<Self> {
        let path = next_free(&recipe.run.dir, &recipe.name)?;
        let lock = Lock::take(&path)?;
        Self::at(path, Some(lock), recipe, contents)
    }

    /// Goes on in the folder `path`, whose files become what they were at the record, or empty without one. What an
    /// evaluation of the record's step found stays.
    ///
    /// # Errors
    ///
    /// Names the file that cannot be read or written.
    pub(crate) fn reopen(
        path: &Path,
        record: Option<&Found>,
        recipe: &Recipe,
        contents: Contents,
    ) -> anyhow::Result<Self> {
        let step = record.map(|record| record.state.step);
        record::sweep(path, step.unwrap_or(0))?;
        let mut scores = Scores::read(path);
        scores.forget_after(step)?;
        // A record that was written after the evaluation of its step has its lines.
        let owed = step.filter(|_| record.is_some_and(|record| record.state.evaluation_due));
        for name in [METRICS, BAD_SAMPLES] {
            let mut old = match record {
                Some(record) => read_file(&record.path.join(name), LOG)?,
                None => Vec::new(),
            };
            if name == METRICS
                && let Some(found) = owed.and_then(|step| scores.after(step))
            {
                for line in &found.lines {
                    writeln!(old, "{line}")?;
                }
            }
            write(&path.join(name), &old)?;
        }
        let mut folder = Self::at(path.to_path_buf(), None, recipe, contents)?;
        folder.whole = step;
        Ok(folder)
    }

    fn at(
        path: PathBuf,
        lock: Option<Lock>,
        recipe: &Recipe,
        contents: Contents,
    ) -> anyhow::Result<Self> {
        for (name, text) in &contents.texts {
            write(&path.join(name), text.as_bytes())?;
        }
        Ok(Self {
            handle: File::open(&path).with_context(|| path.display().to_string())?,
            metrics: Log::open(path.join(METRICS))?,
            bad: Log::open(path.join(BAD_SAMPLES))?,
            scores: Scores::read(&path),
            settings: recipe.run.clone(),
            writer: Writer::new(&path, &recipe.run),
            writing: None,
            whole: None,
            _lock: lock,
            path,
            contents,
        })
    }

    /// Where the run is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one JSON line to the metrics.
    ///
    /// # Errors
    ///
    /// If the disk is full, or the folder is gone.
    pub(crate) fn log(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        self.check()?;
        self.metrics.append(&serde_json::to_string(line)?)
    }

    /// Appends what an evaluation found after a step to the metrics, and keeps that it was done.
    ///
    /// # Errors
    ///
    /// As [`log`](Self::log).
    pub(crate) fn evaluated(&mut self, found: Score) -> anyhow::Result<()> {
        self.check()?;
        for line in &found.lines {
            self.metrics.append(line)?;
        }
        self.scores.add(found)
    }

    /// Appends samples that could not be used, each with its source, place, file and reason.
    ///
    /// # Errors
    ///
    /// As [`log`](Self::log).
    pub(crate) fn note_bad(&mut self, errors: &[SampleError]) -> anyhow::Result<()> {
        self.check()?;
        for error in errors {
            self.bad.append(&bad_sample(error).to_string())?;
        }
        Ok(())
    }

    /// Takes a copy of the tensors, and has it written as a record while training goes on.
    ///
    /// # Errors
    ///
    /// Names the file that could not be written, of this record or the one before.
    pub(crate) fn save(
        &mut self,
        weights: Weights,
        optimizer: &SlotOptimizer,
        state: State,
        sizes: Vec<u32>,
    ) -> anyhow::Result<()> {
        self.check()?;
        self.wait()?;
        let Contents {
            config: file,
            texts,
        } = &self.contents;
        let step = state.step;
        self.writer.write(Snapshot {
            weights,
            weights_name: file.weights_name(),
            config: (file.name, file.json.clone()),
            moments: record::moments(optimizer),
            state,
            sizes,
            texts: texts.clone(),
            logs: vec![(METRICS, self.metrics.bytes), (BAD_SAMPLES, self.bad.bytes)],
        })?;
        self.writing = Some(step);
        Ok(())
    }

    /// Waits for the record that is being written.
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save).
    pub(crate) fn wait(&mut self) -> anyhow::Result<()> {
        if let Err(error) = self.written() {
            self.check()?;
            return Err(error);
        }
        Ok(())
    }

    /// Waits for the record that is being written; only one that could be written is whole.
    fn written(&mut self) -> anyhow::Result<()> {
        let step = self.writing.take();
        self.writer.wait()?;
        self.whole = step.or(self.whole);
        Ok(())
    }

    /// Waits for the last record, and leaves those that the recipe wants.
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save).
    pub(crate) fn finish(&mut self) -> anyhow::Result<()> {
        self.wait()?;
        record::prune(&self.path, &self.settings)
    }

    /// Checks that the folder is where it was, and the files that grow in it.
    fn check(&mut self) -> anyhow::Result<()> {
        if !is_at(&self.handle, &self.path) {
            return Err(self.gone());
        }
        for log in [&self.metrics, &self.bad] {
            ensure!(
                is_at(&log.file, &log.path),
                "{}: was deleted or replaced while the run wrote to it{}",
                log.path.display(),
                last_record(self.whole, &self.path)
            );
        }
        Ok(())
    }

    /// What became of the folder.
    fn gone(&mut self) -> anyhow::Error {
        // If it could not be written, what is told here is the reason.
        let _ = self.written();
        let link = format!("/proc/self/fd/{}", self.handle.as_raw_fd());
        let now = fs::read_link(link)
            .ok()
            .filter(|now| is_at(&self.handle, now));
        let place = self.path.display();
        match now {
            Some(now) => anyhow::anyhow!(
                "{place}: was moved to {} while the run wrote to it{}",
                now.display(),
                last_record(self.whole, &now)
            ),
            None => anyhow::anyhow!("{place}: was deleted or moved away while the run wrote to it"),
        }
    }
}

/// Where a run can be taken up again.
fn last_record(step: Option<u64>, run: &Path) -> String {
    match step {
        Some(step) => format!(
            "; its last whole record is that of step {step}: {} goes on from there",
            command(&format!("train --resume {}", quoted(run)))
        ),
        None => "; it has no record yet".to_owned(),
    }
}

fn next_free(dir: &Path, name: &str) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| {
        format!(
            "{}: cannot be made; set `run.dir` to a folder you may write",
            dir.display()
        )
    })?;
    for number in 1..=100_000 {
        let path = dir.join(format!("{name}-{number}"));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
    bail!("{}: too many runs named {name}", dir.display())
}
