//! Which elements a dropout keeps, as a function of its seed and their places.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use rayon::prelude::*;

/// A dropout that is drawn: its probability, and the seed of the draw.
///
/// An element's draw is a function of the seed and its place alone, on every device, whatever other threads draw, and
/// whichever part of the elements is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// How likely an element is dropped, below 1.
    pub p: f64,
    /// The seed.
    pub seed: u64,
}

impl Dropout {
    /// What the elements from place `first` on are multiplied by: 0, or `1 / (1 - p)`.
    pub fn factors(&self, first: usize, factors: &mut [f32]) {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_word_pos(first as u128);
        let dropped = (self.p * 2f64.powi(32)) as u64;
        let scale = (1.0 / (1.0 - self.p)) as f32;
        for factor in factors {
            let is_dropped = u64::from(random.next_u32()) < dropped;
            *factor = if is_dropped { 0.0 } else { scale };
        }
    }

    /// The factors of `count` elements from the first on, drawn in parallel.
    pub fn all_factors(&self, count: usize) -> Vec<f32> {
        const TASK: usize = 16 * 1024;
        let mut factors = vec![0.0; count];
        factors
            .par_chunks_mut(TASK)
            .enumerate()
            .for_each(|(task, factors)| self.factors(task * TASK, factors));
        factors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_drawn_as_within_the_whole() {
        let dropout = Dropout { p: 0.3, seed: 5 };
        let whole = dropout.all_factors(40_000);
        for first in [0, 1, 17, 16_383, 39_990] {
            let mut part = [0.0; 10];
            dropout.factors(first, &mut part);
            assert_eq!(part, whole[first..first + 10]);
        }
        let dropped = whole.iter().filter(|x| **x == 0.0).count() as f64;
        assert!((dropped / 40_000.0 - 0.3).abs() < 0.01);
    }
}
