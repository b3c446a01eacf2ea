//! [`Picture`]: decoded 8-bit pixels, with the colour model they were stored in.

use super::error::ImageError;

/// What the bytes of a [`Picture`] mean. Where a reference resizes before it converts to RGB, this decides how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelKind {
    /// Red, green, blue; grey pictures are expanded to it.
    Rgb,
    /// Red, green, blue, alpha (not premultiplied).
    Rgba,
    /// Red, green, blue, looked up in a palette (or black and white): such pictures have no in-between colours.
    Palette,
    /// Cyan, magenta, yellow, black; 255 is full ink.
    Cmyk,
}

impl PixelKind {
    /// Bytes per pixel.
    pub fn channels(self) -> usize {
        match self {
            Self::Rgb | Self::Palette => 3,
            Self::Rgba | Self::Cmyk => 4,
        }
    }
}

/// A decoded picture: rows from the top, pixels from the left, channels interleaved, one byte a channel.
///
/// Neither side is zero, and there are exactly `width * height * channels` bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    kind: PixelKind,
    bytes: Vec<u8>,
}

impl Picture {
    /// A picture from its bytes.
    ///
    /// # Errors
    /// [`ImageError::WrongLength`] if the bytes do not fit the size, or if a side is zero.
    pub fn new(
        width: u32,
        height: u32,
        kind: PixelKind,
        bytes: Vec<u8>,
    ) -> Result<Self, ImageError> {
        let expected = u64::from(width) * u64::from(height) * kind.channels() as u64;
        if expected == 0 || bytes.len() as u64 != expected {
            return Err(ImageError::WrongLength {
                width,
                height,
                expected,
                found: bytes.len() as u64,
            });
        }
        Ok(Self {
            width,
            height,
            kind,
            bytes,
        })
    }

    /// Width, in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height, in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// What the bytes mean.
    pub fn kind(&self) -> PixelKind {
        self.kind
    }

    /// The bytes, `[height, width, channels]`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same picture as RGB, the way Pillow's `convert("RGB")` does it: alpha is dropped without blending, ink
    /// becomes `(255 - c) * (255 - k) / 255`.
    pub fn into_rgb(self) -> Self {
        let Self {
            width,
            height,
            kind,
            bytes,
        } = self;
        let bytes = match kind {
            PixelKind::Rgb | PixelKind::Palette => bytes,
            PixelKind::Rgba => bytes
                .chunks_exact(4)
                .flat_map(|p| [p[0], p[1], p[2]])
                .collect(),
            PixelKind::Cmyk => bytes
                .chunks_exact(4)
                .flat_map(|p| ink_to_rgb([p[0], p[1], p[2], p[3]]))
                .collect(),
        };
        Self {
            width,
            height,
            kind: PixelKind::Rgb,
            bytes,
        }
    }

    /// The same picture blended over white, where it has alpha; any other picture is returned as it is.
    pub fn over_white(self) -> Self {
        if self.kind != PixelKind::Rgba {
            return self;
        }
        let over = |colour: u8, alpha: u8| 255 - mul_div_255(255 - colour, alpha);
        let bytes = self
            .bytes
            .chunks_exact(4)
            .flat_map(|p| [0, 1, 2].map(|c| over(p[c], p[3])))
            .collect();
        Self {
            kind: PixelKind::Rgb,
            bytes,
            ..self
        }
    }

    /// The picture turned or mirrored so that a camera's `orientation` (EXIF, 1 to 8) becomes upright; other values
    /// change nothing.
    pub fn upright(self, orientation: u8) -> Self {
        if !(2..=8).contains(&orientation) {
            return self;
        }
        let (w, h) = (self.width as usize, self.height as usize);
        let swaps = orientation >= 5;
        let (out_w, out_h) = if swaps { (h, w) } else { (w, h) };
        let source = |x: usize, y: usize| match orientation {
            2 => (w - 1 - x, y),
            3 => (w - 1 - x, h - 1 - y),
            4 => (x, h - 1 - y),
            5 => (y, x),
            6 => (y, h - 1 - x),
            7 => (w - 1 - y, h - 1 - x),
            _ => (w - 1 - y, x),
        };
        let n = self.kind.channels();
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for y in 0..out_h {
            for x in 0..out_w {
                let (sx, sy) = source(x, y);
                let at = (sy * w + sx) * n;
                bytes.extend_from_slice(&self.bytes[at..at + n]);
            }
        }
        Self {
            width: out_w as u32,
            height: out_h as u32,
            kind: self.kind,
            bytes,
        }
    }

    /// The same bytes under another meaning with as many channels.
    pub(super) fn with_kind(self, kind: PixelKind) -> Self {
        debug_assert_eq!(self.kind.channels(), kind.channels());
        Self { kind, ..self }
    }

    /// A picture of the same kind with another size; `bytes` have to fit it.
    pub(super) fn resized(&self, width: u32, height: u32, bytes: Vec<u8>) -> Self {
        debug_assert_eq!(
            bytes.len(),
            width as usize * height as usize * self.kind.channels()
        );
        Self {
            width,
            height,
            kind: self.kind,
            bytes,
        }
    }

