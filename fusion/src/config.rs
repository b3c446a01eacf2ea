//! Configs and names of two-tower models: transformers' CLIP and SigLIP, open_clip's.

use burn::{
    module::{Initializer, Param},
    tensor::{Device, Tensor},
};
use serde_json::Value;
use text_encoder::{TextConfig, TextKeys, TextTransformer};
use transformer::{Bindings, Layout};
use vision_encoder::{VisionConfig, VisionKeys, VisionTransformer};

use crate::DualEncoder;

/// Sizes of a two-tower model.
#[derive(Clone, Debug, PartialEq)]
pub struct DualConfig {
    /// The vision tower.
    pub vision: VisionConfig,
    /// The text tower.
    pub text: TextConfig,
    /// Start of the logarithm of the scale.
    pub logit_scale: f64,
    /// Start of the bias; with one, the model trains with SigLIP's loss.
    pub logit_bias: Option<f64>,
}

/// The naming of a two-tower release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DualKeys {
    /// transformers' CLIP.
    HfClip,
    /// transformers' SigLIP.
    HfSiglip,
    /// open_clip's CLIP.
    OpenClip,
    /// open_clip's CustomTextCLIP: the text tower under `text.`.
    OpenClipCustom,
}

/// Why a config cannot be used. The caller adds the file's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FusionError {
    /// Something in the vision tower's part.
    #[error("vision tower: {0}")]
    Vision(#[from] vision_encoder::ConfigError),
    /// Something in the text tower's part.
    #[error("text tower: {0}")]
    Text(#[from] text_encoder::ConfigError),
    /// A key that must be there.
    #[error("missing key `{key}`; expected {expected}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What holds it.
        expected: &'static str,
    },
    /// A kind of model this crate does not know.
    #[error("{key} is {found}; supported: {supported}")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        supported: &'static str,
    },
    /// The towers' outputs do not meet.
    #[error(
        "the vision tower gives {vision} features and the text tower {text}; they must be equal"
    )]
    Widths {
        /// Width of the vision features.
        vision: usize,
        /// Width of the text features.
        text: usize,
    },
}

/// open_clip's and OpenAI's start of the scale: ln(1 / 0.07).
const CLIP_SCALE: f64 = 2.659_260_036_932_778;

impl DualConfig {
    /// CLIP of two towers as open_clip starts it.
    pub fn clip(vision: VisionConfig, text: TextConfig, d_joint: usize) -> Self {
        Self {
            vision: VisionConfig {
                d_output: Some(d_joint),
                ..vision
            },
            text: TextConfig {
                d_output: Some(d_joint),
                ..text
            },
            logit_scale: CLIP_SCALE,
            logit_bias: None,
        }
    }

    /// SigLIP of two towers (Zhai et al. 2023): scale ln(10), bias -10. The vision tower's width
    /// is the joint dimension.
    pub fn siglip(vision: VisionConfig, text: TextConfig) -> Self {
        let d_joint = vision.d_model;
        Self {
            vision: VisionConfig {
                d_output: None,
                ..vision
            },
            text: TextConfig {
                d_output: Some(d_joint),
                ..text
            },
            logit_scale: 10f64.ln(),
            logit_bias: Some(-10.0),
        }
    }

