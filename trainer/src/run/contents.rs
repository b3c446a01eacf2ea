//! What of a run's folder does not change during the run.

use crate::{device::Capabilities, input::ConfigFile, recipe::Recipe};

const RECIPE: &str = "recipe.toml";
const DEVICE: &str = "device.json";

/// What of a run's folder does not change during the run.
pub(crate) struct Contents {
    pub(super) config: ConfigFile,
    pub(super) texts: Vec<(&'static str, String)>,
}

impl Contents {
    /// The files of a run that can start; `texts` are those of its task.
    ///
    /// # Errors
    ///
    /// If one of them cannot be written as it must.
    pub(crate) fn new(
        recipe: &Recipe,
        config: ConfigFile,
        texts: Vec<(&'static str, String)>,
        device: &Capabilities,
    ) -> anyhow::Result<Self> {
        let mut all = vec![(RECIPE, recipe.to_toml()?)];
        all.extend(texts);
        all.push((DEVICE, serde_json::to_string_pretty(device)?));
        Ok(Self { config, texts: all })
    }
}
