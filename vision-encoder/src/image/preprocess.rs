//! [`Preprocessor`]: what the published processors do with a picture, from size to normalisation.

use super::config;
use super::error::PreprocessorError;
use super::normalise::Normalise;
use super::open_clip;
use super::picture::Picture;
use super::resample::{Axis, Filter, resample};

/// The mean of the pictures CLIP was trained on.
const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Their standard deviation.
const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];
const HALF: [f32; 3] = [0.5; 3];

/// To which size a picture is resized, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// The shorter edge to this; the longer one in proportion, truncated.
    ShortestEdge(u32),
    /// Exactly this, whatever the shape was.
    Exact {
        /// Height, in pixels.
        height: u32,
        /// Width, in pixels.
        width: u32,
    },
}

/// How half a pixel of offset is rounded when the surplus of a centre crop is odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CropRounding {
    /// Down, as transformers does.
    Truncate,
    /// To the even neighbour, as torchvision and open_clip do.
    HalfToEven,
}

/// A centre crop, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// Height, in pixels.
    pub height: u32,
    /// Width, in pixels.
    pub width: u32,
    /// How an odd surplus is split.
    pub rounding: CropRounding,
}

/// Resize, centre crop, conversion to RGB and normalisation, in the order of the reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocessor {
    pub(super) resize: Resize,
    pub(super) filter: Filter,
    pub(super) crop: Option<Crop>,
    /// open_clip resizes in the colour model of the file; transformers converts to RGB first.
    pub(super) resizes_before_rgb: bool,
    pub(super) mean: [f32; 3],
    pub(super) std: [f32; 3],
    pub(super) normalise: Normalise,
}

impl Preprocessor {
    /// CLIP as transformers preprocesses it: shortest edge and crop to `size` pixels, bicubic.
    pub fn clip(size: u32) -> Self {
        let crop = Crop {
            height: size,
            width: size,
            rounding: CropRounding::Truncate,
        };
        Self::new(
            Resize::ShortestEdge(size),
            Filter::Bicubic,
            CLIP_MEAN,
            CLIP_STD,
        )
        .with_crop(crop)
    }

    /// SigLIP: `size` x `size` pixels whatever the shape was, bicubic.
    pub fn siglip(size: u32) -> Self {
        Self::new(square(size), Filter::Bicubic, HALF, HALF)
    }

    /// HF ViT: `size` x `size` pixels whatever the shape was, bilinear.
    pub fn vit(size: u32) -> Self {
        Self::new(square(size), Filter::Bilinear, HALF, HALF)
    }

    /// BLIP and BLIP-2: as SigLIP, with CLIP's mean and deviation.
    pub fn blip(size: u32) -> Self {
        Self::new(square(size), Filter::Bicubic, CLIP_MEAN, CLIP_STD)
    }

    /// open_clip's evaluation transform: as [`clip`](Self::clip), but resized before the conversion to RGB, and with
    /// torchvision's crop.
    pub fn open_clip(size: u32) -> Self {
        let crop = Crop {
            height: size,
            width: size,
            rounding: CropRounding::HalfToEven,
        };
        let mut built = Self::clip(size).with_crop(crop);
        built.resizes_before_rgb = true;
        built
    }

    /// Built from the text of a transformers `preprocessor_config.json`; keys that are left out have the defaults of
    /// the processor it names.
    ///
    /// # Errors
    /// [`PreprocessorError`] that names the key, what it holds and what it may hold.
    pub fn from_hf_json(text: &str) -> Result<Self, PreprocessorError> {
        config::from_hf_json(text)
    }

    /// Built from open_clip's `preprocess_cfg`: either that object, or a whole `open_clip_config.json` that has one.
    ///
    /// # Errors
    /// [`PreprocessorError`] that names the key, what it holds and what it may hold.
    pub fn from_open_clip_json(text: &str) -> Result<Self, PreprocessorError> {
        open_clip::from_open_clip_json(text)
    }

    /// Resizes, without a crop; `(x / 255 - mean) / std`; converts to RGB first.
    pub fn new(resize: Resize, filter: Filter, mean: [f32; 3], std: [f32; 3]) -> Self {
        let normalise = Normalise::new(1.0 / 255.0, mean, std);
        Self {
            resize,
            filter,
            crop: None,
            resizes_before_rgb: false,
            mean,
            std,
            normalise,
        }
    }

