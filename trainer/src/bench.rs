//! `bench`: the same work as the Python peers, one JSON line a case.

use std::{hint::black_box, path::Path, path::PathBuf, time::Instant};

use anyhow::{Context, bail};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use checkpointing::{Policy, Seed};
use clap::{Args, ValueEnum};
use data::Source;
use fusion::{
    Batch, DualConfig, StepConfig, contrastive_step,
    loss::{ContrastiveLoss, LogitMap, Tiling},
    normalise,
};
use rayon::{ThreadPoolBuilder, prelude::*};
use serde_json::{Map, Value, json};
use text_encoder::{
    TextConfig,
    tokenizer::{Padding, Tokenizer},
};
use vision_encoder::{
    VisionConfig,
    image::{DecodeOptions, Preprocessor, decode},
};

use crate::{
    cli::say,
    device::Backend,
    memory::peak_bytes,
    model::{self, Model},
    optim::{AdamW, AdamWConfig},
};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// A training step of CLIP ViT-S/32 with every weight trained.
    Full,
    /// The same, with one cut for each block and everything between recomputed.
    Checkpointed,
    /// The contrastive loss and its gradients alone, d = 512.
    Loss,
    /// Decode, resize, crop and normalise the pictures of a table at 224 pixels.
    Images,
    /// Tokenise the captions of a table, on one thread.
    Tokens,
}

/// Options of `bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// What to measure.
    pub case: Case,
    /// Pairs of a step, or rows of the loss.
    #[arg(long, default_value_t = 32)]
    pub batch: usize,
    /// Measured repetitions, after one that is not counted.
    #[arg(long, default_value_t = 5)]
    pub steps: usize,
    /// Threads (images).
    #[arg(long, default_value_t = 1)]
    pub workers: usize,
    /// A table of pictures and captions (images, tokens).
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// CLIP's vocabulary file (tokens); without it a vocabulary is learnt from the captions.
    #[arg(long)]
    pub vocabulary: Option<PathBuf>,
}

/// Runs one case and prints its line.
pub fn run(args: &BenchArgs, device: &Device) -> anyhow::Result<()> {
    if args.batch == 0 || args.steps == 0 {
        bail!("--batch and --steps must be at least 1");
    }
    let mut fields = match args.case {
        Case::Full => train_step(args, Policy::StoreAll, device),
        Case::Checkpointed => train_step(args, Policy::EveryCut, device),
        Case::Loss => loss(args, device),
        Case::Images => images(args)?,
        Case::Tokens => tokens(args)?,
    };
    let name = args
        .case
        .to_possible_value()
        .map(|value| value.get_name().to_string());
    fields.insert("case".into(), json!(name));
    fields.insert("peak_rss_mb".into(), json!(peak_bytes() / (1 << 20)));
    say(Value::Object(fields));
    Ok(())
}

/// Seconds of each of `steps` calls, after one that is not counted: `[median, least]`.
fn timed(steps: usize, mut step: impl FnMut()) -> [f64; 2] {
    step();
    let mut seconds: Vec<f64> = (0..steps)
        .map(|_| {
            let start = Instant::now();
            step();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    [seconds[seconds.len() / 2], seconds[0]]
}

fn fields(entries: impl IntoIterator<Item = (&'static str, Value)>) -> Map<String, Value> {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_string(), value))
        .collect()
}

/// open_clip's ViT-S-32: 224 pixels, patch 32, width 384, 12 layers, 6 heads, twice.
fn vit_s_32() -> DualConfig {
    let vision = VisionConfig::clip(224, 32, 384, 12);
    DualConfig::clip(vision, TextConfig::clip(49408, 77, 384, 12), 384)
}

/// Random pictures, and captions of 21 tokens as the peer's, cut to the longest of the batch.
fn random_batch(pairs: usize, device: &Device) -> Batch {
    let tokens = 21usize.next_multiple_of(Backend::built().token_multiple());
    let ids = (0..pairs * tokens).map(|i| match i % tokens {
        0 => 49406,
        place if place < 20 => 1 + (i as i64 * 7919) % 49404,
        20 => 49407,
        _ => 0,
    });
    let ids = TensorData::new(ids.collect::<Vec<i64>>(), [pairs, tokens]);
    let normal = Distribution::Normal(0.0, 1.0);
    Batch {
        pixels: Tensor::random([pairs, 3, 224, 224], normal, device),
        ids: Tensor::<2, Int>::from_data(ids, device),
        mask: None,
    }
}

fn train_step(args: &BenchArgs, policy: Policy, device: &Device) -> Map<String, Value> {
    let mut model: Option<Model> = Some(model::initialised(&vit_s_32(), 0, device));
    let batch = [random_batch(args.batch, device)];
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let config = StepConfig {
        loss: ContrastiveLoss::Softmax,
        policy,
    };
    let total = model.as_ref().map_or(0, model::parameter_count);
    let [median, least] = timed(args.steps, || {
        let seed = Seed::new(0).child(optimizer.steps());
        // The step takes the model, so that its tensors are updated in place.
        if let Some(owned) = model.take() {
            let out = contrastive_step(&owned, &batch, &config, seed);
            model = Some(optimizer.step(owned, out.gradients, 1e-4, 1.0));
            black_box(out.loss);
        }
    });
    fields([
        ("batch", json!(args.batch)),
        ("step_s", json!(median)),
        ("step_min_s", json!(least)),
        ("samples_per_s", json!(args.batch as f64 / median)),
        ("trainable", json!(total)),
        ("total", json!(total)),
    ])
}

fn loss(args: &BenchArgs, device: &Device) -> Map<String, Value> {
    let features = || {
        let x = Tensor::<2>::random([args.batch, 512], Distribution::Normal(0.0, 1.0), device);
        normalise(x).0
    };
    let (image, text) = (features(), features());
    let logits = LogitMap {
        scale: 14.3,
        bias: None,
    };
    let before = peak_bytes();
    let [median, least] = timed(args.steps, || {
        let out = ContrastiveLoss::Softmax.evaluate(
            image.clone(),
            text.clone(),
            logits,
            Tiling::default(),
        );
        black_box(out.loss);
    });
    fields([
        ("batch", json!(args.batch)),
        ("step_s", json!(median)),
        ("step_min_s", json!(least)),
        ("rss_before_mb", json!(before / (1 << 20))),
    ])
}

fn open_table(args: &BenchArgs) -> anyhow::Result<data::Table> {
    let path: &Path = args
        .data
        .as_deref()
        .context("this case needs --data TABLE")?;
    Ok(data::Table::open(path, &data::TableConfig::default())?)
}

fn images(args: &BenchArgs) -> anyhow::Result<Map<String, Value>> {
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

fn tokens(args: &BenchArgs) -> anyhow::Result<Map<String, Value>> {
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
            let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
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
