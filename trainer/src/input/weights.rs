//! A folder of weights: what its files say, before any tensor is read.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::tensor::Device;
use fusion::{DualConfig, DualKeys};
use serde_json::Value;
use text_encoder::tokenizer::{Opened, Tokenizer, TokenizerFiles};
use transformer::Bindings;
use vision_encoder::image::PreprocessorConfig;

use crate::{files, model::Model, recipe::Recipe, weight_file};

/// The configs that a folder of weights may have: open_clip's, and that of transformers.
pub(super) const CONFIGS: [&str; 2] = [OPEN_CLIP, HF];
const OPEN_CLIP: &str = "open_clip_config.json";
const HF: &str = "config.json";

/// The config of pictures and captions together, since transformers 5.
const PROCESSOR: &str = "processor_config.json";
/// The config of pictures alone.
const PREPROCESSOR: &str = "preprocessor_config.json";

/// A config as it stands in its file, for whoever writes the model again.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// The name of the file.
    pub name: &'static str,
    /// What it holds.
    pub json: Value,
    /// How the weights beside it are named.
    pub keys: DualKeys,
}

impl ConfigFile {
    /// The name of the file of weights that goes with it.
    pub fn weights_name(&self) -> &'static str {
        weights_name(self.keys)
    }
}

/// The names that weights of this naming may be found under, first to last.
fn weights_names(keys: DualKeys) -> &'static [&'static str] {
    match keys {
        DualKeys::OpenClip | DualKeys::OpenClipCustom => &weight_file::OPEN_CLIP,
        DualKeys::HfClip | DualKeys::HfSiglip => &weight_file::HF,
    }
}

/// The name under which weights of this naming are written.
pub fn weights_name(keys: DualKeys) -> &'static str {
    weights_names(keys)[0]
}

/// The name of the config that goes with weights of this naming.
pub fn config_name(keys: DualKeys) -> &'static str {
    match keys {
        DualKeys::OpenClip | DualKeys::OpenClipCustom => OPEN_CLIP,
        DualKeys::HfClip | DualKeys::HfSiglip => HF,
    }
}

/// The namings that the weights beside a config may follow, the config's own first: folders hold files of transformers and
/// of open_clip side by side, and open_clip's from before the text tower stood apart.
pub(crate) fn namings(config: &DualConfig, keys: DualKeys) -> Vec<Bindings> {
    let hf = match config.logit_bias {
        None => DualKeys::HfClip,
        Some(_) => DualKeys::HfSiglip,
    };
    let others = [DualKeys::OpenClip, DualKeys::OpenClipCustom, hf];
    std::iter::once(keys)
        .chain(others.into_iter().filter(|other| *other != keys))
        .map(|keys| config.bindings(keys))
        .collect()
}

/// A folder of weights, or the record of a run, which is one.
#[derive(Clone, Debug)]
pub struct WeightsFolder {
    /// The folder.
    pub path: PathBuf,
    /// The sizes.
    pub config: DualConfig,
    /// Where they were read.
    pub file: ConfigFile,
    /// The recipe of the run, where this is a record that another run starts from.
    pub run: Option<Recipe>,
}

