//! [`decode`]: the bytes of a file to a [`Picture`]; content, not a file name, says what they are.

use image::ImageFormat;
use transformer::guard::guarded;

use super::error::ImageError;
use super::kind::{OTHER, kind_of};
use super::picture::Picture;
use super::{exif, formats, gif, jpeg};

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

/// Decodes JPEG, PNG, GIF (the first frame), WebP, BMP or TIFF to 8-bit pixels.
///
/// Grey is repeated, palettes are looked up, and of 16 bits a channel the upper 8 are kept.
///
/// # Errors
/// [`ImageError`] for empty files, content of no known format, damage (a file cut short is never padded with grey)
/// and for files beyond the limits. A decoder that panics is an error, too, and nothing of it is printed.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    if bytes.len() as u64 > options.limits.max_bytes {
        return Err(ImageError::TooManyBytes {
            found: bytes.len() as u64,
            limit: options.limits.max_bytes,
        });
    }
    let format = format_of(bytes)?;
    let decoded = guarded(|| match format {
        ImageFormat::Jpeg => jpeg::decode(bytes, &options.limits),
        ImageFormat::Gif => gif::decode(bytes, options),
        _ => formats::decode(bytes, format, options),
    });
    let picture = decoded.map_err(|reason| ImageError::Panicked {
        format: name_of(format),
        reason,
    })??;
    // Pillow turns TIFF upright while it decodes it.
    if options.orientation == Orientation::AsStored && format != ImageFormat::Tiff {
        return Ok(picture);
    }
    Ok(picture.upright(exif::orientation(bytes, format)))
}

fn format_of(bytes: &[u8]) -> Result<ImageFormat, ImageError> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    if let Ok(format @ (Bmp | Gif | Jpeg | Png | Tiff | WebP)) = image::guess_format(bytes) {
        return Ok(format);
    }
    let kind = kind_of(bytes);
    Err(ImageError::NotAnImage {
        found: kind.map(|kind| kind.name),
        remedy: kind.map_or(OTHER, |kind| kind.remedy),
    })
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
