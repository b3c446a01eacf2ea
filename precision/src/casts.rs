//! Casts between float32 and the formats of 16 bits, slice by slice.

use half::{bf16, f16, slice::HalfFloatSliceExt};
use kernels::host::{Kernel, vectorise};
use rayon::prelude::*;

/// Elements that make a task worth its overhead.
const TASK: usize = 32 * 1024;

/// A number of 16 bits.
pub trait Half: burn::tensor::Element + Copy + Send + Sync {
    /// Zero.
    const ZERO: Self;

    /// Rounds each of `values` into `out`, of the same length.
    fn narrow_run(values: &[f32], out: &mut [Self]);

    /// Each of `values` as float32 into `out`, of the same length. No bit is lost.
    fn widen_run(values: &[Self], out: &mut [f32]);
}

/// Rounds float32 numbers to nearest, ties to even, in parallel. Overflow gives infinity, NaN stays NaN.
///
/// # Panics
///
/// Panics if the slices differ in length.
pub fn narrow<E: Half>(values: &[f32], out: &mut [E]) {
    assert_eq!(values.len(), out.len(), "they must be of one length");
    let runs = values.par_chunks(TASK).zip(out.par_chunks_mut(TASK));
    runs.for_each(|(values, out)| E::narrow_run(values, out));
}

/// The same numbers as float32, in parallel.
///
/// # Panics
///
/// Panics if the slices differ in length.
pub fn widen<E: Half>(values: &[E], out: &mut [f32]) {
    assert_eq!(values.len(), out.len(), "they must be of one length");
    let runs = values.par_chunks(TASK).zip(out.par_chunks_mut(TASK));
    runs.for_each(|(values, out)| E::widen_run(values, out));
}

impl Half for bf16 {
    const ZERO: Self = Self::ZERO;

    fn narrow_run(values: &[f32], out: &mut [Self]) {
        vectorise(NarrowBf16 { values, out });
    }

    fn widen_run(values: &[Self], out: &mut [f32]) {
        vectorise(WidenBf16 { values, out });
    }
}

impl Half for f16 {
    const ZERO: Self = Self::ZERO;

    // By the processor's own instruction, where it has one.
    fn narrow_run(values: &[f32], out: &mut [Self]) {
        out.convert_from_f32_slice(values);
    }

    fn widen_run(values: &[Self], out: &mut [f32]) {
        values.convert_to_f32_slice(out);
    }
}

struct NarrowBf16<'a> {
    values: &'a [f32],
    out: &'a mut [bf16],
}

impl Kernel for NarrowBf16<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (out, x) in self.out.iter_mut().zip(self.values) {
            *out = bf16::from_bits(upper_half(*x));
        }
    }
}

struct WidenBf16<'a> {
    values: &'a [bf16],
    out: &'a mut [f32],
}

impl Kernel for WidenBf16<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (out, x) in self.out.iter_mut().zip(self.values) {
            *out = f32::from_bits(u32::from(x.to_bits()) << 16);
        }
    }
}

/// The bfloat16 nearest to a number, in a form that vectorises: adding just under half a unit carries into the upper half
/// what is to be rounded up, and one more where that half is odd.
#[inline(always)]
fn upper_half(x: f32) -> u16 {
    const QUIET: u32 = 0x40;
    let bits = x.to_bits();
    let half_unit = 0x7FFF + ((bits >> 16) & 1);
    let rounded = bits.wrapping_add(half_unit) >> 16;
    let upper = if x.is_nan() {
        (bits >> 16) | QUIET
    } else {
        rounded
    };
    upper as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_16_bits_comes_back() {
        fn check<E: Half>(of_bits: fn(u16) -> E, bits_of: fn(E) -> u16) {
            let all: Vec<E> = (0..=u16::MAX).map(of_bits).collect();
            let (mut wide, mut again) = (vec![0.0; all.len()], vec![E::ZERO; all.len()]);
            widen(&all, &mut wide);
            narrow(&wide, &mut again);
            for ((bits, again), wide) in (0..=u16::MAX).zip(again).zip(wide) {
                let again = bits_of(again);
                // The payload of NaN is nobody's concern.
                assert!(again == bits || wide.is_nan(), "{bits:#x}: {again:#x}");
            }
        }
        check(bf16::from_bits, bf16::to_bits);
        check(f16::from_bits, f16::to_bits);
    }

    #[test]
    fn what_lies_between_goes_to_the_nearest_and_ties_to_the_even() {
        let step = 2f32.powi(-7);
        let values = [
            1.0 + 0.5 * step,
            1.0 + 1.5 * step,
            1.0 + 0.51 * step,
            f32::MAX,
        ];
        let mut out = [bf16::ZERO; 4];
        narrow(&values, &mut out);
        let out = out.map(f32::from);
        assert_eq!(out, [1.0, 1.0 + 2.0 * step, 1.0 + step, f32::INFINITY]);
    }

    #[test]
    fn a_cast_equals_that_of_each_number_alone() {
        // A fixed walk over all exponents, and a tail that is no whole vector.
        let values = (0..200_003u32).map(|i| f32::from_bits(i.wrapping_mul(0x9E37_79B9)));
        let values: Vec<f32> = values.collect();
        let (mut b, mut h) = (
            vec![bf16::ZERO; values.len()],
            vec![f16::ZERO; values.len()],
        );
        narrow(&values, &mut b);
        narrow(&values, &mut h);
        for ((x, b), h) in values.iter().zip(b).zip(h) {
            let (want_b, want_h) = (bf16::from_f32(*x), f16::from_f32(*x));
            assert!(
                b.to_bits() == want_b.to_bits() || (x.is_nan() && b.is_nan()),
                "{x}"
            );
            assert!(
                h.to_bits() == want_h.to_bits() || (x.is_nan() && h.is_nan()),
                "{x}"
            );
        }
    }
}
