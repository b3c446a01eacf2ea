//! [`Preprocessor`]: does with a picture what a [`PreprocessorConfig`] says.

use super::axis::{Axis, Filter};
use super::description::{Convention, PreprocessorConfig, ResizeMode, Size};
use super::error::PreprocessorError;
use super::normalise::Normalise;
use super::picture::{Picture, PixelKind, ink_to_rgb};
use super::resample::resample;

/// Resize, centre crop or padding, conversion to RGB and normalisation, in the order of the reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocessor {
    config: PreprocessorConfig,
    normalise: Normalise,
}

/// One axis of the output: `before` padding pixels, the kept ones of `axis`, and padding up to `total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Placed {
    axis: Axis,
    before: u32,
    total: u32,
}

impl Preprocessor {
    /// Does what the description says.
    ///
    /// # Errors
    /// Those of [`PreprocessorConfig::checked`].
    pub fn new(config: PreprocessorConfig) -> Result<Self, PreprocessorError> {
        Ok(Self::of(config.checked()?))
    }

    /// [`PreprocessorConfig::clip`].
    pub fn clip(size: u32) -> Self {
        Self::of(PreprocessorConfig::clip(size))
    }

    /// [`PreprocessorConfig::siglip`].
    pub fn siglip(size: u32) -> Self {
        Self::of(PreprocessorConfig::siglip(size))
    }

    /// [`PreprocessorConfig::vit`].
    pub fn vit(size: u32) -> Self {
        Self::of(PreprocessorConfig::vit(size))
    }

    /// [`PreprocessorConfig::blip`].
    pub fn blip(size: u32) -> Self {
        Self::of(PreprocessorConfig::blip(size))
    }

    /// [`PreprocessorConfig::open_clip`].
    pub fn open_clip(size: u32) -> Self {
        Self::of(PreprocessorConfig::open_clip(size))
    }

    fn of(config: PreprocessorConfig) -> Self {
        let narrow = |values: [f64; 3]| values.map(|value| value as f32);
        let normalise = Normalise::new(config.rescale, narrow(config.mean), narrow(config.std));
        Self { config, normalise }
    }

    /// What it does.
    pub fn config(&self) -> &PreprocessorConfig {
        &self.config
    }

    /// The kernel of the resize.
    pub fn filter(&self) -> Filter {
        self.config.interpolation
    }

    /// Rescaling and normalisation alone, for planes that are kept in 8 bits.
    pub fn normalise(&self) -> &Normalise {
        &self.normalise
    }

    /// What comes out for a picture of `width` x `height` pixels: `(height, width)`.
    pub fn output_size(&self, width: u32, height: u32) -> (u32, u32) {
        let (across, down) = self.axes(width, height);
        (down.total, across.total)
    }

    /// Resizes, crops or pads, and converts to RGB.
    ///
    /// # Shapes
    /// - output: `[3, height, width]`, of [`output_size`](Self::output_size)
    pub fn apply(&self, picture: &Picture) -> Vec<u8> {
        let (across, down) = self.axes(picture.width(), picture.height());
        let filter = self.config.interpolation;
        let has_rgb = picture.kind() == PixelKind::Rgb;
        let kept = if self.config.convention == Convention::OpenClip || has_rgb {
            resample(picture, across.axis, down.axis, filter)
        } else {
            resample(&picture.clone().into_rgb(), across.axis, down.axis, filter)
        };
        let kept = kept.into_planes();
        if across.is_filled() && down.is_filled() {
            return kept;
        }
        padded(&kept, across, down, self.fill_of(picture.kind()))
    }

    /// Resizes, crops, converts to RGB and normalises.
    ///
    /// # Shapes
    /// - output: `[3, height, width]`, of [`output_size`](Self::output_size)
    pub fn pixel_values(&self, picture: &Picture) -> Vec<f32> {
        self.normalise.apply(&self.apply(picture))
    }

    /// open_clip pads before it converts to RGB: with ink, where the picture is printed in ink.
    fn fill_of(&self, kind: PixelKind) -> [u8; 3] {
        let fill = self.config.fill;
        match (self.config.convention, kind) {
            (Convention::OpenClip, PixelKind::Cmyk) => ink_to_rgb([fill[0]; 4]),
            _ => fill,
        }
    }

    fn axes(&self, width: u32, height: u32) -> (Placed, Placed) {
        let to = self.resized(width, height);
        let (across, down) = (Axis::whole(width, to.width), Axis::whole(height, to.height));
        match self.config.crop {
            None => (Placed::all(across), Placed::all(down)),
            Some(crop) => (
                Placed::centre(across, crop.width, self.config.convention),
                Placed::centre(down, crop.height, self.config.convention),
            ),
        }
    }

    /// The size after the resize.
    fn resized(&self, width: u32, height: u32) -> Size {
        let PreprocessorConfig { resize, size, .. } = self.config;
        let ratio_of = |side: u32, to: u32| f64::from(side) / f64::from(to);
        let ratios = [ratio_of(height, size.height), ratio_of(width, size.width)];
        match resize {
            ResizeMode::Squash => size,
            ResizeMode::Shortest if size.is_square() => {
                let short = width.min(height);
                let long = u64::from(size.height) * u64::from(width.max(height)) / u64::from(short);
                let long = u32::try_from(long).unwrap_or(u32::MAX);
                let (height, width) = if width <= height {
                    (long, size.height)
                } else {
                    (size.height, long)
                };
                Size { height, width }
            }
            ResizeMode::Shortest => divided(width, height, ratios[0].min(ratios[1])),
            ResizeMode::Longest => divided(width, height, ratios[0].max(ratios[1])),
        }
    }
}

