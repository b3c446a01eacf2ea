//! PNG, WebP, BMP and TIFF, by the decoders of the `image` crate.

use std::io::Cursor;

use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::error::ImageError;
use super::options::{Alpha, DecodeOptions, budget, name_of};
use super::picture::{Picture, PixelKind};
use super::png;
use super::stored::Stored;
use super::tiff;

/// The picture as stored.
pub(super) fn decode(
    bytes: &[u8],
    format: ImageFormat,
    options: &DecodeOptions,
) -> Result<Picture, ImageError> {
    let refused = |error| refused(name_of(format), error);
    if format == ImageFormat::Tiff
        && let Some(picture) = tiff::decode(bytes, &options.limits)?
    {
        return Ok(picture);
    }
    let mut file = std::borrow::Cow::Borrowed(bytes);
    if format == ImageFormat::Png {
        png::check_critical_chunks(bytes)?;
        file = png::without_unneeded(bytes);
    }
    let mut decoder = ImageReader::with_format(Cursor::new(&*file), format)
        .into_decoder()
        .map_err(refused)?;
    let (width, height) = decoder.dimensions();
    options.limits.check_pixels(width, height)?;
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(budget(width, height));
    decoder.set_limits(limits).map_err(refused)?;
    let color = decoder.color_type();
    if matches!(color, ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err(ImageError::Unsupported {
            format: name_of(format),
            reason: "colours as floating point".into(),
        });
    }
    let stored = Stored::of(bytes, format, color, decoder.original_color_type());
    let pixels = DynamicImage::from_decoder(decoder).map_err(refused)?;
    to_picture(pixels, stored, options.alpha)
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

fn refused(format: &'static str, error: image::ImageError) -> ImageError {
    let reason = error.to_string();
    match error {
        image::ImageError::Unsupported(_) | image::ImageError::Limits(_) => {
            ImageError::Unsupported { format, reason }
        }
        _ => ImageError::Broken { format, reason },
    }
}
