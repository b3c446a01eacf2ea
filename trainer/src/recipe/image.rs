//! `[image]`: from a decoded picture to the model's input. Its size is the vision tower's, `model.vision.image_size`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vision_encoder::image::{Filter, Limits, ResizeMode};

use super::tagged;

/// Preprocessing and augmentation. What is absent is as the folder of weights says, or as the model's family has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Image {
    /// Whose resizing and normalisation; the keys below overrule each of its parts.
    pub preprocessing: Option<Preprocessing>,
    /// How a picture of another shape becomes a square.
    pub resize: Option<ResizeMode>,
    /// The side that a picture is resized to, in pixels; where the model takes fewer, its middle is cut out.
    pub size: Option<u32>,
    /// The kernel of the resize.
    pub interpolation: Option<Filter>,
    /// Subtracted from each channel, whose values go from 0 to 1.
    pub mean: Option<[f64; 3]>,
    /// What each channel is then divided by.
    pub std: Option<[f64; 3]>,
    /// Most pixels of a picture, width times height, as its header declares them.
    pub max_pixels: u64,
    /// Most bytes of a picture's file.
    pub max_bytes: u64,
    /// What training does to a picture in place of the plain resize and crop; evaluation never does.
    #[serde(serialize_with = "tagged::serialize")]
    pub augmentation: Augmentation,
}

impl Default for Image {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            preprocessing: None,
            resize: None,
            size: None,
            interpolation: None,
            mean: None,
            std: None,
            max_pixels: limits.max_pixels,
            max_bytes: limits.max_bytes,
            augmentation: Augmentation::None,
        }
    }
}

/// Whose resizing, cropping and normalisation is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preprocessing {
    /// Hugging Face's `CLIPImageProcessor`: shortest edge, centre crop, CLIP's mean and deviation.
    Clip,
    /// Hugging Face's `SiglipImageProcessor`: resized to a square, mean and deviation 0.5.
    Siglip,
    /// Hugging Face's `ViTImageProcessor`: resized to a square, mean and deviation 0.5.
    Vit,
    /// open_clip's: as CLIP's, with crop offsets rounded half to even.
    OpenClip,
}

/// What training does to a picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Augmentation {
    /// Nothing: training sees what evaluation sees.
    None,
    /// A random part of the picture, resized to the input size.
    RandomResizedCrop(RandomResizedCrop),
}

/// A random part of the picture, resized to the input size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// The least and the greatest share of the picture's area.
    pub scale: [f64; 2],
    /// The least and the greatest ratio of width to height.
    pub ratio: [f64; 2],
}

impl Default for RandomResizedCrop {
    /// open_clip's defaults.
    fn default() -> Self {
        Self {
            scale: [0.9, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
        }
    }
}
