//! From sources to batches: pictures decoded and preprocessed, captions tokenised.

use anyhow::{bail, ensure};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use data::{ImageData, Ledger, Reason, SampleError, Shapes, Source, Table, order};
use fusion::Batch;
use rayon::prelude::*;
use text_encoder::{TextConfig, tokenizer::Tokenizer};
use vision_encoder::image::{
    DecodeOptions, Draw, ImageError, Picture, PixelKind, Preprocessor, RandomResizedCrop, decode,
};

use crate::recipe::{self, Augmentation, Preprocessing, Recipe};

/// Opens the sources of a recipe; messages about tables go to standard error.
///
/// # Errors
///
/// Names the table and what is wrong with it.
pub fn open(sources: &[recipe::Source], recipe: &Recipe) -> anyhow::Result<Vec<Box<dyn Source>>> {
    sources
        .iter()
        .map(|source| -> anyhow::Result<Box<dyn Source>> {
            Ok(match source {
                recipe::Source::Shapes(shapes) => Box::new(Shapes::new(
                    recipe.data.shapes.clone(),
                    shapes.split.into(),
                )?),
                recipe::Source::Table(table) => {
                    let table = Table::open(table.path.as_path(), &recipe.data.table)?;
                    table.notes().iter().for_each(|note| eprintln!("{note}"));
                    if !table.skipped().is_empty() {
                        eprintln!("{}: skipped rows: {}", table.name(), table.skipped());
                        ensure!(
                            !recipe.data.strict,
                            "{}: skipped rows (strict)",
                            table.name()
                        );
                    }
                    Box::new(table)
                }
            })
        })
        .collect()
}

/// How a sample becomes the model's input.
pub struct Inputs {
    preprocessor: Preprocessor,
    crop: Option<RandomResizedCrop>,
    decoding: DecodeOptions,
    tokenizer: Tokenizer,
    context: usize,
    masked: bool,
    image_size: usize,
    seed: u64,
}

/// A batch in host memory.
pub struct HostBatch {
    pixels: Vec<f32>,
    ids: Vec<i64>,
    mask: Option<Vec<bool>>,
    pairs: usize,
    tokens: usize,
    image_size: usize,
}

impl HostBatch {
    /// The batch on a device.
    pub fn to_device(self, device: &Device) -> Batch {
        let mut batch = self;
        let shape = [batch.pairs, 3, batch.image_size, batch.image_size];
        let pixels = TensorData::new(std::mem::take(&mut batch.pixels), shape);
        let (ids, mask) = batch.captions_on(device);
        Batch {
            pixels: Tensor::from_data(pixels, device),
            ids,
            mask,
        }
    }

    /// Token ids and mask of a batch of captions.
    pub fn captions_on(self, device: &Device) -> (Tensor<2, Int>, Option<Tensor<2, Bool>>) {
        let rows = [self.pairs, self.tokens];
        (
            Tensor::from_data(TensorData::new(self.ids, rows), device),
            self.mask
                .map(|mask| Tensor::from_data(TensorData::new(mask, rows), device)),
        )
    }
}

impl Inputs {
    /// Preprocessing as the recipe says, for towers of these sizes. The tokenizer must already
    /// pad as the text tower needs it.
    pub fn new(
        recipe: &Recipe,
        image_size: usize,
        text: &TextConfig,
        tokenizer: Tokenizer,
    ) -> Self {
        let size = image_size as u32;
        let preprocessor = match recipe.image.preprocessing {
            Preprocessing::Clip => Preprocessor::clip(size),
            Preprocessing::Siglip => Preprocessor::siglip(size),
            Preprocessing::Vit => Preprocessor::vit(size),
            Preprocessing::OpenClip => Preprocessor::open_clip(size),
        };
        let crop = match &recipe.image.augmentation {
            Augmentation::None => None,
            Augmentation::RandomResizedCrop(crop) => Some(RandomResizedCrop {
                ratio: (crop.ratio[0], crop.ratio[1]),
                filter: preprocessor.filter(),
                ..RandomResizedCrop::new(size).with_scale(crop.scale[0], crop.scale[1])
            }),
        };
        Self {
            preprocessor,
            crop,
            decoding: DecodeOptions::default(),
            tokenizer,
            context: text.context,
            masked: text.needs_mask(),
            image_size,
            seed: recipe.seed,
        }
    }

    /// A picture as planes of 8-bit pixels; `draw` augments it.
    fn picture(
        &self,
        source: &dyn Source,
        row: usize,
        draw: Option<Draw>,
    ) -> Result<Vec<f32>, SampleError> {
        let sample = source.sample(row)?;
        let (decoded, path): (Result<Picture, ImageError>, _) = match sample.image {
            ImageData::Encoded { bytes, path } => (decode(&bytes, &self.decoding), path),
            ImageData::Rgb {
                width,
                height,
                pixels,
            } => (
                Picture::new(width, height, PixelKind::Rgb, pixels),
                source.name().into(),
            ),
        };
        let picture = decoded.map_err(|error| SampleError {
            origin: source.name().to_string(),
            place: sample.place,
            reason: Reason::Undecodable {
                path,
                message: error.to_string(),
            },
        })?;
        Ok(match (&self.crop, draw) {
            (Some(crop), Some(draw)) => self
                .preprocessor
                .normalise()
                .apply(&crop.apply(&picture, draw)),
            _ => self.preprocessor.pixel_values(&picture),
        })
    }

    /// Token ids of captions, padded as the text tower needs them.
    pub fn captions(&self, captions: &[String]) -> anyhow::Result<HostBatch> {
        let batch = self.tokenizer.encode_batch(captions, self.context)?;
        Ok(HostBatch {
            pixels: Vec::new(),
            ids: batch.ids,
            mask: self.masked.then_some(batch.mask),
            pairs: batch.batch,
            tokens: batch.tokens,
            image_size: self.image_size,
        })
    }

