//! `cargo xtask fuzz`: feeds damaged input to the parsers, each for a while, by cargo-fuzz.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::SystemTime;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::cargo;

/// An input that takes longer than this hangs, in seconds. The slowest takes milliseconds.
const TIMEOUT: u64 = 20;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these parsers; all of them when none is named.
    #[arg(value_enum)]
    targets: Vec<Target>,
    /// How long each is fed, in seconds, besides building it; 0 is without end.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Try this one input instead, such as one that failed.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Passed to libFuzzer as it stands, such as `-runs=1000000`.
    #[arg(last = true)]
    rest: Vec<OsString>,
}

/// A parser, by the name of its file in `fuzz/fuzz_targets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Tables of image paths and captions.
    Table,
    /// Files of JSON objects, one a line.
    Jsonl,
    /// JSON files as a whole: Karpathy's, COCO's, lists.
    Json,
    /// Parquet files.
    Parquet,
    /// Tar shards.
    Tar,
    /// Recipes.
    Recipe,
    /// Safetensors files, and weights in several files.
    Weights,
    /// Configs of models.
    Config,
    /// Records of a run.
    Record,
    /// Pictures.
    Image,
    /// Tokenizer files.
    Tokenizer,
    /// Preprocessing configurations.
    Preprocessor,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !is_installed() {
        bail!("cargo-fuzz is missing; install it: cargo install cargo-fuzz --locked");
    }
    let folder = Folder::new()?;
    // The versions are those that the workspace is tested with.
    let root = cargo::root();
    fs::copy(root.join("Cargo.lock"), root.join("fuzz/Cargo.lock"))
        .context("cannot copy Cargo.lock to fuzz/")?;
    let all = Target::value_variants();
    let targets = if args.targets.is_empty() {
        all
    } else {
        &args.targets
    };
    let mut failed = Vec::new();
    for target in targets {
        let name = target.name();
        let began = SystemTime::now();
        fs::create_dir_all(root.join(target.corpus())).context("cannot make fuzz/corpus")?;
        let status = cargo::status(&mut command(*target, args, &folder.0)?)?;
        if status.success() {
            eprintln!("fuzz {name}: ok");
        } else {
            let why = summary(&artifacts_since(name, began), name);
            eprintln!("fuzz {name}: FAILED\n{why}");
            failed.push(format!("{name}: {why}"));
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Jsonl => "jsonl",
            Self::Json => "json",
            Self::Parquet => "parquet",
            Self::Tar => "tar",
            Self::Recipe => "recipe",
            Self::Weights => "weights",
            Self::Config => "config",
            Self::Record => "record",
            Self::Image => "image",
            Self::Tokenizer => "tokenizer",
            Self::Preprocessor => "preprocessor",
        }
    }

    /// Where inputs that reach something new are kept.
    fn corpus(self) -> String {
        format!("fuzz/corpus/{}", self.name())
    }

    /// The inputs to start from.
    fn seeds(self) -> &'static [&'static str] {
        match self {
            Self::Table => &["fixtures/bad/csv"],
            Self::Jsonl => &["fixtures/bad/jsonl"],
            Self::Json => &["fuzz/seeds/json"],
            Self::Parquet => &["fuzz/seeds/parquet"],
            Self::Tar => &["fixtures/bad/tar", "fuzz/seeds/tar"],
            Self::Recipe => &["recipes", "fuzz/seeds/recipe"],
            Self::Weights => &["fuzz/seeds/weights"],
            Self::Config => &["fuzz/seeds/config"],
            Self::Record => &["fuzz/seeds/record"],
            Self::Tokenizer => &["fuzz/seeds/tokenizer"],
            Self::Image => &[
                "fixtures/bad/images",
                "fixtures/jpeg/ok",
                "fixtures/jpeg/broken",
            ],
            Self::Preprocessor => &["fuzz/seeds/preprocessor"],
        }
    }

    /// Whether it brings Burn.
    fn needs_model(self) -> bool {
        !matches!(
            self,
            Self::Table | Self::Jsonl | Self::Json | Self::Parquet | Self::Tar
        )
    }

    /// The longest input, in bytes: enough for the seeds without padding, as small inputs are quick ones.
    fn max_len(self) -> u64 {
        match self {
            Self::Tar => 8192,
            _ => 4096,
        }
    }

    /// The workspace forbids unsafe code, and without a sanitizer there are several times as many inputs; the decoders
    /// of pictures are others' and have vector instructions.
    fn sanitizer(self) -> &'static str {
        match self {
            Self::Image => "address",
            _ => "none",
        }
    }
}

