//! Sizes of a vision transformer, and how the families' config files spell them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use transformer::{Activation, AttentionConfig, BlockConfig};

/// How the tokens become one feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The class token.
    #[default]
    Class,
    /// The mean of the patch tokens.
    Average,
    /// A learned query (SigLIP).
    Attention,
    /// No pooling: every token.
    None,
}

/// Side of a square picture in pixels.
pub type ImageSize = usize;

/// Sizes and variants of a vision transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// Side of the square input in pixels.
    pub image_size: ImageSize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Channels of the input.
    pub channels: usize,
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
    /// Whether a learned token stands in front of the patches.
    pub class_token: bool,
    /// Whether the patch map has a bias.
    pub patch_bias: bool,
    /// Whether the embeddings are normalised (CLIP).
    pub pre_norm: bool,
    /// Whether query, key and value maps have biases.
    pub qkv_bias: bool,
    /// Whether queries and keys are normalised in each head.
    pub qk_norm: bool,
    /// Start of LayerScale, if there is one.
    pub layer_scale: Option<f64>,
    /// A norm on every token before pooling.
    pub token_norm: bool,
    /// A norm on the pooled token.
    pub pooled_norm: bool,
    /// How tokens become one.
    pub pooling: Pooling,
    /// Width of the projection or number of classes; none leaves the pooled token.
    pub d_output: Option<usize>,
    /// Whether the projection has a bias.
    pub output_bias: bool,
    /// Dropout on both branches of each block in training.
    pub dropout: f64,
    /// Dropout on attention weights in training.
    pub attention_dropout: f64,
    /// Share of patches dropped in training (FLIP, an approximation).
    pub patch_dropout: f64,
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

impl VisionConfig {
    /// CLIP's vision tower of the given sizes, as open_clip builds it from scratch: class token,
    /// pre-norm, exact gelu, epsilon 1e-5, four times as wide inside.
    pub fn clip(image_size: usize, patch_size: usize, d_model: usize, n_layers: usize) -> Self {
        Self {
            image_size,
            patch_size,
            channels: 3,
            d_model,
            n_layers,
            n_heads: (d_model / 64).max(1),
            d_hidden: d_model * 4,
            activation: Activation::Gelu,
            norm_epsilon: 1e-5,
            class_token: true,
            patch_bias: false,
            pre_norm: true,
            qkv_bias: true,
            qk_norm: false,
            layer_scale: None,
            token_norm: false,
            pooled_norm: true,
            pooling: Pooling::Class,
            d_output: None,
            output_bias: false,
            dropout: 0.0,
            attention_dropout: 0.0,
            patch_dropout: 0.0,
        }
    }

    /// SigLIP's vision tower of the given sizes: no class token, a norm on all tokens, attention
    /// pooling, tanh gelu, epsilon 1e-6.
    pub fn siglip(image_size: usize, patch_size: usize, d_model: usize, n_layers: usize) -> Self {
        Self {
            activation: Activation::GeluTanh,
            norm_epsilon: 1e-6,
            class_token: false,
            patch_bias: true,
            pre_norm: false,
            token_norm: true,
            pooled_norm: false,
            pooling: Pooling::Attention,
            ..Self::clip(image_size, patch_size, d_model, n_layers)
        }
    }

    /// Patches along a side.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Tokens of a picture, class token included.
    pub fn tokens(&self) -> usize {
        self.grid().pow(2) + usize::from(self.class_token)
    }

    /// One block of the tower.
    pub fn block(&self) -> BlockConfig {
        let attention = AttentionConfig {
            qkv_bias: self.qkv_bias,
            qk_norm: self.qk_norm.then_some(self.norm_epsilon),
            dropout: self.attention_dropout,
            ..AttentionConfig::new(self.d_model, self.n_heads)
        };
        BlockConfig {
            activation: self.activation,
            norm_epsilon: self.norm_epsilon,
            layer_scale: self.layer_scale,
            dropout: self.dropout,
            ..BlockConfig::new(attention, self.d_hidden)
        }
    }

