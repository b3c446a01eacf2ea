//! [`PreprocessorConfig`]: preprocessing as a value that is read, overruled, printed and written.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::axis::Filter;
use super::error::{PreprocessorError, refused};

/// The mean of the pictures CLIP was trained on.
pub(super) const CLIP_MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Their standard deviation.
pub(super) const CLIP_STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];
const HALF: [f64; 3] = [0.5; 3];
/// What brings 8 bits to 0..1.
pub(super) const TO_UNIT: f64 = 1.0 / 255.0;
/// The longest side of a resize or crop, in pixels.
pub(super) const MAX_SIDE: u32 = 16_384;

/// What of a picture's shape a resize keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResizeMode {
    /// The shape; the picture covers the size (where that is a square, its shorter edge has its length).
    Shortest,
    /// The shape; the picture fits into the size.
    Longest,
    /// Nothing: the picture is squashed to the size.
    Squash,
}

/// Whose order of steps and whose rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Convention {
    /// transformers' processors on Pillow: RGB first; half a pixel of a crop's surplus is dropped.
    #[default]
    Transformers,
    /// open_clip's transform: resized in the colour model of the file, then RGB; half a pixel goes to the even side.
    OpenClip,
    /// timm's transform: RGB first; half a pixel goes to the even side.
    Timm,
}

/// Height and width, in pixels. Written as a number where it is a square, otherwise as `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Sides", into = "Sides")]
pub struct Size {
    /// Height, in pixels.
    pub height: u32,
    /// Width, in pixels.
    pub width: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Sides {
    Square(u32),
    HeightWidth([u32; 2]),
}

impl From<Sides> for Size {
    fn from(sides: Sides) -> Self {
        match sides {
            Sides::Square(side) => Self::square(side),
            Sides::HeightWidth([height, width]) => Self { height, width },
        }
    }
}

impl From<Size> for Sides {
    fn from(size: Size) -> Self {
        if size.is_square() {
            Self::Square(size.height)
        } else {
            Self::HeightWidth([size.height, size.width])
        }
    }
}

impl Size {
    /// As high as wide.
    pub fn square(side: u32) -> Self {
        Self {
            height: side,
            width: side,
        }
    }

    /// Whether it is as high as wide.
    pub fn is_square(self) -> bool {
        self.height == self.width
    }

