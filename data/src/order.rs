//! The order of an epoch: a pure function, so that no thread and no restart changes it.

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
    permutation(seed, epoch, 0, &[len], 0)
}

/// One source in a [`Mixture`].
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Samples in each of its files, in order; one number if it is not in several.
    pub shards: Vec<usize>,
    /// How often a sample comes in an epoch, on average: 1 is every sample once, 2 twice, 0.5 every other one.
    pub weight: f64,
}

impl Part {
    fn len(&self) -> usize {
        self.shards.iter().sum()
    }

    /// Samples drawn from it in an epoch.
    fn draws(&self) -> usize {
        (self.len() as f64 * self.weight).round() as usize
    }
}

/// The order of several sources that are trained on together. Indices run through the sources one after the other.
///
/// Every source goes through its own passes: in each, every sample comes once, whatever the weights. What an epoch
/// does not reach of a pass comes first in the next epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    seed: u64,
    parts: Vec<Part>,
    window: usize,
}

impl Mixture {
    /// Mixes `parts`. With a `window` above 0 shards come in random order and samples are shuffled as by a buffer of
    /// that many, so that reads stay near each other; with 0 all samples of a part are shuffled together.
    pub fn new(seed: u64, parts: Vec<Part>, window: usize) -> Self {
        Self {
            seed,
            parts,
            window,
        }
    }

    /// Samples in an epoch.
    pub fn epoch_len(&self) -> usize {
        self.parts.iter().map(Part::draws).sum()
    }

    /// The indices that epoch `epoch` visits, in order: a pure function of the seed, the epoch and the sources.
    pub fn epoch(&self, epoch: u64) -> Vec<usize> {
        let mut start = 0;
        let mut draws: Vec<std::vec::IntoIter<usize>> = Vec::new();
        let mut turns: Vec<usize> = Vec::new();
        for (number, part) in self.parts.iter().enumerate() {
            turns.extend(std::iter::repeat_n(number, part.draws()));
            let drawn = self.draw(number, part, epoch).into_iter();
            draws.push(drawn.map(|i| start + i).collect::<Vec<_>>().into_iter());
            start += part.len();
        }
        if self.parts.len() > 1 {
            stream(Purpose::Mix, self.seed, epoch, 0).shuffle(&mut turns);
        }
        turns
            .into_iter()
            .filter_map(|part| draws[part].next())
            .collect()
    }

    fn draw(&self, number: usize, part: &Part, epoch: u64) -> Vec<usize> {
        let (len, draws) = (part.len() as u64, part.draws() as u64);
        let mut drawn = Vec::with_capacity(part.draws());
        let (mut next, end) = (epoch * draws, (epoch + 1) * draws);
        while next < end {
            let (pass, offset) = (next / len, next % len);
            let take = (len - offset).min(end - next);
            let order = permutation(self.seed, pass, number as u64, &part.shards, self.window);
            drawn.extend(&order[offset as usize..(offset + take) as usize]);
            next += take;
        }
        drawn
    }
}

/// A permutation of the samples of some shards.
fn permutation(seed: u64, pass: u64, part: u64, shards: &[usize], window: usize) -> Vec<usize> {
    let mut random = stream(Purpose::Order, seed, pass, part);
    let len: usize = shards.iter().sum();
    if window == 0 || window >= len {
        let mut order: Vec<usize> = (0..len).collect();
        random.shuffle(&mut order);
        return order;
    }
    let mut ranges: Vec<_> = shards
        .iter()
        .scan(0, |start, len| {
            *start += len;
            Some(*start - len..*start)
        })
        .collect();
    random.shuffle(&mut ranges);
    let mut buffer = Vec::with_capacity(window);
    let mut order = Vec::with_capacity(len);
    for index in ranges.into_iter().flatten() {
        if buffer.len() == window {
            order.push(buffer.swap_remove(random.index(window)));
        }
        buffer.push(index);
    }
    random.shuffle(&mut buffer);
    order.extend(buffer);
    order
}