/// Both sides by the same number, half a pixel to the even side.
fn divided(width: u32, height: u32, ratio: f64) -> Size {
    let side = |side: u32| ((f64::from(side) / ratio).round_ties_even() as u32).max(1);
    Size {
        height: side(height),
        width: side(width),
    }
}

/// Channel planes in the middle of larger ones.
///
/// # Shapes
/// - `planes`: `[3, down.axis.kept, across.axis.kept]`
/// - output: `[3, down.total, across.total]`
fn padded(planes: &[u8], across: Placed, down: Placed, fill: [u8; 3]) -> Vec<u8> {
    let [left, top, width, total] =
        [across.before, down.before, across.axis.kept, across.total].map(|pixels| pixels as usize);
    let area = total * down.total as usize;
    let mut out = Vec::with_capacity(3 * area);
    let kept = width * down.axis.kept as usize;
    for (plane, fill) in planes.chunks_exact(kept).zip(fill) {
        let from = out.len();
        out.resize(from + area, fill);
        let rows = out[from..].chunks_exact_mut(total).skip(top);
        for (row, kept) in rows.zip(plane.chunks_exact(width)) {
            row[left..left + width].copy_from_slice(kept);
        }
    }
    out
}

impl Placed {
    fn all(axis: Axis) -> Self {
        Self {
            axis,
            before: 0,
            total: axis.kept,
        }
    }

    fn is_filled(self) -> bool {
        self.axis.kept == self.total
    }

    /// The middle `total` pixels of an axis, or the axis in the middle of as many.
    fn centre(axis: Axis, total: u32, convention: Convention) -> Self {
        let kept = total.min(axis.resized);
        let is_transformers = convention == Convention::Transformers;
        let surplus = axis.resized - kept;
        let half = surplus / 2;
        let up = !is_transformers && surplus % 2 == 1 && half % 2 == 1;
        let missing = total - kept;
        Self {
            axis: Axis {
                offset: half + u32::from(up),
                kept,
                ..axis
            },
            before: if is_transformers {
                missing.div_ceil(2)
            } else {
                missing / 2
            },
            total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resized(config: PreprocessorConfig, width: u32, height: u32) -> (u32, u32) {
        let size = Preprocessor::new(config).unwrap().resized(width, height);
        (size.width, size.height)
    }

    #[test]
    fn the_longer_edge_is_truncated() {
        let of = |size, width, height| resized(PreprocessorConfig::clip(size), width, height);
        assert_eq!(of(32, 640, 480), (42, 32));
        assert_eq!(of(32, 333, 500), (32, 48));
        assert_eq!(of(224, 2000, 2), (224_000, 224));
    }

    #[test]
    fn a_picture_covers_or_fits_an_oblong_by_the_nearest_pixel() {
        let size = Size {
            height: 48,
            width: 32,
        };
        let cover = PreprocessorConfig {
            size,
            ..PreprocessorConfig::open_clip(1)
        };
        assert_eq!(resized(cover.clone(), 640, 480), (64, 48));
        let fit = PreprocessorConfig {
            resize: ResizeMode::Longest,
            ..cover
        };
        assert_eq!(resized(fit.clone(), 640, 480), (32, 24));
        assert_eq!(resized(fit.clone(), 100, 201), (24, 48));
        assert_eq!(resized(fit, 10_000, 1), (32, 1));
    }

    #[test]
    fn an_odd_surplus_is_split_as_each_reference_does() {
        let offset = |convention, surplus: u32| {
            let placed = Placed::centre(Axis::whole(9, 32 + surplus), 32, convention);
            placed.axis.offset
        };
        let truncated: Vec<_> = (0..8)
            .map(|s| offset(Convention::Transformers, s))
            .collect();
        let even: Vec<_> = (0..8).map(|s| offset(Convention::OpenClip, s)).collect();
        assert_eq!(truncated, [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(even, [0, 0, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn an_odd_lack_is_split_as_each_reference_does() {
        let before = |convention| Placed::centre(Axis::whole(9, 29), 32, convention).before;
        assert_eq!(before(Convention::Transformers), 2);
        assert_eq!(before(Convention::OpenClip), 1);
    }

    #[test]
    fn a_picture_that_is_too_small_is_padded_with_the_colour() {
        let picture = Picture::new(2, 1, PixelKind::Rgb, vec![100; 6]).unwrap();
        let config = PreprocessorConfig {
            resize: ResizeMode::Longest,
            fill: [1, 2, 3],
            ..PreprocessorConfig::open_clip(2)
        };
        let planes = Preprocessor::new(config).unwrap().apply(&picture);
        assert_eq!(
            planes,
            [100, 100, 1, 1, 100, 100, 2, 2, 100, 100, 3, 3],
            "one row missing, below"
        );
    }

    #[test]
    fn one_pixel_becomes_a_constant_picture() {
        let picture = Picture::new(1, 1, PixelKind::Rgb, vec![0, 255, 0]).unwrap();
        let planes = Preprocessor::clip(4).apply(&picture);
        assert_eq!(planes, [[0; 16], [255; 16], [0; 16]].concat());
    }
}
