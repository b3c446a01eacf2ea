//! [`decode`]: the bytes of a file to a [`Picture`]; content, not a file name, says what they are.

use std::io::Cursor;

use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::error::ImageError;
use super::jpeg;
use super::picture::{Picture, PixelKind};
use super::png;

/// What a file may cost. Both are checked before anything is allocated for its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest file, in bytes. Default: 128 MiB.
    pub max_bytes: u64,
    /// Most pixels (width times height), as declared in the header. Default: 2^26, about 67 million, that is 200 MB
    /// of RGB.
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

impl Limits {
    pub(super) fn check_pixels(&self, width: u32, height: u32) -> Result<(), ImageError> {
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(ImageError::TooManyPixels {
                width,
                height,
                limit: self.max_pixels,
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
/// and for files beyond the limits.
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
    let (picture, orientation) = match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => jpeg::decode(bytes, &options.limits)?,
        Ok(format) => decode_other(bytes, format, options)?,
        Err(_) => return Err(ImageError::NotAnImage),
    };
    Ok(match options.orientation {
        Orientation::Upright => picture.upright(orientation),
        Orientation::AsStored => picture,
    })
}

fn decode_other(
    bytes: &[u8],
    format: ImageFormat,
    options: &DecodeOptions,
) -> Result<(Picture, u8), ImageError> {
    let refused = |error| refused(name_of(format), error);
    if format == ImageFormat::Png {
        png::check_critical_chunks(bytes)?;
    }
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format)
        .into_decoder()
        .map_err(refused)?;
    let (width, height) = decoder.dimensions();
    options.limits.check_pixels(width, height)?;
    let mut limits = image::Limits::default();
    // 16 bytes a pixel are RGBA as 32-bit floats, the largest that any of the formats asks for.
    limits.max_alloc = Some(options.limits.max_pixels.saturating_mul(16));
    decoder.set_limits(limits).map_err(refused)?;
    let orientation = decoder.orientation().map_or(1, |o| o.to_exif());
    let stored = Stored::of(bytes, format, decoder.color_type());
    let pixels = DynamicImage::from_decoder(decoder).map_err(refused)?;
    Ok((to_picture(pixels, stored, options.alpha)?, orientation))
}

/// How a file stores its pixels, where that is not visible any more in the decoded ones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stored {
    Direct,
    WithAlpha,
    Palette,
}

impl Stored {
    fn of(bytes: &[u8], format: ImageFormat, color: ColorType) -> Self {
        match (format, bytes.get(24..26)) {
            // A PNG opens with its header chunk: bit depth at byte 24, colour type at byte 25.
            (ImageFormat::Png, Some([_, 3] | [1, 0])) | (ImageFormat::Gif, _) => Self::Palette,
            (ImageFormat::Png, Some([_, 4 | 6])) => Self::WithAlpha,
            (ImageFormat::Png, _) => Self::Direct,
            _ if color.has_alpha() => Self::WithAlpha,
            _ => Self::Direct,
        }
    }
}

fn to_picture(pixels: DynamicImage, stored: Stored, alpha: Alpha) -> Result<Picture, ImageError> {
    let (width, height) = (pixels.width(), pixels.height());
    let rgb_kind = if stored == Stored::Palette {
        PixelKind::Palette
    } else {
        PixelKind::Rgb
    };
    if !pixels.color().has_alpha() {
        return Picture::new(width, height, rgb_kind, rgb_bytes(pixels));
    }
    let picture = Picture::new(width, height, PixelKind::Rgba, rgba_bytes(pixels))?;
    match (alpha, stored) {
        (Alpha::OverWhite, _) => Ok(picture.over_white()),
        (Alpha::Keep, Stored::WithAlpha) => Ok(picture),
        (Alpha::Keep, _) => Ok(picture.into_rgb().with_kind(rgb_kind)),
    }
}

fn rgb_bytes(pixels: DynamicImage) -> Vec<u8> {
    match pixels {
        DynamicImage::ImageLuma16(p) => p.iter().flat_map(|v| [(v >> 8) as u8; 3]).collect(),
        DynamicImage::ImageRgb16(p) => upper_bytes(&p),
        other => other.into_rgb8().into_raw(),
    }
}

fn rgba_bytes(pixels: DynamicImage) -> Vec<u8> {
    match pixels {
        DynamicImage::ImageLumaA16(p) => {
            let upper = upper_bytes(&p);
            upper
                .chunks_exact(2)
                .flat_map(|v| [v[0], v[0], v[0], v[1]])
                .collect()
        }
        DynamicImage::ImageRgba16(p) => upper_bytes(&p),
        other => other.into_rgba8().into_raw(),
    }
}

/// Pillow keeps the upper 8 of 16 bits, where `image` would round.
fn upper_bytes(values: &[u16]) -> Vec<u8> {
    values.iter().map(|v| (v >> 8) as u8).collect()
}

fn name_of(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Gif => "GIF",
        ImageFormat::WebP => "WebP",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        _ => "image",
    }
}

fn refused(format: &'static str, error: image::ImageError) -> ImageError {
    let reason = error.to_string();
    match error {
        image::ImageError::Unsupported(_) | image::ImageError::Limits(_) => {
            ImageError::Unsupported { format, reason }
        }
        _ => ImageError::Broken { format, reason },
    }
}
