//! `bench`: the same work as the Python peers, one JSON line a case.

mod compare;
mod data;
mod ops;
mod step;
mod vocabulary;

use std::{path::PathBuf, process::Command, time::Instant};

use anyhow::{Context, ensure};
use burn::tensor::Device;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::{
    device::memory::peak_of,
    device::{self, Capabilities, Choice},
    say::say,
};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// A training step of CLIP ViT-S/32 with every weight trained.
    Full,
    /// The same, with one cut for each block and everything between recomputed.
    Checkpointed,
    /// The same, with the vision tower frozen.
    LockedImage,
    /// The same as `full` with all weights frozen, and LoRA of rank 8 on queries, keys, values and outputs of both towers.
    Lora,
    /// The same, with one cut for each block.
    LoraCkpt,
    /// The same as `lora` with DoRA.
    Dora,
    /// With (IA)3 on keys, values and the second map of the MLPs.
    Ia3,
    /// With bottlenecks of width 64 behind attention and MLPs.
    Bottleneck,
    /// A contrastive batch of 8 times `--batch`, in micro-batches of `--batch`.
    Accum,
    /// A training step of a BERT on masked words: width 384, 12 layers, 30522 words, 32 tokens.
    Mlm,
    /// A training step of a ViT-S/16 on 1000 classes at 224 pixels.
    Classify,
    /// The contrastive loss and its gradients alone, d = 512.
    Loss,
    /// The cross-entropy of `--batch` tokens over 50000 words with all gradients, d = 768, beside the whole matrix of logits.
    Vocabulary,
    /// Decode, resize, crop and normalise the pictures of a table at 224 pixels.
    Images,
    /// Tokenise the captions of a table, on one thread.
    Tokens,
    /// The operations of a step one by one, a line each.
    Ops,
    /// Every case above, each in a process of its own; those that read a table want `--data`.
    All,
    /// The cases of a file of such lines again, beside those: `bench compare PEER.jsonl`.
    Compare,
}

impl Case {
    /// Whether only adapters are trained.
    fn is_of_adapters(self) -> bool {
        matches!(
            self,
            Self::Lora | Self::LoraCkpt | Self::Dora | Self::Ia3 | Self::Bottleneck
        )
    }

    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Options of `bench`.
#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    /// What to measure.
    pub case: Case,
    /// The lines to compare with (compare).
    #[arg(value_name = "PEER.jsonl")]
    pub peer: Option<PathBuf>,
    /// Samples of a step, rows of the loss, or tokens (vocabulary).
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
    /// The program's `--device`, for the processes that it starts.
    #[arg(skip)]
    pub device: Option<Choice>,
}

/// The most pairs or tokens of a batch.
const BATCH: usize = 1 << 16;
/// The most repetitions.
const STEPS: usize = 1 << 20;
/// The most threads.
const WORKERS: usize = 1 << 10;

impl BenchArgs {
    /// Checks that nothing is made in a number that cannot work.
    fn check(&self) -> anyhow::Result<()> {
        for (option, value, most, why) in [
            ("--batch", self.batch, BATCH, "it is held at once"),
            ("--steps", self.steps, STEPS, "each is timed and kept"),
            (
                "--workers",
                self.workers,
                WORKERS,
                "each is a thread of the system",
            ),
        ] {
            ensure!(
                (1..=most).contains(&value),
                "{option} is {value}; give 1 to {most}: {why}"
            );
        }
        Ok(())
    }

    /// What is largest in memory of what the batch decides alone, and its bytes.
    fn largest(&self) -> Option<(&'static str, u64)> {
        let pictures = 3 * 224 * 224;
        let (what, numbers) = match self.case {
            case if case.is_of_adapters() => ("the pictures of a step take", pictures),
            Case::Full | Case::Checkpointed | Case::LockedImage | Case::Classify => {
                ("the pictures of a step take", pictures)
            }
            Case::Accum => {
                let all = step::MICRO_BATCHES as u64 * pictures;
                ("the pictures of a step take", all)
            }
            Case::Loss => ("the matrix of scores takes", self.batch as u64),
            Case::Vocabulary => ("the matrix of logits takes", vocabulary::VOCABULARY as u64),
            _ => return None,
        };
        let bytes = numbers * size_of::<f32>() as u64;
        Some((what, bytes.saturating_mul(self.batch as u64)))
    }

    /// Checks that this fits into so many bytes of memory at all.
    fn fits(&self, bytes: Option<u64>) -> anyhow::Result<()> {
        let (Some(bytes), Some((what, takes))) = (bytes, self.largest()) else {
            return Ok(());
        };
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        ensure!(
            takes <= bytes,
            "--batch is {}; {what} {:.1} GB, and there are {:.1}; lower it",
            self.batch,
            gigabytes(takes),
            gigabytes(bytes)
        );
        Ok(())
    }
}

