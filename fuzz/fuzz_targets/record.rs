//! Records: `state.json`, `optimizer.safetensors` and, if it is there, `SHA256SUMS`, with a line of equal signs between
//! them. In the last one, `{state}` and `{optimizer}` stand for the checksums of the others, which no fuzzer guesses;
//! without it, all checksums are right.

#![no_main]

use std::sync::LazyLock;

use fuzz::Folder;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use trainer::record;
use transformer::Weights;

/// What stands between two files.
const LINE: &[u8] = b"\n=====\n";

/// A record in which nothing is wrong but the files.
const RIGHT: &[u8] = b"{state}  state.json\n{optimizer}  optimizer.safetensors\n";

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);

fuzz_target!(|input: &[u8]| {
    let (state, rest) = split(input).unwrap_or((input, b""));
    let (optimizer, given) = split(rest).unwrap_or((rest, RIGHT));
    let sums = replaced(given, b"{state}", sum(state).as_bytes());
    let sums = replaced(&sums, b"{optimizer}", sum(optimizer).as_bytes());
    FOLDER.put("step-00000001/state.json", state);
    FOLDER.put("step-00000001/optimizer.safetensors", optimizer);
    FOLDER.put("step-00000001/SHA256SUMS", &sums);
    match record::open(&FOLDER.path().join("step-00000001")) {
        Ok(found) => {
            assert_eq!(found.state.format, record::FORMAT);
            for (bytes, name) in [(state, "state.json"), (optimizer, "optimizer.safetensors")] {
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

/// What stands before and after the first line of equal signs.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.windows(LINE.len()).position(|piece| piece == LINE)?;
    Some((&bytes[..at], &bytes[at + LINE.len()..]))
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
