//! `[model]`: two towers, from sizes or from pretrained weights.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::path::RecipePath;

/// What is trained: a family, its sizes or its weights, and which tower stands still.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// How the towers are built and which loss they meet in; that of the weights when absent.
    pub family: Option<Family>,
    /// Named sizes that `embed_dim`, `vision` and `text` overlay. They are filled in when the recipe is read.
    #[serde(default, skip_serializing)]
    pub preset: Option<String>,
    /// A folder of weights, in place of sizes: a run, an export, or files in the names of transformers or open_clip. It
    /// brings its sizes, its preprocessing and its tokenizer.
    pub pretrained: Option<RecipePath>,
    /// The dimension the towers' outputs meet in.
    pub embed_dim: Option<usize>,
    /// Towers that are not trained.
    #[serde(default)]
    pub lock: Vec<Tower>,
    /// The sizes of the vision tower.
    pub vision: Option<Vision>,
    /// The sizes of the text tower.
    pub text: Option<Text>,
}

/// Where a model's parameters come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start<'a> {
    /// From a folder of weights, sizes included.
    Pretrained(&'a RecipePath),
    /// Drawn at random, in these sizes.
    Sizes {
        /// The dimension the towers' outputs meet in.
        embed_dim: usize,
        /// The vision tower.
        vision: &'a Vision,
        /// The text tower.
        text: &'a Text,
    },
}

impl Model {
    /// Where the parameters come from. A recipe that was read has one; a struct filled by hand may lack it.
    pub fn start(&self) -> Option<Start<'_>> {
        match (&self.pretrained, self.embed_dim, &self.vision, &self.text) {
            (Some(folder), None, None, None) => Some(Start::Pretrained(folder)),
            (None, Some(embed_dim), Some(vision), Some(text)) => Some(Start::Sizes {
                embed_dim,
                vision,
                text,
            }),
            _ => None,
        }
    }
}

/// How the towers are built and which loss they meet in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Class token, causal text pooled at end-of-text, softmax loss.
    Clip,
    /// Attention pooling, text without a mask, sigmoid loss.
    Siglip,
}

impl Family {
    /// As a recipe has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clip => "clip",
            Self::Siglip => "siglip",
        }
    }
}

/// One of the two towers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tower {
    /// The vision tower.
    Image,
    /// The text tower.
    Text,
}

/// The sizes of a vision transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vision {
    /// The side of the square input, in pixels.
    pub image_size: usize,
    /// The side of a square patch, in pixels.
    pub patch_size: usize,
    /// The width of the hidden states.
    pub d_model: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Attention heads of a block.
    pub n_heads: usize,
    /// The width of the MLP, as a multiple of `d_model`.
    #[serde(default = "mlp_ratio")]
    pub mlp_ratio: f64,
    /// The MLP's activation.
    #[serde(default)]
    pub act: Act,
}

/// The sizes of a text transformer. Its vocabulary is the tokenizer's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// The most tokens a caption may have, start and end included.
    pub context: usize,
    /// The width of the hidden states.
    pub d_model: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Attention heads of a block.
    pub n_heads: usize,
    /// The width of the MLP, as a multiple of `d_model`.
    #[serde(default = "mlp_ratio")]
    pub mlp_ratio: f64,
    /// The MLP's activation.
    #[serde(default)]
    pub act: Act,
}

/// What ViT and CLIP have.
fn mlp_ratio() -> f64 {
    4.0
}

/// An MLP's activation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// `x * Phi(x)`, exactly.
    #[default]
    Gelu,
    /// `x * sigmoid(1.702 x)`, as in OpenAI's CLIP.
    QuickGelu,
}