impl WeightsFolder {
    /// Reads the config of a folder.
    ///
    /// # Errors
    ///
    /// Names the file, the key and what it may hold.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let name = Self::config_name(path)?;
        let file = path.join(name);
        let shown = || file.display().to_string();
        let text = files::read_file(&file, files::TEXT)?;
        let json: Value = serde_json::from_slice(&text)
            .map_err(|error| anyhow::anyhow!("{}: no valid JSON: {error}", shown()))?;
        let parsed = if name == OPEN_CLIP {
            DualConfig::from_open_clip(&json)
        } else {
            DualConfig::from_hf(&json)
        };
        let (config, keys) = parsed.with_context(shown)?;
        Ok(Self {
            path: path.to_path_buf(),
            config,
            file: ConfigFile { name, json, keys },
            run: None,
        })
    }

    /// The config whose weights lie beside it; a released folder may have both configs and the weights of one.
    fn config_name(path: &Path) -> anyhow::Result<&'static str> {
        let is_there = |name: &str| path.join(name).is_file();
        let [open_clip, hf] = CONFIGS.map(is_there);
        match (open_clip, hf) {
            (true, false) => Ok(OPEN_CLIP),
            (false, true) => Ok(HF),
            (true, true) => {
                // open_clip reads files of other names, too, but not those that transformers has written.
                let own = weight_file::OPEN_CLIP
                    .iter()
                    .filter(|name| name.starts_with("open_clip_"));
                Ok(if own.into_iter().any(|name| is_there(name)) {
                    OPEN_CLIP
                } else {
                    HF
                })
            }
            (false, false) => bail!(
                "{}: holds no {}; a folder of weights holds one of them, and the weights beside it",
                path.display(),
                CONFIGS.join(" and no ")
            ),
        }
    }

    /// Loads the weights into a model of these sizes, every key accounted for; what is odd about them is told.
    ///
    /// # Errors
    ///
    /// Names the file and the key that is missing, unexpected or of another shape.
    pub fn load(
        &self,
        config: &DualConfig,
        device: &Device,
        told: &mut Vec<String>,
    ) -> anyhow::Result<Model> {
        let keys = self.file.keys;
        let names = weights_names(keys);
        let namings = namings(config, keys);
        let loaded = weight_file::load(&self.path, names, config.init(device), &namings)?;
        let path = loaded.path.display();
        told.extend(
            loaded
                .notes
                .iter()
                .map(|note| format!("weights: {path}: {note}")),
        );
        Ok(loaded.module)
    }

    /// The preprocessing that the folder names, and the file that does.
    ///
    /// # Errors
    ///
    /// Names the file and the key that nobody here understands.
    pub fn pictures(&self) -> anyhow::Result<Option<(PreprocessorConfig, String)>> {
        if self.file.name == OPEN_CLIP {
            let path = self.path.join(OPEN_CLIP);
            let text = self.file.json.to_string();
            let config = PreprocessorConfig::from_open_clip_json(&text)
                .with_context(|| path.display().to_string())?;
            return Ok(Some((config, path.display().to_string())));
        }
        let model_type = self.file.json["model_type"].as_str();
        // The newer file goes first, as in transformers.
        let path = self.path.join(PROCESSOR);
        if path.exists() {
            let text = files::read_text(&path, files::TEXT)?;
            let config = PreprocessorConfig::from_hf_processor_json(&text, model_type);
            if let Some(config) = config.with_context(|| path.display().to_string())? {
                return Ok(Some((config, path.display().to_string())));
            }
        }
        let path = self.path.join(PREPROCESSOR);
        if path.exists() {
            let text = files::read_text(&path, files::TEXT)?;
            let config = PreprocessorConfig::from_hf_json(&text, model_type);
            let config = config.with_context(|| path.display().to_string())?;
            return Ok(Some((config, path.display().to_string())));
        }
        Ok(None)
    }

    /// The tokenizer of the folder.
    ///
    /// # Errors
    ///
    /// If there is none, or a file of it is not understood: names the file and the key.
    pub fn tokenizer(&self) -> anyhow::Result<Opened> {
        let shown = self.path.display();
        let mut files = tokenizer_files(&self.path)?;
        files.model_type = self.file.json["model_type"].as_str().map(str::to_owned);
        let opened = match self.file.json.pointer("/model_cfg/text_cfg") {
            Some(text_cfg) => Tokenizer::from_open_clip(text_cfg, &files),
            None => Tokenizer::from_files(&files),
        };
        opened.with_context(|| shown.to_string())
    }
}

/// The files of a folder that a tokenizer is made of.
///
/// # Errors
///
/// Names the file that cannot be read.
pub(super) fn tokenizer_files(folder: &Path) -> anyhow::Result<TokenizerFiles> {
    let mut found = TokenizerFiles::default();
    for name in TokenizerFiles::NAMES {
        let path = folder.join(name);
        if path.exists() {
            found.put(name, files::read_file(&path, files::VOCABULARY)?);
        }
    }
    Ok(found)
}
