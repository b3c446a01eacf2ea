//! Pictures: JPEG, PNG, GIF, WebP, BMP and TIFF.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vision_encoder::image::{DecodeOptions, Limits, Preprocessor, decode};

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
        let Ok(picture) = decode(input, &options) else {
            continue;
        };
        let pixels = u64::from(picture.width()) * u64::from(picture.height());
        assert!(
            (1..=LIMITS.max_pixels).contains(&pixels),
            "{pixels} pixels"
        );
        let bytes = pixels * picture.kind().channels() as u64;
        assert_eq!(picture.bytes().len() as u64, bytes);
        let values = Preprocessor::clip(16).pixel_values(&picture);
        assert_eq!(values.len(), 3 * 16 * 16);
        assert!(values.iter().all(|value| value.is_finite()));
    }
});
