//! Configurations of open_clip, transformers and timm, read and carried out, against what these make of them.
//!
//! The expected values are of open_clip 3.3, transformers 5.23 and timm 1.0 on Pillow 13, by
//! `scripts/make_preprocessing.py`.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "reads fixtures"
)]

use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;
use vision_encoder::image::{
    Convention, DecodeOptions, Preprocessor, PreprocessorConfig, PreprocessorError, decode,
};

const TOLERANCE: f32 = 1e-5;

fn read(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(path);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn config_of(case: &Value) -> Result<PreprocessorConfig, PreprocessorError> {
    let text = case["config"].to_string();
    match case["source"].as_str() {
        Some("open_clip") => PreprocessorConfig::from_open_clip_json(&text),
        Some("transformers") => PreprocessorConfig::from_hf_json(&text, None),
        _ => PreprocessorConfig::from_timm_json(&text),
    }
}

fn picture_of(case: &Value) -> Vec<u8> {
    let name = case["picture"].as_str().unwrap();
    let end = if ["cmyk", "exif"].contains(&name) {
        "jpg"
    } else {
        "png"
    };
    read(&format!("images/preprocess/files/{name}.{end}"))
}

#[test]
fn parity_preprocessing() {
    let cases: Vec<Value> = serde_json::from_slice(&read("preprocessing/cases.json")).unwrap();
    let outputs = read("preprocessing/outputs.safetensors");
    let outputs = SafeTensors::deserialize(&outputs).unwrap();
    assert_eq!(cases.len(), outputs.len());
    for case in &cases {
        let name = case["tensor"].as_str().unwrap();
        let config = config_of(case).unwrap_or_else(|e| panic!("{name}: {e}"));
        let picture = decode(&picture_of(case), &DecodeOptions::reference()).unwrap();
        let got = Preprocessor::new(config.clone())
            .unwrap()
            .pixel_values(&picture);
        let want = outputs.tensor(name).unwrap();
        let size = config.output().unwrap();
        assert_eq!(
            want.shape(),
            [3, size.height as usize, size.width as usize],
            "{name}"
        );
        let words = want.data().as_chunks::<4>().0;
        let values = words.iter().map(|word| f32::from_le_bytes(*word));
        let worst = got
            .iter()
            .zip(values)
            .map(|(got, want)| (got - want).abs() / want.abs().max(1.0))
            .fold(0.0, f32::max);
        assert!(worst <= TOLERANCE, "{name}: off by {worst} ({config})");
    }
}

#[test]
fn what_is_written_of_each_reads_the_same() {
    let cases: Vec<Value> = serde_json::from_slice(&read("preprocessing/cases.json")).unwrap();
    let (mut by_transformers, mut by_open_clip) = (0, 0);
    for case in &cases {
        let config = config_of(case).unwrap();
        if let Some(written) = config.to_hf_json() {
            let again = PreprocessorConfig::from_hf_json(&written.to_string(), None).unwrap();
            let expected = PreprocessorConfig {
                convention: Convention::Transformers,
                ..config.clone()
            };
            assert_eq!(again, expected);
            by_transformers += 1;
        }
        if let Some(written) = config.to_open_clip_json() {
            let again = PreprocessorConfig::from_open_clip_json(&written.to_string()).unwrap();
            let expected = PreprocessorConfig {
                convention: Convention::OpenClip,
                crop: again.crop,
                ..config
            };
            assert_eq!(again, expected);
            by_open_clip += 1;
        }
    }
    assert!(by_transformers > 8 && by_open_clip > 8);
}
