//! open_clip's `open_clip_config.json`: reading it as open_clip does, and writing it.

use serde_json::{Map, Value, json};
use text_encoder::{TextConfig, TextPooling};
use transformer::{
    Activation, ConfigError, Section,
    config::{limits, within},
};
use vision_encoder::{Pooling, VisionConfig};

use crate::{DualConfig, DualKeys, FusionError, config::CLIP_SCALE};

/// What holds a model's sizes.
const EXPECTED: &str = "an open_clip_config.json with `model_cfg`";

/// The keys of a model. One that is not known would change it silently, so it is an error.
const KNOWN: [&str; 9] = [
    "custom_text",
    "embed_dim",
    "init_logit_bias",
    "init_logit_scale",
    "nonscalar_logit_scale",
    "output_dict",
    "quick_gelu",
    "text_cfg",
    "vision_cfg",
];

impl DualConfig {
    /// An `open_clip_config.json`.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault, by its full path.
    pub fn from_open_clip(json: &Value) -> Result<(Self, DualKeys), FusionError> {
        let cfg = model_cfg(json).map_err(FusionError::Model)?;
        let model = Model::read(&cfg).map_err(FusionError::Model)?;
        let section = |key: &str| {
            let section = cfg.section(key)?;
            if section.is_there() {
                return Ok(section);
            }
            Err(cfg.missing(key, EXPECTED))
        };
        let (dim, quick_gelu) = (model.embed_dim, model.quick_gelu);
        let vision = section("vision_cfg")
            .and_then(|vision| VisionConfig::from_open_clip(&vision, dim, quick_gelu));
        let text =
            section("text_cfg").and_then(|text| TextConfig::from_open_clip(&text, dim, quick_gelu));
        let config = Self {
            vision: vision.map_err(FusionError::Vision)?,
            text: text.map_err(FusionError::Text)?,
            logit_scale: model.logit_scale,
            logit_bias: model.logit_bias,
        };
        let keys = if model.custom_text {
            DualKeys::OpenClipCustom
        } else {
            DualKeys::OpenClip
        };
        let layers = ["model_cfg.vision_cfg.layers", "model_cfg.text_cfg.layers"];
        Ok((config.checked_as(layers)?, keys))
    }

    /// The `model_cfg` of an `open_clip_config.json` of these sizes, and the naming of its weights; none if open_clip
    /// has no model of this shape.
    pub fn to_open_clip(&self) -> Option<(Value, DualKeys)> {
        let mut cfg = json!({
            "embed_dim": self.text.d_output.unwrap_or(self.text.sizes.d_model),
            "quick_gelu": self.text.sizes.activation == Activation::QuickGelu,
            "vision_cfg": vision_cfg(&self.vision)?,
            "text_cfg": text_cfg(&self.text)?,
        });
        // The naming that puts the text tower apart goes with what came after CLIP.
        if self.vision.pooling == Pooling::Attention {
            cfg["custom_text"] = json!(true);
        }
        if let Some(bias) = self.logit_bias {
            cfg["init_logit_bias"] = json!(bias);
            cfg["init_logit_scale"] = json!(self.logit_scale);
        }
        // What cannot be said in this form does not survive being read back.
        let (again, keys) = Self::from_open_clip(&json!({ "model_cfg": cfg })).ok()?;
        let trained = |config: &Self| {
            let mut config = config.clone();
            config.vision.sizes.dropout = 0.0;
            config.text.sizes.dropout = 0.0;
            config.vision.sizes.attention_dropout = 0.0;
            config.text.sizes.attention_dropout = 0.0;
            config.vision.patch_dropout = 0.0;
            config.logit_scale = 0.0;
            config.text.pooling = as_highest(&config.text);
            config
        };
        (trained(&again) == trained(self)).then_some((cfg, keys))
    }
}

/// What stands beside the towers.
struct Model {
    embed_dim: usize,
    quick_gelu: bool,
    custom_text: bool,
    logit_scale: f64,
    logit_bias: Option<f64>,
}

impl Model {
    fn read(cfg: &Section) -> Result<Self, ConfigError> {
        if cfg.has("multimodal_cfg") {
            return Err(cfg.unsupported("multimodal_cfg", "models without a caption decoder"));
        }
        cfg.only(&KNOWN)?;
        if !cfg.has("embed_dim") {
            return Err(cfg.missing("embed_dim", EXPECTED));
        }
        let embed_dim = cfg.size("embed_dim", 0)?;
        within(|| cfg.path_of("embed_dim"), embed_dim, &limits::WIDTH)?;
        Ok(Self {
            embed_dim,
            quick_gelu: cfg.flag("quick_gelu", false)?,
            custom_text: cfg.flag("custom_text", false)?,
            logit_scale: cfg.number("init_logit_scale", CLIP_SCALE)?,
            logit_bias: cfg.optional_number("init_logit_bias")?,
        })
    }
}

