//! JPEG, bit for bit as libjpeg-turbo decodes it for Pillow, but strict about damage; CMYK stays CMYK.

use libjpeg_turbo_rs::decode::pipeline::Decoder;
use libjpeg_turbo_rs::{ColorSpace, DecodeLimits, JpegError, PixelFormat};

use super::decode::Limits;
use super::error::ImageError;
use super::picture::{Picture, PixelKind};

/// Progressive files have about ten scans; one of thousands is made to waste time.
const MAX_SCANS: usize = 100;

/// The picture as stored, and its EXIF orientation (1 if there is none).
///
/// A file that is cut short is an error; the tolerant mode would give the missing part as grey.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<(Picture, u8), ImageError> {
    let budget = DecodeLimits {
        max_pixels: u64::MAX,
        max_scans: MAX_SCANS,
        ..DecodeLimits::default()
    };
    let mut decoder = Decoder::new_with_limits(bytes, budget).map_err(refused)?;
    let (width, height) = decoder.header().dimensions();
    let side = |n: usize| u32::try_from(n).map_err(|_| broken("a side is too long"));
    let (width, height) = (side(width)?, side(height)?);
    limits.check_pixels(width, height)?;
    let (format, kind) = match decoder.jpeg_color_space() {
        ColorSpace::Cmyk | ColorSpace::Ycck => (PixelFormat::Cmyk, PixelKind::Cmyk),
        ColorSpace::Unknown => {
            return Err(ImageError::Unsupported {
                format: "JPEG",
                reason: "neither grey nor three nor four colours".into(),
            });
        }
        _ => (PixelFormat::Rgb, PixelKind::Rgb),
    };
    decoder.set_output_format(format);
    let orientation = decoder.exif_orientation().unwrap_or(1);
    let mut pixels = decoder.decode_image().map_err(refused)?.data;
    if kind == PixelKind::Cmyk {
        // Adobe stores ink inverted: 255 is no ink.
        pixels.iter_mut().for_each(|ink| *ink = 255 - *ink);
    }
    Ok((Picture::new(width, height, kind, pixels)?, orientation))
}

fn broken(reason: impl Into<String>) -> ImageError {
    ImageError::Broken {
        format: "JPEG",
        reason: reason.into(),
    }
}

fn refused(error: JpegError) -> ImageError {
    match error {
        JpegError::Unsupported(reason) => ImageError::Unsupported {
            format: "JPEG",
            reason,
        },
        other => broken(other.to_string()),
    }
}
