//! `[image]`: from a decoded picture to the model's input. Its size is the vision tower's, `model.vision.image_size`.

use serde::{Deserialize, Serialize};

use super::tagged;

/// Preprocessing and augmentation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Image {
    /// Whose resizing and normalisation; that of the model's family when absent.
    pub preprocessing: Option<Preprocessing>,
    /// What training does to a picture in place of the plain resize and crop; evaluation never does.
    #[serde(serialize_with = "tagged::serialize")]
    pub augmentation: Augmentation,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            preprocessing: None,
            augmentation: Augmentation::None,
        }
    }
}

/// Whose resizing, cropping and normalisation is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Augmentation {
    /// Nothing: training sees what evaluation sees.
    None,
    /// A random part of the picture, resized to the input size.
    RandomResizedCrop(RandomResizedCrop),
}

/// A random part of the picture, resized to the input size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