/// Runs one case and prints its line.
///
/// # Errors
///
/// If an option does not fit the case, or a file cannot be read.
pub(crate) fn run(args: &BenchArgs, device: &Device) -> anyhow::Result<()> {
    args.check()?;
    ensure!(
        args.peer.is_some() == (args.case == Case::Compare),
        "a file of lines goes with `bench compare PEER.jsonl`, and only there"
    );
    args.fits(Capabilities::of(device).memory)?;
    let fields = match args.case {
        Case::Full
        | Case::Checkpointed
        | Case::LockedImage
        | Case::Lora
        | Case::LoraCkpt
        | Case::Dora
        | Case::Ia3
        | Case::Bottleneck
        | Case::Accum => device::on_rayon_thread(device, || step::measure(args, device)),
        Case::Mlm => device::on_rayon_thread(device, || step::mlm(args, device)),
        Case::Classify => device::on_rayon_thread(device, || step::classify(args, device)),
        Case::Loss => device::on_rayon_thread(device, || step::loss(args, device)),
        Case::Vocabulary => device::on_rayon_thread(device, || vocabulary::measure(args, device)),
        Case::Images => data::images(args)?,
        Case::Tokens => data::tokens(args)?,
        Case::Ops => return device::on_rayon_thread(device, || ops::measure(args, device)),
        Case::All => return all(args),
        Case::Compare => return compare::run(args),
    };
    print(&args.case.name(), fields, device);
    Ok(())
}

fn print(case: &str, mut fields: Map<String, Value>, device: &Device) {
    fields.insert("case".into(), json!(case));
    fields.insert("peak_rss_mb".into(), json!(peak_of(device) / (1 << 20)));
    say(Value::Object(fields));
}

/// Every case in a process of its own, so that each has its own peak memory.
fn all(args: &BenchArgs) -> anyhow::Result<()> {
    for case in Case::value_variants() {
        let reads = matches!(case, Case::Images | Case::Tokens);
        if matches!(case, Case::All | Case::Compare) || (reads && args.data.is_none()) {
            continue;
        }
        // As the peer: a loss of 32 rows would measure nothing.
        let batch = match case {
            Case::Loss => 4096,
            Case::Vocabulary => 2048,
            _ => args.batch,
        };
        let mut command = again(*case, [batch, args.workers], args)?;
        let status = command.status().context("starting this program again")?;
        ensure!(status.success(), "bench {}: {status}", case.name());
    }
    Ok(())
}

/// This program with another case.
fn again(case: Case, [batch, workers]: [usize; 2], args: &BenchArgs) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", &case.name()]);
    for (option, value) in [
        ("--batch", batch),
        ("--steps", args.steps),
        ("--workers", workers),
    ] {
        command.arg(option).arg(value.to_string());
    }
    if let Some(device) = args.device {
        command.args(["--device", &device.to_string()]);
    }
    for (option, path) in [("--data", &args.data), ("--vocabulary", &args.vocabulary)] {
        if let Some(path) = path {
            command.arg(option).arg(path);
        }
    }
    Ok(command)
}

/// Seconds of each of `steps` calls, after one that is not counted: `[median, least]`.
fn timed(steps: usize, mut step: impl FnMut()) -> [f64; 2] {
    timed_with(steps, || (), |()| step())
}

/// As [`timed`], of calls that take what `input` makes untimed.
fn timed_with<T>(steps: usize, mut input: impl FnMut() -> T, mut step: impl FnMut(T)) -> [f64; 2] {
    step(input());
    let mut seconds: Vec<f64> = (0..steps)
        .map(|_| {
            let input = input();
            let start = Instant::now();
            step(input);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_cannot_work_is_refused_by_its_option() {
        let args = |batch, steps, workers| BenchArgs {
            case: Case::Loss,
            peer: None,
            batch,
            steps,
            workers,
            data: None,
            vocabulary: None,
            device: None,
        };
        args(BATCH, STEPS, WORKERS).check().unwrap();
        for (option, args) in [
            ("--batch ", args(0, 1, 1)),
            ("--batch ", args(usize::MAX, 1, 1)),
            ("--steps ", args(1, 0, 1)),
            ("--steps ", args(1, usize::MAX, 1)),
            ("--workers ", args(1, 1, 0)),
            ("--workers ", args(1, 1, usize::MAX)),
        ] {
            let error = args.check().unwrap_err().to_string();
            assert!(error.starts_with(option), "{error}");
        }
        let accum = BenchArgs {
            case: Case::Accum,
            ..args(1000, 1, 1)
        };
        let pictures = 1000 * 8 * 3 * 224 * 224 * 4;
        accum.fits(None).unwrap();
        accum.fits(Some(pictures)).unwrap();
        let error = accum.fits(Some(pictures - 1)).unwrap_err().to_string();
        assert!(error.starts_with("--batch is 1000;"), "{error}");
        args(1000, 1, 1).fits(Some(4_000_000)).unwrap();
        let error = args(1000, 1, 1)
            .fits(Some(3_999_999))
            .unwrap_err()
            .to_string();
        assert!(error.contains("the matrix of scores"), "{error}");
    }
}
