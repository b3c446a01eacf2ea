//! A folder of weights: what its files say, before any tensor is read.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::module::Module;
use serde_json::Value;
use text_encoder::tokenizer::{LoadedTokenizer, Tokenizer, TokenizerFiles};
use transformer::Bindings;
use vision_encoder::image::PreprocessorConfig;

use super::{
    folder::{CONFIGS, Folder, HF, OPEN_CLIP},
    preprocessing, weight_file,
};
use crate::{
    adapters::{ADAPTER_CONFIG, ADAPTER_WEIGHTS},
    files,
    recipe::{Overrides, Recipe},
};

/// The config of pictures and captions together, since transformers 5.
const PROCESSOR: &str = "processor_config.json";
/// The config of pictures alone.
pub(crate) const PREPROCESSOR: &str = "preprocessor_config.json";

/// A config as it stands in its file, for whoever writes the model again.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// The name of the file.
    pub name: &'static str,
    /// What it holds.
    pub json: Value,
}

impl ConfigFile {
    /// The names that the weights beside it may be found under, first to last.
    pub(crate) fn weights_names(&self) -> &'static [&'static str] {
        match self.name {
            OPEN_CLIP => &weight_file::OPEN_CLIP,
            ADAPTER_CONFIG => &[ADAPTER_WEIGHTS],
            _ => &weight_file::HF,
        }
    }

    /// The name of the file of weights that goes with it.
    pub fn weights_name(&self) -> &'static str {
        self.weights_names()[0]
    }
}

/// A folder of weights, or the record of a run, which is one.
#[derive(Clone, Debug)]
pub struct WeightsFolder {
    /// The folder.
    pub path: PathBuf,
    /// Its config.
    pub file: ConfigFile,
    /// The recipe of the run, where this is a record that another run starts from.
    pub run: Option<Recipe>,
}

impl WeightsFolder {
    /// Finds the folder of weights that a path means, with its recipe where it is a run.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); if it is neither a run nor a folder of weights.
    pub(crate) fn find(path: &Path) -> anyhow::Result<Self> {
        let folder = Folder::find(path)?;
        let mut weights = Self::read(folder.path())?;
        if let Folder::Run(found) = &folder {
            let recipe = found.path.join("recipe.toml");
            weights.run = Some(Recipe::load(&recipe, &Overrides::default())?);
        }
        Ok(weights)
    }

    /// Reads the config of a folder.
    ///
    /// # Errors
    ///
    /// Names the file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let name = Self::config_name(path)?;
        let file = path.join(name);
        let text = files::read_file(&file, files::TEXT)?;
        let json: Value = serde_json::from_slice(&text)
            .map_err(|error| anyhow::anyhow!("{}: no valid JSON: {error}", file.display()))?;
        Ok(Self {
            path: path.to_path_buf(),
            file: ConfigFile { name, json },
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
            (false, false) if is_there(ADAPTER_CONFIG) => bail!(
                "{}: holds an adapter and no model; fold it into its base with `merge --run {0} --out DIR`, and name DIR",
                path.display()
            ),
            (false, false) => bail!(
                "{}: holds no {}; a folder of weights holds one of them, and the weights beside it",
                path.display(),
                CONFIGS.join(" and no ")
            ),
        }
    }

    /// What `parse` makes of the config.
    ///
    /// # Errors
    ///
    /// Its error, with the name of the file.
    pub(crate) fn parse<T, E>(
        &self,
        parse: impl FnOnce(&Value) -> Result<T, E>,
    ) -> anyhow::Result<T>
    where
        Result<T, E>: Context<T, E>,
    {
        let file = self.path.join(self.file.name);
        parse(&self.file.json).with_context(|| file.display().to_string())
    }

    /// The kind of model that the config names.
    pub(crate) fn model_type(&self) -> Option<&str> {
        self.file.json["model_type"].as_str()
    }

    /// Whether the config is timm's.
    pub(crate) fn is_timm(&self) -> bool {
        self.file.name == HF && self.file.json.get("architecture").is_some()
    }

    /// Loads the weights into a module, by the first of the namings that the keys follow; what is odd about them is told.
    ///
    /// # Errors
    ///
    /// Names the file and the key that is missing, unexpected or of another shape.
    pub(crate) fn load<M: Module>(
        &self,
        module: M,
        namings: &[Bindings],
        log_lines: &mut Vec<String>,
    ) -> anyhow::Result<M> {
        let names = self.file.weights_names();
        let loaded = weight_file::load(&self.path, names, module, namings)?;
        let path = loaded.path.display();
        log_lines.extend(
            loaded
                .notes
                .iter()
                .map(|note| format!("weights: {path}: {note}")),
        );
        Ok(loaded.module)
    }

    /// Whether the weights hold a tensor whose key ends so.
    ///
    /// # Errors
    ///
    /// If the file is missing or cannot be read.
    pub(crate) fn holds(&self, ending: &str) -> anyhow::Result<bool> {
        weight_file::holds(&self.path, self.file.weights_names(), ending)
    }

    /// The preprocessing that the folder names, and the file that does.
    ///
    /// # Errors
    ///
    /// Names the file and the key that nobody here understands.
    pub(crate) fn pictures(&self) -> anyhow::Result<Option<(PreprocessorConfig, String)>> {
        if self.run.is_some() {
            return preprocessing::recorded(&self.path);
        }
        if self.file.name == OPEN_CLIP {
            let path = self.path.join(OPEN_CLIP);
            let text = self.file.json.to_string();
            let config = PreprocessorConfig::from_open_clip_json(&text)
                .with_context(|| path.display().to_string())?;
            return Ok(Some((config, path.display().to_string())));
        }
        if self.is_timm() && self.file.json.get("pretrained_cfg").is_some() {
            let path = self.path.join(HF);
            let text = self.file.json.to_string();
            let config = PreprocessorConfig::from_timm_json(&text)
                .with_context(|| path.display().to_string())?;
            return Ok(Some((config, path.display().to_string())));
        }
        let model_type = self.model_type();
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
    pub(crate) fn tokenizer(&self) -> anyhow::Result<LoadedTokenizer> {
        let shown = self.path.display();
        let mut files = tokenizer_files(&self.path)?;
        files.model_type = self.model_type().map(str::to_owned);
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
