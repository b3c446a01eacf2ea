//! Random numbers that are a pure function of what they are for.
//!
//! Only the raw ChaCha8 stream is used: it is specified, so it never changes. The sampling helpers of `rand` may
//! give other values in a new release, which would silently reshuffle every run.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a stream of random numbers is for: two purposes never share a stream.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(crate) enum Purpose {
    /// The order of an epoch.
    Order = 1,
    /// The draw of one training scene of the shapes set.
    Scene = 3,
    /// The look of one shapes picture: places, tints, wording.
    Look = 4,
    /// Which scenes the shapes set keeps for evaluation.
    Reserve = 5,
    /// The order of the scenes of an evaluation split.
    Split = 6,
    /// Which source comes next in a mixture.
    Mix = 7,
    /// The order of batches of similar length.
    Bucket = 8,
}

/// The stream that belongs to a purpose and three numbers.
pub(crate) fn stream(purpose: Purpose, a: u64, b: u64, c: u64) -> Stream {
    let mut key = [0u8; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([purpose as u64, a, b, c]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    Stream(ChaCha8Rng::from_seed(key))
}

/// A ChaCha8 stream with the few draws this crate needs.
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    /// Any 64-bit number.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A whole number below `bound`, without bias (Lemire 2019, "Fast random integer generation in an interval").
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0, "a draw needs at least one value");
        let mut product = u128::from(self.bits()) * u128::from(bound);
        if (product as u64) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (product as u64) < threshold {
                product = u128::from(self.bits()) * u128::from(bound);
            }
        }
        (product >> 64) as u64
    }

    /// An index below `len`.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number in `[low, high)`.
    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        let unit = (self.bits() >> 40) as f32 / (1u32 << 24) as f32;
        low + (high - low) * unit
    }

    /// Puts `items` in a random order (Fisher-Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_below_the_bound_is_about_as_frequent() {
        let mut draws = stream(Purpose::Order, 1, 2, 3);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[draws.index(7)] += 1;
        }
        assert!(
            counts.iter().all(|&n| (9_500..10_500).contains(&n)),
            "{counts:?}"
        );
    }

    #[test]
    fn purposes_and_numbers_do_not_share_a_stream() {
        let first = stream(Purpose::Order, 0, 0, 1).bits();
        assert_ne!(first, stream(Purpose::Scene, 0, 0, 1).bits());
        assert_ne!(first, stream(Purpose::Order, 0, 1, 0).bits());
        assert_ne!(first, stream(Purpose::Order, 1, 0, 0).bits());
    }
}
