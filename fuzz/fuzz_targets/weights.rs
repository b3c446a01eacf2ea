//! Safetensors files, as they are and with a length that fits their header.

#![no_main]

use fuzz as _; // its allocator
use libfuzzer_sys::fuzz_target;
use transformer::Weights;

fuzz_target!(|input: &[u8]| {
    check(input);
    // The length of the header stands before it, and a change seldom fits both: here the header is a line.
    if let Some(end) = input.iter().position(|byte| *byte == b'\n') {
        let length = (end as u64).to_le_bytes();
        check(&[&length[..], &input[..end], &input[end + 1..]].concat());
    }
});

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
