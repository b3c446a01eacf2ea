//! Configs and names of two-tower models: transformers' CLIP and SigLIP, open_clip's.

use burn::{
    module::{Initializer, Param},
    tensor::{Device, Tensor},
};
use text_encoder::{TextConfig, TextKeys, TextTransformer};
use transformer::{Bindings, ConfigError, Layout, config::sum};
use vision_encoder::{Pooling, VisionConfig, VisionKeys, VisionTransformer};

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
    /// transformers' model of two towers that were trained apart, a ViT and a BERT, or one of them CLIP's:
    /// `VisionTextDualEncoderModel`.
    HfVisionText,
    /// open_clip's CLIP.
    OpenClip,
    /// open_clip's CustomTextCLIP: the text tower under `text.`; SigLIP's vision tower is timm's.
    OpenClipCustom,
}

/// Why a config cannot be used. The caller adds the file's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FusionError {
    /// Something in the vision tower's part.
    #[error("vision tower: {0}")]
    Vision(ConfigError),
    /// Something in the text tower's part.
    #[error("text tower: {0}")]
    Text(ConfigError),
    /// Something in the model's own part.
    #[error("{0}")]
    Model(ConfigError),
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
    /// The sizes, each within its bounds, make a model that nothing can hold.
    #[error(
        "{tower} tower: `{key}` is {found}: with the widths it makes {parameters} parameters, {} GB in float32; \
         supported: {MAX_PARAMETERS}",
        parameters.saturating_mul(4) / 1_000_000_000
    )]
    TooLarge {
        /// The tower with more of them.
        tower: &'static str,
        /// The key of its number of blocks.
        key: String,
        /// How many blocks it has.
        found: usize,
        /// Parameters of the model.
        parameters: u64,
    },
}

impl FusionError {
    /// The key that is at fault, by its full path in the file, if it is one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Vision(error) | Self::Text(error) | Self::Model(error) => Some(error.key()),
            Self::TooLarge { key, .. } => Some(key),
            Self::Widths { .. } => None,
        }
    }
}

/// The most parameters that a model may have: some times those of the largest that was published.
pub const MAX_PARAMETERS: u64 = 20_000_000_000;

/// open_clip's and OpenAI's start of the scale: ln(1 / 0.07).
pub(crate) const CLIP_SCALE: f64 = 2.659_260_036_932_778;

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
        let d_joint = vision.sizes.d_model;
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

    /// Elements of all parameters, in closed form: nothing is built.
    pub fn parameters(&self) -> u64 {
        let scalars = 1 + u64::from(self.logit_bias.is_some());
        sum(&[self.vision.parameters(), self.text.parameters(), scalars])
    }

    /// Checks that the towers' features meet and that the model is not too large. `layers` are the keys of the number of
    /// blocks, of the vision and of the text tower.
    ///
    /// # Errors
    ///
    /// Names both widths, or the key of the larger tower.
    pub fn checked_as(self, layers: [&str; 2]) -> Result<Self, FusionError> {
        let vision = self.vision.d_output.unwrap_or(self.vision.sizes.d_model);
        let text = self.text.d_output.unwrap_or(self.text.sizes.d_model);
        if vision != text {
            return Err(FusionError::Widths { vision, text });
        }
        let parameters = self.parameters();
        if parameters <= MAX_PARAMETERS {
            return Ok(self);
        }
        let is_text = self.text.parameters() > self.vision.parameters();
        let (tower, found) = if is_text {
            ("text", self.text.sizes.n_layers)
        } else {
            ("vision", self.vision.sizes.n_layers)
        };
        Err(FusionError::TooLarge {
            tower,
            key: layers[usize::from(is_text)].into(),
            found,
            parameters,
        })
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
        // open_clip takes this tower from timm.
        let open_clip = if self.vision.pooling == Pooling::Attention {
            VisionKeys::OpenClipTimm
        } else {
            VisionKeys::OpenClip
        };
        // Of two towers that were trained apart each may be CLIP's.
        let apart = if self.vision.pooler {
            VisionKeys::HfVisionText
        } else {
            VisionKeys::HfClip
        };
        let text_apart = if self.text.pooler {
            TextKeys::HfVisionText
        } else {
            TextKeys::HfClip
        };
        let (vision, text, scalar) = match keys {
            DualKeys::HfClip => (VisionKeys::HfClip, TextKeys::HfClip, Layout::Scalar),
            DualKeys::HfSiglip => (VisionKeys::HfClip, TextKeys::HfSiglip, Layout::One),
            DualKeys::HfVisionText => (apart, text_apart, Layout::Scalar),
            DualKeys::OpenClip => (open_clip, TextKeys::OpenClip, Layout::Scalar),
            DualKeys::OpenClipCustom => (open_clip, TextKeys::OpenClipCustom, Layout::Scalar),
        };
        let mut bindings = Bindings::default();
        bindings.nest("vision", self.vision.bindings(vision));
        bindings.nest("text", self.text.bindings(text));
        bindings.bind("logit_scale", "logit_scale", scalar.clone());
        if self.logit_bias.is_some() {
            bindings.bind("logit_bias", "logit_bias", scalar);
        }
        if matches!(keys, DualKeys::OpenClip | DualKeys::OpenClipCustom) {
            // What OpenAI's files say of the sizes.
            for key in ["input_resolution", "context_length", "vocab_size"] {
                bindings.ignore(key);
            }
            // A CLIP that goes on as a SigLIP has none yet.
            bindings.zero_if_missing("logit_bias");
        }
        bindings
    }
}