fn model_cfg(json: &Value) -> Result<Section<'_>, ConfigError> {
    let root = Section::root(json)?;
    if !root.has("model_cfg") {
        return Err(root.missing("model_cfg", EXPECTED));
    }
    root.section("model_cfg")
}

/// The ratio of two widths, such that open_clip, which cuts off what comes behind the point, finds the one by the other.
fn ratio(hidden: usize, width: usize) -> f64 {
    let ratio = hidden as f64 / width as f64;
    if (width as f64 * ratio) as usize == hidden {
        return ratio;
    }
    ratio.next_up()
}

fn vision_cfg(vision: &VisionConfig) -> Option<Value> {
    if vision.pooling == Pooling::Attention {
        return Some(json!({
            "image_size": vision.image_size,
            "timm_model_name": vision.timm_siglip_name()?,
            "timm_model_pretrained": false,
            "timm_pool": "map",
            "timm_proj": "none",
        }));
    }
    let mut cfg = json!({
        "layers": vision.sizes.n_layers,
        "width": vision.sizes.d_model,
        "head_width": vision.sizes.d_model / vision.sizes.n_heads,
        "patch_size": vision.patch_size,
        "image_size": vision.image_size,
        "mlp_ratio": ratio(vision.sizes.d_hidden, vision.sizes.d_model),
    });
    let map = cfg.as_object_mut()?;
    let mut say = |key: &str, value: Value| map.insert(key.into(), value);
    // What differs from open_clip's defaults, so that the file of a plain CLIP stays short.
    if vision.pooling == Pooling::Average {
        say("pool_type", json!("avg"));
        say("final_ln_after_pool", json!(vision.pooled_norm));
    }
    if !vision.pre_norm {
        say("no_ln_pre", json!(true));
    }
    if let Some(start) = vision.layer_scale {
        say("ls_init_value", json!(start));
    }
    say_kwargs(map, vision.sizes.activation, vision.sizes.norm_epsilon);
    Some(cfg)
}

/// The end token is the highest id of a vocabulary that ends with it, which every version of open_clip can say.
fn as_highest(text: &TextConfig) -> TextPooling {
    match text.pooling {
        TextPooling::FirstOf(id) if id + 1 == text.vocab_size as i64 => TextPooling::HighestId,
        other => other,
    }
}

fn text_cfg(text: &TextConfig) -> Option<Value> {
    let mut cfg = json!({
        "context_length": text.context,
        "vocab_size": text.vocab_size,
        "width": text.sizes.d_model,
        "heads": text.sizes.n_heads,
        "layers": text.sizes.n_layers,
        "mlp_ratio": ratio(text.sizes.d_hidden, text.sizes.d_model),
        // A folder's own tokenizer files go before this name.
        "hf_tokenizer_name": ".",
    });
    let map = cfg.as_object_mut()?;
    let mut say = |key: &str, value: Value| map.insert(key.into(), value);
    if !text.causal {
        say("no_causal_mask", json!(true));
    }
    match as_highest(text) {
        TextPooling::HighestId => None,
        TextPooling::First => say("pool_type", json!("first")),
        TextPooling::Last => say("pool_type", json!("last")),
        TextPooling::FirstOf(id) => {
            say("eos_id", json!(id));
            say("pool_type", json!("eos"))
        }
    };
    match text.d_output {
        None => say("proj_type", json!("none")),
        Some(_) if text.output_bias => say("proj_bias", json!(true)),
        Some(_) => None,
    };
    say_kwargs(map, text.sizes.activation, text.sizes.norm_epsilon);
    Some(cfg)
}

fn say_kwargs(cfg: &mut Map<String, Value>, activation: Activation, epsilon: f64) {
    if activation == Activation::GeluTanh {
        cfg.insert("act_kwargs".into(), json!({ "approximate": "tanh" }));
    }
    if epsilon != 1e-5 {
        cfg.insert("norm_kwargs".into(), json!({ "eps": epsilon }));
    }
}

#[cfg(test)]
mod tests {
    use text_encoder::TextConfig;
    use vision_encoder::VisionConfig;

    use super::*;

    #[test]
    fn a_clip_has_a_form_in_open_clip_and_a_siglip_has_not() {
        let text = TextConfig::clip(600, 16, 128, 2);
        let clip = DualConfig::clip(VisionConfig::clip(32, 8, 64, 2), text, 48);
        assert_eq!(clip.to_open_clip().unwrap().1, DualKeys::OpenClip);
        let siglip = DualConfig::siglip(
            VisionConfig::siglip(32, 8, 64, 2),
            TextConfig::siglip(600, 16, 64, 2),
        );
        assert!(siglip.to_open_clip().is_none());
    }
}
