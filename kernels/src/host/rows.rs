//! Loops over several tensors at once, a run of their rows at a time.

use std::cell::Cell;

use burn::tensor::{DType, Tensor};
use rayon::prelude::*;

use super::{HostTensor, rows_per_task};
use crate::{RawAccess, is_host, profile::profile};

/// Runs `f` over tensors and slices of one size, a run of whole rows of `width` elements at a time and in parallel: what
/// is read, what is overwritten in its place, and slices that are. Gives back the tensors that were overwritten, and what
/// `f` returned, in order.
///
/// Host memory is used as it is, what a [`RawAccess`] gets to goes by runs, and the rest is copied as a whole.
///
/// # Panics
///
/// Panics if they differ in size or are not float32.
pub fn over_rows<const D: usize, const R: usize, const W: usize, const S: usize, T: Send>(
    width: usize,
    read: [Tensor<D>; R],
    written: [Tensor<D>; W],
    slices: [&mut [f32]; S],
    f: impl Fn([&[f32]; R], [&mut [f32]; W], [&mut [f32]; S]) -> T + Sync,
) -> ([Tensor<D>; W], Vec<T>) {
    let sizes = read
        .iter()
        .chain(&written)
        .map(|x| x.shape().num_elements());
    let mut sizes = sizes.chain(slices.iter().map(|slice| slice.len()));
    let elements = sizes.next().unwrap_or(0);
    assert!(
        sizes.all(|size| size == elements),
        "they must be of one size"
    );
    let runs = Runs {
        elements,
        size: rows_per_task(width) * width.max(1),
    };
    // A device equals itself on a graph, but a tensor there is of another kind.
    let mut devices = read.iter().chain(&written).map(Tensor::device);
    let raw = devices.next().filter(|device| {
        elements > 0
            && !device.is_autodiff()
            && !is_host(device)
            && devices.all(|other| other == *device && !other.is_autodiff())
    });
    let raw = raw.and_then(|device| profile(&device).raw_access);
    match raw {
        None => runs.lent(read, written, slices, f),
        Some(raw) => runs.copied(raw, read, written, slices, f),
    }
}

/// Elements, and how many of them make a task.
struct Runs {
    elements: usize,
    size: usize,
}

impl Runs {
    /// Cuts slices into tasks.
    fn cut<'a, const N: usize>(&self, slices: [&'a mut [f32]; N]) -> Vec<[&'a mut [f32]; N]> {
        let mut runs = slices.map(|slice| slice.chunks_mut(self.size));
        let tasks = 0..self.elements.div_ceil(self.size);
        tasks
            .map(|_| runs.each_mut().map(|runs| runs.next().unwrap_or_default()))
            .collect()
    }

    /// In the tensors' own memory.
    fn lent<const D: usize, const R: usize, const W: usize, const S: usize, T: Send>(
        &self,
        read: [Tensor<D>; R],
        written: [Tensor<D>; W],
        slices: [&mut [f32]; S],
        f: impl Fn([&[f32]; R], [&mut [f32]; W], [&mut [f32]; S]) -> T + Sync,
    ) -> ([Tensor<D>; W], Vec<T>) {
        let read = read.map(HostTensor::fetch);
        let mut written = written.map(HostTensor::fetch);
        let from = read.each_ref().map(HostTensor::slice);
        let places = self.cut(written.each_mut().map(HostTensor::slice_mut));
        let results = places
            .into_par_iter()
            .zip(self.cut(slices))
            .enumerate()
            .with_max_len(1)
            .map(|(task, (written, slices))| {
                let run = self.run(task);
                f(from.map(|from| &from[run.clone()]), written, slices)
            })
            .collect();
        (written.map(HostTensor::close), results)
    }

    /// By way of the processor's cache.
    fn copied<const D: usize, const R: usize, const W: usize, const S: usize, T: Send>(
        &self,
        raw: RawAccess,
        read: [Tensor<D>; R],
        written: [Tensor<D>; W],
        slices: [&mut [f32]; S],
        f: impl Fn([&[f32]; R], [&mut [f32]; W], [&mut [f32]; S]) -> T + Sync,
    ) -> ([Tensor<D>; W], Vec<T>) {
        thread_local! {
            static ROOM: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
        }
        let flat = |tensor: Tensor<D>| {
            assert_eq!(tensor.dtype(), DType::F32, "host loops are in float32");
            tensor.reshape([self.elements])
        };
        let read = read.map(|tensor| flat(tensor).into_dispatch());
        let written = written.map(|tensor| {
            let shape = tensor.dims();
            let from: Tensor<1> = flat(tensor);
            let is_shared = !from.can_mut();
            let to = is_shared.then(|| from.empty_like());
            (from.into_dispatch(), to.map(Tensor::into_dispatch), shape)
        });
        let results = self
            .cut(slices)
            .into_par_iter()
            .enumerate()
            .with_max_len(1)
            .map(|(task, slices)| {
                let run = self.run(task);
                let mut room = ROOM.take();
                room.resize((R + W) * self.size, 0.0);
                let mut places = room.chunks_exact_mut(self.size);
                let mut fetch = |tensor| {
                    let part = &mut places.next().unwrap_or_default()[..run.len()];
                    (raw.read)(tensor, run.start, part);
                    part
                };
                let from = read.each_ref().map(|tensor| &*fetch(tensor));
                let mut parts = written.each_ref().map(|(from, ..)| fetch(from));
                let result = f(from, parts.each_mut().map(|part| &mut **part), slices);
                for (part, (from, to, _)) in parts.iter().zip(&written) {
                    (raw.write)(to.as_ref().unwrap_or(from), run.start, part);
                }
                ROOM.set(room);
                result
            })
            .collect();
        let written = written
            .map(|(from, to, shape)| Tensor::<1>::from_dispatch(to.unwrap_or(from)).reshape(shape));
        (written, results)
    }

    /// The elements of a task.
    fn run(&self, task: usize) -> std::ops::Range<usize> {
        task * self.size..((task + 1) * self.size).min(self.elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, first: f32) -> Tensor<2> {
        let numbers: Vec<f32> = (0..count).map(|i| first + (i % 1000) as f32).collect();
        Tensor::<1>::from_floats(numbers.as_slice(), &testing::host()).reshape([-1, 3])
    }

    #[test]
    fn each_run_has_its_rows_of_everything() {
        for rows in [0, 1, 20_000, 2 * rows_per_task(3)] {
            let count = 3 * rows;
            let [a, b, c] = [0.0, 1.0, 2.0].map(|first| numbers(count, first));
            let kept = b.clone();
            let mut slice = vec![1.0; count];
            let ([b, c], sums) = over_rows(3, [a], [b, c], [&mut slice], |[a], [b, c], [d]| {
                for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
                    (*b, *c, *d) = (*b + *a, *c - *a, *d + *a);
                }
                assert_eq!(a.len() % 3, 0);
                a.len()
            });
            let expected = |first: f32, factor: f32| {
                let numbers = (0..count).map(move |i| first + factor * (i % 1000) as f32);
                numbers.collect::<Vec<_>>()
            };
            let values =
                |tensor: Tensor<2>| -> Vec<f32> { tensor.into_data().iter::<f32>().collect() };
            assert_eq!(values(b), expected(1.0, 2.0));
            assert_eq!(values(c), expected(2.0, 0.0));
            assert_eq!(slice, expected(1.0, 1.0));
            assert_eq!(values(kept), expected(1.0, 1.0));
            assert_eq!(sums.iter().sum::<usize>(), count);
        }
    }
}