    fn is_bounded(self) -> bool {
        let sides = 1..=MAX_SIDE;
        sides.contains(&self.height) && sides.contains(&self.width)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_square() {
            write!(f, "{}", self.height)
        } else {
            write!(f, "{}x{} (height x width)", self.height, self.width)
        }
    }
}

/// Everything that is done to a picture before a tower sees it, in this order: resize, crop, RGB, rescale, normalise.
///
/// [`checked`](Self::checked) says whether the values go together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreprocessorConfig {
    /// Whose order of steps and whose rounding.
    #[serde(default)]
    pub convention: Convention,
    /// What of the shape is kept.
    pub resize: ResizeMode,
    /// The size of the resize, in pixels.
    pub size: Size,
    /// The kernel of the resize.
    pub interpolation: Filter,
    /// The centre crop after it, in pixels. A smaller picture is padded to this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<Size>,
    /// The colour that pads: red, green, blue. Default: black.
    #[serde(default, skip_serializing_if = "is_black")]
    pub fill: [u8; 3],
    /// What each 8-bit value is multiplied by. Default: 1/255.
    #[serde(default = "to_unit", skip_serializing_if = "is_to_unit")]
    pub rescale: f64,
    /// What is subtracted then, for red, green and blue.
    pub mean: [f64; 3],
    /// What it is divided by at last.
    pub std: [f64; 3],
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_black(fill: &[u8; 3]) -> bool {
    *fill == [0; 3]
}

fn to_unit() -> f64 {
    TO_UNIT
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_to_unit(rescale: &f64) -> bool {
    *rescale == TO_UNIT
}

impl PreprocessorConfig {
    /// CLIP as transformers preprocesses it: shortest edge and crop to `size` pixels, bicubic.
    pub fn clip(size: u32) -> Self {
        Self {
            convention: Convention::Transformers,
            resize: ResizeMode::Shortest,
            size: Size::square(size),
            interpolation: Filter::Bicubic,
            crop: Some(Size::square(size)),
            fill: [0; 3],
            rescale: TO_UNIT,
            mean: CLIP_MEAN,
            std: CLIP_STD,
        }
    }

    /// SigLIP: `size` x `size` pixels whatever the shape was, bicubic.
    pub fn siglip(size: u32) -> Self {
        Self {
            mean: HALF,
            std: HALF,
            ..Self::blip(size)
        }
    }

    /// HF ViT: `size` x `size` pixels whatever the shape was, bilinear.
    pub fn vit(size: u32) -> Self {
        Self {
            interpolation: Filter::Bilinear,
            ..Self::siglip(size)
        }
    }

    /// BLIP and BLIP-2: as SigLIP, with CLIP's mean and deviation.
    pub fn blip(size: u32) -> Self {
        Self {
            resize: ResizeMode::Squash,
            crop: None,
            ..Self::clip(size)
        }
    }

    /// open_clip's evaluation transform: as [`clip`](Self::clip), but resized before the conversion to RGB, and with
    /// torchvision's crop.
    pub fn open_clip(size: u32) -> Self {
        Self {
            convention: Convention::OpenClip,
            ..Self::clip(size)
        }
    }

    /// The size of every picture that comes out, in pixels; `None` where it depends on the picture.
    pub fn output(&self) -> Option<Size> {
        match self.resize {
            ResizeMode::Squash => Some(self.crop.unwrap_or(self.size)),
            ResizeMode::Shortest | ResizeMode::Longest => self.crop,
        }
    }

    /// The same, if the values are within bounds and go together.
    ///
    /// # Errors
    /// [`PreprocessorError::Value`], with the recipe's name of the key.
    pub fn checked(self) -> Result<Self, PreprocessorError> {
        let sides = "1 to 16384 pixels";
        if !self.size.is_bounded() {
            return Err(refused("image.size", self.size, sides));
        }
        if let Some(crop) = self.crop.filter(|crop| !crop.is_bounded()) {
            return Err(refused("image.crop", crop, sides));
        }
        if self.resize == ResizeMode::Shortest
            && self.convention == Convention::Transformers
            && !self.size.is_square()
        {
            let expected = "one number, the shortest edge's";
            return Err(refused("image.size", self.size, expected));
        }
        if !self.mean.iter().all(|mean| (*mean as f32).is_finite()) {
            let found = format!("{:?}", self.mean);
            return Err(refused("image.mean", found, "finite numbers"));
        }
        let divides = |std: &f64| (*std as f32).is_normal();
        if !self.std.iter().all(divides) {
            let found = format!("{:?}", self.std);
            let expected = "finite numbers that are not zero";
            return Err(refused("image.std", found, expected));
        }
        let largest = (255.0 * self.rescale) as f32;
        let values = self.mean.iter().zip(&self.std);
        let is_finite =
            |(mean, std): (&f64, &f64)| ((largest - *mean as f32) / *std as f32).is_finite();
        if self.rescale == 0.0 || !largest.is_finite() || !values.into_iter().all(is_finite) {
            let expected = "a number that is not zero, such as 1/255";
            return Err(refused("rescale_factor", self.rescale, expected));
        }
        Ok(self)
    }
}

impl fmt::Display for PreprocessorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.resize {
            ResizeMode::Shortest if self.size.is_square() => "shortest edge",
            ResizeMode::Shortest => "covering",
            ResizeMode::Longest => "longest edge",
            ResizeMode::Squash => "squashed to",
        };
        write!(f, "{how} {} {}", self.size, self.interpolation.name())?;
        match (self.crop, self.resize) {
            (None, _) => {}
            (Some(crop), ResizeMode::Longest) => {
                let [red, green, blue] = self.fill;
                write!(f, ", padded to {crop} with colour [{red}, {green}, {blue}]")?;
            }
            (Some(crop), _) => write!(f, ", centre crop {crop}")?,
        }
        if self.rescale != TO_UNIT {
            write!(f, ", times {}", self.rescale)?;
        }
        write!(f, ", mean {:?}, std {:?}", self.mean, self.std)?;
        match self.convention {
            Convention::Transformers => Ok(()),
            Convention::OpenClip => f.write_str(", rounded as open_clip does"),
            Convention::Timm => f.write_str(", rounded as timm does"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_survives_being_written_and_read() {
        let odd = PreprocessorConfig {
            resize: ResizeMode::Longest,
            size: Size {
                height: 48,
                width: 32,
            },
            crop: Some(Size::square(40)),
            fill: [1, 2, 3],
            rescale: 0.5,
            ..PreprocessorConfig::open_clip(32)
        };
        for config in [
            PreprocessorConfig::clip(224),
            PreprocessorConfig::siglip(256),
            PreprocessorConfig::vit(32),
            PreprocessorConfig::blip(384),
            PreprocessorConfig::open_clip(224),
            odd,
        ] {
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(
                serde_json::from_str::<PreprocessorConfig>(&text).unwrap(),
                config,
                "{text}"
            );
        }
    }

    #[test]
    fn one_line_says_everything() {
        assert_eq!(
            PreprocessorConfig::clip(224).to_string(),
            "shortest edge 224 bicubic, centre crop 224, mean [0.48145466, 0.4578275, 0.40821073], std [0.26862954, \
             0.26130258, 0.27577711]"
        );
        let longest = PreprocessorConfig {
            resize: ResizeMode::Longest,
            size: Size {
                height: 32,
                width: 48,
            },
            rescale: 1.0,
            ..PreprocessorConfig::open_clip(32)
        };
        let text = longest.to_string();
        for part in [
            "longest edge 32x48 (height x width)",
            "padded to 32",
            "times 1,",
            "open_clip",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn the_output_is_known_where_it_is_fixed() {
        let clip = PreprocessorConfig::clip(32);
        assert_eq!(clip.output(), Some(Size::square(32)));
        assert_eq!(PreprocessorConfig { crop: None, ..clip }.output(), None);
        let siglip = PreprocessorConfig::siglip(48);
        assert_eq!(siglip.output(), Some(Size::square(48)));
    }

    #[test]
    fn values_out_of_bounds_are_named_by_the_recipes_key() {
        let base = || PreprocessorConfig::clip(32);
        let oblong = Size {
            height: 3,
            width: 4,
        };
        for (key, config) in [
            (
                "image.size",
                PreprocessorConfig {
                    size: Size::square(0),
                    ..base()
                },
            ),
            (
                "image.size",
                PreprocessorConfig {
                    size: Size::square(16_385),
                    ..base()
                },
            ),
            (
                "image.size",
                PreprocessorConfig {
                    size: oblong,
                    ..base()
                },
            ),
            (
                "image.crop",
                PreprocessorConfig {
                    crop: Some(Size::square(u32::MAX)),
                    ..base()
                },
            ),
            (
                "image.mean",
                PreprocessorConfig {
                    mean: [f64::NAN, 0.0, 0.0],
                    ..base()
                },
            ),
            (
                "image.std",
                PreprocessorConfig {
                    std: [1.0, 0.0, 1.0],
                    ..base()
                },
            ),
            (
                "image.std",
                PreprocessorConfig {
                    std: [1.0, 1e-60, 1.0],
                    ..base()
                },
            ),
            (
                "rescale_factor",
                PreprocessorConfig {
                    rescale: 0.0,
                    ..base()
                },
            ),
            (
                "rescale_factor",
                PreprocessorConfig {
                    rescale: f64::INFINITY,
                    ..base()
                },
            ),
        ] {
            let error = config.checked().unwrap_err();
            assert!(
                matches!(&error, PreprocessorError::Value { key: k, .. } if k == key),
                "{key}: {error}"
            );
        }
        assert!(base().checked().is_ok());
    }
}
