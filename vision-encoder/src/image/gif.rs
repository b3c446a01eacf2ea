//! The first picture of a GIF, as Pillow shows it: on a screen that grows to hold it, over the first colour.

use std::io::Cursor;

use gif::{ColorOutput, DecodeOptions as GifOptions, DecodingError};

use super::error::ImageError;
use super::options::{Alpha, DecodeOptions};
use super::picture::{Picture, PixelKind};

const WHITE: [u8; 3] = [255; 3];

/// Grey levels, whose numbers are their colours, are no palette; numbers beyond a palette are grey levels, too.
pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, ImageError> {
    let mut gif = GifOptions::new();
    gif.set_color_output(ColorOutput::Indexed);
    let mut decoder = gif.read_info(Cursor::new(bytes)).map_err(broken)?;
    let screen = [decoder.width(), decoder.height()].map(u32::from);
    let nothing = || ImageError::Broken {
        format: "GIF",
        reason: "there is no picture in it".into(),
    };
    let frame = decoder.next_frame_info().map_err(broken)?;
    let frame = frame.ok_or_else(nothing)?;
    let [left, top, width, height] =
        [frame.left, frame.top, frame.width, frame.height].map(u32::from);
    let (transparent, own) = (frame.transparent, frame.palette.clone());
    let size = [screen[0].max(left + width), screen[1].max(top + height)];
    if size.contains(&0) {
        return Err(nothing());
    }
    options.limits.check_pixels(size[0], size[1])?;
    let mut numbers = vec![0; width as usize * height as usize];
    if !numbers.is_empty() {
        decoder.read_into_buffer(&mut numbers).map_err(broken)?;
    }
    let palette = own.as_deref().or_else(|| decoder.global_palette());
    let mut colours = colours_of(palette.unwrap_or_default());
    let is_ramp = colours == ramp();
    let over_white = transparent.filter(|_| options.alpha == Alpha::OverWhite);
    if let Some(number) = over_white {
        colours[usize::from(number)] = WHITE;
    }
    let ground = colours[usize::from(transparent.unwrap_or(0))];
    let mut pixels = vec![ground; size[0] as usize * size[1] as usize];
    if !numbers.is_empty() {
        let rows = pixels.chunks_exact_mut(size[0] as usize).skip(top as usize);
        for (row, numbers) in rows.zip(numbers.chunks_exact(width as usize)) {
            let places = row[left as usize..].iter_mut();
            for (pixel, number) in places.zip(numbers) {
                *pixel = colours[usize::from(*number)];
            }
        }
    }
    let kind = if is_ramp || over_white.is_some() {
        PixelKind::Rgb
    } else {
        PixelKind::Palette
    };
    Picture::new(size[0], size[1], kind, pixels.into_flattened())
}

fn ramp() -> [[u8; 3]; 256] {
    std::array::from_fn(|level| [level as u8; 3])
}

fn colours_of(palette: &[u8]) -> [[u8; 3]; 256] {
    let mut colours = ramp();
    for (colour, entry) in colours.iter_mut().zip(palette.as_chunks::<3>().0) {
        *colour = *entry;
    }
    colours
}

fn broken(error: DecodingError) -> ImageError {
    ImageError::Broken {
        format: "GIF",
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pixels beside each other, number 1 and 0, on a screen of `width` x 1, with their place.
    fn gif(width: u8, left: u8, palette: [[u8; 3]; 2], transparent: Option<u8>) -> Vec<u8> {
        let mut out = b"GIF89a".to_vec();
        out.extend([width, 0, 1, 0, 0x80, 0, 0]);
        out.extend(palette.concat());
        if let Some(number) = transparent {
            out.extend([0x21, 0xf9, 4, 1, 0, 0, number, 0]);
        }
        // Codes of three bits: clear, 1, 0, end.
        let codes = 0b101_000_001_100_u16.to_le_bytes();
        out.extend([0x2c, left, 0, 0, 0, 2, 0, 1, 0, 0, 2, 2]);
        out.extend(codes);
        out.extend([0, 0x3b]);
        out
    }

    const RED_GREEN: [[u8; 3]; 2] = [[200, 0, 0], [0, 200, 0]];

    fn opened(bytes: &[u8], options: DecodeOptions) -> Picture {
        decode(bytes, &options).unwrap()
    }

    #[test]
    fn the_screen_grows_to_hold_the_picture_and_shows_the_first_colour_beside_it() {
        let picture = opened(&gif(1, 1, RED_GREEN, None), DecodeOptions::default());
        assert_eq!((picture.width(), picture.height()), (3, 1));
        assert_eq!(picture.bytes(), [200, 0, 0, 0, 200, 0, 200, 0, 0]);
        assert_eq!(picture.kind(), PixelKind::Palette);
    }

    #[test]
    fn what_is_transparent_is_white_or_keeps_its_colour() {
        let bytes = gif(3, 0, RED_GREEN, Some(1));
        let white = opened(&bytes, DecodeOptions::default());
        assert_eq!(white.bytes(), [255, 255, 255, 200, 0, 0, 255, 255, 255]);
        assert_eq!(white.kind(), PixelKind::Rgb);
        let kept = opened(&bytes, DecodeOptions::reference());
        assert_eq!(kept.bytes(), [0, 200, 0, 200, 0, 0, 0, 200, 0]);
    }

    #[test]
    fn grey_levels_are_no_palette() {
        let bytes = gif(2, 0, [[0; 3], [1; 3]], None);
        let picture = opened(&bytes, DecodeOptions::default());
        assert_eq!(picture.kind(), PixelKind::Rgb);
        assert_eq!(picture.bytes(), [1, 1, 1, 0, 0, 0]);
    }

    #[test]
    fn a_picture_without_width_is_an_error() {
        let mut bytes = gif(0, 0, RED_GREEN, None);
        // The frame's width, behind the screen and two colours.
        bytes[24] = 0;
        let error = decode(&bytes, &DecodeOptions::default()).unwrap_err();
        assert!(
            matches!(error, ImageError::Broken { format: "GIF", .. }),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_ends_early_is_an_error() {
        let whole = gif(2, 0, RED_GREEN, None);
        for length in 6..whole.len() - 3 {
            assert!(
                decode(&whole[..length], &DecodeOptions::default()).is_err(),
                "{length}"
            );
        }
    }
}