    /// A transformers `config.json` of a CLIP or SigLIP.
    pub fn from_hf(json: &Value) -> Result<(Self, DualKeys), FusionError> {
        let null = Value::Object(serde_json::Map::new());
        let part = |key: &str| json.get(key).unwrap_or(&null);
        let kind = json
            .get("model_type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let number = |key: &str| json.get(key).and_then(Value::as_f64);
        let (config, keys) = match kind {
            "clip" => {
                let d_joint = number("projection_dim").map_or(512, |dim| dim as usize);
                let config = Self {
                    vision: VisionConfig::from_hf_clip(part("vision_config"), d_joint)?,
                    text: TextConfig::from_hf_clip(part("text_config"), d_joint)?,
                    logit_scale: number("logit_scale_init_value").unwrap_or(2.6592),
                    logit_bias: None,
                };
                (config, DualKeys::HfClip)
            }
            "siglip" => {
                let config = Self {
                    vision: VisionConfig::from_hf_siglip(part("vision_config"))?,
                    text: TextConfig::from_hf_siglip(part("text_config"))?,
                    logit_scale: 10f64.ln(),
                    logit_bias: Some(-10.0),
                };
                (config, DualKeys::HfSiglip)
            }
            other => {
                return Err(FusionError::Unsupported {
                    key: "model_type",
                    found: format!("\"{other}\""),
                    supported: "clip, siglip",
                });
            }
        };
        Ok((config.checked()?, keys))
    }

    /// An `open_clip_config.json`.
    pub fn from_open_clip(json: &Value) -> Result<(Self, DualKeys), FusionError> {
        let expected = "an open_clip_config.json with `model_cfg`";
        let cfg = json.get("model_cfg").ok_or(FusionError::Missing {
            key: "model_cfg",
            expected,
        })?;
        let part = |key: &'static str| cfg.get(key).ok_or(FusionError::Missing { key, expected });
        let known = [
            "embed_dim",
            "quick_gelu",
            "init_logit_bias",
            "init_logit_scale",
            "custom_text",
            "vision_cfg",
            "text_cfg",
        ];
        let unknown = cfg.as_object().and_then(|map| {
            map.keys()
                .find(|key| !known.contains(&key.as_str()))
                .cloned()
        });
        if let Some(found) = unknown {
            return Err(FusionError::Unsupported {
                key: "a key of model_cfg",
                found: format!("`{found}`"),
                supported: "embed_dim, quick_gelu, init_logit_bias, init_logit_scale, custom_text",
            });
        }
        let flag = |key: &str| cfg.get(key).and_then(Value::as_bool).unwrap_or(false);
        let dim = part("embed_dim")?;
        let dim = dim
            .as_u64()
            .filter(|dim| *dim > 0)
            .ok_or_else(|| FusionError::Unsupported {
                key: "embed_dim",
                found: dim.to_string(),
                supported: "a whole number above 0",
            })? as usize;
        let quick = flag("quick_gelu");
        let config = Self {
            vision: VisionConfig::from_open_clip(part("vision_cfg")?, dim, quick)?,
            text: TextConfig::from_open_clip(part("text_cfg")?, dim, quick)?,
            logit_scale: cfg
                .get("init_logit_scale")
                .and_then(Value::as_f64)
                .unwrap_or(CLIP_SCALE),
            logit_bias: cfg.get("init_logit_bias").and_then(Value::as_f64),
        };
        let keys = match flag("custom_text") {
            true => DualKeys::OpenClipCustom,
            false => DualKeys::OpenClip,
        };
        Ok((config.checked()?, keys))
    }

    fn checked(self) -> Result<Self, FusionError> {
        let vision = self.vision.d_output.unwrap_or(self.vision.d_model);
        let text = self.text.d_output.unwrap_or(self.text.d_model);
        if vision != text {
            return Err(FusionError::Widths { vision, text });
        }
        Ok(self)
    }

    /// Initialises the model. Nothing is allocated until the first use.
    pub fn init(&self, device: &Device) -> DualEncoder<VisionTransformer, TextTransformer> {
        let constant =
            |value| -> Param<Tensor<1>> { Initializer::Constant { value }.init([1], device) };
        DualEncoder {
            vision: self.vision.init(device),
            text: self.text.init(device),
            logit_scale: constant(self.logit_scale),
            logit_bias: self.logit_bias.map(constant),
        }
    }

    /// The name on disk of each parameter.
    pub fn bindings(&self, keys: DualKeys) -> Bindings {
        let (vision, text, scalar) = match keys {
            DualKeys::HfClip => (VisionKeys::HfClip, TextKeys::HfClip, Layout::Scalar),
            DualKeys::HfSiglip => (VisionKeys::HfClip, TextKeys::HfSiglip, Layout::Same),
            DualKeys::OpenClip => (VisionKeys::OpenClip, TextKeys::OpenClip, Layout::Scalar),
            DualKeys::OpenClipCustom => (
                VisionKeys::OpenClip,
                TextKeys::OpenClipCustom,
                Layout::Scalar,
            ),
        };
        let mut bindings = Bindings::default();
        bindings.nest("vision", self.vision.bindings(vision));
        bindings.nest("text", self.text.bindings(text));
        bindings.bind("logit_scale", "logit_scale", scalar.clone());
        if self.logit_bias.is_some() {
            bindings.bind("logit_bias", "logit_bias", scalar);
        }
        bindings
    }
}
