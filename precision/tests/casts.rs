//! Casts against torch's, bit by bit: fixture `precision/casts`.
//!
//! The root is `SHOESTRING_FIXTURES`, or `fixtures/` in the repository. The references were made with torch 2.9.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "reads fixtures"
)]

use std::path::{Path, PathBuf};

use half::{bf16, f16};
use precision::{Half, narrow, widen};
use safetensors::SafeTensors;

fn file(name: &str) -> Vec<u8> {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let root = std::env::var_os("SHOESTRING_FIXTURES").map_or_else(here, PathBuf::from);
    let path = root.join("precision/casts").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The 32-bit words of a tensor.
fn words(file: &SafeTensors<'_>, name: &str) -> Vec<u32> {
    let bytes = file.tensor(name).unwrap();
    let (words, rest) = bytes.data().as_chunks();
    assert!(rest.is_empty(), "{name}");
    words.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// A format, and how its numbers are made of bits.
struct Case<E> {
    /// In the names of the fixture.
    name: &'static str,
    of_bits: fn(u16) -> E,
    bits_of: fn(E) -> u16,
}

const BF16: Case<bf16> = Case {
    name: "bf16",
    of_bits: bf16::from_bits,
    bits_of: bf16::to_bits,
};

const F16: Case<f16> = Case {
    name: "f16",
    of_bits: f16::from_bits,
    bits_of: f16::to_bits,
};

#[test]
fn parity_casts() {
    patterns(&BF16);
    patterns(&F16);
}

fn patterns<E: Half>(case: &Case<E>) {
    let (inputs, outputs) = (file("inputs.safetensors"), file("outputs.safetensors"));
    let inputs = SafeTensors::deserialize(&inputs).unwrap();
    let outputs = SafeTensors::deserialize(&outputs).unwrap();
    let values = words(&inputs, "values_bits").into_iter();
    let values: Vec<f32> = values.map(f32::from_bits).collect();
    let is_nan = words(&outputs, "is_nan");
    let want = words(&outputs, &format!("{}_bits", case.name));
    let want_wide = words(&outputs, &format!("{}_widened_bits", case.name));
    assert!(values.len() == want.len() && values.len() > 300);
    let mut got = vec![E::ZERO; values.len()];
    narrow(&values, &mut got);
    let mut wide = vec![0.0; values.len()];
    widen(&got, &mut wide);
    for (i, x) in values.iter().enumerate() {
        let (bits, name) = ((case.bits_of)(got[i]), case.name);
        assert_eq!(is_nan[i] == 1, x.is_nan(), "{x}");
        if is_nan[i] == 1 {
            assert!(wide[i].is_nan(), "{name}: NaN became {}", wide[i]);
            continue;
        }
        assert_eq!(
            u32::from(bits),
            want[i] & 0xFFFF,
            "{name} of {x:e}, {:#x}",
            x.to_bits()
        );
        assert_eq!(
            wide[i].to_bits(),
            want_wide[i],
            "{name} of {x:e} as float32"
        );
    }
}

#[test]
fn parity_stored_models() {
    stored(&BF16);
    stored(&F16);
}

/// A tensor as it is stored on disk, widened.
fn stored<E: Half>(case: &Case<E>) {
    let bytes = file(&format!("model_{}.safetensors", case.name));
    let model = SafeTensors::deserialize(&bytes).unwrap();
    let weight = model.tensor("weight").unwrap();
    let (halves, _) = weight.data().as_chunks();
    let halves = halves.iter().map(|half| u16::from_le_bytes(*half));
    let halves: Vec<E> = halves.map(case.of_bits).collect();
    let mut wide = vec![0.0; halves.len()];
    widen(&halves, &mut wide);
    let wide: Vec<u32> = wide.iter().map(|x| x.to_bits()).collect();
    assert_eq!(wide, words(&model, "exact_f32"), "{}", case.name);
}
