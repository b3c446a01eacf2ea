//! Tensors whose memory is the host's, as slices.
//!
//! On a CPU backend a fused loop over a slice replaces several passes of tensor operations. No
//! backend is named: a device qualifies if it gives back the very bytes it was given.

use burn::tensor::{DType, Device, Tensor, TensorData};
pub use map::map_elements;
use rayon::prelude::*;
pub use rows::over_rows;

use crate::is_host;

mod map;
mod rows;

/// A float32 tensor opened as host memory. Opening and closing copy nothing unless the tensor is
/// shared or strided.
pub struct HostTensor<const D: usize> {
    data: TensorData,
    device: Device,
}

impl<const D: usize> HostTensor<D> {
    /// The shape.
    pub fn dims(&self) -> [usize; D] {
        self.data.shape().dims()
    }

    /// Opens a tensor, or gives it back: it is on a graph, not float32, or not in host memory.
    #[allow(
        clippy::result_large_err,
        reason = "the tensor is given back, not an error"
    )]
    pub fn open(tensor: Tensor<D>) -> Result<Self, Tensor<D>> {
        if Self::opens(&tensor) {
            Ok(Self::fetch(tensor))
        } else {
            Err(tensor)
        }
    }

    /// Whether [`open`](Self::open) opens it.
    pub fn opens(tensor: &Tensor<D>) -> bool {
        let device = tensor.device();
        !device.is_autodiff() && tensor.dtype() == DType::F32 && is_host(&device)
    }

    /// Opens a tensor wherever it is, by copying it to the host where it must: for loops that are worth the way.
    ///
    /// # Panics
    ///
    /// Panics if it is not float32.
    pub fn fetch(tensor: Tensor<D>) -> Self {
        assert_eq!(tensor.dtype(), DType::F32, "host loops are in float32");
        let device = tensor.device();
        Self {
            data: tensor.into_data(),
            device,
        }
    }

    /// The elements, row-major.
    pub fn slice(&self) -> &[f32] {
        self.data.as_slice().expect("opened as float32")
    }

    /// The elements, row-major.
    pub fn slice_mut(&mut self) -> &mut [f32] {
        self.data.as_mut_slice().expect("opened as float32")
    }

    /// A tensor of other elements, row-major, of this one's shape.
    ///
    /// # Panics
    ///
    /// Panics if they are more or fewer.
    pub fn with(&self, elements: Vec<f32>) -> Tensor<D> {
        self.with_shape(elements, self.dims())
    }

    /// A tensor of other elements, row-major, beside this one.
    ///
    /// # Panics
    ///
    /// Panics if they are more or fewer than `shape` has.
    fn with_shape<const N: usize>(&self, elements: Vec<f32>, shape: [usize; N]) -> Tensor<N> {
        Tensor::from_data(TensorData::new(elements, shape), &self.device)
    }

    /// The tensor again.
    pub fn close(self) -> Tensor<D> {
        Tensor::from_data(self.data, &self.device)
    }
}

/// A loop over slices that runs with the widest vectors the processor has: see [`vectorise`].
///
/// Its `call` must be `#[inline(always)]`, or it is compiled for the narrowest only.
pub use pulp::NullaryFnOnce as Kernel;

/// Runs a kernel with the widest vectors the processor has.
///
/// Sums and products are fused where a kernel says `mul_add` and nowhere else, so that every processor gives the same
/// bits (one without fused instructions computes them by software, slowly).
pub fn vectorise<K: Kernel>(kernel: K) -> K::Output {
    pulp::Arch::new().dispatch(kernel)
}

/// Runs `f(first_row, rows)` over `data` in parallel, in runs of whole rows of `width` elements.
///
/// Each run can be taken over by another thread: rayon by itself cuts a loop about twice as often as it has threads, and
/// where one of them is held up all wait for what it has left.
pub fn for_rows(data: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = rows_per_task(width);
    data.par_chunks_mut(rows * width)
        .enumerate()
        .with_max_len(1)
        .for_each(|(task, chunk)| f(task * rows, chunk));
}

/// As [`for_rows`], and sums what each run of rows returns, in order.
pub fn sum_rows<T: Send>(
    data: &mut [f32],
    width: usize,
    f: impl Fn(usize, &mut [f32]) -> T + Sync,
    mut add: impl FnMut(T),
) {
    let rows = rows_per_task(width);
    let parts: Vec<T> = data
        .par_chunks_mut(rows * width)
        .enumerate()
        .with_max_len(1)
        .map(|(task, chunk)| f(task * rows, chunk))
        .collect();
    parts.into_iter().for_each(&mut add);
}

/// Elements that make a task worth its overhead.
const TASK: usize = 32 * 1024;

/// Rows of `width` elements that make a task, a fixed number so that sums are grouped alike on any number of threads.
fn rows_per_task(width: usize) -> usize {
    (TASK / width.max(1)).max(1)
}

/// Elements that loops take at once: a register of AVX-512, two of AVX2.
pub const LANES: usize = 16;

/// The sum of `f` over two slices, in independent lanes, which is what lets it vectorise.
#[inline(always)]
pub fn dot_by(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let (a_runs, a_tail) = a.as_chunks::<LANES>();
    let (b_runs, b_tail) = b.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for (x, y) in a_runs.iter().zip(b_runs) {
        for lane in 0..LANES {
            lanes[lane] += f(x[lane], y[lane]);
        }
    }
    let mut sum = lanes.iter().sum();
    for (x, y) in a_tail.iter().zip(b_tail) {
        sum += f(*x, *y);
    }
    sum
}

