//! What a model comes with: sizes, weights, preprocessing and tokenizer. One place opens a run or a folder of weights,
//! for every command.

mod captions;
mod folder;
mod pictures;
mod weights;

use std::path::Path;

use anyhow::{Context, ensure};
use burn::tensor::Device;
use data::Source;
use fusion::DualConfig;
use text_encoder::tokenizer::{Exported, Tokenizer};
use vision_encoder::image::PreprocessorConfig;

use crate::{
    corpus::Inputs,
    early,
    model::{self, Model},
    recipe::{Family, Overrides, Recipe, Start},
};
use captions::Captions;
use pictures::Pictures;

pub use folder::Folder;
pub use pictures::PREPROCESSING;
#[cfg(test)]
pub(crate) use weights::namings;
pub use weights::{ConfigFile, WeightsFolder, config_name, weights_name};

/// A model with all that it needs to read pictures and captions.
pub struct Setup {
    /// The sizes, with what only training knows (dropout).
    pub config: DualConfig,
    /// The config as it is written beside the weights.
    pub file: ConfigFile,
    /// The model, its locked towers frozen.
    pub model: Model,
    /// How pictures become inputs.
    pub preprocessing: PreprocessorConfig,
    /// The tokenizer's file.
    pub tokenizer: String,
    /// From pictures and captions to batches.
    pub inputs: Inputs,
    /// Lines that say what comes from where.
    pub told: Vec<String>,
}

/// The parts of a [`Setup`] but for the model.
struct Parts {
    config: DualConfig,
    file: ConfigFile,
    preprocessing: PreprocessorConfig,
    tokenizer: Tokenizer,
    context: usize,
    told: Vec<String>,
}

impl Setup {
    /// What a recipe asks for, from nothing or from weights; the recipe gets what was found out: the family, and how
    /// captions are read. A vocabulary is learnt from `captions` where the recipe says so. A model that cannot be trained
    /// in so many bytes of `memory` is refused before it is made.
    ///
    /// # Errors
    ///
    /// Names the file, or the key of the recipe, and the remedy.
    pub fn new(
        recipe: &mut Recipe,
        captions: Option<&dyn Source>,
        memory: Option<u64>,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let weights = match recipe.model.start() {
            Some(Start::Pretrained(folder)) => {
                let folder = Folder::find(folder.as_path())?;
                let mut weights = WeightsFolder::read(folder.path())?;
                if let Folder::Run(found) = &folder {
                    let recipe = found.path.join("recipe.toml");
                    weights.run = Some(Recipe::load(&recipe, &Overrides::default())?);
                }
                Some(weights)
            }
            _ => None,
        };
        let mut captions = Captions::resolve(recipe, weights.as_ref(), captions)?;
        let sizes = match &weights {
            Some(weights) => weights.config.clone(),
            None => model::sized(recipe, captions.tokenizer.max_id() as usize + 1)?,
        };
        let config = model::trained_as(sizes, recipe);
        early::memory(recipe, &config, memory)?;
        let family = model::family_of(&config);
        ensure!(
            recipe.model.family.is_none_or(|wanted| wanted == family),
            "recipe {}: `model.family` is {}, and the weights are of a {}; set it to {}, or leave it out",
            recipe.name,
            recipe.model.family.map_or("", Family::name),
            family.name(),
            family.name()
        );
        captions::check(&captions.tokenizer, &config.text)
            .with_context(|| captions.from.clone())?;
        let context = captions::context(recipe, captions.max_length, &config.text)?;
        let brought = match &weights {
            Some(weights) => match &weights.run {
                Some(run) => {
                    let pictures = Pictures::of_record(run, &weights.path, &config)?;
                    Some((pictures.config, weights.path.display().to_string()))
                }
                None => weights.pictures()?,
            },
            None => None,
        };
        let pictures = Pictures::resolve(recipe, brought, family, config.vision.image_size)?;
        recipe.model.family = Some(family);
        recipe.tokens = recipe
            .tokens
            .clone()
            .with_reading(captions.reading(context));
        let mut told = vec![pictures.told];
        told.append(&mut captions.told);
        let file = match &weights {
            Some(weights) => weights.file.clone(),
            None => ConfigFile::of(&config)?,
        };
        let parts = Parts {
            config,
            file,
            preprocessing: pictures.config,
            tokenizer: captions.tokenizer,
            context,
            told,
        };
        parts.with_model(recipe, weights.as_ref(), device)
    }