    /// The pictures of some rows that can be used, each with its row, in order; the others are
    /// counted.
    pub fn pictures(
        &self,
        source: &dyn Source,
        rows: &[usize],
        epoch: Option<u64>,
        ledger: &mut Ledger,
    ) -> Vec<(usize, Vec<f32>)> {
        let draw = |row: usize| {
            epoch.map(|epoch| Draw {
                seed: self.seed,
                epoch,
                sample: row as u64,
            })
        };
        let decoded: Vec<_> = rows
            .par_iter()
            .map(|row| (*row, self.picture(source, *row, draw(*row))))
            .collect();
        decoded
            .into_iter()
            .filter_map(|(row, picture)| match picture {
                Ok(pixels) => Some((row, pixels)),
                Err(error) => {
                    ledger.record(error);
                    None
                }
            })
            .collect()
    }
}

/// Several sources as one, index after index.
pub struct Joined {
    name: String,
    sources: Vec<Box<dyn Source>>,
    starts: Vec<usize>,
    len: usize,
}

impl Joined {
    /// Joins sources in order.
    pub fn new(sources: Vec<Box<dyn Source>>) -> Self {
        let mut len = 0;
        let starts = sources
            .iter()
            .map(|source| {
                let start = len;
                len += source.len();
                start
            })
            .collect();
        let name = sources
            .iter()
            .map(|source| source.name())
            .collect::<Vec<_>>()
            .join(" + ");
        Self {
            name,
            sources,
            starts,
            len,
        }
    }

    fn at(&self, index: usize) -> (&dyn Source, usize) {
        let part = self
            .starts
            .partition_point(|start| *start <= index)
            .saturating_sub(1);
        (self.sources[part].as_ref(), index - self.starts[part])
    }
}

impl Source for Joined {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.len
    }

    fn sample(&self, index: usize) -> Result<data::Sample, SampleError> {
        let (source, row) = self.at(index);
        source.sample(row)
    }

    fn caption(&self, index: usize) -> std::borrow::Cow<'_, str> {
        let (source, row) = self.at(index);
        source.caption(row)
    }

    fn image_key(&self, index: usize) -> std::borrow::Cow<'_, str> {
        let (source, row) = self.at(index);
        source.image_key(row)
    }
}

/// The batches of training, in an order that is a function of the seed and the epoch.
pub struct Batches<'a> {
    source: &'a dyn Source,
    inputs: &'a Inputs,
    seed: u64,
    batch: usize,
    micro_batch: usize,
    epoch: u64,
    rows: Vec<usize>,
    next: usize,
    strict: bool,
    ledger: Ledger,
}

impl<'a> Batches<'a> {
    /// Batches of `batch` pairs in micro-batches of `micro_batch`.
    pub fn new(source: &'a dyn Source, inputs: &'a Inputs, recipe: &Recipe) -> Self {
        let batch = recipe.train.batch;
        Self {
            source,
            inputs,
            seed: recipe.seed,
            batch,
            micro_batch: recipe.train.micro_batch.unwrap_or(batch),
            epoch: 0,
            rows: order(recipe.seed, 0, source.len()),
            next: 0,
            strict: recipe.data.strict,
            ledger: Ledger::new(),
        }
    }

    /// What was skipped so far.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The next batch. A pair that cannot be used is counted, and the next one takes its place;
    /// what does not fill an epoch's last batch waits for another epoch.
    ///
    /// # Errors
    ///
    /// If a whole epoch holds no batch of usable pairs, or if `data.strict` meets a bad one.
    pub fn next_batch(&mut self) -> anyhow::Result<Vec<HostBatch>> {
        let mut pairs: Vec<(usize, Vec<f32>)> = Vec::with_capacity(self.batch);
        let mut restarts = 0;
        while pairs.len() < self.batch {
            let wanted = self.batch - pairs.len();
            if self.rows.len() - self.next < wanted {
                restarts += 1;
                if restarts > 2 {
                    bail!(
                        "{}: not one batch of {} usable pairs; skipped: {}",
                        self.source.name(),
                        self.batch,
                        self.ledger
                    );
                }
                pairs.clear();
                self.epoch += 1;
                self.rows = order(self.seed, self.epoch, self.source.len());
                self.next = 0;
                continue;
            }
            let rows = &self.rows[self.next..self.next + wanted];
            self.next += wanted;
            let epoch = Some(self.epoch);
            pairs.extend(
                self.inputs
                    .pictures(self.source, rows, epoch, &mut self.ledger),
            );
            if self.strict && !self.ledger.is_empty() {
                bail!("{} (strict)", self.ledger);
            }
        }
        pairs
            .chunks(self.micro_batch)
            .map(|pairs| self.assemble(pairs))
            .collect()
    }

    fn assemble(&self, pairs: &[(usize, Vec<f32>)]) -> anyhow::Result<HostBatch> {
        let captions: Vec<String> = pairs
            .iter()
            .map(|(row, _)| self.source.caption(*row).into_owned())
            .collect();
        let mut batch = self.inputs.captions(&captions)?;
        batch.pixels = pairs
            .iter()
            .flat_map(|(_, pixels)| pixels.iter().copied())
            .collect();
        Ok(batch)
    }
}

/// Pictures alone, as a batch on a device.
pub fn pixels_on(pictures: &[(usize, Vec<f32>)], image_size: usize, device: &Device) -> Tensor<4> {
    let values: Vec<f32> = pictures
        .iter()
        .flat_map(|(_, pixels)| pixels.iter().copied())
        .collect();
    let shape = [pictures.len(), 3, image_size, image_size];
    Tensor::from_data(TensorData::new(values, shape), device)
}
