//! Safetensors files, as they are and with a length that fits their header; and folders of weights in several files: an
//! index, a safetensors file and a file of PyTorch's, with a line of equal signs between them.

#![no_main]

use std::sync::LazyLock;

use fuzz::{Folder, split};
use libfuzzer_sys::fuzz_target;
use trainer::input::weight_file::Tensors;
use transformer::{Bindings, Layout, TensorSource, Weights, check_keys};

/// Tensors of more elements are not read: a pickle may say that one element is seen from a million places.
const READ: usize = 1 << 20;

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);

fuzz_target!(|input: &[u8]| {
    if let Some((index, rest)) = split(input) {
        let (shard, pytorch) = split(rest).unwrap_or((rest, b""));
        folder(index, &with_length(shard), pytorch);
        return;
    }
    check(input);
    check(&with_length(input));
});

/// The length of the header stands before it, and a change seldom fits both: here the header is a line.
fn with_length(input: &[u8]) -> Vec<u8> {
    match input.iter().position(|byte| *byte == b'\n') {
        None => input.to_vec(),
        Some(end) => {
            let length = (end as u64).to_le_bytes();
            [&length[..], &input[..end], &input[end + 1..]].concat()
        }
    }
}

fn folder(index: &[u8], shard: &[u8], pytorch: &[u8]) {
    let path = FOLDER.put("model.safetensors.index.json", index);
    FOLDER.put("a.safetensors", shard);
    FOLDER.put("b.bin", pytorch);
    let files = [
        path,
        FOLDER.path().join("a.safetensors"),
        FOLDER.path().join("b.bin"),
    ];
    for path in files {
        match Tensors::open(&path) {
            Ok(tensors) => read(&tensors),
            Err(error) => assert!(!format!("{error:#}").is_empty()),
        }
    }
}

fn read(tensors: &Tensors) {
    for key in tensors.keys() {
        let entry = tensors.entry(key).expect("an entry for each key");
        let elements = entry
            .shape
            .iter()
            .try_fold(1_usize, |all, size| all.checked_mul(*size));
        let Some(elements) = elements.filter(|elements| *elements <= READ) else {
            continue;
        };
        match tensors.read(key) {
            Ok(data) => assert_eq!(data.num_elements(), elements, "{key}"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    let mut bindings = Bindings::default();
    bindings.bind("a", "a.weight", Layout::Same);
    bindings.bind("scale", "half", Layout::Scalar);
    bindings.ignore("ids");
    if let Err(error) = check_keys(&bindings, tensors) {
        assert!(!error.to_string().is_empty());
    }
}

fn check(bytes: &[u8]) {
    let weights = match Weights::from_safetensors(bytes) {
        Ok(weights) => weights,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    for key in weights.keys() {
        let data = weights.get(key).expect("a tensor for each key");
        let elements: usize = data.shape().iter().product();
        assert_eq!(data.num_elements(), elements, "{key}");
        let floats = data.as_slice::<f32>().map(<[f32]>::len);
        let integers = data.as_slice::<i64>().map(<[i64]>::len);
        assert_eq!(floats.or(integers).ok(), Some(elements), "{key}");
    }
    let written = weights.to_safetensors().expect("what was read is written");
    let again = Weights::from_safetensors(&written).expect("what was written is read");
    assert!(weights.keys().eq(again.keys()));
    for key in weights.keys() {
        let shape = |weights: &Weights| weights.get(key).map(|data| data.shape().clone());
        assert_eq!(shape(&weights), shape(&again), "{key}");
        let bytes = |weights: &Weights| weights.get(key).map(|data| data.as_bytes().to_vec());
        assert_eq!(bytes(&weights), bytes(&again), "{key}");
    }
}
