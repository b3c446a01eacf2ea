//! From sources to batches: pictures decoded and preprocessed, captions tokenised.

use anyhow::{bail, ensure};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use data::{
    Annotations, AnnotationsConfig, CaptionedFolder, ImageData, ImageFolder, JsonLines, Ledger,
    Parquet, Reason, SampleError, Shapes, Source, Table, WebDataset,
};
use fusion::{Batch, DualConfig};
use rayon::prelude::*;
use text_encoder::tokenizer::Tokenizer;
use vision_encoder::image::{
    DecodeOptions, Draw, ImageError, Limits, Picture, PixelKind, Preprocessor, PreprocessorConfig,
    RandomResizedCrop, decode,
};

use crate::{
    loader::Collate,
    recipe::{self, Augmentation, Recipe},
    say::tell,
};

/// Sources, and the rows of theirs that cannot be used.
pub struct Opened {
    /// The sources, in order.
    pub sources: Vec<Box<dyn Source>>,
    /// Of all of them.
    pub skipped: Ledger,
}

/// Opens the sources of a recipe; messages about them go to standard error.
///
/// # Errors
///
/// Names the source and what is wrong with it: it cannot be read, or more of its rows are bad than `data.max_bad` or
/// `data.strict` allow.
pub fn open(sources: &[recipe::Source], recipe: &Recipe) -> anyhow::Result<Opened> {
    let mut skipped = Ledger::new();
    let sources = sources.iter().map(|source| {
        let source = open_one(source, recipe)?;
        let bad = source.skipped();
        source.notes().iter().for_each(|note| tell(format_args!("{note}")));
        if !bad.is_empty() {
            tell(format_args!("{}: {bad}", source.name()));
        }
        if let Some(error) = bad.errors().first().filter(|_| recipe.data.strict) {
            bail!("{error} (`data.strict`)");
        }
        let all = source.len() as u64 + bad.total();
        ensure!(
            bad.total() as f64 <= recipe.data.max_bad * all as f64,
            "{}: {} of {all} samples cannot be used, more than the share of {} that `data.max_bad` allows",
            source.name(),
            bad.total(),
            recipe.data.max_bad
        );
        skipped.merge(bad);
        Ok(source)
    });
    let sources = sources.collect::<anyhow::Result<_>>()?;
    Ok(Opened { sources, skipped })
}

/// Opens one source of a recipe.
///
/// # Errors
///
/// Names the source and what is wrong with it.
pub(crate) fn open_one(
    source: &recipe::Source,
    recipe: &Recipe,
) -> anyhow::Result<Box<dyn Source>> {
    let data = &recipe.data;
    Ok(match source {
        recipe::Source::Shapes(shapes) => {
            Box::new(Shapes::new(data.shapes.clone(), shapes.split.into())?)
        }
        recipe::Source::Table(file) => Box::new(Table::open(&file.path, &data.table)?),
        recipe::Source::Jsonl(file) => Box::new(JsonLines::open(&file.path, &data.jsonl)?),
        recipe::Source::Json(file) => {
            Box::new(Annotations::open(&file.path, &json_config(file, recipe))?)
        }
        recipe::Source::Parquet(file) => Box::new(Parquet::open(&file.path, &data.parquet)?),
        recipe::Source::Folder(file) => Box::new(ImageFolder::open(&file.path, &data.folder)?),
        recipe::Source::Captioned(file) => {
            Box::new(CaptionedFolder::open(&file.path, &data.captioned)?)
        }
        recipe::Source::Webdataset(set) => {
            Box::new(WebDataset::open(&set.shards, &data.webdataset)?)
        }
    })
}

/// Opens one source of a recipe for classification: the captions of its rows are their classes. `column` is a column of a
/// table or of Parquet, a key of JSON, or for shards `cls` or a key of their `.json` entries; a folder of classes needs
/// none. Rows without a class are skipped.
///
/// # Errors
///
/// As `open_one`, and where such a source has no classes: the generated set, pictures with a text beside each, and
/// Karpathy's and COCO's files.
pub fn open_labels(
    source: &recipe::Source,
    recipe: &Recipe,
    column: &str,
) -> anyhow::Result<Box<dyn Source>> {
    let data = &recipe.data;
    let none = |origin: String, kind| data::Error::NoLabels {
        origin,
        kind,
        remedy: "; classify on a table, JSON lines, Parquet, shards or a folder of classes",
    };
    Ok(match source {
        recipe::Source::Table(file) => {
            Box::new(Table::open_labels(&file.path, &data.table, column)?)
        }
        recipe::Source::Jsonl(file) => {
            Box::new(JsonLines::open_labels(&file.path, &data.jsonl, column)?)
        }
        recipe::Source::Json(file) => {
            let config = json_config(file, recipe);
            Box::new(Annotations::open_labels(&file.path, &config, column)?)
        }
        recipe::Source::Parquet(file) => {
            Box::new(Parquet::open_labels(&file.path, &data.parquet, column)?)
        }
        recipe::Source::Webdataset(set) => Box::new(WebDataset::open_labels(
            &set.shards,
            &data.webdataset,
            column,
        )?),
        recipe::Source::Folder(file) => {
            Box::new(ImageFolder::open_labels(&file.path, &data.folder)?)
        }
        recipe::Source::Captioned(file) => {
            let origin = file.path.as_path().display().to_string();
            return Err(none(origin, "a folder of pictures with a text beside each").into());
        }
        recipe::Source::Shapes(_) => {
            return Err(none("shapes".to_owned(), "the generated set").into());
        }
    })
}

