//! What the configs of all towers have in common.

use serde_json::{Value, json};

use super::{
    ConfigError, Section, dropped_share, heads_divide, hf_activation, limits, positive_share,
    within,
};
use crate::{Activation, AttentionConfig, BlockConfig};

/// The sizes that a tower of blocks has, whatever it reads.
#[derive(Clone, Debug, PartialEq)]
pub struct TowerSizes {
    /// Width of the hidden states.
    pub d_model: usize,
    /// Number of blocks.
    pub n_layers: usize,
    /// Heads of each attention layer.
    pub n_heads: usize,
    /// Width inside the MLPs.
    pub d_hidden: usize,
    /// Activation of the MLPs.
    pub activation: Activation,
    /// Epsilon of all norms.
    pub norm_epsilon: f64,
    /// Dropout on embeddings and branches in training.
    pub dropout: f64,
    /// Dropout on attention weights in training.
    pub attention_dropout: f64,
}

impl TowerSizes {
    /// What most have: heads of 64, MLPs four times as wide inside, exact gelu, epsilon 1e-5, no dropout.
    pub fn new(d_model: usize, n_layers: usize) -> Self {
        Self {
            d_model,
            n_layers,
            n_heads: (d_model / 64).max(1),
            d_hidden: d_model * 4,
            activation: Activation::Gelu,
            norm_epsilon: 1e-5,
            dropout: 0.0,
            attention_dropout: 0.0,
        }
    }

    /// The sizes with another dropout: on attention weights, too, where they have some.
    pub fn with_dropout(mut self, dropout: f64) -> Self {
        self.dropout = dropout;
        if self.attention_dropout > 0.0 {
            self.attention_dropout = dropout;
        }
        self
    }

    /// A block of these sizes, pre-norm.
    pub fn block(&self) -> BlockConfig {
        let attention = AttentionConfig {
            dropout: self.attention_dropout,
            ..AttentionConfig::new(self.d_model, self.n_heads)
        };
        BlockConfig {
            activation: self.activation,
            norm_epsilon: self.norm_epsilon,
            dropout: self.dropout,
            ..BlockConfig::new(attention, self.d_hidden)
        }
    }

    /// Checks that the sizes are within bounds and fit each other; `key` says by which key a field was read.
    ///
    /// # Errors
    ///
    /// Names the key.
    pub fn check(&self, key: &dyn Fn(&str) -> String) -> Result<(), ConfigError> {
        for (field, size, bounds) in [
            ("d_model", self.d_model, limits::WIDTH),
            ("n_layers", self.n_layers, limits::LAYERS),
            ("n_heads", self.n_heads, limits::WIDTH),
            ("d_hidden", self.d_hidden, limits::HIDDEN),
        ] {
            within(|| key(field), size, &bounds)?;
        }
        let width = || key("d_model");
        heads_divide(|| key("n_heads"), self.n_heads, width, self.d_model)?;
        positive_share(|| key("norm_epsilon"), self.norm_epsilon)?;
        dropped_share(|| key("dropout"), self.dropout)?;
        dropped_share(|| key("attention_dropout"), self.attention_dropout)
    }

    /// Reads the keys that the transformers families share, over these sizes; bookkeeping keys are passed over.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn read_hf(self, json: &Section) -> Result<Self, ConfigError> {
        // They would change the numbers, and transformers' own classes do not have them.
        json.require("attention_bias", true)?;
        json.require("position_embedding_type", "absolute")?;
        Ok(Self {
            d_model: json.size("hidden_size", self.d_model)?,
            n_layers: json.size("num_hidden_layers", self.n_layers)?,
            n_heads: json.size("num_attention_heads", self.n_heads)?,
            d_hidden: json.size("intermediate_size", self.d_hidden)?,
            activation: json.activation("hidden_act", self.activation)?,
            norm_epsilon: json.number("layer_norm_eps", self.norm_epsilon)?,
            attention_dropout: json.number("attention_dropout", self.attention_dropout)?,
            ..self
        })
    }

    /// Reads the dropout of ViT and BERT in transformers, whose classes have it `by_default`.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn read_hf_dropout(self, json: &Section, by_default: f64) -> Result<Self, ConfigError> {
        Ok(Self {
            dropout: json.number("hidden_dropout_prob", by_default)?,
            attention_dropout: json.number("attention_probs_dropout_prob", by_default)?,
            ..self
        })
    }

    /// The keys that CLIP's and SigLIP's towers share in transformers.
    pub fn hf_json(&self) -> Value {
        let mut json = self.hf_sizes();
        json["attention_dropout"] = json!(self.attention_dropout);
        json
    }

    /// The keys that ViT and BERT share in transformers.
    pub fn hf_json_with_dropout(&self) -> Value {
        let mut json = self.hf_sizes();
        json["hidden_dropout_prob"] = json!(self.dropout);
        json["attention_probs_dropout_prob"] = json!(self.attention_dropout);
        json
    }

    fn hf_sizes(&self) -> Value {
        json!({
            "hidden_size": self.d_model,
            "num_hidden_layers": self.n_layers,
            "num_attention_heads": self.n_heads,
            "intermediate_size": self.d_hidden,
            "hidden_act": hf_activation(self.activation),
            "layer_norm_eps": self.norm_epsilon,
        })
    }

    /// transformers' name of a field.
    pub fn hf_key(field: &str) -> &str {
        match field {
            "d_model" => "hidden_size",
            "n_layers" => "num_hidden_layers",
            "n_heads" => "num_attention_heads",
            "d_hidden" => "intermediate_size",
            "norm_epsilon" => "layer_norm_eps",
            "dropout" => "hidden_dropout_prob",
            other => other,
        }
    }
}
