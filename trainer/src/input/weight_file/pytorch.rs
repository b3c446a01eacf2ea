//! A file of PyTorch's that is open: its pickle is read without executing anything, its tensors when they are asked for.

use std::path::Path;

use anyhow::Context;
use burn::tensor::{DType, TensorData};
use pytorch_reader::{DType as Type, PytorchReader, Tensor};
use transformer::{ElementType, Entry};

/// Keys under which checkpoints of a training keep their weights, first to last.
pub(super) const NESTED: [&str; 6] = [
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "weights",
];

/// The tensors of a file, by key; of what stands under `nested` where it is given.
///
/// # Errors
///
/// If it is no such file, or has nothing under `nested`.
pub(super) fn entries(
    path: &Path,
    nested: Option<&str>,
) -> anyhow::Result<Vec<(String, Entry, Tensor)>> {
    let reader = match nested {
        None => PytorchReader::new(path),
        Some(key) => PytorchReader::with_top_level_key(path, key),
    };
    let reader = match reader {
        Ok(reader) => reader,
        Err(error) => {
            super::tell_other_kinds(path)?;
            return Err(error).context(
                "not a PyTorch file of weights; expected what `torch.save(model.state_dict(), ...)` writes",
            );
        }
    };
    let entry = |(key, tensor): (String, Tensor)| {
        let entry = Entry {
            shape: tensor.shape().to_vec(),
            element_type: match float(tensor.dtype()) {
                Some(dtype) => ElementType::of(dtype),
                None => ElementType::Other(format!("{:?}", tensor.dtype())),
            },
        };
        (key, entry, tensor)
    };
    Ok(reader.into_tensors().into_iter().map(entry).collect())
}

fn float(dtype: Type) -> Option<DType> {
    match dtype {
        Type::F64 => Some(DType::F64),
        Type::F32 => Some(DType::F32),
        Type::F16 => Some(DType::F16),
        Type::BF16 => Some(DType::BF16),
        _ => None,
    }
}

/// Reads the values of a tensor in its own number format.
pub(super) fn read(tensor: &Tensor) -> anyhow::Result<TensorData> {
    let dtype = float(tensor.dtype()).context("its elements are no floating-point numbers")?;
    let shape = tensor.shape().to_vec();
    Ok(TensorData::from_bytes_vec(tensor.read()?, shape, dtype))
}
