//! Resizing and cropping in the colour model of the picture.

use super::axis::{Axis, Filter};
use super::convolve::convolve;
use super::picture::{Picture, PixelKind, mul_div_255};

/// Resizes and crops as Pillow does with a picture of this kind: palettes by nearest neighbour, alpha premultiplied,
/// everything else by convolution. The kind stays.
pub(super) fn resample(picture: &Picture, across: Axis, down: Axis, filter: Filter) -> Picture {
    if !across.is_scaled() && !down.is_scaled() {
        let [left, top, width, height] =
            [across.offset, down.offset, across.kept, down.kept].map(|v| v as usize);
        return picture.cut(left, top, width, height);
    }
    if filter == Filter::Nearest {
        return nearest(picture, across, down);
    }
    match picture.kind() {
        PixelKind::Rgb | PixelKind::Cmyk => convolve(picture, across, down, filter),
        PixelKind::Palette => nearest(picture, across, down),
        PixelKind::Rgba => unpremultiply(&convolve(&premultiply(picture), across, down, filter)),
    }
}

/// Resizes and crops by taking the nearest source pixel.
fn nearest(picture: &Picture, across: Axis, down: Axis) -> Picture {
    let n = picture.kind().channels();
    let columns = nearest_sources(across);
    let stride = picture.width() as usize * n;
    let mut out = Vec::with_capacity(columns.len() * down.kept as usize * n);
    for row in nearest_sources(down) {
        let row = &picture.bytes()[row * stride..][..stride];
        for &column in &columns {
            out.extend_from_slice(&row[column * n..][..n]);
        }
    }
    picture.resized(across.kept, down.kept, out)
}

/// The position is summed up step by step, like Pillow's, so that ties fall the same way.
fn nearest_sources(axis: Axis) -> Vec<usize> {
    let scale = axis.scale();
    let mut at = scale * 0.5;
    let mut sources = Vec::with_capacity(axis.kept as usize);
    for out in 0..axis.offset + axis.kept {
        if out >= axis.offset {
            sources.push((at as usize).min(axis.len as usize - 1));
        }
        at += scale;
    }
    sources
}

/// Colours multiplied by alpha, so that what is transparent does not bleed into its neighbours.
fn premultiply(picture: &Picture) -> Picture {
    map_colours(picture, mul_div_255)
}

/// The inverse of [`premultiply`], as far as 8 bits allow.
fn unpremultiply(picture: &Picture) -> Picture {
    map_colours(picture, |colour, alpha| match alpha {
        0 | 255 => colour,
        _ => (255 * u32::from(colour) / u32::from(alpha)).min(255) as u8,
    })
}

fn map_colours(picture: &Picture, of_alpha: impl Fn(u8, u8) -> u8) -> Picture {
    debug_assert_eq!(picture.kind(), PixelKind::Rgba);
    let map = |p: &[u8]| {
        [
            of_alpha(p[0], p[3]),
            of_alpha(p[1], p[3]),
            of_alpha(p[2], p[3]),
            p[3],
        ]
    };
    let bytes = picture.bytes().chunks_exact(4).flat_map(map).collect();
    picture.resized(picture.width(), picture.height(), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cropping_while_resizing_is_cropping_after_resizing() {
        let bytes = (0..90 * 70 * 3).map(|i: u32| (i * i % 251) as u8).collect();
        let picture = Picture::new(90, 70, PixelKind::Rgb, bytes).unwrap();
        for kind in [PixelKind::Rgb, PixelKind::Palette] {
            let picture = picture.clone().with_kind(kind);
            let whole = resample(
                &picture,
                Axis::whole(90, 60),
                Axis::whole(70, 47),
                Filter::Bicubic,
            );
            let across = Axis {
                len: 90,
                resized: 60,
                offset: 13,
                kept: 32,
            };
            let down = Axis {
                len: 70,
                resized: 47,
                offset: 7,
                kept: 32,
            };
            assert_eq!(
                resample(&picture, across, down, Filter::Bicubic),
                whole.cut(13, 7, 32, 32),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_constant_picture_stays_constant() {
        for kind in [PixelKind::Rgb, PixelKind::Palette] {
            let picture = Picture::new(1, 1, kind, vec![10, 200, 30]).unwrap();
            let big = resample(
                &picture,
                Axis::whole(1, 7),
                Axis::whole(1, 5),
                Filter::Bicubic,
            );
            assert_eq!(big.bytes(), [10, 200, 30].repeat(35));
        }
    }

    #[test]
    fn an_extreme_strip_needs_only_the_pixels_it_keeps() {
        let picture = Picture::new(2000, 2, PixelKind::Rgb, vec![7; 12000]).unwrap();
        let across = Axis {
            len: 2000,
            resized: 224_000,
            offset: 111_888,
            kept: 224,
        };
        let out = resample(&picture, across, Axis::whole(2, 224), Filter::Bicubic);
        assert_eq!(out.bytes(), [7].repeat(224 * 224 * 3));
    }

    #[test]
    fn transparent_colour_does_not_bleed() {
        let bytes = [[255, 0, 0, 0], [0, 255, 0, 255]].concat();
        let picture = Picture::new(2, 1, PixelKind::Rgba, bytes).unwrap();
        let out = resample(
            &picture,
            Axis::whole(2, 1),
            Axis::whole(1, 1),
            Filter::Bilinear,
        );
        assert_eq!(out.bytes(), [0, 255, 0, 128]);
    }

    #[test]
    fn nearest_takes_the_middle_of_each_step() {
        assert_eq!(nearest_sources(Axis::whole(6, 2)), [1, 4]);
        assert_eq!(
            nearest_sources(Axis {
                len: 2,
                resized: 6,
                offset: 2,
                kept: 3
            }),
            [0, 1, 1]
        );
    }
}
