//! An element-wise map into memory that is written once.

use rayon::{
    iter::plumbing::{Consumer, Folder, Producer, ProducerCallback, UnindexedConsumer, bridge},
    prelude::*,
};

use super::{Kernel, LANES, TASK, vectorise};

/// `f` of each element, in parallel. What `f` calls must be `#[inline(always)]`, as a [`Kernel`]'s `call`.
pub fn map_elements(x: &[f32], f: impl Fn(f32) -> f32 + Copy + Send + Sync) -> Vec<f32> {
    let (runs, tail) = x.as_chunks();
    let mut values = Vec::with_capacity(runs.len() + 1);
    let f_of_run = move |run: &[f32; LANES]| {
        let mut values = [0.0; LANES];
        for (value, x) in values.iter_mut().zip(run) {
            *value = f(*x);
        }
        values
    };
    let map = Map { runs, f: f_of_run };
    map.collect_into_vec(&mut values);
    let mut values = values.into_flattened();
    values.extend(tail.iter().map(|x| f(*x)));
    values
}

/// The parallel iterator of [`map_elements`]. Rayon's own `map` would call a kernel for each item, which hands its result
/// over by way of the stack, a quarter of gelu's time; here a whole task is one kernel.
struct Map<'a, F> {
    runs: &'a [[f32; LANES]],
    f: F,
}

impl<'a, F> ParallelIterator for Map<'a, F>
where
    F: Fn(&'a [f32; LANES]) -> [f32; LANES] + Copy + Send,
{
    type Item = [f32; LANES];

    fn drive_unindexed<C: UnindexedConsumer<Self::Item>>(self, consumer: C) -> C::Result {
        bridge(self, consumer)
    }

    fn opt_len(&self) -> Option<usize> {
        Some(self.runs.len())
    }
}

impl<'a, F> IndexedParallelIterator for Map<'a, F>
where
    F: Fn(&'a [f32; LANES]) -> [f32; LANES] + Copy + Send,
{
    fn len(&self) -> usize {
        self.runs.len()
    }

    fn drive<C: Consumer<Self::Item>>(self, consumer: C) -> C::Result {
        bridge(self, consumer)
    }

    fn with_producer<C: ProducerCallback<Self::Item>>(self, callback: C) -> C::Output {
        callback.callback(self)
    }
}

impl<'a, F> Producer for Map<'a, F>
where
    F: Fn(&'a [f32; LANES]) -> [f32; LANES] + Copy + Send,
{
    type Item = [f32; LANES];
    type IntoIter = std::iter::Map<std::slice::Iter<'a, [f32; LANES]>, F>;

    fn into_iter(self) -> Self::IntoIter {
        self.runs.iter().map(self.f)
    }

    fn min_len(&self) -> usize {
        TASK / LANES
    }

    fn max_len(&self) -> usize {
        TASK / LANES
    }

    fn split_at(self, index: usize) -> (Self, Self) {
        let f = self.f;
        let (left, right) = self.runs.split_at(index);
        (Self { runs: left, f }, Self { runs: right, f })
    }

    fn fold_with<R: Folder<Self::Item>>(self, folder: R) -> R {
        vectorise(Fold { map: self, folder })
    }
}

struct Fold<M, R> {
    map: M,
    folder: R,
}

impl<M: Producer, R: Folder<M::Item>> Kernel for Fold<M, R> {
    type Output = R;

    #[inline(always)]
    fn call(self) -> R {
        self.folder.consume_iter(self.map.into_iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_element_is_mapped_in_its_place() {
        for length in [0, 1, LANES, 3 * LANES + 5, TASK, 3 * TASK + 7] {
            let x: Vec<f32> = (0..length).map(|i| i as f32).collect();
            let want: Vec<f32> = x.iter().map(|x| x.mul_add(0.5, 1.0)).collect();
            assert_eq!(map_elements(&x, |x| x.mul_add(0.5, 1.0)), want);
        }
    }
}
