//! How a file stores its pixels, where that is not visible any more in the decoded ones.

use image::{ColorType, ExtendedColorType, ImageFormat};

/// What Pillow would open, as far as it decides how a picture is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// Grey levels or colours.
    Direct,
    /// The same, with an alpha channel.
    WithAlpha,
    /// Numbers of a palette, or black and white.
    Palette,
}

impl Stored {
    pub(super) fn of(
        bytes: &[u8],
        format: ImageFormat,
        color: ColorType,
        original: ExtendedColorType,
    ) -> Self {
        match (format, bytes.get(24..26)) {
            // A PNG opens with its header chunk: bit depth at byte 24, colour type at byte 25.
            (ImageFormat::Png, Some([_, 3] | [1, 0])) => Self::Palette,
            (ImageFormat::Png, Some([_, 4 | 6])) => Self::WithAlpha,
            (ImageFormat::Png, _) => Self::Direct,
            (ImageFormat::Bmp, _) if bmp_has_palette(bytes) => Self::Palette,
            (ImageFormat::Tiff, _) if original == ExtendedColorType::L1 => Self::Palette,
            _ if color.has_alpha() => Self::WithAlpha,
            _ => Self::Direct,
        }
    }
}

fn is_grey_ramp<const N: usize>(table: &[[u8; N]], colours: usize) -> bool {
    table
        .iter()
        .take(colours)
        .zip(0_u8..=255)
        .all(|(colour, level)| colour[..3] == [level; 3])
}

/// Whether it holds numbers of colours that are no plain grey levels, or of two colours.
fn bmp_has_palette(bytes: &[u8]) -> bool {
    let number = |at: usize, size: usize| {
        let bytes = bytes.get(at..at + size)?;
        let push = |sum, byte: &u8| sum << 8 | usize::from(*byte);
        Some(bytes.iter().rev().fold(0, push))
    };
    let Some(header) = number(14, 4) else {
        return false;
    };
    // OS/2's first version has a header of 12 bytes, and colours of three.
    let (bits, used) = if header == 12 {
        (number(24, 2), None)
    } else {
        (number(28, 2), number(46, 4))
    };
    let Some(bits) = bits.filter(|bits| *bits <= 8) else {
        return false;
    };
    let colours = used.filter(|used| *used != 0).unwrap_or(1 << bits);
    let table = bytes.get(14_usize.saturating_add(header)..);
    let table = table.unwrap_or_default();
    let is_ramp = if header == 12 {
        is_grey_ramp(table.as_chunks::<3>().0, colours)
    } else {
        is_grey_ramp(table.as_chunks::<4>().0, colours)
    };
    colours == 2 || !is_ramp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bmp_of_grey_levels_has_no_palette() {
        let bmp = |bits: u8, colours: u8, table: &[u8]| {
            let mut out = vec![0; 54];
            (out[14], out[28], out[46]) = (40, bits, colours);
            out.extend(table);
            out
        };
        let ramp = [0, 0, 0, 0, 1, 1, 1, 0, 2, 2, 2, 0];
        assert!(!bmp_has_palette(&bmp(8, 3, &ramp)));
        assert!(bmp_has_palette(&bmp(8, 2, &ramp)), "black and white");
        assert!(bmp_has_palette(&bmp(8, 3, &[9; 12])));
        assert!(!bmp_has_palette(&bmp(24, 0, &[9; 12])));
        assert!(!bmp_has_palette(b"BM"));
    }
}