/// An order in which the captions of a batch are of similar length, so that little of it is padding.
///
/// Within each run of `window` batches samples are sorted by `length` and cut into batches, and the batches are
/// shuffled: every sample keeps coming once, near its place. The incomplete batch at the end stays there.
pub fn bucketed(
    order: &[usize],
    batch: usize,
    window: usize,
    (seed, epoch): (u64, u64),
    length: impl Fn(usize) -> usize,
) -> Vec<usize> {
    let whole = order.len() / batch.max(1) * batch;
    let mut random = stream(Purpose::Bucket, seed, epoch, 0);
    let mut bucketed = Vec::with_capacity(order.len());
    for run in order[..whole].chunks((batch * window).max(1)) {
        let mut run = run.to_vec();
        run.sort_by_key(|index| length(*index));
        let mut batches: Vec<&[usize]> = run.chunks(batch).collect();
        random.shuffle(&mut batches);
        bucketed.extend(batches.concat());
    }
    bucketed.extend(&order[whole..]);
    bucketed
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
    }

    fn mixture(window: usize) -> Mixture {
        let part = |shards: &[usize], weight| Part {
            shards: shards.to_vec(),
            weight,
        };
        let parts = vec![part(&[40], 1.0), part(&[10, 30, 25], 0.4), part(&[7], 2.0)];
        Mixture::new(5, parts, window)
    }

    #[test]
    fn weights_say_how_often_a_sample_comes() {
        for window in [0, 8] {
            let mixture = mixture(window);
            let epochs: Vec<_> = (0..5).map(|epoch| mixture.epoch(epoch)).collect();
            assert_eq!(epochs[0], mixture.epoch(0));
            assert_ne!(epochs[0], epochs[1]);
            let mut counts = vec![0; 40 + 65 + 7];
            for epoch in &epochs {
                assert_eq!(epoch.len(), mixture.epoch_len());
                assert_eq!(epoch.len(), 40 + 26 + 14);
                epoch.iter().for_each(|index| counts[*index] += 1);
            }
            assert!(counts[..40].iter().all(|n| *n == 5));
            assert!(counts[40..105].iter().all(|n| *n == 2));
            assert!(counts[105..].iter().all(|n| *n == 10));
        }
    }

    #[test]
    fn a_single_part_of_weight_one_is_the_plain_order() {
        let part = Part {
            shards: vec![9, 1],
            weight: 1.0,
        };
        let mixture = Mixture::new(42, vec![part], 0);
        assert_eq!(mixture.epoch(3), order(42, 3, 10));
    }

    #[test]
    fn a_window_keeps_reads_near_each_other() {
        let shards = vec![1000; 4];
        let order = permutation(1, 0, 0, &shards, 50);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..4000).collect::<Vec<_>>());
        let first = order[0] / 1000;
        assert!(order[..900].iter().all(|index| index / 1000 == first));
        assert_ne!(
            &order[..900],
            &(first * 1000..first * 1000 + 900).collect::<Vec<_>>()
        );
    }

    #[test]
    fn bucketing_keeps_every_sample_and_lowers_the_spread_of_lengths() {
        let length = |index: usize| index * 7919 % 101;
        let order = order(1, 0, 1003);
        let bucketed = bucketed(&order, 10, 20, (1, 0), length);
        let mut sorted = bucketed.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1003).collect::<Vec<_>>());
        assert_eq!(bucketed[1000..], order[1000..]);
        let padding = |order: &[usize]| {
            let batches = order.chunks(10);
            let of = |batch: &[usize]| {
                let longest = batch.iter().map(|i| length(*i)).max().unwrap_or(0);
                batch.iter().map(|i| longest - length(*i)).sum::<usize>()
            };
            batches.map(of).sum::<usize>()
        };
        assert!(padding(&bucketed) * 5 < padding(&order));
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
