//! open_clip's text configs.

use serde::Deserialize;
use serde_json::Value;
use transformer::Activation;

use crate::{ConfigError, TextConfig, TextPooling};

/// open_clip's `text_cfg`. A key this crate does not know would change the model silently, so it
/// is an error.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OpenClipText {
    context_length: usize,
    vocab_size: usize,
    width: usize,
    heads: usize,
    layers: usize,
    mlp_ratio: f64,
    no_causal_mask: bool,
    proj_bias: bool,
    pool_type: String,
    norm_kwargs: NormKwargs,
    act_kwargs: ActKwargs,
    /// Whose tokenizer goes with it; it changes nothing of the tower.
    #[serde(rename = "hf_tokenizer_name")]
    _tokenizer: Option<String>,
}

impl Default for OpenClipText {
    fn default() -> Self {
        Self {
            context_length: 77,
            vocab_size: 49408,
            width: 512,
            heads: 8,
            layers: 12,
            mlp_ratio: 4.0,
            no_causal_mask: false,
            proj_bias: false,
            pool_type: "argmax".into(),
            norm_kwargs: NormKwargs::default(),
            act_kwargs: ActKwargs::default(),
            _tokenizer: None,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NormKwargs {
    eps: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ActKwargs {
    approximate: Option<String>,
}

impl TextConfig {
    /// The `text_cfg` of an open_clip model; `embed_dim` and `quick_gelu` are the model's.
    pub fn from_open_clip(
        json: &Value,
        embed_dim: usize,
        quick_gelu: bool,
    ) -> Result<Self, ConfigError> {
        let cfg = OpenClipText::deserialize(json)?;
        let activation = match (quick_gelu, cfg.act_kwargs.approximate.as_deref()) {
            (true, _) => Activation::QuickGelu,
            (false, None | Some("none")) => Activation::Gelu,
            (false, Some("tanh")) => Activation::GeluTanh,
            (false, Some(other)) => {
                return Err(unsupported("act_kwargs.approximate", other, "none, tanh"));
            }
        };
        let pooling = match cfg.pool_type.as_str() {
            "argmax" => TextPooling::HighestId,
            "first" => TextPooling::First,
            "last" => TextPooling::Last,
            other => return Err(unsupported("pool_type", other, "argmax, first, last")),
        };
        Self {
            n_heads: cfg.heads,
            d_hidden: (cfg.width as f64 * cfg.mlp_ratio) as usize,
            activation,
            norm_epsilon: cfg.norm_kwargs.eps.unwrap_or(1e-5),
            causal: match (cfg.no_causal_mask, pooling) {
                (false, _) => true,
                (true, TextPooling::Last) => false,
                // Its tokens would attend to padding, which captions here do not carry.
                (true, _) => {
                    let supported = "pool_type last where no_causal_mask is true";
                    return Err(unsupported("pool_type", &cfg.pool_type, supported));
                }
            },
            pooling,
            d_output: Some(embed_dim),
            output_bias: cfg.proj_bias,
            ..Self::clip(cfg.vocab_size, cfg.context_length, cfg.width, cfg.layers)
        }
        .checked()
    }
}

fn unsupported(key: &str, found: &str, supported: &'static str) -> ConfigError {
    ConfigError::Unsupported {
        key: key.into(),
        found: format!("\"{found}\""),
        supported,
    }
}
