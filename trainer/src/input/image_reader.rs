//! From rows of a source to the pictures that a tower reads.

use burn::tensor::{Device, Tensor, TensorData};
use data::{ImageData, Reason, SampleError, Source};
use rayon::prelude::*;
use vision_encoder::image::{
    DecodeOptions, Draw, ImageError, Limits, Picture, PixelKind, Preprocessor, PreprocessorConfig,
    RandomResizedCrop, decode,
};

use crate::recipe::{Augmentation, Recipe};

/// The picture of a row of a source.
///
/// # Errors
///
/// If it cannot be read or decoded.
pub fn decoded(
    source: &dyn Source,
    row: usize,
    options: &DecodeOptions,
) -> Result<Picture, SampleError> {
    let sample = source.sample(row)?;
    let (decoded, path): (Result<Picture, ImageError>, _) = match sample.image {
        ImageData::Encoded { bytes, path } => (decode(&bytes, options), path),
        ImageData::Rgb {
            width,
            height,
            pixels,
        } => (
            Picture::new(width, height, PixelKind::Rgb, pixels),
            source.name().into(),
        ),
    };
    decoded.map_err(|error| SampleError {
        origin: source.name().to_string(),
        place: sample.place,
        reason: Reason::Undecodable {
            path,
            message: error.to_string(),
        },
    })
}

/// How pictures are decoded under a recipe.
pub fn decoding(recipe: &Recipe) -> DecodeOptions {
    DecodeOptions {
        limits: Limits {
            max_bytes: recipe.image.max_bytes,
            max_pixels: recipe.image.max_pixels,
        },
        ..DecodeOptions::default()
    }
}

/// How a row of a source becomes a picture that a tower reads.
pub struct ImageReader {
    preprocessor: Preprocessor,
    crop: Option<RandomResizedCrop>,
    decoding: DecodeOptions,
    image_size: usize,
    seed: u64,
}

/// Pictures in host memory: normalised planes, one picture after another.
#[derive(Clone, Debug, PartialEq)]
pub struct HostPixels {
    values: Vec<f32>,
    pictures: usize,
    image_size: usize,
}

impl HostPixels {
    /// `[pictures, 3, image_size, image_size]`.
    pub fn to_device(self, device: &Device) -> Tensor<4> {
        let shape = [self.pictures, 3, self.image_size, self.image_size];
        Tensor::from_data(TensorData::new(self.values, shape), device)
    }
}

impl ImageReader {
    /// Pictures for a tower of `image_size`.
    ///
    /// # Errors
    ///
    /// If the preprocessing cannot be.
    pub fn new(
        recipe: &Recipe,
        preprocessing: &PreprocessorConfig,
        image_size: usize,
    ) -> anyhow::Result<Self> {
        let preprocessor = Preprocessor::new(preprocessing.clone())?;
        let crop = match &recipe.image.augmentation {
            Augmentation::None => None,
            Augmentation::RandomResizedCrop(crop) => Some(RandomResizedCrop {
                ratio: (crop.ratio[0], crop.ratio[1]),
                filter: preprocessor.filter(),
                ..RandomResizedCrop::new(image_size as u32).with_scale(crop.scale[0], crop.scale[1])
            }),
        };
        Ok(Self {
            preprocessor,
            crop,
            decoding: decoding(recipe),
            image_size,
            seed: recipe.seed,
        })
    }

    /// A picture as normalised planes, `[3, image_size, image_size]`; `draw` augments it.
    fn read(
        &self,
        source: &dyn Source,
        row: usize,
        draw: Option<Draw>,
    ) -> Result<Vec<f32>, SampleError> {
        let picture = decoded(source, row, &self.decoding)?;
        Ok(match (&self.crop, draw) {
            (Some(crop), Some(draw)) => self
                .preprocessor
                .normalise()
                .apply(&crop.apply(&picture, draw)),
            _ => self.preprocessor.pixel_values(&picture),
        })
    }

    /// The pictures of some rows, each with its row, in order. They are augmented if an epoch is given.
    pub fn pictures(
        &self,
        source: &dyn Source,
        rows: &[usize],
        epoch: Option<u64>,
    ) -> Vec<Result<(usize, Vec<f32>), SampleError>> {
        let draw = |row: usize| {
            epoch.map(|epoch| Draw {
                seed: self.seed,
                epoch,
                sample: row as u64,
            })
        };
        rows.par_iter()
            .map(|row| Ok((*row, self.read(source, *row, draw(*row))?)))
            .collect()
    }

    /// Pictures one after another.
    pub fn together(&self, pictures: &[(usize, Vec<f32>)]) -> HostPixels {
        let values: Vec<&[f32]> = pictures.iter().map(|(_, values)| &values[..]).collect();
        HostPixels {
            values: values.concat(),
            pictures: pictures.len(),
            image_size: self.image_size,
        }
    }
}
