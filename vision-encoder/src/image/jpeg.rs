//! JPEG by libjpeg-turbo, which decodes it for Pillow too, but strict about damage; CMYK stays CMYK.

use turbojpeg::{Colorspace, DecompressHeader, Decompressor, Error, Image, PixelFormat};

use super::error::ImageError;
use super::jpeg_header::mended;
use super::options::Limits;
use super::picture::{Picture, PixelKind};

/// Progressive files have about ten scans; one of thousands is made to waste time.
const MAX_SCANS: u32 = 100;

/// What libjpeg says first of a file that is whole, but has further bytes before its end.
const BYTES_BEFORE_THE_END: &str = "extraneous bytes before marker 0xd9";

/// The picture as stored.
///
/// A file that is cut short is an error, as is every other thing that libjpeg warns of, for it goes on with a guess.
/// Bytes that belong to nothing, before the first scan or after the last, harm nobody.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture, ImageError> {
    let whole;
    let (mut decoder, header, bytes) = match opened(bytes) {
        Ok((decoder, header)) => (decoder, header, bytes),
        Err(error) => {
            whole = mended(bytes).ok_or_else(|| refused(error))?;
            let (decoder, header) = opened(&whole).map_err(refused)?;
            (decoder, header, &whole[..])
        }
    };
    let (width, height) = (header.width as u32, header.height as u32);
    limits.check_pixels(width, height)?;
    let (format, kind) = match header.colorspace {
        Colorspace::CMYK | Colorspace::YCCK => (PixelFormat::CMYK, PixelKind::Cmyk),
        _ => (PixelFormat::RGB, PixelKind::Rgb),
    };
    let pitch = header.width * kind.channels();
    let mut pixels = vec![0; pitch * header.height];
    let image = Image {
        pixels: &mut pixels[..],
        width: header.width,
        pitch,
        height: header.height,
        format,
    };
    match decoder.decompress(bytes, image) {
        Err(error) if !is_harmless(&error) => return Err(refused(error)),
        _ => {}
    }
    if kind == PixelKind::Cmyk {
        // Adobe stores ink inverted: 255 is no ink.
        pixels.iter_mut().for_each(|ink| *ink = 255 - *ink);
    }
    Picture::new(width, height, kind, pixels)
}

/// A decoder for each picture: libjpeg keeps tables of the one before.
fn opened(bytes: &[u8]) -> turbojpeg::Result<(Decompressor, DecompressHeader)> {
    let mut decoder = Decompressor::new()?;
    decoder.set_scan_limit(MAX_SCANS)?;
    let header = decoder.read_header(bytes)?;
    Ok((decoder, header))
}

/// libjpeg tells of its first warning alone. After this one nothing is read any more, so that there is no other.
fn is_harmless(error: &Error) -> bool {
    matches!(error, Error::TurboJpegError(text) if text.ends_with(BYTES_BEFORE_THE_END))
}

fn refused(error: Error) -> ImageError {
    let format = "JPEG";
    match error {
        Error::TurboJpegError(reason) if reason.contains("nsupported") => {
            ImageError::Unsupported { format, reason }
        }
        Error::TurboJpegError(reason) => ImageError::Broken { format, reason },
        Error::BadColorspace(_) => ImageError::Unsupported {
            format,
            reason: "neither grey nor three nor four colours".into(),
        },
        // Sizes that are not there are negative.
        Error::IntegerOverflow(_) => ImageError::Broken {
            format,
            reason: "there is no picture behind the header".into(),
        },
        other => ImageError::Broken {
            format,
            reason: other.to_string(),
        },
    }
}
