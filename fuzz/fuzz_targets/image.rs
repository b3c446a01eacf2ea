//! Pictures: JPEG, PNG, GIF, WebP, BMP and TIFF.
//!
//! A decoder's panic is an error of ours, and passes; libFuzzer's hook hears only of panics outside of the net.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vision_encoder::image::{
    DecodeOptions, Limits, Preprocessor, PreprocessorConfig, ResizeMode, decode,
};

const LIMITS: Limits = Limits {
    max_bytes: 1 << 16,
    max_pixels: 1 << 14,
};

fuzz_target!(|input: &[u8]| {
    for options in [DecodeOptions::default(), DecodeOptions::reference()] {
        let options = DecodeOptions {
            limits: LIMITS,
            ..options
        };
        let picture = match decode(input, &options) {
            Ok(picture) => picture,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        let pixels = u64::from(picture.width()) * u64::from(picture.height());
        assert!((1..=LIMITS.max_pixels).contains(&pixels), "{pixels} pixels");
        let bytes = pixels * picture.kind().channels() as u64;
        assert_eq!(picture.bytes().len() as u64, bytes);
        let longest = PreprocessorConfig {
            resize: ResizeMode::Longest,
            ..PreprocessorConfig::open_clip(16)
        };
        let longest = Preprocessor::new(longest).expect("the description is valid");
        for preprocessor in [Preprocessor::clip(16), longest] {
            let values = preprocessor.pixel_values(&picture);
            assert_eq!(values.len(), 3 * 16 * 16);
            assert!(values.iter().all(|value| value.is_finite()));
        }
    }
});