    /// The rectangle of `width` x `height` pixels whose top left corner is at (`left`, `top`). It has to lie inside.
    pub(super) fn cut(&self, left: usize, top: usize, width: usize, height: usize) -> Self {
        let n = self.kind.channels();
        let stride = self.width as usize * n;
        let rows = self.bytes.chunks_exact(stride).skip(top).take(height);
        let bytes = rows
            .flat_map(|row| &row[left * n..(left + width) * n])
            .copied()
            .collect();
        Self {
            width: width as u32,
            height: height as u32,
            kind: self.kind,
            bytes,
        }
    }

    /// Channel planes, `[3, height, width]`, of a picture in RGB.
    pub(super) fn into_planes(self) -> Vec<u8> {
        let rgb = self.into_rgb();
        let area = rgb.width as usize * rgb.height as usize;
        let mut planes = vec![0; area * 3];
        let (red, rest) = planes.split_at_mut(area);
        let (green, blue) = rest.split_at_mut(area);
        let out = red.iter_mut().zip(green).zip(blue);
        for (pixel, ((r, g), b)) in rgb.bytes.chunks_exact(3).zip(out) {
            (*r, *g, *b) = (pixel[0], pixel[1], pixel[2]);
        }
        planes
    }
}

/// `a * b / 255`, rounded, as Pillow's `MULDIV255`.
pub(super) fn mul_div_255(a: u8, b: u8) -> u8 {
    let t = u32::from(a) * u32::from(b) + 128;
    (((t >> 8) + t) >> 8) as u8
}

pub(super) fn ink_to_rgb([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    let paper = 255 - k;
    [c, m, y].map(|ink| paper - mul_div_255(ink, paper))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six grey pixels, two rows of three: 0 1 2 / 3 4 5.
    fn numbered() -> Picture {
        let bytes = (0..6).flat_map(|i| [i, i, i]).collect();
        Picture::new(3, 2, PixelKind::Rgb, bytes).unwrap()
    }

    fn first_channel(picture: &Picture) -> Vec<u8> {
        picture
            .bytes()
            .chunks_exact(picture.kind().channels())
            .map(|p| p[0])
            .collect()
    }

    #[test]
    fn every_exif_orientation_turns_upright() {
        let expected = [
            (1, (3, 2), [0, 1, 2, 3, 4, 5]),
            (2, (3, 2), [2, 1, 0, 5, 4, 3]),
            (3, (3, 2), [5, 4, 3, 2, 1, 0]),
            (4, (3, 2), [3, 4, 5, 0, 1, 2]),
            (5, (2, 3), [0, 3, 1, 4, 2, 5]),
            (6, (2, 3), [3, 0, 4, 1, 5, 2]),
            (7, (2, 3), [5, 2, 4, 1, 3, 0]),
            (8, (2, 3), [2, 5, 1, 4, 0, 3]),
            (9, (3, 2), [0, 1, 2, 3, 4, 5]),
        ];
        for (orientation, size, pixels) in expected {
            let turned = numbered().upright(orientation);
            assert_eq!(
                (turned.width(), turned.height()),
                size,
                "orientation {orientation}"
            );
            assert_eq!(first_channel(&turned), pixels, "orientation {orientation}");
        }
    }

    #[test]
    fn hidden_colour_shows_when_dropping_alpha_and_white_when_blending() {
        let bytes = vec![200, 100, 0, 0, 200, 100, 0, 255, 0, 0, 0, 128];
        let picture = Picture::new(3, 1, PixelKind::Rgba, bytes).unwrap();
        assert_eq!(
            picture.clone().into_rgb().bytes(),
            [200, 100, 0, 200, 100, 0, 0, 0, 0]
        );
        assert_eq!(
            picture.over_white().bytes(),
            [255, 255, 255, 200, 100, 0, 127, 127, 127]
        );
    }

    #[test]
    fn full_ink_is_black_and_no_ink_is_white() {
        let bytes = vec![0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0];
        let rgb = Picture::new(3, 1, PixelKind::Cmyk, bytes)
            .unwrap()
            .into_rgb();
        assert_eq!(rgb.bytes(), [255, 255, 255, 0, 0, 0, 0, 255, 255]);
    }

    #[test]
    fn bytes_that_do_not_fit_the_size_are_refused() {
        let error = Picture::new(2, 2, PixelKind::Rgb, vec![0; 11]).unwrap_err();
        assert_eq!(
            error,
            ImageError::WrongLength {
                width: 2,
                height: 2,
                expected: 12,
                found: 11
            }
        );
        assert!(Picture::new(0, 2, PixelKind::Rgb, vec![]).is_err());
    }

    #[test]
    fn planes_hold_one_colour_each() {
        let picture = Picture::new(2, 1, PixelKind::Rgb, vec![1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(picture.into_planes(), [1, 4, 2, 5, 3, 6]);
    }
}