    /// What a record holds, under its recipe.
    ///
    /// # Errors
    ///
    /// Names the file of the record that is not as this program writes it.
    pub fn of_record(recipe: &Recipe, record: &Path, device: &Device) -> anyhow::Result<Self> {
        let weights = WeightsFolder::read(record)?;
        let config = model::trained_as(weights.config.clone(), recipe);
        let tokenizer = captions::saved(recipe, &record.join("tokenizer.json"))?;
        captions::check(&tokenizer, &config.text)?;
        let context = captions::context(recipe, None, &config.text)?;
        let pictures = Pictures::of_record(recipe, record, &config)?;
        let parts = Parts {
            config,
            file: weights.file.clone(),
            preprocessing: pictures.config,
            tokenizer,
            context,
            told: Vec::new(),
        };
        parts.with_model(recipe, Some(&weights), device)
    }

    /// A run or a folder of weights, to be used without a training step.
    ///
    /// # Errors
    ///
    /// If it is neither, or a file of it is not understood.
    pub fn open(
        path: &Path,
        overrides: &Overrides,
        device: &Device,
    ) -> anyhow::Result<(Recipe, Self)> {
        match Folder::find(path)? {
            Folder::Run(found) => {
                let recipe = Recipe::load(&found.path.join("recipe.toml"), overrides)?;
                let setup = Self::of_record(&recipe, &found.path, device)?;
                Ok((recipe, setup))
            }
            Folder::Weights(folder) => {
                ensure!(
                    !(overrides.train.is_empty() && overrides.val.is_empty()),
                    "{}: a folder of weights names no data; add --val SOURCE",
                    folder.display()
                );
                let mut recipe = Recipe::of_weights(&folder, overrides)?;
                let setup = Self::new(&mut recipe, None, None, device)?;
                Ok((recipe, setup))
            }
        }
    }
}

impl Setup {
    /// The tokenizer as the files that other libraries read.
    ///
    /// # Errors
    ///
    /// If it cannot be written as JSON.
    pub fn exported_tokenizer(&self) -> anyhow::Result<Exported> {
        let pads_matter = !self.config.text.trims();
        let tokenizer = self.inputs.tokenizer();
        Ok(tokenizer.export_files(self.inputs.context(), pads_matter)?)
    }
}

impl Parts {
    fn with_model(
        self,
        recipe: &Recipe,
        weights: Option<&WeightsFolder>,
        device: &Device,
    ) -> anyhow::Result<Setup> {
        let Self {
            config,
            file,
            preprocessing,
            tokenizer,
            context,
            mut told,
        } = self;
        let model = match weights {
            Some(weights) => weights.load(&config, device, &mut told)?,
            None => model::initialised(&config, recipe.seed, device),
        };
        let json = tokenizer.to_json()?;
        let tokenizer = captions::padded(tokenizer, &config.text);
        let inputs = Inputs::new(recipe, &preprocessing, &config, context, tokenizer)?;
        Ok(Setup {
            model: model::locked(model, &recipe.model.lock),
            inputs,
            config,
            file,
            preprocessing,
            tokenizer: json,
            told,
        })
    }
}

impl ConfigFile {
    /// transformers' config of these sizes.
    fn of(config: &DualConfig) -> anyhow::Result<Self> {
        let (json, keys) = config
            .to_hf()
            .context("these sizes have no transformers config; this is a defect")?;
        Ok(Self {
            name: config_name(keys),
            json,
            keys,
        })
    }
}
