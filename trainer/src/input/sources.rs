//! The sources of a recipe, opened.

use anyhow::{bail, ensure};
use data::{
    Annotations, AnnotationsConfig, CaptionedFolder, ImageFolder, JsonLines, Ledger, Parquet,
    SampleError, Shapes, Source, Table, WebDataset,
};

use crate::{
    recipe::{self, Recipe},
    say::tell,
};

/// Sources, and the rows of theirs that cannot be used.
pub struct OpenedSources {
    /// The sources, in order.
    pub sources: Vec<Box<dyn Source>>,
    /// Of all of them.
    pub skipped: Ledger,
}

/// Opens the sources of a recipe, each by `open`; messages about them go to standard error.
///
/// # Errors
///
/// Names the source and what is wrong with it: it cannot be read, or more of its rows are bad than `data.max_bad` or
/// `data.strict` allow.
pub fn open(
    sources: &[recipe::Source],
    recipe: &Recipe,
    open: impl Fn(&recipe::Source, &Recipe) -> anyhow::Result<Box<dyn Source>>,
) -> anyhow::Result<OpenedSources> {
    let mut skipped = Ledger::new();
    let sources = sources.iter().map(|source| {
        let source = open(source, recipe)?;
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
    Ok(OpenedSources { sources, skipped })
}

/// Opens one source of a recipe.
///
/// # Errors
///
/// Names the source and what is wrong with it.
pub fn open_one(source: &recipe::Source, recipe: &Recipe) -> anyhow::Result<Box<dyn Source>> {
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
/// As `open_one`, and where such a source has no classes: pictures with a text beside each, Karpathy's and COCO's files.
pub fn open_labels(
    source: &recipe::Source,
    recipe: &Recipe,
    column: &str,
) -> anyhow::Result<Box<dyn Source>> {
    let data = &recipe.data;
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
            return Err(data::Error::NoLabels {
                origin: file.path.as_path().display().to_string(),
                kind: "a folder of pictures with a text beside each",
                remedy: "; classify on a table, JSON lines, Parquet, shards or a folder of classes",
            }
            .into());
        }
        recipe::Source::Shapes(shapes) => {
            Box::new(Shapes::labelled(data.shapes.clone(), shapes.split.into())?)
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
