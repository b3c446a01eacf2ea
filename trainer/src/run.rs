//! A run's folder: its recipe, vocabulary, metrics, bad samples and records.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use data::SampleError;
use fusion::{DualConfig, DualKeys};
use serde::Serialize;
use serde_json::{Value, json};
use text_encoder::tokenizer::Tokenizer;
use transformer::save;

use crate::{
    device::Capabilities,
    files::write,
    model::{Model, WeightFiles, read_config, weights_folder},
    optim::AdamW,
    recipe::{Recipe, Start},
    record::{self, Found, Snapshot, State, Writer},
};

const METRICS: &str = "metrics.jsonl";
const BAD_SAMPLES: &str = "bad-samples.jsonl";
const RECIPE: &str = "recipe.toml";
const TOKENIZER: &str = "tokenizer.json";
const DEVICE: &str = "device.json";

/// The folder of one run: `recipe.toml`, `tokenizer.json`, `device.json`, `metrics.jsonl`, `bad-samples.jsonl`, and
/// `records/`.
pub struct RunFolder {
    path: PathBuf,
    config: Value,
    keys: DualKeys,
    texts: Vec<(&'static str, String)>,
    metrics: Log,
    bad: Log,
    writer: Writer,
}

impl RunFolder {
    /// Makes the next free folder `DIR/NAME-N` and writes what does not change during a run.
    ///
    /// # Errors
    ///
    /// Names the file that cannot be written.
    pub fn create(
        recipe: &Recipe,
        config: &DualConfig,
        tokenizer: &Tokenizer,
        device: &Capabilities,
    ) -> anyhow::Result<Self> {
        let path = next_free(&recipe.run.dir, &recipe.name)?;
        Self::at(path, recipe, config, tokenizer, device)
    }

    /// Goes on in the folder `path`, whose files become what they were at the record, or empty without one.
    ///
    /// # Errors
    ///
    /// Names the file that cannot be read or written.
    pub fn reopen(
        path: &Path,
        record: Option<&Found>,
        recipe: &Recipe,
        config: &DualConfig,
        tokenizer: &Tokenizer,
        device: &Capabilities,
    ) -> anyhow::Result<Self> {
        record::sweep(path, record.map_or(0, |record| record.state.step))?;
        for name in [METRICS, BAD_SAMPLES] {
            let old = match record {
                Some(record) => {
                    let path = record.path.join(name);
                    fs::read(&path).with_context(|| path.display().to_string())?
                }
                None => Vec::new(),
            };
            write(&path.join(name), &old)?;
        }
        Self::at(path.to_path_buf(), recipe, config, tokenizer, device)
    }

    fn at(
        path: PathBuf,
        recipe: &Recipe,
        config: &DualConfig,
        tokenizer: &Tokenizer,
        device: &Capabilities,
    ) -> anyhow::Result<Self> {
        let (config, keys) = config_on_disk(recipe, config)?;
        let texts = vec![
            (RECIPE, recipe.to_toml()?),
            (TOKENIZER, tokenizer.to_json()?),
            (DEVICE, serde_json::to_string_pretty(device)?),
        ];
        for (name, text) in &texts {
            write(&path.join(name), text.as_bytes())?;
        }
        Ok(Self {
            metrics: Log::open(path.join(METRICS))?,
            bad: Log::open(path.join(BAD_SAMPLES))?,
            writer: Writer::new(&path, &recipe.run),
            path,
            config,
            keys,
            texts,
        })
    }

    /// Where the run is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one JSON line to the metrics.
    ///
    /// # Errors
    ///
    /// If the disk is full, or the folder is gone.
    pub fn log(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        self.metrics.append(line)
    }

    /// Appends samples that could not be used, each with its source, place, file and reason.
    ///
    /// # Errors
    ///
    /// As [`log`](Self::log).
    pub fn note_bad(&mut self, errors: &[SampleError]) -> anyhow::Result<()> {
        for error in errors {
            self.bad.append(&bad_sample(error))?;
        }
        Ok(())
    }

    /// Takes a copy of the tensors, and has it written as a record while training goes on.
    ///
    /// # Errors
    ///
    /// Names the file that could not be written, of this record or the one before.
    pub fn save(
        &mut self,
        model: &Model,
        config: &DualConfig,
        optimizer: &AdamW,
        state: State,
    ) -> anyhow::Result<()> {
        self.writer.wait()?;
        let files = WeightFiles::of(self.keys);
        self.writer.write(Snapshot {
            weights: save(model, &config.bindings(self.keys))?,
            weights_name: files.weights,
            config: (files.config, self.config.clone()),
            moments: record::moments(model, optimizer),
            state,
            texts: self.texts.clone(),
            logs: vec![(METRICS, self.metrics.bytes), (BAD_SAMPLES, self.bad.bytes)],
        })
    }

    /// Waits for the record that is being written.
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save).
    pub fn finish(&mut self) -> anyhow::Result<()> {
        self.writer.wait()
    }
}

/// A sample that could not be used, as a line of `bad-samples.jsonl`.
pub fn bad_sample(error: &SampleError) -> Value {
    json!({
        "source": error.origin,
        "place": error.place.to_string(),
        "file": error.reason.file().map(|path| path.display().to_string()),
        "kind": error.reason.kind(),
        "reason": error.reason.to_string(),
    })
}

/// A file of JSON lines that only grows.
struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Log {
    fn open(path: PathBuf) -> anyhow::Result<Self> {
        let open = || -> std::io::Result<(File, u64)> {
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        };
        let (file, bytes) = open().with_context(|| path.display().to_string())?;
        Ok(Self { path, file, bytes })
    }

    fn append(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file
            .write_all(text.as_bytes())
            .with_context(|| self.path.display().to_string())?;
        self.bytes += text.len() as u64;
        Ok(())
    }
}

/// The config file of a record: the pretrained folder's own, or transformers'.
fn config_on_disk(recipe: &Recipe, config: &DualConfig) -> anyhow::Result<(Value, DualKeys)> {
    if let Some(Start::Pretrained(folder)) = recipe.model.start() {
        let folder = weights_folder(folder.as_path())?;
        let (_, keys) = read_config(&folder)?;
        if matches!(keys, DualKeys::OpenClip | DualKeys::OpenClipCustom) {
            let path = folder.join("open_clip_config.json");
            let text = fs::read(&path).with_context(|| path.display().to_string())?;
            return Ok((serde_json::from_slice(&text)?, keys));
        }
    }
    config
        .to_hf()
        .context("these sizes have no transformers config; this is a defect")
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
