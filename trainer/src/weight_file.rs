//! Weight files of a folder: safetensors, or PyTorch's, which are read without executing anything.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use burn::tensor::{DType, TensorData};
use pytorch_reader::{DType as Stored, PytorchReader, Tensor};
use transformer::Weights;

/// Endings of what `torch.save` writes.
const PYTORCH: [&str; 3] = ["bin", "pt", "pth"];

/// Keys under which checkpoints of a training keep their weights.
const NESTED: [&str; 2] = ["state_dict", "model"];

/// The weights of a folder and the file they are in: `name`, or else the only PyTorch file.
///
/// # Errors
///
/// Names the file that is missing or cannot be read.
pub fn read(folder: &Path, name: &str) -> anyhow::Result<(PathBuf, Weights)> {
    let path = folder.join(name);
    if path.exists() {
        let bytes =
            fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
        let weights =
            Weights::from_safetensors(&bytes).with_context(|| path.display().to_string())?;
        return Ok((path, weights));
    }
    let mut found = pytorch_files(folder)?;
    match (found.pop(), found.is_empty()) {
        (Some(path), true) => {
            let weights = from_pytorch(&path).with_context(|| path.display().to_string())?;
            Ok((path, weights))
        }
        (None, _) => bail!(
            "{}: not there, and no PyTorch file beside it; is the download complete?",
            path.display()
        ),
        (Some(_), false) => bail!(
            "{}: not there, and several PyTorch files beside it; leave one of them",
            path.display()
        ),
    }
}

fn pytorch_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if ending.is_some_and(|ending| PYTORCH.contains(&ending)) {
            found.push(path);
        }
    }
    Ok(found)
}

fn from_pytorch(path: &Path) -> anyhow::Result<Weights> {
    let reader = PytorchReader::new(path)?;
    let keys = reader.keys();
    let prefix = NESTED
        .iter()
        .map(|nested| format!("{nested}."))
        .find(|prefix| keys.iter().any(|key| key.starts_with(prefix)))
        .unwrap_or_default();
    let mut weights = Weights::default();
    for (key, tensor) in reader.tensors() {
        let Some(key) = key.strip_prefix(&prefix) else {
            continue;
        };
        // What torch's data-parallel wrapper puts in front of every key.
        let key = key.strip_prefix("module.").unwrap_or(key);
        weights.insert(key, data(key, tensor)?);
    }
    Ok(weights)
}

fn data(key: &str, tensor: &Tensor) -> anyhow::Result<TensorData> {
    let dtype = match tensor.dtype() {
        Stored::F64 => DType::F64,
        Stored::F32 => DType::F32,
        Stored::F16 => DType::F16,
        Stored::BF16 => DType::BF16,
        Stored::I64 => DType::I64,
        other => bail!("tensor `{key}` is {other:?}; expected floating-point numbers"),
    };
    let data = TensorData::from_bytes_vec(tensor.read()?, tensor.shape().to_vec(), dtype);
    Ok(match dtype {
        DType::I64 => data,
        _ => data.convert::<f32>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fixtures")
            .join(path)
    }

    #[test]
    fn a_state_dict_holds_what_safetensors_hold() {
        let (_, want) = read(&fixture("clip/gelu"), "model.safetensors").unwrap();
        let got = from_pytorch(&fixture("pytorch/clip_gelu.bin")).unwrap();
        assert_eq!(
            want.keys().collect::<Vec<_>>(),
            got.keys().collect::<Vec<_>>()
        );
        for key in want.keys() {
            assert_eq!(want.get(key), got.get(key), "{key}");
        }
    }

    #[test]
    fn a_training_checkpoint_of_several_types_is_unwrapped() {
        let folder = fixture("open_clip/gelu");
        let (_, want) = read(&folder, "open_clip_model.safetensors").unwrap();
        let got = from_pytorch(&fixture("pytorch/open_clip_gelu.pt")).unwrap();
        assert_eq!(
            want.keys().collect::<Vec<_>>(),
            got.keys().collect::<Vec<_>>()
        );
        for key in want.keys() {
            let (want, got) = (want.get(key).unwrap(), got.get(key).unwrap());
            let half = burn::tensor::Tolerance::<f32>::absolute(2e-3);
            got.assert_approx_eq::<f32>(want, half);
        }
    }

    #[test]
    fn several_files_or_none_are_an_error_that_says_so() {
        let both = read(&fixture("pytorch"), "model.safetensors").unwrap_err();
        assert!(both.to_string().contains("several PyTorch files"), "{both}");
        let none = read(&fixture("losses"), "model.safetensors").unwrap_err();
        assert!(none.to_string().contains("no PyTorch file"), "{none}");
    }
}
