//! Seeds by place: the randomness of a segment is a function of where it runs, not of when.

/// The seed of one place in a run: derived from (run, step, micro-batch, segment) by [`Seed::child`].
///
/// A recomputation that starts from the same seed draws the same dropout masks. In evaluation
/// there is nothing to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seed(Option<u64>);

impl Seed {
    /// The seed of a run.
    pub fn new(run: u64) -> Self {
        Self(Some(run))
    }

    /// No randomness: dropout is off.
    pub fn evaluation() -> Self {
        Self(None)
    }

    /// The seed of part `index` of the place this seed names (a step, a micro-batch, a segment).
    pub fn child(self, index: u64) -> Self {
        Self(self.0.map(|seed| mix(seed, index)))
    }

    /// The seed as a number, or none in evaluation.
    pub fn training(self) -> Option<u64> {
        self.0
    }
}

/// SplitMix64 (Steele et al. 2014): consecutive indices give unrelated streams.
fn mix(seed: u64, index: u64) -> u64 {
    let mut z = seed ^ index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::Seed;
    use std::collections::HashSet;

    #[test]
    fn children_of_nearby_places_differ() {
        let run = Seed::new(0);
        let seeds: HashSet<_> = (0..50)
            .flat_map(|step| (0..50).map(move |part| run.child(step).child(part)))
            .collect();
        assert_eq!(seeds.len(), 2500);
        assert_eq!(run.child(3), Seed::new(0).child(3));
    }

    #[test]
    fn evaluation_has_no_randomness_at_any_place() {
        assert_eq!(Seed::evaluation().child(3).training(), None);
    }
}
