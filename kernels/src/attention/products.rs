//! Products of matrices so small that a general routine's preparations would outweigh them, or write their result where
//! it has to be moved from.

use crate::host::LANES;

/// Rows of a tile. Its sums, a row of [`LANES`] each, fill the registers of AVX2 beside the operands.
const ROWS: usize = 6;

/// A right operand `[depth, columns]` in panels of [`LANES`] columns. What the last has beyond is never read.
#[derive(Default)]
pub(super) struct Panels {
    rows: Vec<[f32; LANES]>,
    depth: usize,
    columns: usize,
}

impl Panels {
    /// Takes in the matrix of these rows.
    #[inline(always)]
    pub(super) fn pack<'a>(
        &mut self,
        [depth, columns]: [usize; 2],
        row: impl Fn(usize) -> &'a [f32],
    ) {
        self.resize(depth, columns);
        for k in 0..depth {
            let row = &row(k)[..columns];
            for (panel, part) in row.chunks(LANES).enumerate() {
                let to = &mut self.rows[panel * depth + k];
                match part.as_array() {
                    Some(part) => *to = *part,
                    None => to[..part.len()].copy_from_slice(part),
                }
            }
        }
    }

    /// Takes in the matrix of these columns.
    #[inline(always)]
    pub(super) fn pack_columns<'a>(
        &mut self,
        [depth, columns]: [usize; 2],
        column: impl Fn(usize) -> &'a [f32],
    ) {
        self.resize(depth, columns);
        for j in 0..columns {
            let column = &column(j)[..depth];
            let panel = &mut self.rows[j / LANES * depth..][..depth];
            for (to, x) in panel.iter_mut().zip(column) {
                to[j % LANES] = *x;
            }
        }
    }

    fn resize(&mut self, depth: usize, columns: usize) {
        // What was there before is left where no column overwrites it: it meets none that is read.
        let rows = columns.div_ceil(LANES) * depth;
        self.rows.resize(rows, [0.0; LANES]);
        (self.depth, self.columns) = (depth, columns);
    }

    /// The product of `rows` rows of a left operand with this one, handed over part by part: a row, its first column,
    /// and the elements from there on.
    #[inline(always)]
    pub(super) fn times_rows<'a>(
        &self,
        rows: usize,
        row: impl Fn(usize) -> &'a [f32],
        mut put: impl FnMut(usize, usize, &[f32; LANES]),
    ) {
        for first in (0..rows).step_by(ROWS) {
            let left: [&[f32]; ROWS] =
                std::array::from_fn(|r| &row((first + r).min(rows - 1))[..self.depth]);
            self.tiles(first, rows, |k| left.map(|row| row[k]), &mut put);
        }
    }

    /// As [`times_rows`](Self::times_rows), of a left operand given by its columns.
    #[inline(always)]
    pub(super) fn times_columns<'a>(
        &self,
        rows: usize,
        column: impl Fn(usize) -> &'a [f32],
        mut put: impl FnMut(usize, usize, &[f32; LANES]),
    ) {
        for first in (0..rows).step_by(ROWS) {
            let left = |k| {
                let column: &[f32] = &column(k)[first..];
                match column.first_chunk::<ROWS>() {
                    Some(left) => *left,
                    None => std::array::from_fn(|r| column.get(r).copied().unwrap_or(0.0)),
                }
            };
            self.tiles(first, rows, left, &mut put);
        }
    }

    /// The rows from `first` of a product, at most [`ROWS`], of which `left` gives the left operand's elements.
    #[inline(always)]
    fn tiles(
        &self,
        first: usize,
        rows: usize,
        left: impl Fn(usize) -> [f32; ROWS],
        put: &mut impl FnMut(usize, usize, &[f32; LANES]),
    ) {
        for (i, column) in (0..self.columns).step_by(LANES).enumerate() {
            let panel = &self.rows[i * self.depth..][..self.depth];
            let sums = sum(panel, &left);
            for (sums, row) in sums.iter().zip(first..rows) {
                put(row, column, sums);
            }
        }
    }
}

/// The sums of one tile. They leave it by value, so that they stay in registers within.
#[inline(always)]
fn sum(panel: &[[f32; LANES]], left: &impl Fn(usize) -> [f32; ROWS]) -> [[f32; LANES]; ROWS] {
    let [mut a, mut b, mut c, mut d, mut e, mut f] = [[0.0f32; LANES]; ROWS];
    for (k, right) in panel.iter().enumerate() {
        let left = left(k);
        for lane in 0..LANES {
            a[lane] = left[0].mul_add(right[lane], a[lane]);
            b[lane] = left[1].mul_add(right[lane], b[lane]);
            c[lane] = left[2].mul_add(right[lane], c[lane]);
            d[lane] = left[3].mul_add(right[lane], d[lane]);
            e[lane] = left[4].mul_add(right[lane], e[lane]);
            f[lane] = left[5].mul_add(right[lane], f[lane]);
        }
    }
    [a, b, c, d, e, f]
}

/// Stores as many elements of a part as the row still has.
#[inline(always)]
pub(super) fn store(row: &mut [f32], part: &[f32; LANES]) {
    match row.first_chunk_mut() {
        Some(row) => *row = *part,
        None => row.copy_from_slice(&part[..row.len()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Kernel, vectorise};

    struct Product<'a> {
        left: &'a [f32],
        right: &'a [f32],
        shape: [usize; 3],
        by_columns: [bool; 2],
        out: &'a mut [f32],
    }

    impl Kernel for Product<'_> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            let [rows, depth, columns] = self.shape;
            let mut panels = Panels::default();
            if !self.by_columns[1] {
                panels.pack([depth, columns], |k| &self.right[k * columns..])
            } else {
                panels.pack_columns([depth, columns], |j| &self.right[j * depth..])
            }
            let put = |row: usize, column: usize, part: &[f32; LANES]| {
                store(&mut self.out[row * columns..][..columns][column..], part);
            };
            if !self.by_columns[0] {
                panels.times_rows(rows, |i| &self.left[i * depth..], put)
            } else {
                panels.times_columns(rows, |k| &self.left[k * rows..][..rows], put)
            }
        }
    }

    #[test]
    fn every_layout_and_remainder_gives_the_product() {
        let value = |i: usize| ((i * 37 + 11) % 23) as f32 - 11.0;
        for shape in [
            [1, 1, 1],
            [5, 3, 7],
            [6, 16, 16],
            [13, 50, 33],
            [50, 64, 50],
            [2, 0, 3],
        ] {
            let [rows, depth, columns] = shape;
            for by_columns in [[false, false], [false, true], [true, false], [true, true]] {
                let at = |i: usize, j: usize, width: usize, height: usize, by_column: bool| {
                    if !by_column {
                        i * width + j
                    } else {
                        j * height + i
                    }
                };
                let left: Vec<f32> = (0..rows * depth).map(value).collect();
                let right: Vec<f32> = (0..depth * columns).map(value).collect();
                let mut out = vec![f32::NAN; rows * columns];
                vectorise(Product {
                    left: &left,
                    right: &right,
                    shape,
                    by_columns,
                    out: &mut out,
                });
                for i in 0..rows {
                    for j in 0..columns {
                        let want: f32 = (0..depth)
                            .map(|k| {
                                left[at(i, k, depth, rows, by_columns[0])]
                                    * right[at(k, j, columns, depth, by_columns[1])]
                            })
                            .sum();
                        assert_eq!(
                            out[i * columns + j],
                            want,
                            "{shape:?} {by_columns:?} [{i}, {j}]"
                        );
                    }
                }
            }
        }
    }
}
