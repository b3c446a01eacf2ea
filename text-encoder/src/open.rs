//! open_clip's text configs.

use transformer::{
    ConfigError, Section,
    config::{limits, within},
};

use crate::{TextConfig, TextPooling};

/// The keys of open_clip's own tower. One that is not known would change the model silently, so it is an error.
const KNOWN: [&str; 32] = [
    "act_kwargs",
    "block_type",
    "context_length",
    "embed_cls",
    "eos_id",
    "final_ln_after_pool",
    "heads",
    "hf_model_name",
    "hf_model_pretrained",
    "hf_pooler_type",
    "hf_proj_type",
    "hf_tokenizer_name",
    "layers",
    "ls_init_value",
    "mlp_ratio",
    "no_causal_mask",
    "norm_kwargs",
    "output_tokens",
    "pad_id",
    "pool_type",
    "proj_bias",
    "proj_type",
    "qk_norm",
    "scale_attn",
    "scale_attn_inner",
    "scale_fc",
    "scale_heads",
    "scaled_cosine_attn",
    "tokenizer_kwargs",
    "tokenizer_mode",
    "vocab_size",
    "width",
];

impl TextConfig {
    /// The `text_cfg` of an open_clip model; `embed_dim` and `quick_gelu` are the model's.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn from_open_clip(
        json: &Section,
        embed_dim: usize,
        quick_gelu: bool,
    ) -> Result<Self, ConfigError> {
        if json.has("hf_model_name") {
            let supported = "open_clip's own text tower, without this key";
            return Err(json.unsupported("hf_model_name", supported));
        }
        json.only(&KNOWN)?;
        json.open_clip_plain_blocks()?;
        json.require("embed_cls", false)?;
        if json.has("ls_init_value") {
            return Err(json.unsupported("ls_init_value", "null"));
        }
        let causal = !json.flag("no_causal_mask", false)?;
        let pooling = open_clip_pooling(json)?;
        if !causal && pooling != TextPooling::Last {
            // Its tokens would attend to padding, which captions here do not carry.
            let supported = "last where `no_causal_mask` is true";
            return Err(json.unsupported("pool_type", supported));
        }
        let projects = match json.text("proj_type")?.unwrap_or("linear") {
            "linear" => true,
            "none" => false,
            _ => return Err(json.unsupported("proj_type", "linear, none")),
        };
        let width = json.size("width", 512)?;
        within(|| json.path_of("width"), width, &limits::WIDTH)?;
        if !projects && width != embed_dim {
            let supported = format!("linear where `width`, {width}, is not `embed_dim`");
            return Err(json.unsupported("proj_type", &supported));
        }
        let mut base = Self::clip(
            json.size("vocab_size", 49408)?,
            json.size("context_length", 77)?,
            width,
            json.size("layers", 12)?,
        );
        base.sizes.n_heads = json.size("heads", 8)?;
        base.sizes.read_open_clip(json, quick_gelu)?;
        let config = Self {
            causal,
            pooling,
            d_output: projects.then_some(embed_dim),
            output_bias: projects && json.flag("proj_bias", false)?,
            ..base
        };
        config.checked_as(&|field| json.path_of(open_clip_key(field)))
    }
}

fn open_clip_pooling(json: &Section) -> Result<TextPooling, ConfigError> {
    match json.text("pool_type")?.unwrap_or("argmax") {
        "argmax" => Ok(TextPooling::HighestId),
        "first" => Ok(TextPooling::First),
        "last" => Ok(TextPooling::Last),
        "eos" => {
            let end = json.size("eos_id", 2)?;
            Ok(TextPooling::FirstOf(i64::try_from(end).unwrap_or(-1)))
        }
        _ => Err(json.unsupported("pool_type", "argmax, eos, first, last")),
    }
}

/// open_clip's name of a field.
fn open_clip_key(field: &str) -> &str {
    match field {
        "context" => "context_length",
        "d_model" => "width",
        "n_layers" => "layers",
        "n_heads" => "heads",
        "norm_epsilon" => "norm_kwargs.eps",
        "pooling" => "eos_id",
        other => other,
    }
}
