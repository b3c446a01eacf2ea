//! A run's folder: its recipe, vocabulary, metrics and record.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::Tensor,
};
use fusion::{DualConfig, DualKeys};
use serde::Serialize;
use serde_json::{Value, json};
use text_encoder::tokenizer::Tokenizer;
use transformer::{Weights, save};

use crate::{
    model::{Model, read_config},
    optim::AdamW,
    recipe::{Recipe, Start},
};

/// The folder of one run: `recipe.toml`, `tokenizer.json`, `metrics.jsonl`, and `record/` with
/// the weights, their config, and the optimizer's state.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    config: Value,
    keys: DualKeys,
    metrics: File,
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
    ) -> anyhow::Result<Self> {
        let path = next_free(&recipe.run.dir, &recipe.name)?;
        let (config, keys) = config_on_disk(recipe, config)?;
        write(&path.join("recipe.toml"), recipe.to_toml()?.as_bytes())?;
        write(
            &path.join("tokenizer.json"),
            tokenizer.to_json()?.as_bytes(),
        )?;
        let metrics = path.join("metrics.jsonl");
        let metrics = File::create(&metrics).with_context(|| format!("{}", metrics.display()))?;
        Ok(Self {
            path,
            config,
            keys,
            metrics,
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
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        let path = self.path.join("metrics.jsonl");
        self.metrics
            .write_all(text.as_bytes())
            .with_context(|| path.display().to_string())
    }

    /// Replaces the run's record: all of it, or nothing.
    ///
    /// # Errors
    ///
    /// Names the file that cannot be written; the previous record is left as it was.
    pub fn save(
        &self,
        model: &Model,
        config: &DualConfig,
        optimizer: &AdamW,
        step: u64,
    ) -> anyhow::Result<()> {
        let record = self.path.join("record");
        let new = tempfile::Builder::new()
            .prefix(".record-")
            .tempdir_in(&self.path)
            .with_context(|| self.path.display().to_string())?;
        let weights = save(model, &config.bindings(self.keys))?;
        let config_name = match self.keys {
            DualKeys::OpenClip | DualKeys::OpenClipCustom => "open_clip_config.json",
            DualKeys::HfClip | DualKeys::HfSiglip => "config.json",
        };
        let weights_name = match self.keys {
            DualKeys::OpenClip | DualKeys::OpenClipCustom => "open_clip_model.safetensors",
            DualKeys::HfClip | DualKeys::HfSiglip => "model.safetensors",
        };
        let state = json!({ "step": step, "optimizer_steps": optimizer.steps() });
        write(
            &new.path().join(config_name),
            &serde_json::to_vec_pretty(&self.config)?,
        )?;
        write(&new.path().join(weights_name), &weights.to_safetensors()?)?;
        let moments = moments(model, optimizer).to_safetensors()?;
        write(&new.path().join("optimizer.safetensors"), &moments)?;
        write(
            &new.path().join("state.json"),
            &serde_json::to_vec_pretty(&state)?,
        )?;

        let old = self.path.join(".record-old");
        let had_one = record.exists();
        if had_one {
            fs::rename(&record, &old).with_context(|| record.display().to_string())?;
        }
        let new = new.keep();
        if let Err(error) = fs::rename(&new, &record) {
            if had_one {
                fs::rename(&old, &record).with_context(|| record.display().to_string())?;
            }
            return Err(error).with_context(|| record.display().to_string());
        }
        if had_one {
            fs::remove_dir_all(&old).with_context(|| old.display().to_string())?;
        }
        Ok(())
    }
}

/// The config file of a record: the pretrained folder's own, or transformers'.
fn config_on_disk(recipe: &Recipe, config: &DualConfig) -> anyhow::Result<(Value, DualKeys)> {
    if let Some(Start::Pretrained(folder)) = recipe.model.start() {
        let (_, keys) = read_config(folder.as_path())?;
        if matches!(keys, DualKeys::OpenClip | DualKeys::OpenClipCustom) {
            let path = folder.as_path().join("open_clip_config.json");
            let text = fs::read(&path).with_context(|| path.display().to_string())?;
            return Ok((serde_json::from_slice(&text)?, keys));
        }
    }
    config
        .to_hf()
        .context("these sizes have no transformers config; this is a defect")
}

/// First and second moments by parameter path.
fn moments(model: &Model, optimizer: &AdamW) -> Weights {
    struct Collect<'a> {
        optimizer: &'a AdamW,
        path: Vec<String>,
        weights: Weights,
    }
    impl ModuleVisitor for Collect<'_> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_string());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(moments) = self.optimizer.moments(param.id) {
                let path = self.path.join(".");
                for (name, tensor) in [("first", &moments.first), ("second", &moments.second)] {
                    self.weights
                        .insert(format!("{path}.{name}"), tensor.clone().into_data());
                }
            }
        }
    }
    let mut collect = Collect {
        optimizer,
        path: Vec::new(),
        weights: Weights::default(),
    };
    model.visit(&mut collect);
    collect.weights
}

/// Writes a file whole: to a temporary one beside it, synced, then renamed.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let attempt = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    attempt().with_context(|| format!("{}: cannot be written", path.display()))
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
