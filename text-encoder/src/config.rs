//! Sizes of a text transformer, and how the families' config files spell them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use transformer::{Activation, AttentionConfig, BlockConfig, NormOrder};

/// Which token stands for the caption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPooling {
    /// The first token with this id (end-of-text).
    FirstOf(i64),
    /// The token with the highest id: end-of-text in OpenAI's and open_clip's vocabularies.
    HighestId,
    /// The first position (BERT's class token).
    First,
    /// The last position, usually padding (SigLIP).
    Last,
}

/// Sizes and variants of a text transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Longest caption in tokens.
    pub context: usize,
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
    /// Where the blocks normalise.
    pub norm_order: NormOrder,
    /// Whether a token sees only itself and those before it.
    pub causal: bool,
    /// Number of segment ids, 0 for none (BERT: 2).
    pub segment_types: usize,
    /// Whether the embeddings are normalised (BERT).
    pub embed_norm: bool,
    /// The id whose embedding row receives no gradient from look-ups (torch's `padding_idx`).
    pub padding_id: Option<usize>,
    /// A norm after the last block.
    pub final_norm: bool,
    /// Which token stands for the caption.
    pub pooling: TextPooling,
    /// A tanh layer on the pooled token (BERT's pooler).
    pub pooler: bool,
    /// Width of the projection; none leaves the pooled token.
    pub d_output: Option<usize>,
    /// Whether the projection has a bias.
    pub output_bias: bool,
    /// Dropout on embeddings and branches in training.
    pub dropout: f64,
    /// Dropout on attention weights in training.
    pub attention_dropout: f64,
}

/// Why a config cannot be used. The caller adds the file's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not the JSON this family writes.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A value this crate has no model for.
    #[error("`{key}` is {found}; supported: {supported}")]
    Unsupported {
        /// The key.
        key: String,
        /// What it says.
        found: String,
        /// What it may say.
        supported: &'static str,
    },
    /// Two sizes do not fit each other.
    #[error("{0}")]
    Sizes(String),
}

impl TextConfig {
    /// CLIP's text tower of the given sizes, as open_clip builds it: causal, pooled at the highest
    /// id, exact gelu, epsilon 1e-5.
    pub fn clip(vocab_size: usize, context: usize, d_model: usize, n_layers: usize) -> Self {
        Self {
            vocab_size,
            context,
            d_model,
            n_layers,
            n_heads: (d_model / 64).max(1),
            d_hidden: d_model * 4,
            activation: Activation::Gelu,
            norm_epsilon: 1e-5,
            norm_order: NormOrder::Pre,
            causal: true,
            segment_types: 0,
            embed_norm: false,
            padding_id: None,
            final_norm: true,
            pooling: TextPooling::HighestId,
            pooler: false,
            d_output: None,
            output_bias: false,
            dropout: 0.0,
            attention_dropout: 0.0,
        }
    }

    /// SigLIP's text tower: bidirectional without a mask, pooled at the last position, tanh gelu,
    /// epsilon 1e-6, a projection with a bias.
    pub fn siglip(vocab_size: usize, context: usize, d_model: usize, n_layers: usize) -> Self {
        Self {
            activation: Activation::GeluTanh,
            norm_epsilon: 1e-6,
            causal: false,
            pooling: TextPooling::Last,
            output_bias: true,
            ..Self::clip(vocab_size, context, d_model, n_layers)
        }
    }

    /// BERT of the given sizes (Devlin et al. 2019): post-norm, segment ids, a pooler.
    pub fn bert(vocab_size: usize, context: usize, d_model: usize, n_layers: usize) -> Self {
        Self {
            norm_epsilon: 1e-12,
            norm_order: NormOrder::Post,
            causal: false,
            segment_types: 2,
            embed_norm: true,
            padding_id: Some(0),
            final_norm: false,
            pooling: TextPooling::First,
            pooler: true,
            ..Self::clip(vocab_size, context, d_model, n_layers)
        }
    }

    /// Whether captions may be cut to the longest of a batch without changing a feature: what
    /// stands behind a caption is never seen by the pooled token.
    pub fn trims(&self) -> bool {
        match self.pooling {
            TextPooling::Last => false,
            TextPooling::First => true,
            TextPooling::FirstOf(_) | TextPooling::HighestId => self.causal,
        }
    }

    /// Whether the tower must be told which tokens are padding.
    pub fn needs_mask(&self) -> bool {
        !self.causal && self.pooling != TextPooling::Last
    }

    /// One block of the tower.
    pub fn block(&self) -> BlockConfig {
        let attention = AttentionConfig {
            causal: self.causal,
            dropout: self.attention_dropout,
            ..AttentionConfig::new(self.d_model, self.n_heads)
        };
        BlockConfig {
            activation: self.activation,
            norm_epsilon: self.norm_epsilon,
            norm_order: self.norm_order,
            dropout: self.dropout,
            ..BlockConfig::new(attention, self.d_hidden)
        }
    }

