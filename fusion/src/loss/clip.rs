//! CLIP's loss: the mean of the cross entropies of the rows and of the columns of the logits.
//!
//! The derivative with respect to logit `ij` is
//! `(softmax of row i at j + softmax of column j at i - 2 [i = j]) / 2 batch`. The softmaxes need
//! the sums of whole rows and columns, so that tiles are visited twice.

use burn::tensor::Tensor;
use kernels::host::{HostTensor, Kernel, LANES, exp, sum_rows, vectorise};

use super::log_sum_exp::LogSumExp;
use super::tiles::{Features, Place, Reads};
use super::tiling::blocks;
use super::{LogitMap, LossAndGrads};

/// A bias would shift all logits alike, and cancels.
pub(super) fn evaluate(mut features: Features, logits: LogitMap) -> LossAndGrads {
    let batch = features.batch();
    let mut sums = Sums::new(batch, logits.scale);
    features.visit(|place, products| sums.add(place, products));
    sums.finish();
    let loss =
        (sums.total() - 2.0 * f64::from(logits.scale) * matched(&features)) / (2.0 * batch as f64);
    let mut softmax = Softmax::new(sums);
    let (grad_image, grad_text) =
        features.gradients(|place, products| softmax.derive(place, products));
    let grad_scale = softmax.finish();
    LossAndGrads {
        loss,
        grad_image,
        grad_text,
        grad_scale,
        grad_bias: logits.bias.map(|_| 0.0),
    }
}

/// The sum of the products on the diagonal.
fn matched(features: &Features) -> f64 {
    const ROWS: usize = 1024;
    let mut reads = Reads::default();
    let mut matched = 0.0;
    for rows in blocks(features.batch(), ROWS) {
        matched += total(reads.push((), vec![features.matches(&rows)]));
    }
    matched + total(reads.finish())
}

/// The sum of what was read.
fn total(read: Vec<((), Vec<f32>)>) -> f64 {
    let numbers = read.into_iter().flat_map(|((), numbers)| numbers);
    numbers.map(f64::from).sum()
}

/// The first pass: log-sum-exp of every row and column.
struct Sums {
    rows: LogSumExp,
    columns: LogSumExp,
    scale: f32,
    /// Of tiles: the largest and the sum of each row, then of each column.
    reads: Reads<Place>,
}

impl Sums {
    fn new(batch: usize, scale: f32) -> Self {
        Self {
            rows: LogSumExp::new(batch),
            columns: LogSumExp::new(batch),
            scale,
            reads: Reads::default(),
        }
    }

    fn total(&self) -> f64 {
        self.rows.total() + self.columns.total()
    }

    fn add(&mut self, place: &Place, products: Tensor<2>) -> Tensor<2> {
        match HostTensor::open(products) {
            Ok(mut host) => {
                self.add_slice(place, host.slice_mut());
                host.close()
            }
            Err(products) => self.add_tensor(place, products),
        }
    }

    fn add_tensor(&mut self, place: &Place, products: Tensor<2>) -> Tensor<2> {
        let logits = products.clone() * self.scale;
        let reduce = |dim| {
            let largest = logits.clone().max_dim(dim);
            let sum = (logits.clone() - largest.clone()).exp().sum_dim(dim);
            [largest, sum].map(|x| x.flatten(0, 1))
        };
        let parts = [reduce(1), reduce(0)].concat();
        let read = self.reads.push(place.clone(), parts);
        self.merge(read);
        products
    }

    fn merge(&mut self, read: Vec<(Place, Vec<f32>)>) {
        let merge = |all: &mut LogSumExp, first: usize, numbers: &[f32]| {
            let (largest, sums) = numbers.split_at(numbers.len() / 2);
            let sums: Vec<_> = sums.iter().copied().map(f64::from).collect();
            all.merge(first, largest, &sums);
        };
        for (place, numbers) in read {
            let (rows, columns) = numbers.split_at(2 * place.rows.len());
            merge(&mut self.rows, place.rows.start, rows);
            merge(&mut self.columns, place.columns.start, columns);
        }
    }

    /// Completes the sums, when all tiles have been added.
    fn finish(&mut self) {
        let read = self.reads.finish();
        self.merge(read);
    }

