//! Records: `state.json`, `optimizer.safetensors` and, if it is there, `SHA256SUMS`, with a line of equal signs between
//! them. In the last one, `{state}`, `{optimizer}`, `{recipe}` and `{sizes}` stand for the checksums of the others, which
//! no fuzzer guesses; without it, all checksums are right. The recipe and the sizes beside them are always the same.

#![no_main]

use std::sync::LazyLock;

use fuzz::{Folder, split};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use trainer::run::record;
use transformer::Weights;

/// A record in which nothing is wrong but the files.
const RIGHT: &[u8] =
    b"{state}  state.json\n{optimizer}  optimizer.safetensors\n{recipe}  recipe.toml\n\
{sizes}  sizes.bin\n";

/// A recipe of one source.
const RECIPE: &[u8] = b"[[data.train]]\nkind = \"shapes\"\nsplit = \"train\"\n";

/// The sizes of four pictures: 0, 70, 80000 and 0 bytes.
const SIZES: &[u8] = &[
    120, 156, 99, 96, 96, 96, 112, 3, 226, 6, 11, 70, 6, 16, 0, 0, 8, 230, 1, 0,
];

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);

fuzz_target!(|input: &[u8]| {
    let (text, rest) = split(input).unwrap_or((input, b""));
    let (optimizer, given) = split(rest).unwrap_or((rest, RIGHT));
    let sums = replaced(given, b"{state}", sum(text).as_bytes());
    let sums = replaced(&sums, b"{optimizer}", sum(optimizer).as_bytes());
    let sums = replaced(&sums, b"{recipe}", sum(RECIPE).as_bytes());
    let sums = replaced(&sums, b"{sizes}", sum(SIZES).as_bytes());
    FOLDER.put("step-00000120/recipe.toml", RECIPE);
    FOLDER.put("step-00000120/sizes.bin", SIZES);
    FOLDER.put("step-00000120/state.json", text);
    FOLDER.put("step-00000120/optimizer.safetensors", optimizer);
    FOLDER.put("step-00000120/SHA256SUMS", &sums);
    match record::open(&FOLDER.path().join("step-00000120")) {
        Ok(found) => {
            let state = &found.state;
            assert!((1..=record::FORMAT).contains(&state.format));
            assert!(state.step == 120 && state.step <= state.steps && state.seconds >= 0.0);
            assert_eq!(
                found.sizes().unwrap().len(),
                if state.format == 1 { 0 } else { 4 }
            );
            for (bytes, name) in [(text, "state.json"), (optimizer, "optimizer.safetensors")] {
                let line = format!("{}  {name}", sum(bytes));
                let listed = String::from_utf8_lossy(&sums);
                assert!(listed.lines().any(|found| found == line), "{line}");
            }
        }
        Err(error) => assert!(!format!("{error:#}").is_empty()),
    }
    if let Err(error) = Weights::from_safetensors(optimizer) {
        assert!(!error.to_string().is_empty());
    }
});

fn sum(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text with every `from` replaced.
fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|piece| piece == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}
