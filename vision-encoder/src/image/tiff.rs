//! What of TIFF is not left to the `image` crate: ink, and what it would decode otherwise than Pillow.

use std::io::Cursor;

use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits as TiffLimits};

use super::error::ImageError;
use super::exif::tag_of_tiff;
use super::options::Limits;
use super::options::budget;
use super::picture::{Picture, PixelKind};

const COMPRESSION: u16 = 259;
const PHOTOMETRIC: u16 = 262;
/// JPEG of old and new style.
const JPEG: [u8; 2] = [6, 7];
const SEPARATED: u8 = 5;

/// The picture, if it is in 8-bit ink; `image` would round its colours otherwise.
///
/// JPEG inside of TIFF is refused: another decoder than ours would read it, with other pixels.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Option<Picture>, ImageError> {
    if tag_of_tiff(bytes, COMPRESSION).is_some_and(|kind| JPEG.contains(&kind)) {
        return Err(ImageError::Unsupported {
            format: "TIFF",
            reason: "JPEG inside of TIFF".into(),
        });
    }
    if tag_of_tiff(bytes, PHOTOMETRIC) != Some(SEPARATED) {
        return Ok(None);
    }
    let broken = |error: tiff::TiffError| ImageError::Broken {
        format: "TIFF",
        reason: error.to_string(),
    };
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(broken)?;
    if decoder.colortype().map_err(broken)? != ColorType::CMYK(8) {
        return Ok(None);
    }
    let (width, height) = decoder.dimensions().map_err(broken)?;
    limits.check_pixels(width, height)?;
    let bytes = usize::try_from(budget(width, height)).unwrap_or(usize::MAX);
    let mut costs = TiffLimits::default();
    costs.decoding_buffer_size = bytes;
    costs.intermediate_buffer_size = bytes;
    costs.ifd_value_size = bytes;
    match decoder.with_limits(costs).read_image().map_err(broken)? {
        DecodingResult::U8(ink) => Picture::new(width, height, PixelKind::Cmyk, ink).map(Some),
        _ => Ok(None),
    }
}
