//! Pillow's antialiased resize, bit by bit, at SIMD speed.
//!
//! Follows `Resample.c`: weights in fixed point with 22 fractional bits, across first and then down, each pass rounded
//! and clipped to 8 bits. Bit by bit, because one grey level is already the tolerance of the processors we follow, and
//! because a small alpha multiplies what is off. A resizer with 16-bit weights (`fast_image_resize`) is off by one
//! level in one pixel of a hundred.
//!
//! There is one inner loop: weighted sums of whole rows, which any vector unit does well. The pass across is the same
//! loop over the transposed picture.

use std::f64::consts::PI;
use std::ops::Range;

use kernels::host::{Kernel, vectorise};

use super::axis::{Axis, Filter};
use super::picture::Picture;

const FRACTION_BITS: u32 = 32 - 8 - 2;

/// Bytes of a row that are summed at once: what fits the registers of AVX2 as 32-bit sums.
const LANES: usize = 64;

impl Filter {
    /// How far the kernel reaches to each side, in pixels of the smaller picture.
    fn support(self) -> f64 {
        match self {
            Self::Nearest | Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let distance = x.abs();
        match self {
            Self::Nearest | Self::Box if x > -0.5 && x <= 0.5 => 1.0,
            Self::Bilinear if distance < 1.0 => 1.0 - distance,
            Self::Hamming if distance < 1.0 => {
                sinc(distance) * (0.54 + 0.46 * (distance * PI).cos())
            }
            Self::Bicubic if distance < 1.0 => {
                ((A + 2.0) * distance - (A + 3.0)) * distance * distance + 1.0
            }
            Self::Bicubic if distance < 2.0 => {
                (((distance - 5.0) * distance + 8.0) * distance - 4.0) * A
            }
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            _ => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    (x * PI).sin() / (x * PI)
}

/// What one output pixel takes from the source pixels `first..first + weights.len()`.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

fn windows(axis: Axis, filter: Filter) -> Vec<Window> {
    let scale = axis.scale();
    let widened = scale.max(1.0);
    let support = filter.support() * widened;
    let window = |out: u32| {
        let center = (f64::from(out) + 0.5) * scale;
        let first = (center - support + 0.5).max(0.0) as u32;
        let end = (center + support + 0.5).min(f64::from(axis.len)) as u32;
        let raw: Vec<f64> = (first..end)
            .map(|x| filter.weight((f64::from(x) - center + 0.5) * (1.0 / widened)))
            .collect();
        let sum: f64 = raw.iter().sum();
        let fixed = |w: &f64| (w / sum * f64::from(1 << FRACTION_BITS)).round() as i32;
        Window {
            first: first as usize,
            weights: raw.iter().map(fixed).collect(),
        }
    };
    (axis.offset..axis.offset + axis.kept).map(window).collect()
}

/// The source pixels that all windows together need.
fn reach(windows: &[Window]) -> Range<usize> {
    let start = windows.first().map_or(0, |w| w.first);
    start
        ..windows
            .iter()
            .map(|w| w.first + w.weights.len())
            .max()
            .unwrap_or(start)
}

/// Resizes and crops by convolution, every channel on its own, computing no more than what is kept.
pub(super) fn convolve(picture: &Picture, across: Axis, down: Axis, filter: Filter) -> Picture {
    let bytes = match picture.kind().channels() {
        3 => passes::<3>(picture, &windows(across, filter), &windows(down, filter)),
        _ => passes::<4>(picture, &windows(across, filter), &windows(down, filter)),
    };
    picture.resized(across.kept, down.kept, bytes)
}

fn passes<const N: usize>(picture: &Picture, across: &[Window], down: &[Window]) -> Vec<u8> {
    let (rows, columns) = (reach(down), reach(across));
    let height = rows.len();
    // [columns, rows, N] -> [kept columns, rows, N] -> [rows, kept columns, N] -> [kept rows, kept columns, N]
    let turned = transpose::<N>(
        picture.bytes(),
        picture.width() as usize,
        rows.clone(),
        columns.clone(),
    );
    let narrow = weigh_rows(&turned, height * N, columns.start, across);
    let back = transpose::<N>(&narrow, height, 0..across.len(), 0..height);
    weigh_rows(&back, across.len() * N, rows.start, down)
}

/// The part `rows` x `columns` of a picture that is `width` pixels of `N` bytes wide, as `[columns, rows, N]`.
fn transpose<const N: usize>(
    bytes: &[u8],
    width: usize,
    rows: Range<usize>,
    columns: Range<usize>,
) -> Vec<u8> {
    /// Rows that go together: enough to fill a cache line of the output.
    const TILE: usize = 16;
    let (pixels, _) = bytes.as_chunks::<N>();
    let height = rows.len();
    let mut out = vec![[0; N]; height * columns.len()];
    for tile in rows.clone().step_by(TILE) {
        let tile = tile..(tile + TILE).min(rows.end);
        for (column, out) in columns.clone().zip(out.chunks_exact_mut(height)) {
            let sources = pixels[tile.start * width + column..].iter().step_by(width);
            for (out, pixel) in out[tile.start - rows.start..tile.end - rows.start]
                .iter_mut()
                .zip(sources)
            {
                *out = *pixel;
            }
        }
    }
    out.into_flattened()
}

/// For each window the weighted sum of rows of `stride` bytes; the first row of `source` is number `base`.
fn weigh_rows(source: &[u8], stride: usize, base: usize, windows: &[Window]) -> Vec<u8> {
    let mut out = vec![0; windows.len() * stride];
    vectorise(WeighRows {
        source,
        stride,
        base,
        windows,
        out: &mut out,
    });
    out
}

struct WeighRows<'a> {
    source: &'a [u8],
    stride: usize,
    base: usize,
    windows: &'a [Window],
    out: &'a mut [u8],
}

impl Kernel for WeighRows<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let stride = self.stride;
        let outputs = self.out.chunks_exact_mut(stride);
        for (window, out) in self.windows.iter().zip(outputs) {
            let rows = &self.source[(window.first - self.base) * stride..];
            weigh_row(rows, stride, &window.weights, out);
        }
    }
}

