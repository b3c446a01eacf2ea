//! From rows of a source to pictures with their captions.

use burn::tensor::Device;
use data::{SampleError, Source};
use fusion::Batch;

use crate::input::{
    caption_reader::{CaptionReader, HostCaptions},
    image_reader::{HostPixels, ImageReader},
    loader::Collate,
};

/// How pairs are read.
pub struct Inputs {
    /// Their pictures.
    pub images: ImageReader,
    /// Their captions.
    pub captions: CaptionReader,
}

/// A batch in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostBatch {
    pixels: HostPixels,
    captions: HostCaptions,
}

impl HostBatch {
    /// The batch on a device.
    pub fn to_device(self, device: &Device) -> Batch {
        let (ids, mask) = self.captions.to_device(device);
        Batch {
            pixels: self.pixels.to_device(device),
            ids,
            mask,
        }
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
        pairs: &[(usize, Vec<f32>)],
    ) -> anyhow::Result<HostBatch> {
        let captions: Vec<_> = pairs.iter().map(|(row, _)| source.caption(*row)).collect();
        Ok(HostBatch {
            captions: self.captions.read(&captions)?,
            pixels: self.images.together(pairs),
        })
    }

    fn lengths(&self, source: &dyn Source) -> anyhow::Result<Vec<u16>> {
        self.captions.lengths(source)
    }
}
