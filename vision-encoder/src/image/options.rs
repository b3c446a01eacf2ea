//! How pictures are decoded, and what they may cost.

use image::ImageFormat;

use super::error::ImageError;

/// What a file may cost. Both are checked before anything is allocated for its pixels.
///
/// Decoding takes at most 16 bytes for each pixel that the header declares, a copy of the file, and some megabytes;
/// whatever else a file holds (profiles, notes, thumbnails) is not unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest file, in bytes. Default: 128 MiB.
    pub max_bytes: u64,
    /// Most pixels (width times height), as declared in the header. Default: 2^26, about 67 million, that is 200 MB
    /// of RGB. A side has at most 65,535 of them, whatever this says.
    pub max_pixels: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 27,
            max_pixels: 1 << 26,
        }
    }
}

/// The longest side that is read, in pixels: JPEG's own longest.
const LONGEST_SIDE: u32 = 65_535;

impl Limits {
    pub(super) fn check_pixels(&self, width: u32, height: u32) -> Result<(), ImageError> {
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(ImageError::TooManyPixels {
                width,
                height,
                limit: self.max_pixels,
            });
        }
        if width.max(height) > LONGEST_SIDE {
            return Err(ImageError::TooLong {
                width,
                height,
                limit: LONGEST_SIDE,
            });
        }
        Ok(())
    }
}

/// What becomes of a camera's note on how it was held (EXIF orientation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Orientation {
    /// Turn the picture upright, as every viewer shows it.
    #[default]
    Upright,
    /// Leave it as stored, as Pillow's `Image.open` does.
    AsStored,
}

/// What becomes of transparency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Alpha {
    /// Blend over white: colours hidden under full transparency do not show.
    #[default]
    OverWhite,
    /// Keep real alpha channels for the preprocessor, which drops them without blending (before it resizes, or
    /// after), as the published processors do. Transparent palette entries and keyed colours show their colour.
    Keep,
}

/// How to decode. The default is for training: upright, over white, within the default [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecodeOptions {
    /// What a file may cost.
    pub limits: Limits,
    /// Upright or as stored.
    pub orientation: Orientation,
    /// Over white or kept.
    pub alpha: Alpha,
}

impl DecodeOptions {
    /// What `Image.open(file).convert("RGB")` sees: as stored, alpha dropped later without blending.
    pub fn reference() -> Self {
        Self {
            orientation: Orientation::AsStored,
            alpha: Alpha::Keep,
            ..Self::default()
        }
    }
}

pub(super) fn name_of(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::Gif => "GIF",
        ImageFormat::WebP => "WebP",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        _ => "image",
    }
}

/// Bytes that a decoder may take for each pixel: RGBA of 16 bits, twice.
const BYTES_PER_PIXEL: u64 = 16;
/// Bytes that it may take besides.
const BYTES_BESIDES: u64 = 1 << 20;

/// Bytes that a decoder may take.
pub(super) fn budget(width: u32, height: u32) -> u64 {
    let pixels = u64::from(width) * u64::from(height);
    pixels.saturating_mul(BYTES_PER_PIXEL) + BYTES_BESIDES
}
