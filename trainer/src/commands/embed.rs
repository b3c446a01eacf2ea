//! `embed`: the embeddings of a source's pictures and captions, for other programs.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, ensure};
use burn::tensor::{Device, Tensor};
use clap::Args;
use data::{Ledger, Source};
use npyz::WriterBuilder;
use parquet::{
    data_type::{ByteArray, ByteArrayType, FloatType},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};

use crate::{
    files::write_output,
    input::sources,
    outputs,
    recipe::{self, Overrides},
    say::{say, tell},
    task::{Built, Contrastive, OpenedModel, Task, contrastive::retrieval::Evaluator},
};

/// Options of `embed`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EmbedArgs {
    /// The folder of a run, or of weights.
    #[arg(long)]
    run: PathBuf,
    /// A table, JSON lines, tar shards, a folder, Parquet: any source of pictures and captions.
    #[arg(long, value_name = "SOURCE")]
    data: PathBuf,
    /// Where to write, without an extension: `FILE.parquet`, `FILE.images.npy` and `FILE.texts.npy`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Sets a key of the recipe, as in data.table.caption_column=caption; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Writes one row a pair, in the order of the source: its id, picture, caption and both embeddings, of unit length.
/// Row `i` of the `.npy` files is row `i` of the Parquet file.
///
/// # Errors
///
/// If the folder holds no model, the source cannot be read, or a file cannot be written.
pub(crate) fn run(args: &EmbedArgs, device: &Device) -> anyhow::Result<()> {
    let overrides = Overrides {
        set: args.set.clone(),
        train: vec![args.data.clone()],
        val: Vec::new(),
    };
    let mut opened = OpenedModel::find(&args.run, &overrides)?;
    let kind = opened.recipe.task.name();
    ensure!(
        opened.recipe.task == recipe::Task::Contrastive,
        "{}: is of kind {kind}, whose tower has no place in which pictures and captions meet; train it further as one of \
         two towers (`cargo xtask train join`)",
        args.run.display()
    );
    let Built {
        task,
        model,
        log_lines,
        ..
    } = opened.build::<Contrastive>(device)?;
    log_lines.iter().for_each(tell);
    let evaluator = task.evaluator(&model, None);
    let recipe = &opened.recipe;
    let opened = sources::open(&recipe.data.train, recipe, Contrastive::open)?;
    let [source] = &opened.sources[..] else {
        anyhow::bail!("--data names one source");
    };
    let named = |extension: &str| {
        let mut name = args.out.clone().into_os_string();
        name.push(extension);
        PathBuf::from(name)
    };
    let [images, texts, path] = [".images.npy", ".texts.npy", ".parquet"].map(named);
    for output in [&images, &texts, &path] {
        outputs::check(
            output,
            source.as_ref(),
            std::slice::from_ref(&args.data),
            &[],
        )?;
    }
    let table = Embeddings::of(source.as_ref(), &evaluator)?;
    write_npy(&images, &table.images, table.width)?;
    write_npy(&texts, &table.texts, table.width)?;
    write_output(&path, &table.parquet()?)?;
    say(format_args!(
        "{}: {} pairs of {} numbers; {} skipped",
        path.display(),
        table.ids.len(),
        table.width,
        table.skipped
    ));
    Ok(())
}

/// Embeddings row by row.
struct Embeddings {
    ids: Vec<String>,
    image_keys: Vec<String>,
    captions: Vec<String>,
    images: Vec<f32>,
    texts: Vec<f32>,
    width: usize,
    skipped: u64,
}

impl Embeddings {
    /// Each distinct picture and caption is embedded once.
    fn of(source: &dyn Source, evaluator: &Evaluator<'_>) -> anyhow::Result<Self> {
        let groups = source.groups();
        let mut ledger = Ledger::new();
        let (images, read) = evaluator.image_features(source, groups.image_rows(), &mut ledger)?;
        let captions: Vec<_> = groups
            .caption_rows()
            .iter()
            .map(|row| source.caption(*row))
            .collect();
        let texts = evaluator.text_features(&captions)?;
        let [_, width] = texts.dims();
        let values = |tensor: Tensor<2>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
        let (images, texts) = (values(images), values(texts));
        let mut place = vec![None; groups.image_rows().len()];
        for (position, row) in read.iter().enumerate() {
            place[groups.image_of_row()[*row]] = Some(position);
        }
        let mut table = Self {
            ids: Vec::new(),
            image_keys: Vec::new(),
            captions: Vec::new(),
            images: Vec::new(),
            texts: Vec::new(),
            width,
            skipped: source.skipped().total(),
        };
        for row in 0..source.len() {
            let Some(image) = place[groups.image_of_row()[row]] else {
                table.skipped += 1;
                continue;
            };
            let text = groups.caption_of_row()[row];
            table.ids.push(format!("{}#{row}", source.name()));
            table.image_keys.push(source.image_key(row).into_owned());
            table.captions.push(source.caption(row).into_owned());
            table.images.extend(&images[image * width..][..width]);
            table.texts.extend(&texts[text * width..][..width]);
        }
        Ok(table)
    }

    fn parquet(&self) -> anyhow::Result<Vec<u8>> {
        let list = |name: &str| {
            format!(
                "required group {name} (LIST) {{ repeated group list {{ required float element; }} }}"
            )
        };
        let schema = format!(
            "message embeddings {{ required binary id (UTF8); required binary image (UTF8); \
             required binary caption (UTF8); {} {} }}",
            list("image_embedding"),
            list("text_embedding")
        );
        let schema = Arc::new(parse_message_type(&schema)?);
        let mut writer =
            SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::new()))?;
        let mut group = writer.next_row_group()?;
        for texts in [&self.ids, &self.image_keys, &self.captions] {
            let values: Vec<ByteArray> = texts.iter().map(|text| text.as_str().into()).collect();
            let mut column = group.next_column()?.context("a column of texts")?;
            column
                .typed::<ByteArrayType>()
                .write_batch(&values, None, None)?;
            column.close()?;
        }
        // Every list has `width` elements: each element is there, and the first of a list begins a row.
        let defined = vec![1; self.images.len()];
        let repeated: Vec<i16> = (0..self.images.len())
            .map(|i| i16::from(i % self.width != 0))
            .collect();
        for values in [&self.images, &self.texts] {
            let mut column = group.next_column()?.context("a column of numbers")?;
            column
                .typed::<FloatType>()
                .write_batch(values, Some(&defined), Some(&repeated))?;
            column.close()?;
        }
        group.close()?;
        Ok(writer.into_inner()?)
    }
}

fn write_npy(path: &Path, values: &[f32], width: usize) -> anyhow::Result<()> {
    ensure!(width > 0, "{}: no numbers to write", path.display());
    let shape = [(values.len() / width) as u64, width as u64];
    let mut bytes = Vec::with_capacity(values.len() * 4 + 128);
    let mut writer = npyz::WriteOptions::new()
        .default_dtype()
        .shape(&shape)
        .writer(&mut bytes)
        .begin_nd()?;
    writer.extend(values)?;
    writer.finish()?;
    bytes.flush()?;
    write_output(path, &bytes)
}