fn json_config(file: &recipe::JsonFile, recipe: &Recipe) -> AnnotationsConfig {
    let config = recipe.data.json.clone();
    AnnotationsConfig {
        split: file.split.clone().or(config.split),
        ..config
    }
}

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
#[derive(Clone, Debug, PartialEq)]
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
    /// Inputs for towers of these sizes. The tokenizer must already pad as the text tower needs it; captions have up to
    /// `context` tokens.
    ///
    /// # Errors
    ///
    /// If the preprocessing cannot be.
    pub fn new(
        recipe: &Recipe,
        preprocessing: &PreprocessorConfig,
        config: &DualConfig,
        context: usize,
        tokenizer: Tokenizer,
    ) -> anyhow::Result<Self> {
        let preprocessor = Preprocessor::new(preprocessing.clone())?;
        let image_size = config.vision.image_size;
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
            tokenizer,
            context,
            masked: config.text.needs_mask(),
            image_size,
            seed: recipe.seed,
        })
    }

    /// The tokenizer of captions.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The most tokens of a caption.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The side of the pictures that come out, in pixels.
    pub fn image_size(&self) -> usize {
        self.image_size
    }

    /// A picture as normalised planes, `[3, image_size, image_size]`; `draw` augments it.
    fn picture(
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

    /// Token ids of captions, padded as the text tower needs them.
    pub fn captions<S: AsRef<str>>(&self, captions: &[S]) -> anyhow::Result<HostBatch> {
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

    /// The token ids of one caption, special ones included, without padding.
    ///
    /// # Errors
    ///
    /// If the caption has no encoding.
    pub fn tokens(&self, caption: &str) -> anyhow::Result<Vec<i64>> {
        let mut batch = self.tokenizer.encode_batch(&[caption], self.context)?;
        batch.ids.truncate(batch.lengths[0]);
        Ok(batch.ids)
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
            .map(|row| Ok((*row, self.picture(source, *row, draw(*row))?)))
            .collect()
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
        self.pictures(source, rows, Some(epoch))
    }

    fn collate(
        &self,
        source: &dyn Source,
        pairs: &[(usize, Vec<f32>)],
    ) -> anyhow::Result<HostBatch> {
        let captions: Vec<_> = pairs.iter().map(|(row, _)| source.caption(*row)).collect();
        let mut batch = self.captions(&captions)?;
        batch.pixels = one_after_another(pairs);
        Ok(batch)
    }

    fn lengths(&self, source: &dyn Source) -> anyhow::Result<Vec<u16>> {
        const CAPTIONS: usize = 4096;
        let mut lengths = Vec::with_capacity(source.len());
        for start in (0..source.len()).step_by(CAPTIONS) {
            let rows = start..(start + CAPTIONS).min(source.len());
            let captions: Vec<_> = rows.map(|row| source.caption(row)).collect();
            let batch = self.tokenizer.encode_batch(&captions, self.context)?;
            lengths.extend(batch.lengths.into_iter().map(|n| n as u16));
        }
        Ok(lengths)
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

    /// The sources by name, and their samples.
    pub fn lengths(&self) -> Vec<(String, usize)> {
        let lengths = self.sources.iter().map(|s| (s.name().to_string(), s.len()));
        lengths.collect()
    }

    /// The sources, in order.
    pub fn sources(&self) -> &[Box<dyn Source>] {
        &self.sources
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

/// Pictures alone, as a batch on a device.
pub fn pixels_on(pictures: &[(usize, Vec<f32>)], image_size: usize, device: &Device) -> Tensor<4> {
    let shape = [pictures.len(), 3, image_size, image_size];
    Tensor::from_data(TensorData::new(one_after_another(pictures), shape), device)
}

/// The values of all pictures in one buffer.
fn one_after_another(pictures: &[(usize, Vec<f32>)]) -> Vec<f32> {
    let values: Vec<&[f32]> = pictures.iter().map(|(_, values)| &values[..]).collect();
    values.concat()
}
