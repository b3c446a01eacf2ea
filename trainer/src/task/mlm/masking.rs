//! Which words are hidden, and by what.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Of ten words that are to be said so many are hidden, and so many are others; the rest stay.
const HIDDEN: u32 = 8;
const OTHERS: u32 = 1;

/// How words are hidden.
#[derive(Clone, Debug)]
pub(super) struct Masking {
    /// The share of a caption's tokens that are to be said, special ones counted, as BERT does.
    pub(super) share: f64,
    /// What stands for a hidden word.
    pub(super) mask: i64,
    /// Tokens that are words: neither special nor padding, in order.
    pub(super) words: Vec<i64>,
}

impl Masking {
    /// Hides words of one caption, without padding, in place; gives the word that is to be said at each place. The draws
    /// belong to `seed`, the epoch and the caption's place in the data.
    ///
    /// A share of the tokens is to be said, and at least one where there is a word.
    pub(super) fn hide(&self, ids: &mut [i64], draw: [u64; 3]) -> Vec<Option<usize>> {
        let mut labels = vec![None; ids.len()];
        let is_word = |id: &i64| self.words.binary_search(id).is_ok();
        let mut places: Vec<usize> = (0..ids.len()).filter(|at| is_word(&ids[*at])).collect();
        let wanted = (ids.len() as f64 * self.share).round_ties_even() as usize;
        let wanted = wanted.clamp(1, places.len().max(1)).min(places.len());
        let mut random = generator(draw);
        for next in 0..wanted {
            let other = random.random_range(next..places.len());
            places.swap(next, other);
            let at = places[next];
            labels[at] = usize::try_from(ids[at]).ok();
            let drawn = random.random_range(0..10u32);
            if drawn < HIDDEN {
                ids[at] = self.mask;
            } else if drawn < HIDDEN + OTHERS {
                ids[at] = self.words[random.random_range(0..self.words.len())];
            }
        }
        labels
    }
}

/// The generator of a caption's draws.
fn generator([seed, epoch, row]: [u64; 3]) -> ChaCha8Rng {
    let mut bytes = [0; 32];
    for (part, number) in bytes.chunks_exact_mut(8).zip([seed, epoch, row, PURPOSE]) {
        part.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(bytes)
}

/// Keeps these draws from being those of something else: "mlm".
const PURPOSE: u64 = 0x6d_6c_6d;

#[cfg(test)]
mod tests {
    use super::*;

    fn masking() -> Masking {
        Masking {
            share: 0.15,
            mask: 4,
            words: (5..1000).collect(),
        }
    }

    #[test]
    fn a_seventh_is_hidden_and_one_word_at_least_and_never_a_special_token() {
        for (length, wanted) in [(3, 1), (10, 2), (40, 6), (2, 0)] {
            let ids: Vec<i64> = std::iter::once(2)
                .chain((0..length - 2).map(|i| 100 + i))
                .chain([3])
                .collect();
            let mut hidden = ids.clone();
            let labels = masking().hide(&mut hidden, [0, 1, 2]);
            assert_eq!(labels.iter().flatten().count(), wanted, "{length}");
            for (at, label) in labels.iter().enumerate() {
                match label {
                    Some(label) => assert_eq!(*label as i64, ids[at]),
                    None => assert_eq!(hidden[at], ids[at]),
                }
            }
            assert!(labels[0].is_none() && labels.last() == Some(&None));
        }
    }

    #[test]
    fn eight_of_ten_are_hidden_and_one_is_another_word() {
        let (mut masked, mut kept, mut all) = (0, 0, 0);
        for row in 0..2000 {
            let mut ids: Vec<i64> = (0..20).map(|i| 5 + (row as i64 * 20 + i) % 990).collect();
            let before = ids.clone();
            let labels = masking().hide(&mut ids, [7, 0, row]);
            for at in (0..20).filter(|at| labels[*at].is_some()) {
                all += 1;
                masked += usize::from(ids[at] == 4);
                kept += usize::from(ids[at] == before[at]);
            }
        }
        assert_eq!(all, 6000);
        assert!((4700..4900).contains(&masked), "{masked}");
        assert!((530..670).contains(&kept), "{kept}");
    }

    #[test]
    fn draws_belong_to_seed_epoch_and_caption() {
        let hide = |draw| {
            let mut ids: Vec<i64> = (100..140).collect();
            masking().hide(&mut ids, draw);
            ids
        };
        assert_eq!(hide([1, 2, 3]), hide([1, 2, 3]));
        for other in [[0, 2, 3], [1, 0, 3], [1, 2, 0]] {
            assert_ne!(hide([1, 2, 3]), hide(other));
        }
    }
}