fn is_installed() -> bool {
    let mut version = Command::new(program());
    version.args(["fuzz", "--version"]);
    version.stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

fn program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// `cargo fuzz run`, on the workspace's root, with files in `folder`.
fn command(target: Target, args: &Args, folder: &Path) -> Result<Command> {
    let mut command = Command::new(program());
    command.current_dir(cargo::root());
    command.env("TMPDIR", folder);
    // The instrumentation is an unstable option of the compiler, which stable ones have too.
    command.env("RUSTC_BOOTSTRAP", "1");
    command.args(["fuzz", "run", "--sanitizer", target.sanitizer()]);
    command.arg("--target-dir");
    command.arg(std::path::absolute(cargo::target_dir())?.join("fuzz"));
    if target.needs_model() {
        command.args(["--features", "model"]);
    }
    command.arg(target.name());
    if let Some(input) = &args.input {
        command.arg(std::path::absolute(input)?).arg("--");
    } else {
        // What is found goes to the first folder.
        command.arg(target.corpus()).args(target.seeds()).arg("--");
        command.arg(format!("-max_total_time={}", args.seconds));
        command.arg(format!("-max_len={}", target.max_len()));
    }
    command.arg(format!("-timeout={TIMEOUT}")).args(&args.rest);
    Ok(command)
}

/// The inputs of a target that failed since then.
fn artifacts_since(name: &str, then: SystemTime) -> Vec<String> {
    let folder = format!("fuzz/artifacts/{name}");
    let entries = fs::read_dir(cargo::root().join(&folder));
    let entries = entries.into_iter().flatten().flatten();
    let is_new = |entry: &fs::DirEntry| {
        let changed = entry.metadata().and_then(|found| found.modified());
        changed.is_ok_and(|changed| changed >= then)
    };
    let names = entries.filter(is_new).map(|entry| entry.file_name());
    names
        .map(|file| format!("{folder}/{}", file.display()))
        .collect()
}

fn summary(inputs: &[String], name: &str) -> String {
    match inputs.last() {
        None => "it ended without an input that fails; the reason stands above".into(),
        Some(last) => format!(
            "{}; once more: cargo xtask fuzz {name} --input {last}",
            inputs.join(", ")
        ),
    }
}

/// A folder for the fuzzers' files, in memory where the system has such a place; gone with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() {
            memory.to_path_buf()
        } else {
            env::temp_dir()
        };
        let path = base.join(format!("shoestring-fuzz-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A few small files that stay behind harm nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(target: Target, input: Option<&str>, rest: &[&str]) -> String {
        let args = Args {
            targets: vec![target],
            seconds: 7,
            input: input.map(PathBuf::from),
            rest: rest.iter().map(OsString::from).collect(),
        };
        let line = cargo::shown(&command(target, &args, Path::new("x")).unwrap());
        let target_dir = std::path::absolute(cargo::target_dir()).unwrap();
        line.replace(&target_dir.display().to_string(), "T")
    }

    #[test]
    fn a_target_goes_from_its_seeds_into_its_corpus() {
        assert_eq!(
            line(Target::Table, None, &["-runs=9"]),
            "cargo fuzz run --sanitizer none --target-dir T/fuzz table fuzz/corpus/table fixtures/bad/csv -- \
             -max_total_time=7 -max_len=4096 -timeout=20 -runs=9"
        );
    }

    #[test]
    fn only_the_parsers_with_burn_ask_for_it() {
        for target in Target::value_variants() {
            let asks = line(*target, None, &[]).contains("--features model");
            assert_eq!(asks, target.needs_model(), "{target:?}");
        }
    }

    #[test]
    fn one_input_is_tried_alone() {
        let line = line(Target::Tar, Some("/some/input"), &[]);
        assert!(line.ends_with("tar /some/input -- -timeout=20"), "{line}");
    }

    #[test]
    fn every_target_has_its_file_and_its_seeds() {
        for target in Target::value_variants() {
            let file = format!("fuzz/fuzz_targets/{}.rs", target.name());
            assert!(cargo::root().join(&file).is_file(), "{file}");
            for seeds in target.seeds() {
                let seeds = cargo::root().join(seeds);
                assert!(fs::read_dir(&seeds).unwrap().count() > 0, "{seeds:?}");
            }
        }
    }

    #[test]
    fn an_input_that_failed_is_named_with_the_way_to_try_it_again() {
        assert_eq!(
            summary(&["fuzz/artifacts/tar/crash-1".into()], "tar"),
            "fuzz/artifacts/tar/crash-1; once more: cargo xtask fuzz tar --input fuzz/artifacts/tar/crash-1"
        );
    }
}
