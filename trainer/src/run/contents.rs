//! What of a run's folder does not change during the run.

use crate::{
    device::Capabilities,
    input::{ConfigFile, PREPROCESSING, Setup},
    recipe::Recipe,
};

const RECIPE: &str = "recipe.toml";
const TOKENIZER: &str = "tokenizer.json";
const DEVICE: &str = "device.json";

/// What of a run's folder does not change during the run.
pub struct Contents {
    pub(super) config: ConfigFile,
    pub(super) texts: Vec<(&'static str, String)>,
}

impl Contents {
    /// The files of a run that can start.
    ///
    /// # Errors
    ///
    /// If one of them cannot be written as it must.
    pub fn new(recipe: &Recipe, setup: &Setup, device: &Capabilities) -> anyhow::Result<Self> {
        let texts = vec![
            (RECIPE, recipe.to_toml()?),
            (TOKENIZER, setup.tokenizer.clone()),
            (
                PREPROCESSING,
                serde_json::to_string_pretty(&setup.preprocessing)?,
            ),
            (DEVICE, serde_json::to_string_pretty(device)?),
        ];
        Ok(Self {
            config: setup.file.clone(),
            texts,
        })
    }
}