#[inline(always)]
fn weigh_row(rows: &[u8], stride: usize, weights: &[i32], out: &mut [u8]) {
    let (blocks, tail) = out.as_chunks_mut::<LANES>();
    for (i, block) in blocks.iter_mut().enumerate() {
        *block = weigh_block(rows, stride, weights, i * LANES);
    }
    let rest = stride - tail.len();
    if stride >= LANES && !tail.is_empty() {
        // The last block overlaps the one before it.
        let last = weigh_block::<LANES>(rows, stride, weights, stride - LANES);
        tail.copy_from_slice(&last[LANES - tail.len()..]);
    } else {
        for (i, byte) in tail.iter_mut().enumerate() {
            [*byte] = weigh_block(rows, stride, weights, rest + i);
        }
    }
}

#[inline(always)]
fn weigh_block<const B: usize>(rows: &[u8], stride: usize, weights: &[i32], at: usize) -> [u8; B] {
    let mut sums = [1 << (FRACTION_BITS - 1); B];
    for (row, weight) in rows.chunks_exact(stride).zip(weights) {
        for (sum, byte) in sums.iter_mut().zip(&row[at..at + B]) {
            *sum += i32::from(*byte) * weight;
        }
    }
    sums.map(|sum| (sum >> FRACTION_BITS).clamp(0, 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::super::PixelKind;
    use super::*;

    /// The definition, pixel by pixel.
    fn slowly(picture: &Picture, across: Axis, down: Axis, filter: Filter) -> Vec<u8> {
        let (n, width) = (picture.kind().channels(), picture.width() as usize);
        let narrow: Vec<Vec<u8>> = picture
            .bytes()
            .chunks_exact(width * n)
            .map(|row| pass(row, n, across, filter))
            .collect();
        let columns = 0..across.kept as usize * n;
        let pixel = |window: &Window, at: usize| {
            let column = narrow[window.first..].iter().map(|row| row[at]);
            rounded(column.zip(window.weights.iter().copied()))
        };
        let rows = windows(down, filter);
        rows.iter()
            .flat_map(|window| columns.clone().map(move |at| pixel(window, at)))
            .collect()
    }

    fn pass(row: &[u8], n: usize, axis: Axis, filter: Filter) -> Vec<u8> {
        let mut out = Vec::new();
        for window in windows(axis, filter) {
            for c in 0..n {
                let pixels = window
                    .weights
                    .iter()
                    .enumerate()
                    .map(|(i, w)| (row[(window.first + i) * n + c], *w));
                out.push(rounded(pixels));
            }
        }
        out
    }

    fn rounded(terms: impl Iterator<Item = (u8, i32)>) -> u8 {
        let sum: i64 = terms
            .map(|(pixel, weight)| i64::from(pixel) * i64::from(weight))
            .sum();
        ((sum + (1 << 21)) >> 22).clamp(0, 255) as u8
    }

    #[test]
    fn the_fast_way_is_the_definition() {
        let mut state = 12345_u32;
        let mut black_or_white = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 31 == 0 { 0 } else { 255 }
        };
        for (width, height, to) in [
            (64, 48, 32),
            (33, 50, 40),
            (21, 17, 70),
            (101, 33, 6),
            (1, 9, 5),
            (300, 2, 23),
        ] {
            for (kind, filter) in [
                (PixelKind::Rgb, Filter::Bicubic),
                (PixelKind::Cmyk, Filter::Bilinear),
            ] {
                let bytes = (0..width as usize * height as usize * kind.channels())
                    .map(|_| black_or_white())
                    .collect();
                let picture = Picture::new(width, height, kind, bytes).unwrap();
                let across = Axis {
                    len: width,
                    resized: to + 9,
                    offset: 4,
                    kept: to,
                };
                let down = Axis {
                    len: height,
                    resized: to + 31,
                    offset: 15,
                    kept: to,
                };
                let expected = slowly(&picture, across, down, filter);
                assert!(
                    convolve(&picture, across, down, filter).bytes() == expected,
                    "{width}x{height} to {to}"
                );
            }
        }
    }

    #[test]
    fn weights_of_every_window_sum_to_one() {
        for (len, resized) in [(640, 32), (17, 224), (3, 2), (1, 5)] {
            for window in windows(Axis::whole(len, resized), Filter::Bicubic) {
                let sum: i32 = window.weights.iter().sum();
                assert!(
                    (sum - (1 << FRACTION_BITS)).abs() <= window.weights.len() as i32,
                    "{len} to {resized}: {sum}"
                );
            }
        }
    }
}