/// Replaces the elements of a row by `f` of them, the tail in a padded register of its own.
#[inline(always)]
pub fn map_lanes(row: &mut [f32], f: impl Fn(f32) -> f32) {
    let (runs, tail) = row.as_chunks_mut::<LANES>();
    for run in runs {
        for x in run {
            *x = f(*x);
        }
    }
    if !tail.is_empty() {
        let mut padded = [0.0; LANES];
        padded[..tail.len()].copy_from_slice(tail);
        for x in &mut padded {
            *x = f(*x);
        }
        tail.copy_from_slice(&padded[..tail.len()]);
    }
}

/// The largest element; minus infinity of an empty row. NaN is passed over.
#[inline(always)]
pub fn largest(row: &[f32]) -> f32 {
    let max = |a: f32, b: f32| if a > b { a } else { b };
    let (runs, tail) = row.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for run in runs {
        for lane in 0..LANES {
            lanes[lane] = max(run[lane], lanes[lane]);
        }
    }
    let mut top = f32::NEG_INFINITY;
    for x in lanes.iter().chain(tail) {
        top = max(*x, top);
    }
    top
}

/// `e^x` to about one unit in the last place, in a form that vectorises (Cephes `expf`).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(2.121_944_4e-4, n.mul_add(-0.693_359_4, x));
    let p = polynomial(
        r,
        [
            0.5,
            1.666_666_5e-1,
            4.166_579_6e-2,
            8.333_452e-3,
            1.398_199_9e-3,
            1.987_569_1e-4,
        ],
    );
    let power = f32::from_bits(((shifted.to_bits() as i32 - 0x4B40_0000 + 127) << 23) as u32);
    (p * r).mul_add(r, r + 1.0) * power
}

/// `Phi(-|x|)` and `e^(-x^2 / 2)` of the normal distribution, to 1e-6 of their own size up to `|x|` of 3 and 6e-6 up to
/// 13, at which `|x|` is held; in a form that vectorises.
///
/// The first is the second times Mills' ratio, a polynomial of `1 / (1 + 0.303 |x|)` fitted on `[0, 13]` to 8e-8.
#[inline(always)]
pub fn normal_tail(x: f32) -> (f32, f32) {
    let x = if x.abs() > TAIL_END {
        TAIL_END
    } else {
        x.abs()
    }; // NaN stays
    // e^(-x^2 / 2) = 2^(n + f) with n whole
    let scaled = x * (-0.5 * std::f32::consts::LOG2_E);
    let shifted = scaled.mul_add(x, ROUND);
    let n = shifted - ROUND;
    let f = scaled.mul_add(x, -n);
    let p = polynomial(
        f,
        [
            1.000_000_1,
            0.693_146_94,
            0.240_221_2,
            0.055_507_13,
            0.009_675_542,
            0.001_327_648_4,
        ],
    );
    let density = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    let t = 1.0 / x.mul_add(0.303, 1.0);
    let ratio = polynomial(
        t,
        [
            0.120_830_365,
            0.121_862_03,
            0.101_511_635,
            0.125_758_98,
            -0.047_599_807,
            0.197_810_1,
            -0.157_045_72,
            0.036_872_44,
        ],
    );
    (ratio * t * density, density)
}

/// Where [`normal_tail`] holds `|x|`: `e^(-x^2 / 2)` is near the smallest float32 there.
pub const TAIL_END: f32 = 13.0;

/// `1.5 * 2^23`: adding it rounds to an integer, which the low bits then hold.
const ROUND: f32 = 12_582_912.0;

/// `c0 + c1 x + c2 x^2 + ...`
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[N - 1];
    for degree in (0..N - 1).rev() {
        sum = sum.mul_add(x, coefficients[degree]);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_normal_tail_match_double_precision() {
        for i in -4000..4000 {
            let x = i as f32 * 0.0201;
            let want = f64::from(x).exp();
            let got = f64::from(exp(x));
            assert!(
                (got - want).abs() <= 3e-7 * want,
                "exp({x}) = {got}, not {want}"
            );
        }
        for i in -300..600 {
            let x = i as f32 * 0.01;
            let want = 0.5 * (1.0 + series_erf(f64::from(x) / 2f64.sqrt()));
            let (tail, density) = normal_tail(x);
            let got = f64::from(if x < 0.0 { tail } else { 1.0 - tail });
            assert!(
                (got - want).abs() <= 1e-6 * want,
                "Phi({x}) = {got}, not {want}"
            );
            let want = (-0.5 * f64::from(x).powi(2)).exp();
            let within = if x.abs() <= 3.0 { 1e-6 } else { 6e-6 };
            assert!((f64::from(density) - want).abs() <= within * want);
        }
    }

    #[test]
    fn a_far_tail_stays_a_tail() {
        // From scipy.stats.norm.sf.
        for (x, want) in [
            (5.0, 2.866_515_7e-7),
            (8.0, 6.220_960_6e-16),
            (12.5, 3.732_564_3e-36),
        ] {
            let (tail, _) = normal_tail(x);
            assert!(
                (tail - want).abs() <= 6e-6 * want,
                "{x}: {tail}, not {want}"
            );
        }
        assert!(normal_tail(f32::INFINITY).0 < 1e-37);
        assert!(normal_tail(f32::NAN).0.is_nan());
    }

    /// erf from its series, in double precision.
    fn series_erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn rows_are_visited_once_with_their_place() {
        let mut data = vec![0.0f32; 5000 * 12];
        for_rows(&mut data, 12, |first, rows| {
            for (i, row) in rows.chunks_mut(12).enumerate() {
                row.fill((first + i) as f32);
            }
        });
        assert!(
            data.chunks(12)
                .enumerate()
                .all(|(i, row)| row.iter().all(|x| *x == i as f32))
        );
    }
}
