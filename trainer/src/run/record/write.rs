//! Writing records, beside the training.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
};

use anyhow::{Context, anyhow, ensure};
use serde_json::Value;
use transformer::Weights;

use super::{
    State, folder, keep, name, sizes,
    sums::{SUMS, remove, sum},
};
use crate::{files, recipe::Run};

/// A copy of everything that a record holds, taken between two steps.
pub struct Snapshot {
    /// The model's parameters by their key on disk.
    pub weights: Weights,
    /// Their file's name.
    pub weights_name: &'static str,
    /// The model's config and its file's name.
    pub config: (&'static str, Value),
    /// The optimizer's moments.
    pub moments: Weights,
    /// The rest.
    pub state: State,
    /// The size of the picture of each training row, 0 where it was not read.
    pub sizes: Vec<u32>,
    /// Small files of the run that a record repeats as they are, by name.
    pub texts: Vec<(&'static str, String)>,
    /// Growing files of the run, by name, and how many of their bytes are of this step.
    pub logs: Vec<(&'static str, u64)>,
}

/// A thread that writes records, one at a time.
pub struct Writer {
    jobs: Option<SyncSender<Snapshot>>,
    done: Receiver<anyhow::Result<()>>,
    pending: usize,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// A writer into `run`, which keeps as many records as `settings` says.
    pub fn new(run: &Path, settings: &Run) -> Self {
        let (jobs, inbox) = sync_channel::<Snapshot>(1);
        let (report, done) = sync_channel(2);
        let (run, settings) = (run.to_path_buf(), settings.clone());
        let thread = std::thread::spawn(move || {
            for snapshot in inbox {
                let written = write(&run, &snapshot).and_then(|()| keep::prune(&run, &settings));
                if report.send(written).is_err() {
                    break;
                }
            }
        });
        Self {
            jobs: Some(jobs),
            done,
            pending: 0,
            thread: Some(thread),
        }
    }

    /// Waits until the record before is on disk, so that there are never two copies of the tensors.
    ///
    /// # Errors
    ///
    /// What writing it ended with: the disk is full, the folder is gone.
    pub fn wait(&mut self) -> anyhow::Result<()> {
        while self.pending > 0 {
            self.pending -= 1;
            self.done
                .recv()
                .map_err(|_| anyhow!("the thread that writes records has ended"))??;
        }
        Ok(())
    }

    /// Hands a snapshot over; it is on disk some time later.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn write(&mut self, snapshot: Snapshot) -> anyhow::Result<()> {
        self.wait()?;
        let jobs = self.jobs.as_ref().context("the writer was closed")?;
        jobs.send(snapshot)
            .map_err(|_| anyhow!("the thread that writes records has ended"))?;
        self.pending += 1;
        Ok(())
    }
}

impl Drop for Writer {
    /// Lets the record that is being written come to its end.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed by it; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// Writes one record: to a hidden folder, synced, then renamed.
fn write(run: &Path, snapshot: &Snapshot) -> anyhow::Result<()> {
    let records = folder(run);
    // Only this one: a run's folder that is gone must not come back with nothing else in it.
    if !records.is_dir() {
        fs::create_dir(&records).with_context(|| records.display().to_string())?;
    }
    let new = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(files::folder_mode())
        .tempdir_in(&records)
        .with_context(|| format!("{}: cannot be written", records.display()))?;
    let mut sums = String::new();
    let mut put = |name: &str, bytes: &[u8]| -> anyhow::Result<()> {
        sums.push_str(&format!("{}  {name}\n", sum(bytes)));
        write_synced(&new.path().join(name), bytes)
    };
    let (config_name, config) = &snapshot.config;
    put(config_name, &serde_json::to_vec_pretty(config)?)?;
    put(snapshot.weights_name, &snapshot.weights.to_safetensors()?)?;
    put("optimizer.safetensors", &snapshot.moments.to_safetensors()?)?;
    put("state.json", &serde_json::to_vec_pretty(&snapshot.state)?)?;
    put(sizes::NAME, &sizes::to_bytes(&snapshot.sizes)?)?;
    for (name, text) in &snapshot.texts {
        put(name, text.as_bytes())?;
    }
    for (name, bytes) in &snapshot.logs {
        put(name, &start_of(&run.join(name), *bytes)?)?;
    }
    write_synced(&new.path().join(SUMS), sums.as_bytes())?;
    sync_folder(new.path())?;
    let target = records.join(name(snapshot.state.step));
    let mut replaced: Option<PathBuf> = None;
    if target.exists() {
        let aside = records.join(format!(".old-{}", name(snapshot.state.step)));
        remove(&aside)?;
        fs::rename(&target, &aside).with_context(|| target.display().to_string())?;
        replaced = Some(aside);
    }
    fs::rename(new.keep(), &target)
        .with_context(|| format!("{}: cannot be written", target.display()))?;
    sync_folder(&records)?;
    replaced.map_or(Ok(()), |aside| remove(&aside))
}

/// The first bytes of a file that grows.
fn start_of(path: &Path, bytes: u64) -> anyhow::Result<Vec<u8>> {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(bytes).read_to_end(&mut start));
    read.with_context(|| path.display().to_string())?;
    ensure!(
        start.len() as u64 == bytes,
        "{}: has {} bytes, and {bytes} were written to it",
        path.display(),
        start.len()
    );
    Ok(start)
}

fn write_synced(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let attempt = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    attempt().with_context(|| format!("{}: cannot be written", path.display()))
}

/// Makes the names in a folder last, where the system can.
fn sync_folder(folder: &Path) -> anyhow::Result<()> {
    if cfg!(unix) {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.with_context(|| format!("{}: cannot be synced", folder.display()))?;
    }
    Ok(())
}
