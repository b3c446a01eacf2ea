//! `[data]`: where pictures and captions come from.

use data::{
    AnnotationsConfig, CaptionedConfig, ImageFolderConfig, JsonLinesConfig, ParquetConfig,
    ShapesConfig, Split, TableConfig, WebDatasetConfig,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::path::RecipePath;
use super::tagged;

/// Training and validation sources, and how they are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// What is trained on; several sources are joined.
    #[serde(serialize_with = "tagged::serialize")]
    pub train: Vec<Source>,
    /// What is evaluated on, each source by itself.
    #[serde(serialize_with = "tagged::serialize")]
    pub val: Vec<Source>,
    /// Stop at the first bad sample, instead of skipping and counting it.
    pub strict: bool,
    /// The share of an epoch's samples (and of a source's rows) that may be bad; past it the run stops.
    pub max_bad: f64,
    /// Threads that read, decode and augment; 0 takes one for each core. They change nothing but the time.
    pub workers: usize,
    /// Batches that are prepared ahead.
    pub prefetch: usize,
    /// Batches of captions of similar length, which need less padding. Each sample still comes once an epoch.
    pub bucket: bool,
    /// 0 shuffles the whole of a source. Above 0, files of a source come in random order and their samples are
    /// shuffled within so many, so that reads stay near each other.
    pub shuffle_window: usize,
    /// How every table is read: its columns, its separator, its limits.
    pub table: TableConfig,
    /// How every file of JSON lines is read: its keys, its limits.
    pub jsonl: JsonLinesConfig,
    /// How every JSON file is read, Karpathy's, COCO's or a list: its split, its keys, its limits.
    pub json: AnnotationsConfig,
    /// How Parquet is read: its columns, its limits.
    pub parquet: ParquetConfig,
    /// How tar shards are read: the key of captions, classes, limits.
    pub webdataset: WebDatasetConfig,
    /// How folders of classes are read: the prompts.
    pub folder: ImageFolderConfig,
    /// How folders of pictures with a text beside each are read: the extension of the texts, the limits.
    pub captioned: CaptionedConfig,
    /// What the generated set is: its seed, its picture size, how many pictures a split has.
    pub shapes: ShapesConfig,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            train: Vec::new(),
            val: Vec::new(),
            strict: false,
            max_bad: 0.05,
            workers: 0,
            prefetch: 2,
            bucket: false,
            shuffle_window: 0,
            table: TableConfig::default(),
            jsonl: JsonLinesConfig::default(),
            json: AnnotationsConfig::default(),
            parquet: ParquetConfig::default(),
            webdataset: WebDatasetConfig::default(),
            folder: ImageFolderConfig::default(),
            captioned: CaptionedConfig::default(),
            shapes: ShapesConfig::default(),
        }
    }
}

/// One source of pictures and captions; `kind` says which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Generated pictures of coloured shapes: nothing to download.
    Shapes(Shapes),
    /// A table of file names and captions.
    Table(File),
    /// Lines of JSON with file names and captions.
    Jsonl(File),
    /// A JSON file: Karpathy's `dataset_*.json`, COCO's `captions_*.json`, or a list of objects.
    Json(JsonFile),
    /// A Parquet file, a folder of them or a pattern such as `train-*.parquet`.
    Parquet(File),
    /// Tar shards of pictures and captions.
    Webdataset(Shards),
    /// A folder for each class, with pictures in it.
    Folder(File),
    /// A folder of pictures with a text beside each: `0.jpg` and `0.txt`.
    Captioned(File),
}

impl Source {
    /// How often a sample comes in an epoch, on average.
    pub fn weight(&self) -> f64 {
        match self {
            Self::Shapes(source) => source.weight,
            Self::Table(source)
            | Self::Jsonl(source)
            | Self::Parquet(source)
            | Self::Folder(source)
            | Self::Captioned(source) => source.weight,
            Self::Json(source) => source.weight,
            Self::Webdataset(source) => source.weight,
        }
    }
}

fn one() -> f64 {
    1.0
}

/// The generated set of coloured shapes, as `[data.shapes]` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shapes {
    /// Which part of it.
    pub split: ShapesSplit,
    /// How often a sample comes in an epoch, on average.
    #[serde(default = "one")]
    pub weight: f64,
}

/// A part of the generated set. No picture is in two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ShapesSplit {
    /// Training pictures.
    Train,
    /// Other pictures of the colour-shape combinations that are trained on.
    Val,
    /// Pictures of the combinations that training never shows.
    HeldOut,
}

impl From<ShapesSplit> for Split {
    fn from(split: ShapesSplit) -> Self {
        match split {
            ShapesSplit::Train => Self::Train,
            ShapesSplit::Val => Self::Val,
            ShapesSplit::HeldOut => Self::HeldOut,
        }
    }
}

/// One file or folder, read as `[data.table]`, `[data.jsonl]`, `[data.parquet]`, `[data.folder]` or `[data.captioned]`
/// says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The file or folder.
    pub path: RecipePath,
    /// How often a sample comes in an epoch, on average.
    #[serde(default = "one")]
    pub weight: f64,
}

/// A JSON file, read as `[data.json]` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonFile {
    /// The file.
    pub path: RecipePath,
    /// The split that is read, in place of `data.json.split`. On the command line it stands after the file:
    /// `dataset_coco.json#val`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// How often a sample comes in an epoch, on average.
    #[serde(default = "one")]
    pub weight: f64,
}

/// Tar shards, read as `[data.webdataset]` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shards {
    /// Paths with stars or braces: `train-{0000..0041}.tar`; a folder stands for its `*.tar`.
    pub shards: Vec<RecipePath>,
    /// How often a sample comes in an epoch, on average.
    #[serde(default = "one")]
    pub weight: f64,
}
