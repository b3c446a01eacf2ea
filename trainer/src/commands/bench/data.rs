//! Cases on pictures and captions of a table.

use std::{
    hint::black_box,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use data::Source;
use rayon::{ThreadPoolBuilder, prelude::*};
use serde_json::{Map, Value, json};
use text_encoder::tokenizer::{Padding, Tokenizer};
use vision_encoder::image::{DecodeOptions, Preprocessor, decode};

use super::{BenchArgs, fields, timed};
use crate::files::{VOCABULARY, read_file};

fn open_table(args: &BenchArgs) -> anyhow::Result<data::Table> {
    let path: &Path = args
        .data
        .as_deref()
        .context("this case needs --data TABLE")?;
    Ok(data::Table::open(path, &data::TableConfig::default())?)
}

pub(super) fn images(args: &BenchArgs) -> anyhow::Result<Map<String, Value>> {
    let table = open_table(args)?;
    let groups = table.groups();
    let mut files: Vec<PathBuf> = groups
        .image_rows()
        .iter()
        .filter_map(|row| match table.sample(*row).ok()?.image {
            data::ImageData::Encoded { path, .. } => Some(path),
            data::ImageData::Rgb { .. } => None,
        })
        .collect();
    files.sort();
    files.truncate(500);
    if files.is_empty() {
        bail!("{}: no readable picture", table.name());
    }
    let preprocessor = Preprocessor::open_clip(224);
    let options = DecodeOptions::default();
    let pool = ThreadPoolBuilder::new().num_threads(args.workers).build()?;
    let mut failed = 0;
    let [median, _] = timed(args.steps, || {
        failed = pool.install(|| {
            let done = files.par_iter().map(|path| {
                let picture = decode(&std::fs::read(path).ok()?, &options).ok()?;
                black_box(preprocessor.pixel_values(&picture));
                Some(())
            });
            done.filter(Option::is_none).count()
        });
    });
    if failed > 0 {
        bail!("{}: {failed} pictures could not be decoded", table.name());
    }
    Ok(fields([
        ("images", json!(files.len())),
        ("images_per_s", json!(files.len() as f64 / median)),
        ("workers", json!(args.workers)),
    ]))
}

pub(super) fn tokens(args: &BenchArgs) -> anyhow::Result<Map<String, Value>> {
    const CAPTIONS: usize = 20_000;
    let table = open_table(args)?;
    let known: Vec<String> = (0..table.len())
        .map(|row| table.caption(row).into_owned())
        .collect();
    if known.is_empty() {
        bail!("{}: no captions", table.name());
    }
    let captions: Vec<&str> = known
        .iter()
        .map(String::as_str)
        .cycle()
        .take(CAPTIONS)
        .collect();
    let make = || match &args.vocabulary {
        Some(path) => {
            let bytes = read_file(path, VOCABULARY)?;
            Tokenizer::clip_bpe(&bytes).with_context(|| path.display().to_string())
        }
        None => Ok(Tokenizer::train_bpe(
            known.iter().map(String::as_str),
            4096,
        )?),
    };
    let tokenizer = make()?.with_padding(Padding::Context);
    let mut result = Ok(());
    let [median, _] = timed(args.steps, || match tokenizer.encode_batch(&captions, 77) {
        Ok(batch) => {
            black_box(batch.ids.len());
        }
        Err(error) => result = Err(error),
    });
    result?;
    Ok(fields([
        ("captions", json!(CAPTIONS)),
        ("captions_per_s", json!(CAPTIONS as f64 / median)),
    ]))
}