    /// The same with a centre crop after the resize.
    pub fn with_crop(self, crop: Crop) -> Self {
        Self {
            crop: Some(crop),
            ..self
        }
    }

    /// The same without its crop: the picture as it is after the resize.
    pub fn without_crop(self) -> Self {
        Self { crop: None, ..self }
    }

    /// The kernel of the resize.
    pub fn filter(&self) -> Filter {
        self.filter
    }

    /// Rescaling and normalisation alone, for planes that are kept in 8 bits.
    pub fn normalise(&self) -> &Normalise {
        &self.normalise
    }

    /// What comes out for a picture of `width` x `height` pixels: `(height, width)`.
    pub fn output_size(&self, width: u32, height: u32) -> (u32, u32) {
        let (across, down) = self.axes(width, height);
        (down.kept, across.kept)
    }

    /// Resizes, crops and converts to RGB.
    ///
    /// # Shapes
    /// - output: `[3, height, width]`, of [`output_size`](Self::output_size)
    pub fn apply(&self, picture: &Picture) -> Vec<u8> {
        let (across, down) = self.axes(picture.width(), picture.height());
        let has_rgb = matches!(picture.kind(), super::PixelKind::Rgb);
        if self.resizes_before_rgb || has_rgb {
            return resample(picture, across, down, self.filter).into_planes();
        }
        resample(&picture.clone().into_rgb(), across, down, self.filter).into_planes()
    }

    /// Resizes, crops, converts to RGB and normalises.
    ///
    /// # Shapes
    /// - output: `[3, height, width]`, of [`output_size`](Self::output_size)
    pub fn pixel_values(&self, picture: &Picture) -> Vec<f32> {
        self.normalise.apply(&self.apply(picture))
    }

    fn axes(&self, width: u32, height: u32) -> (Axis, Axis) {
        let (to_width, to_height) = self.resize.of(width, height);
        let (mut across, mut down) = (Axis::whole(width, to_width), Axis::whole(height, to_height));
        if let Some(crop) = self.crop {
            across = crop.rounding.centre(across, crop.width);
            down = crop.rounding.centre(down, crop.height);
        }
        (across, down)
    }
}

fn square(size: u32) -> Resize {
    Resize::Exact {
        height: size,
        width: size,
    }
}

impl Resize {
    /// The size after the resize, `(width, height)`.
    fn of(self, width: u32, height: u32) -> (u32, u32) {
        match self {
            Self::Exact { height, width } => (width, height),
            Self::ShortestEdge(size) => {
                let long =
                    u64::from(size) * u64::from(width.max(height)) / u64::from(width.min(height));
                let long = u32::try_from(long).unwrap_or(u32::MAX);
                if width <= height {
                    (size, long)
                } else {
                    (long, size)
                }
            }
        }
    }
}

impl CropRounding {
    /// The middle `kept` pixels of an axis (all of it, where it has no more).
    fn centre(self, axis: Axis, kept: u32) -> Axis {
        let kept = kept.min(axis.resized);
        let surplus = axis.resized - kept;
        let half = surplus / 2;
        let up = self == Self::HalfToEven && surplus % 2 == 1 && half % 2 == 1;
        Axis {
            offset: half + u32::from(up),
            kept,
            ..axis
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_edge_is_truncated() {
        assert_eq!(Resize::ShortestEdge(32).of(640, 480), (42, 32));
        assert_eq!(Resize::ShortestEdge(32).of(333, 500), (32, 48));
        assert_eq!(Resize::ShortestEdge(224).of(2000, 2), (224_000, 224));
    }

    #[test]
    fn an_odd_surplus_is_split_as_each_reference_does() {
        let offset = |rounding: CropRounding, surplus: u32| {
            rounding.centre(Axis::whole(9, 32 + surplus), 32).offset
        };
        let truncated: Vec<_> = (0..8).map(|s| offset(CropRounding::Truncate, s)).collect();
        let even: Vec<_> = (0..8)
            .map(|s| offset(CropRounding::HalfToEven, s))
            .collect();
        assert_eq!(truncated, [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(even, [0, 0, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn one_pixel_becomes_a_constant_picture() {
        let picture = Picture::new(1, 1, super::super::PixelKind::Rgb, vec![0, 255, 0]).unwrap();
        let planes = Preprocessor::clip(4).apply(&picture);
        assert_eq!(planes, [[0; 16], [255; 16], [0; 16]].concat());
    }
}
