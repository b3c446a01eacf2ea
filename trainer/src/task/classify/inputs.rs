//! From rows of a source to pictures with the number of their class.

use std::collections::HashMap;

use anyhow::Context;
use data::{SampleError, Source};

use crate::input::{
    image_reader::{HostPixels, ImageReader},
    loader::Collate,
};

/// How pictures and classes are read.
pub(crate) struct Inputs {
    /// The pictures.
    pub(super) images: ImageReader,
    /// The number of each class.
    numbers: HashMap<String, usize>,
}

/// A batch in host memory.
pub(crate) struct HostBatch {
    pub(super) pixels: HostPixels,
    pub(super) labels: Vec<usize>,
}

impl Inputs {
    pub(super) fn new(images: ImageReader, classes: &[String]) -> Self {
        let numbers = classes.iter().cloned().zip(0..);
        Self {
            images,
            numbers: numbers.collect(),
        }
    }

    /// The number of a class, if it is one of those that are learnt.
    pub(super) fn number(&self, class: &str) -> Option<usize> {
        self.numbers.get(class).copied()
    }
}

impl Collate for Inputs {
    type Item = Vec<f32>;
    type Batch = HostBatch;

    fn items(
        &self,
        source: &dyn Source,
        rows: &[usize],
        epoch: u64,
    ) -> Vec<Result<(usize, Vec<f32>), SampleError>> {
        self.images.pictures(source, rows, Some(epoch))
    }

    fn collate(
        &self,
        source: &dyn Source,
        pictures: &[(usize, Vec<f32>)],
    ) -> anyhow::Result<HostBatch> {
        let labels = pictures.iter().map(|(row, _)| {
            let class = source.caption(*row);
            let number = self.number(&class);
            number.with_context(|| format!("{}: {class:?} is no class", source.name()))
        });
        Ok(HostBatch {
            labels: labels.collect::<anyhow::Result<_>>()?,
            pixels: self.images.together(pictures),
        })
    }

    /// A picture has no length.
    fn lengths(&self, source: &dyn Source) -> anyhow::Result<Vec<u16>> {
        Ok(vec![0; source.len()])
    }
}