    /// Checks that the sizes fit each other.
    pub fn checked(self) -> Result<Self, ConfigError> {
        let positive = [
            ("vocab_size", self.vocab_size),
            ("context", self.context),
            ("d_model", self.d_model),
            ("n_heads", self.n_heads),
            ("d_hidden", self.d_hidden),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, size)| *size == 0) {
            return Err(ConfigError::Sizes(format!("{name} must be at least 1")));
        }
        if !self.d_model.is_multiple_of(self.n_heads) {
            return Err(ConfigError::Sizes(format!(
                "n_heads {} does not divide d_model {}",
                self.n_heads, self.d_model
            )));
        }
        Ok(self)
    }

    /// The `text_config` of a transformers CLIP and the model's `projection_dim`.
    pub fn from_hf_clip(json: &Value, projection_dim: usize) -> Result<Self, ConfigError> {
        let hf = HfText::over(HfText::default(), json)?;
        let base = Self::clip(
            hf.vocab_size,
            hf.max_position_embeddings,
            hf.hidden_size,
            hf.num_hidden_layers,
        );
        // Files written for OpenAI's weights say 2 and mean the highest id.
        let pooling = match hf.eos_token_id {
            2 => TextPooling::HighestId,
            eos => TextPooling::FirstOf(eos),
        };
        Self {
            pooling,
            d_output: Some(projection_dim),
            ..hf.fill(base)?
        }
        .checked()
    }

    /// The `text_config` of a transformers SigLIP.
    pub fn from_hf_siglip(json: &Value) -> Result<Self, ConfigError> {
        let defaults = HfText {
            vocab_size: 32000,
            hidden_size: 768,
            intermediate_size: 3072,
            num_attention_heads: 12,
            max_position_embeddings: 64,
            hidden_act: "gelu_pytorch_tanh".into(),
            layer_norm_eps: 1e-6,
            ..HfText::default()
        };
        let hf = HfText::over(defaults, json)?;
        let base = Self::siglip(
            hf.vocab_size,
            hf.max_position_embeddings,
            hf.hidden_size,
            hf.num_hidden_layers,
        );
        let d_output = Some(hf.projection_size.unwrap_or(hf.hidden_size));
        Self {
            d_output,
            ..hf.fill(base)?
        }
        .checked()
    }

    /// A transformers BERT's `config.json`.
    pub fn from_hf_bert(json: &Value) -> Result<Self, ConfigError> {
        let defaults = HfText {
            vocab_size: 30522,
            hidden_size: 768,
            intermediate_size: 3072,
            num_attention_heads: 12,
            max_position_embeddings: 512,
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-12,
            pad_token_id: Some(0),
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            ..HfText::default()
        };
        let hf = HfText::over(defaults, json)?;
        if json.get("is_decoder") == Some(&Value::Bool(true)) {
            return Err(ConfigError::Unsupported {
                key: "is_decoder".into(),
                found: "true".into(),
                supported: "false (BERT as an encoder)",
            });
        }
        let base = Self::bert(
            hf.vocab_size,
            hf.max_position_embeddings,
            hf.hidden_size,
            hf.num_hidden_layers,
        );
        Self {
            segment_types: hf.type_vocab_size,
            padding_id: hf.pad_token_id,
            ..hf.fill(base)?
        }
        .checked()
    }
}

/// The keys the transformers families share; bookkeeping keys are passed over.
#[derive(Serialize, Deserialize)]
struct HfText {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    hidden_act: String,
    layer_norm_eps: f64,
    eos_token_id: i64,
    pad_token_id: Option<usize>,
    projection_size: Option<usize>,
    type_vocab_size: usize,
    attention_dropout: f64,
    hidden_dropout_prob: f64,
    attention_probs_dropout_prob: f64,
}

/// CLIP's defaults.
impl Default for HfText {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: "quick_gelu".into(),
            layer_norm_eps: 1e-5,
            eos_token_id: 49407,
            pad_token_id: None,
            projection_size: None,
            type_vocab_size: 2,
            attention_dropout: 0.0,
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
        }
    }
}

impl HfText {
    /// `json` over the defaults of its class: the same key has other defaults in other classes.
    fn over(defaults: Self, json: &Value) -> Result<Self, ConfigError> {
        let mut merged = serde_json::to_value(defaults)?;
        if let (Some(merged), Some(given)) = (merged.as_object_mut(), json.as_object()) {
            for (key, value) in merged.iter_mut() {
                // An explicit null (BERT's eos) means the same as no key.
                if let Some(given) = given.get(key).filter(|given| !given.is_null()) {
                    *value = given.clone();
                }
            }
        }
        Ok(serde_json::from_value(merged)?)
    }

    fn fill(&self, base: TextConfig) -> Result<TextConfig, ConfigError> {
        let activation = serde_json::from_value(Value::String(self.hidden_act.clone()));
        let activation = activation.map_err(|_| ConfigError::Unsupported {
            key: "hidden_act".into(),
            found: format!("\"{}\"", self.hidden_act),
            supported: "gelu, quick_gelu, gelu_pytorch_tanh, gelu_new, relu",
        })?;
        Ok(TextConfig {
            n_heads: self.num_attention_heads,
            d_hidden: self.intermediate_size,
            activation,
            norm_epsilon: self.layer_norm_eps,
            dropout: self.hidden_dropout_prob,
            attention_dropout: self
                .attention_dropout
                .max(self.attention_probs_dropout_prob),
            ..base
        })
    }
}
