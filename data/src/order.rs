//! The order of an epoch, and the seed of a sample: pure functions, so that no thread and no restart changes them.

use crate::seeding::{Purpose, stream};

/// The order in which epoch `epoch` visits `len` samples: a permutation of `0..len`.
///
/// A pure function of its arguments, the same on every platform. Costs 8 bytes a sample.
///
/// ```
/// let order = data::order(7, 0, 1000);
/// assert_eq!(order, data::order(7, 0, 1000));
/// assert_ne!(order, data::order(7, 1, 1000));
/// ```
pub fn order(seed: u64, epoch: u64, len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    stream(Purpose::Order, seed, epoch, 0).shuffle(&mut order);
    order
}

/// The seed for everything random about one sample in one epoch (crop, flip), whichever thread prepares it.
pub fn sample_seed(seed: u64, epoch: u64, index: usize) -> u64 {
    stream(Purpose::Sample, seed, epoch, index as u64).bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_permutation() {
        for len in [0, 1, 2, 3, 100, 1009] {
            let mut sorted = order(3, 5, len);
            sorted.sort_unstable();
            assert_eq!(sorted, (0..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_order_of_a_seed_and_an_epoch_never_changes() {
        assert_eq!(order(0, 0, 10), [1, 4, 9, 8, 0, 5, 7, 6, 2, 3]);
        assert_eq!(order(42, 3, 10), [4, 2, 1, 8, 7, 6, 3, 9, 0, 5]);
        assert_eq!(sample_seed(0, 0, 0), 0xf9f7_aeb0_cc77_0879);
        assert_eq!(sample_seed(42, 3, 17), 0x10aa_ca5e_b5b0_83fb);
    }

    #[test]
    fn every_place_is_equally_likely() {
        let mut first = [0u32; 5];
        for epoch in 0..10_000 {
            first[order(1, epoch, 5)[0]] += 1;
        }
        assert!(
            first.iter().all(|&n| (1_850..2_150).contains(&n)),
            "{first:?}"
        );
    }
}
