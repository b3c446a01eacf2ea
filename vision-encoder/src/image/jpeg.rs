//! JPEG, through `zune-jpeg` directly: strict about damage, and CMYK stays CMYK.

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::decode::Limits;
use super::error::ImageError;
use super::picture::{Picture, PixelKind};

/// The picture as stored, and its EXIF orientation (1 if there is none).
///
/// Strict mode makes a file that is cut short an error; without it the missing part would come out grey.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<(Picture, u8), ImageError> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(refused)?;
    let (width, height) = decoder
        .dimensions()
        .ok_or_else(|| broken("no size in the header"))?;
    let (width, height) = (width as u32, height as u32);
    limits.check_pixels(width, height)?;

    let stored = decoder
        .input_colorspace()
        .ok_or_else(|| broken("no colour space in the header"))?;
    let (out, kind) = match stored {
        ColorSpace::CMYK | ColorSpace::YCCK => (stored, PixelKind::Cmyk),
        _ => (ColorSpace::RGB, PixelKind::Rgb),
    };
    decoder.set_options(options.jpeg_set_out_colorspace(out));
    let orientation = decoder
        .exif()
        .and_then(|exif| super::decode::exif_orientation(exif))
        .unwrap_or(1);

    let mut pixels = vec![0; width as usize * height as usize * kind.channels()];
    decoder.decode_into(&mut pixels).map_err(refused)?;
    match stored {
        ColorSpace::CMYK => pixels.iter_mut().for_each(|ink| *ink = 255 - *ink),
        ColorSpace::YCCK => pixels.chunks_exact_mut(4).for_each(ycck_to_cmyk),
        _ => {}
    }
    Ok((Picture::new(width, height, kind, pixels)?, orientation))
}

/// Adobe stores ink inverted (255 is no ink); in YCCK the three colours are then stored as a YCbCr triple of the ink.
fn ycck_to_cmyk(pixel: &mut [u8]) {
    let [y, cb, cr, k] = [0, 1, 2, 3].map(|i| f32::from(pixel[i]));
    let (cb, cr) = (cb - 128.0, cr - 128.0);
    let stored = [
        y + 1.402 * cr,
        y - 0.344_136 * cb - 0.714_136 * cr,
        y + 1.772 * cb,
    ];
    for (ink, value) in pixel.iter_mut().zip(stored) {
        *ink = value.round().clamp(0.0, 255.0) as u8;
    }
    pixel[3] = 255 - k as u8;
}

fn broken(reason: impl Into<String>) -> ImageError {
    ImageError::Broken {
        format: "JPEG",
        reason: reason.into(),
    }
}

fn refused(error: DecodeErrors) -> ImageError {
    match error {
        DecodeErrors::Unsupported(scheme) => ImageError::Unsupported {
            format: "JPEG",
            reason: format!("{scheme:?}"),
        },
        other => broken(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ycck_without_colour_is_grey_and_its_black_is_inverted() {
        let mut pixel = [200, 128, 128, 255];
        ycck_to_cmyk(&mut pixel);
        assert_eq!(pixel, [200, 200, 200, 0]);
    }
}
