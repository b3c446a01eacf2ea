//! A safetensors file that is open: its header is read, its tensors when they are asked for.

use std::{fs::File, io::Read, os::unix::fs::FileExt, path::Path};

use anyhow::{Context, bail, ensure};
use burn::tensor::{DType, TensorData};
use safetensors::{Dtype, tensor::Metadata};
use transformer::{ElementType, Entry};

/// The longest header that the format allows, in bytes.
const LONGEST_HEADER: u64 = 100_000_000;

/// Where the header begins: behind its length.
const LENGTH: u64 = 8;

/// A tensor in a file: its values' type, their place and their number of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    dtype: Option<DType>,
    start: u64,
    bytes: usize,
}

/// The tensors of a file, by key. Lengths and offsets are held against the file's own.
pub(super) fn entries(path: &Path, file: &mut File) -> anyhow::Result<Vec<(String, Entry, Place)>> {
    let size = file.metadata()?.len();
    let mut length = [0; LENGTH as usize];
    let remedy = "is the download complete?";
    if size < LENGTH {
        bail!("not a safetensors file: it has {size} bytes; {remedy}");
    }
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let rest = size - LENGTH;
    if length > rest.min(LONGEST_HEADER) {
        super::tell_other_kinds(path)?;
        bail!("not a safetensors file: its header would have {length} bytes of {rest}; {remedy}");
    }
    let mut header = vec![0; usize::try_from(length)?];
    file.read_exact(&mut header)?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .with_context(|| format!("not a safetensors file: its header cannot be read; {remedy}"))?;
    let start = LENGTH + length;
    ensure!(
        metadata.data_len() as u64 == size - start,
        "the header tells of {} bytes of tensors, the file has {}; {remedy}",
        metadata.data_len(),
        size - start
    );
    let mut entries = Vec::new();
    for (key, info) in metadata.tensors() {
        let (from, to) = info.data_offsets;
        let dtype = float(info.dtype);
        let entry = Entry {
            shape: info.shape.clone(),
            element_type: match dtype {
                Some(dtype) => ElementType::of(dtype),
                None => ElementType::Other(format!("{:?}", info.dtype)),
            },
        };
        let place = Place {
            dtype,
            start: start + from as u64,
            bytes: to - from,
        };
        entries.push((key, entry, place));
    }
    Ok(entries)
}

fn float(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F64 => Some(DType::F64),
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}

/// Reads the values of a tensor in its own number format.
pub(super) fn read(file: &File, place: Place, shape: &[usize]) -> anyhow::Result<TensorData> {
    let dtype = place
        .dtype
        .context("its elements are no floating-point numbers")?;
    let mut bytes = vec![0; place.bytes];
    file.read_exact_at(&mut bytes, place.start)?;
    Ok(TensorData::from_bytes_vec(bytes, shape.to_vec(), dtype))
}