    fn add_slice(&mut self, place: &Place, products: &mut [f32]) {
        let (width, scale) = (place.columns.len(), self.scale);
        let (mut row_top, mut column_top) = (Vec::new(), vec![f32::NEG_INFINITY; width]);
        sum_rows(
            products,
            width,
            |_, products| {
                vectorise(Largest {
                    products,
                    width,
                    scale,
                })
            },
            |(rows, columns)| {
                row_top.extend(rows);
                column_top
                    .iter_mut()
                    .zip(columns)
                    .for_each(|(top, x)| *top = top.max(x));
            },
        );
        let (mut row_sum, mut column_sum) = (Vec::new(), vec![0.0; width]);
        sum_rows(
            products,
            width,
            |first, products| {
                let row_top = &row_top[first..];
                vectorise(Exponentials {
                    products,
                    scale,
                    row_top,
                    column_top: &column_top,
                })
            },
            |(rows, columns)| {
                row_sum.extend(rows);
                column_sum
                    .iter_mut()
                    .zip(columns)
                    .for_each(|(sum, x)| *sum += f64::from(x));
            },
        );
        self.rows.merge(place.rows.start, &row_top, &row_sum);
        self.columns
            .merge(place.columns.start, &column_top, &column_sum);
    }
}

/// The largest logit of each of some rows, and of each column within them.
struct Largest<'a> {
    products: &'a [f32],
    width: usize,
    scale: f32,
}

impl Kernel for Largest<'_> {
    type Output = (Vec<f32>, Vec<f32>);

    #[inline(always)]
    fn call(self) -> Self::Output {
        let max = |a: f32, b: f32| if a > b { a } else { b };
        let mut rows = vec![f32::NEG_INFINITY; self.products.len() / self.width];
        let mut columns = vec![f32::NEG_INFINITY; self.width];
        for (row, row_top) in self.products.chunks_exact(self.width).zip(&mut rows) {
            let mut lanes = [f32::NEG_INFINITY; LANES];
            for (xs, tops) in row.chunks(LANES).zip(columns.chunks_mut(LANES)) {
                for ((x, top), lane) in xs.iter().zip(tops).zip(&mut lanes) {
                    let logit = x * self.scale;
                    *lane = max(logit, *lane);
                    *top = max(logit, *top);
                }
            }
            for lane in lanes {
                *row_top = max(lane, *row_top);
            }
        }
        (rows, columns)
    }
}

/// The sums of exponentials, relative to the largest, of each of some rows, and of each column
/// within them.
struct Exponentials<'a> {
    products: &'a [f32],
    scale: f32,
    row_top: &'a [f32],
    column_top: &'a [f32],
}

impl Kernel for Exponentials<'_> {
    type Output = (Vec<f64>, Vec<f32>);

    #[inline(always)]
    fn call(self) -> Self::Output {
        let width = self.column_top.len();
        let mut rows = vec![0.0f64; self.products.len() / width];
        let mut columns = vec![0.0f32; width];
        let tops = self.row_top.iter().zip(&mut rows);
        for (row, (row_top, row_sum)) in self.products.chunks_exact(width).zip(tops) {
            let mut lanes = [0.0f32; LANES];
            let terms = row.chunks(LANES).zip(self.column_top.chunks(LANES));
            for ((xs, tops), sums) in terms.zip(columns.chunks_mut(LANES)) {
                for (((x, top), sum), lane) in xs.iter().zip(tops).zip(sums).zip(&mut lanes) {
                    let logit = x * self.scale;
                    *lane += exp(logit - row_top);
                    *sum += exp(logit - top);
                }
            }
            for lane in lanes {
                *row_sum += f64::from(lane);
            }
        }
        (rows, columns)
    }
}

/// The second pass: from products to the derivative of the loss with respect to them.
struct Softmax {
    rows: LogSumExp,
    columns: LogSumExp,
    /// `1 / (2 batch sum)` of each row and column.
    row_factor: Vec<f32>,
    column_factor: Vec<f32>,
    /// Both largest and both factors on the device, once a tile has asked for them.
    on_device: Option<[Tensor<1>; 4]>,
    batch: usize,
    scale: f32,
    grad_scale: f64,
    /// Parts of `grad_scale`.
    reads: Reads<()>,
}

impl Softmax {
    fn new(sums: Sums) -> Self {
        let Sums {
            rows,
            columns,
            scale,
            ..
        } = sums;
        let batch = rows.largest().len();
        let factor = 0.5 / batch as f64;
        let (row_factor, column_factor) = (rows.normalizers(factor), columns.normalizers(factor));
        Self {
            rows,
            columns,
            row_factor,
            column_factor,
            on_device: None,
            batch,
            scale,
            grad_scale: 0.0,
            reads: Reads::default(),
        }
    }