    /// Checks that the sizes fit each other.
    pub fn checked(self) -> Result<Self, ConfigError> {
        let positive = [
            ("image_size", self.image_size),
            ("patch_size", self.patch_size),
            ("d_model", self.d_model),
            ("n_heads", self.n_heads),
            ("d_hidden", self.d_hidden),
            ("channels", self.channels),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, size)| *size == 0) {
            return Err(ConfigError::Sizes(format!("{name} must be at least 1")));
        }
        if self.patch_size > self.image_size {
            return Err(ConfigError::Sizes(format!(
                "patch_size {} is larger than image_size {}",
                self.patch_size, self.image_size
            )));
        }
        if !self.d_model.is_multiple_of(self.n_heads) {
            return Err(ConfigError::Sizes(format!(
                "n_heads {} does not divide d_model {}",
                self.n_heads, self.d_model
            )));
        }
        Ok(self)
    }

    /// The `vision_config` of a transformers CLIP and the model's `projection_dim`.
    pub fn from_hf_clip(json: &Value, projection_dim: usize) -> Result<Self, ConfigError> {
        let hf = HfVision::over(
            HfVision {
                hidden_act: "quick_gelu".into(),
                layer_norm_eps: 1e-5,
                patch_size: 32,
                ..HfVision::default()
            },
            json,
        )?;
        let base = Self::clip(
            hf.image_size,
            hf.patch_size,
            hf.hidden_size,
            hf.num_hidden_layers,
        );
        Self {
            d_output: Some(projection_dim),
            ..hf.fill(base)?
        }
        .checked()
    }

    /// The `vision_config` of a transformers SigLIP.
    pub fn from_hf_siglip(json: &Value) -> Result<Self, ConfigError> {
        let hf = HfVision::over(
            HfVision {
                hidden_act: "gelu_pytorch_tanh".into(),
                layer_norm_eps: 1e-6,
                ..HfVision::default()
            },
            json,
        )?;
        if json.get("vision_use_head") == Some(&Value::Bool(false)) {
            return Err(ConfigError::Unsupported {
                key: "vision_use_head".into(),
                found: "false".into(),
                supported: "true (the attention-pooling head)",
            });
        }
        let base = Self::siglip(
            hf.image_size,
            hf.patch_size,
            hf.hidden_size,
            hf.num_hidden_layers,
        );
        hf.fill(base)?.checked()
    }

    /// A transformers ViT image classifier's `config.json`.
    pub fn from_hf_vit(json: &Value) -> Result<Self, ConfigError> {
        let hf = HfVision::over(
            HfVision {
                hidden_act: "gelu".into(),
                layer_norm_eps: 1e-12,
                ..HfVision::default()
            },
            json,
        )?;
        // The number of classes is the size of the label table; without one transformers makes two.
        let classes = json
            .get("num_labels")
            .and_then(Value::as_u64)
            .map(|n| n as usize)
            .or_else(|| {
                json.get("id2label")
                    .and_then(Value::as_object)
                    .map(|map| map.len())
            })
            .unwrap_or(2);
        let base = Self::clip(
            hf.image_size,
            hf.patch_size,
            hf.hidden_size,
            hf.num_hidden_layers,
        );
        Self {
            patch_bias: true,
            pre_norm: false,
            token_norm: true,
            pooled_norm: false,
            qkv_bias: hf.qkv_bias,
            d_output: Some(classes),
            output_bias: true,
            ..hf.fill(base)?
        }
        .checked()
    }
}

/// What transformers calls an activation.
pub(crate) fn hf_activation(name: &str) -> Result<Activation, ConfigError> {
    serde_json::from_value(Value::String(name.to_string())).map_err(|_| ConfigError::Unsupported {
        key: "hidden_act".into(),
        found: format!("\"{name}\""),
        supported: "gelu, quick_gelu, gelu_pytorch_tanh, gelu_new, relu",
    })
}

/// The keys the transformers families share; bookkeeping keys are passed over.
#[derive(Serialize, Deserialize)]
struct HfVision {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_channels: usize,
    image_size: usize,
    patch_size: usize,
    hidden_act: String,
    layer_norm_eps: f64,
    qkv_bias: bool,
    attention_dropout: f64,
    hidden_dropout_prob: f64,
    attention_probs_dropout_prob: f64,
}

impl Default for HfVision {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 16,
            hidden_act: String::new(),
            layer_norm_eps: 0.0,
            qkv_bias: true,
            attention_dropout: 0.0,
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
        }
    }
}

impl HfVision {
    /// `json` over the defaults of its class: the same key has other defaults in other classes.
    fn over(defaults: Self, json: &Value) -> Result<Self, ConfigError> {
        let mut merged = serde_json::to_value(defaults)?;
        if let (Some(merged), Some(given)) = (merged.as_object_mut(), json.as_object()) {
            for (key, value) in merged.iter_mut() {
                if let Some(given) = given.get(key) {
                    *value = given.clone();
                }
            }
        }
        Ok(serde_json::from_value(merged)?)
    }

    fn fill(&self, base: VisionConfig) -> Result<VisionConfig, ConfigError> {
        Ok(VisionConfig {
            channels: self.num_channels,
            n_heads: self.num_attention_heads,
            d_hidden: self.intermediate_size,
            activation: hf_activation(&self.hidden_act)?,
            norm_epsilon: self.layer_norm_eps,
            dropout: self.hidden_dropout_prob,
            attention_dropout: self
                .attention_dropout
                .max(self.attention_probs_dropout_prob),
            ..base
        })
    }
}
