//! [`decode`]: the bytes of a file to a [`Picture`]; content, not a file name, says what they are.

use image::ImageFormat;
use transformer::guard::guarded;

use super::error::ImageError;
use super::kind::{OTHER, kind_of};
use super::options::{DecodeOptions, Orientation, name_of};
use super::picture::Picture;
use super::{exif, formats, gif, jpeg};

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
