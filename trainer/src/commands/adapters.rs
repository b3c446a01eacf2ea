//! `adapters`: what an adapter is.

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use peft::{BiasTraining, Kind, rank_of};

use crate::{
    adapters::{ADAPTER_CONFIG, AdapterFiles},
    input::Folder,
    say::say,
};

/// Options of `adapters`.
#[derive(Args, Clone, Debug)]
pub(crate) struct AdaptersArgs {
    /// A folder with `adapter_config.json`, of HF PEFT or of a run; or a run.
    path: PathBuf,
}

/// Describes the adapter of a folder.
///
/// # Errors
///
/// Names the file that is missing, and the key of it that cannot be.
pub(crate) fn run(args: &AdaptersArgs) -> anyhow::Result<()> {
    let path = &args.path;
    let folder = if path.join(ADAPTER_CONFIG).is_file() {
        path.clone()
    } else {
        Folder::find(path)?.path().to_path_buf()
    };
    ensure!(
        folder.join(ADAPTER_CONFIG).is_file(),
        "{}: holds no {ADAPTER_CONFIG}; name a folder with an adapter, or a run of a recipe with `[peft]`",
        folder.display()
    );
    let files = AdapterFiles::read(&folder)?;
    say(format_args!("{}: {}", folder.display(), kind(&files)));
    let elements = files
        .weights
        .keys()
        .filter_map(|key| files.weights.get(key));
    let elements: usize = elements.map(|data| data.num_elements()).sum();
    say(format_args!(
        "{} modules, {elements} numbers{}",
        files.modules().len(),
        base(&files)
    ));
    for module in files.modules() {
        say(format_args!("  {module}{}", rank(&files, module)));
    }
    for (name, _) in files.parameters() {
        say(format_args!("  {name}, trained as a whole"));
    }
    for key in files.config.unknown.keys() {
        say(format_args!("  `{key}` of the config is not known here"));
    }
    Ok(())
}

fn kind(files: &AdapterFiles) -> String {
    let bias = match files.config.bias {
        BiasTraining::None => "",
        BiasTraining::Adapted => ", with biases of the adapted modules",
        BiasTraining::All => ", with all biases",
    };
    let kind = match &files.config.plan.kind {
        Kind::Lora {
            config, is_dora, ..
        } => {
            let name = if *is_dora { "DoRA" } else { "LoRA" };
            let scale = config.scale();
            format!(
                "{name} of rank {}, its update times {scale:.4}, dropout {}",
                config.rank, config.dropout
            )
        }
        Kind::Ia3 { .. } => "(IA)3".to_owned(),
        Kind::Bottleneck {
            config,
            is_parallel,
        } => {
            let place = if *is_parallel {
                "beside MLPs"
            } else {
                "behind maps"
            };
            format!("bottlenecks of width {} {place}", config.width)
        }
    };
    kind + bias
}

fn base(files: &AdapterFiles) -> String {
    let base = files.config.base.as_ref();
    base.map_or(String::new(), |base| format!(", of {base}"))
}

/// The rank of a module's LoRA.
fn rank(files: &AdapterFiles, module: &str) -> String {
    let of_it = |key: &&str| key.contains(&format!("{module}.lora_A"));
    let key = files.weights.keys().find(of_it);
    let data = key.and_then(|key| files.weights.get(key));
    let rank = data.and_then(|data| rank_of("lora_A.weight", &data.shape().to_vec()));
    rank.map_or(String::new(), |rank| format!(", rank {rank}"))
}