    fn derive(&mut self, place: &Place, products: Tensor<2>) -> Tensor<2> {
        match HostTensor::open(products) {
            Ok(mut host) => {
                self.derive_slice(place, host.slice_mut());
                host.close()
            }
            Err(products) => self.derive_tensor(place, products),
        }
    }

    fn derive_tensor(&mut self, place: &Place, products: Tensor<2>) -> Tensor<2> {
        let device = products.device();
        let vectors = self.on_device.get_or_insert_with(|| {
            let numbers = [
                self.rows.largest(),
                &self.row_factor,
                self.columns.largest(),
                &self.column_factor,
            ];
            numbers.map(|numbers| Tensor::from_data(numbers, &device))
        });
        let row = |x: &Tensor<1>| x.clone().slice_dim(0, place.rows.clone()).unsqueeze_dim(1);
        let column = |x: &Tensor<1>| {
            x.clone()
                .slice_dim(0, place.columns.clone())
                .unsqueeze_dim(0)
        };
        let [row_top, row_factor, column_top, column_factor] = vectors;
        let logits = products.clone() * self.scale;
        let by_row = (logits.clone() - row(row_top)).exp() * row(row_factor);
        let by_column = (logits - column(column_top)).exp() * column(column_factor);
        let mut derivative = by_row + by_column;
        if let Some(mask) = place.diagonal_mask(&products) {
            let lower = derivative.clone() - 1.0 / self.batch as f32;
            derivative = derivative.mask_where(mask, lower);
        }
        let by_column = (derivative.clone() * products).sum_dim(0).flatten(0, 1);
        self.grad_scale += total(self.reads.push((), vec![by_column]));
        derivative * self.scale
    }

    /// The derivative with respect to the scale, when all tiles have been derived.
    fn finish(mut self) -> f64 {
        self.grad_scale + total(self.reads.finish())
    }

    fn derive_slice(&mut self, place: &Place, products: &mut [f32]) {
        let width = place.columns.len();
        let (scale, share) = (self.scale, 1.0 / self.batch as f32);
        let derive = |first: usize, products: &mut [f32]| {
            let rows = place.rows.start + first..place.rows.start + first + products.len() / width;
            let matching = |i: usize, products: &[f32]| {
                let column = place.diagonal(first + i)?;
                Some((i * width + column, products[i * width + column]))
            };
            let matches: Vec<_> = (0..rows.len())
                .filter_map(|i| matching(i, products))
                .collect();
            let mut moment = vectorise(Derive {
                products,
                scale,
                row_top: &self.rows.largest()[rows.clone()],
                row_factor: &self.row_factor[rows],
                column_top: &self.columns.largest()[place.columns.clone()],
                column_factor: &self.column_factor[place.columns.clone()],
            });
            for (at, product) in matches {
                products[at] -= scale * share;
                moment -= f64::from(share) * f64::from(product);
            }
            moment
        };
        let mut moment = 0.0;
        sum_rows(products, width, derive, |part| moment += part);
        self.grad_scale += moment;
    }
}

/// Turns products into scaled softmaxes, and returns the sum of products times softmaxes.
struct Derive<'a> {
    products: &'a mut [f32],
    scale: f32,
    row_top: &'a [f32],
    row_factor: &'a [f32],
    column_top: &'a [f32],
    column_factor: &'a [f32],
}

impl Kernel for Derive<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let rows = self.row_top.iter().zip(self.row_factor);
        let mut moment = 0.0;
        let width = self.column_top.len();
        for (row, (row_top, row_factor)) in self.products.chunks_exact_mut(width).zip(rows) {
            let mut lanes = [0.0f32; LANES];
            let columns = self
                .column_top
                .chunks(LANES)
                .zip(self.column_factor.chunks(LANES));
            for (xs, (tops, factors)) in row.chunks_mut(LANES).zip(columns) {
                let terms = xs.iter_mut().zip(tops.iter().zip(factors));
                for ((x, (top, factor)), lane) in terms.zip(&mut lanes) {
                    let logit = *x * self.scale;
                    let derivative = exp(logit - row_top) * row_factor + exp(logit - top) * factor;
                    *lane += derivative * *x;
                    *x = derivative * self.scale;
                }
            }
            for lane in lanes {
                moment += f64::from(lane);
            }
        }
        moment
    }
}
