//! Which file of a folder holds the weights.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::index::{Index, is_index};

/// Names that transformers looks for, first to last.
pub const HF: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Names that open_clip looks for, first to last, and what a sharded model would be called.
pub const OPEN_CLIP: [&str; 11] = [
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
    "open_clip_model.safetensors.index.json",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
];

/// Endings of files of weights; all but the first are what `torch.save` writes.
const ENDINGS: [&str; 4] = ["safetensors", "bin", "pt", "pth"];

/// How the names of files begin that a training leaves beside the weights.
const OTHERS: [&str; 6] = [
    "training_args",
    "optimizer",
    "scheduler",
    "rng_state",
    "scaler",
    "adapter_model",
];

/// Weights of other frameworks, which are not read.
const FOREIGN: [&str; 4] = ["h5", "msgpack", "npz", "onnx"];

/// The file of weights of a folder: the first of `names` that is there, or else the only other one that may be it.
///
/// # Errors
///
/// Names what was looked for, or the files among which there is no choice.
pub(super) fn find(folder: &Path, names: &[&str]) -> anyhow::Result<PathBuf> {
    let known = names.iter().map(|name| folder.join(name));
    if let Some(path) = known.into_iter().find(|path| path.is_file()) {
        return Ok(path);
    }
    let (mut candidates, foreign) = others(folder)?;
    match (candidates.pop(), candidates.is_empty()) {
        (Some(name), true) => Ok(folder.join(name)),
        (Some(last), false) => {
            candidates.push(last);
            bail!(
                "{}: which file holds the weights? {} are there, and none of them has a known name ({}); rename it so",
                folder.display(),
                candidates.join(", "),
                names.join(", ")
            )
        }
        (None, _) if foreign.is_empty() => bail!(
            "{}: no weights: neither {} nor another safetensors or PyTorch file is there; is the download complete?",
            folder.display(),
            names.join(" nor ")
        ),
        (None, _) => bail!(
            "{}: no weights that can be read: {} is of another framework; save the model as {}",
            folder.display(),
            foreign.join(", "),
            names.first().copied().unwrap_or_default()
        ),
    }
}

/// Names of files that may hold the weights, and of those of other frameworks, each in order.
fn others(folder: &Path) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let (mut candidates, mut foreign, mut indexed) = (Vec::new(), Vec::new(), BTreeSet::new());
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let ending = path.extension().and_then(|ending| ending.to_str());
        let has = |endings: &[&str]| ending.is_some_and(|ending| endings.contains(&ending));
        if !path.is_file() || OTHERS.iter().any(|other| name.starts_with(other)) {
            continue;
        }
        if is_index(name) {
            let index = Index::read(&path).with_context(|| path.display().to_string())?;
            indexed.extend(index.shards());
            candidates.push(name.to_string());
        } else if has(&ENDINGS) {
            candidates.push(name.to_string());
        } else if has(&FOREIGN) {
            foreign.push(name.to_string());
        }
    }
    candidates.retain(|name| !indexed.contains(name));
    candidates.sort();
    foreign.sort();
    Ok((candidates, foreign))
}
