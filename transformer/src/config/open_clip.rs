//! What both towers of an open_clip config have in common.

use super::{ConfigError, Section, TowerSizes};
use crate::Activation;

impl TowerSizes {
    /// Takes over what both towers of an open_clip config say alike: activation, epsilon and the width inside the MLPs.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn read_open_clip(&mut self, json: &Section, quick_gelu: bool) -> Result<(), ConfigError> {
        self.d_hidden = json.hidden("mlp_ratio", 4.0, self.d_model)?;
        self.activation = json.open_clip_activation(quick_gelu)?;
        self.norm_epsilon = json.open_clip_epsilon()?;
        Ok(())
    }
}

impl Section<'_> {
    /// The activation of an open_clip tower: `quick_gelu` is the model's, `act_kwargs` the tower's.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn open_clip_activation(&self, quick_gelu: bool) -> Result<Activation, ConfigError> {
        let kwargs = self.section("act_kwargs")?;
        kwargs.only(&["approximate"])?;
        match kwargs.text("approximate")? {
            None if quick_gelu => Ok(Activation::QuickGelu),
            // Its class takes no such argument.
            Some(_) if quick_gelu => {
                Err(kwargs.unsupported("approximate", "nothing where `quick_gelu` is true"))
            }
            None | Some("none") => Ok(Activation::Gelu),
            Some("tanh") => Ok(Activation::GeluTanh),
            Some(_) => Err(kwargs.unsupported("approximate", "none, tanh")),
        }
    }

    /// The epsilon of the norms of an open_clip tower.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn open_clip_epsilon(&self) -> Result<f64, ConfigError> {
        let kwargs = self.section("norm_kwargs")?;
        kwargs.only(&["eps"])?;
        kwargs.number("eps", 1e-5)
    }

    /// Refuses what makes open_clip build a tower of blocks of another kind, or give more than a feature.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn open_clip_plain_blocks(&self) -> Result<(), ConfigError> {
        self.require("block_type", "default")?;
        for key in [
            "output_tokens",
            "qk_norm",
            "scaled_cosine_attn",
            "scale_heads",
            "scale_attn_inner",
            "scale_attn",
            "scale_fc",
        ] {
            self.require(key, false)?;
        }
        Ok(())
    }
}
