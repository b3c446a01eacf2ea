//! The config files of transformers.

use serde_json::Value;
use transformer::{Activation, ConfigError, Section};

use crate::VisionConfig;

impl VisionConfig {
    /// The `vision_config` of a transformers CLIP and the model's `projection_dim`.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn from_hf_clip(json: &Section, projection_dim: usize) -> Result<Self, ConfigError> {
        let base = Self {
            activation: Activation::QuickGelu,
            d_output: Some(projection_dim),
            ..Self::clip(224, 32, 768, 12)
        };
        base.read_hf(json)
    }

    /// The `vision_config` of a transformers SigLIP.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn from_hf_siglip(json: &Section) -> Result<Self, ConfigError> {
        // Without it the features are all tokens.
        json.require("vision_use_head", true)?;
        Self::siglip(224, 16, 768, 12).read_hf(json)
    }

    /// A transformers ViT image classifier's `config.json`.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn from_hf_vit(json: &Value) -> Result<Self, ConfigError> {
        let json = Section::root(json)?;
        // The number of classes is the size of the label table; without one transformers makes two.
        let labels = json.get("id2label").and_then(Value::as_object);
        let classes = json.optional_size("num_labels")?;
        let dropout = json.number("attention_probs_dropout_prob", 0.0)?;
        let base = Self {
            norm_epsilon: 1e-12,
            patch_bias: true,
            pre_norm: false,
            token_norm: true,
            pooled_norm: false,
            qkv_bias: json.flag("qkv_bias", true)?,
            d_output: classes
                .or_else(|| labels.map(serde_json::Map::len))
                .or(Some(2)),
            output_bias: true,
            dropout: json.number("hidden_dropout_prob", 0.0)?,
            attention_dropout: dropout,
            ..Self::clip(224, 16, 768, 12)
        };
        base.read_hf(&json)
    }

    /// The keys that the transformers families share, over the defaults of a class; bookkeeping keys are passed over.
    fn read_hf(self, json: &Section) -> Result<Self, ConfigError> {
        // They would change the numbers, and transformers' own classes do not have them.
        json.require("attention_bias", true)?;
        json.require("position_embedding_type", "absolute")?;
        json.require("qkv_bias", self.qkv_bias)?;
        let config = Self {
            image_size: json.size("image_size", self.image_size)?,
            patch_size: json.size("patch_size", self.patch_size)?,
            channels: json.size("num_channels", self.channels)?,
            d_model: json.size("hidden_size", self.d_model)?,
            n_layers: json.size("num_hidden_layers", self.n_layers)?,
            n_heads: json.size("num_attention_heads", self.n_heads)?,
            d_hidden: json.size("intermediate_size", self.d_hidden)?,
            activation: json.activation("hidden_act", self.activation)?,
            norm_epsilon: json.number("layer_norm_eps", self.norm_epsilon)?,
            attention_dropout: json.number("attention_dropout", self.attention_dropout)?,
            ..self
        };
        config.checked_as(&|field| json.path_of(hf_key(field)))
    }
}

/// transformers' name of a field.
fn hf_key(field: &str) -> &str {
    match field {
        "channels" => "num_channels",
        "d_model" => "hidden_size",
        "n_layers" => "num_hidden_layers",
        "n_heads" => "num_attention_heads",
        "d_hidden" => "intermediate_size",
        "norm_epsilon" => "layer_norm_eps",
        "d_output" => "num_labels",
        "dropout" => "hidden_dropout_prob",
        other => other,
    }
}
