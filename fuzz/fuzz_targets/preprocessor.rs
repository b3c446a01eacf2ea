//! Preprocessing configurations of transformers, open_clip and timm.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vision_encoder::image::{
    Convention, Picture, PixelKind, Preprocessor, PreprocessorConfig, PreprocessorError,
};

/// Larger pictures are right, and slow.
const LARGEST: u32 = 64;

fuzz_target!(|text: &str| {
    check(PreprocessorConfig::from_hf_json(text, None));
    if let Some(nested) = PreprocessorConfig::from_hf_processor_json(text, Some("clip")).transpose()
    {
        check(nested);
    }
    check(PreprocessorConfig::from_open_clip_json(text));
    check(PreprocessorConfig::from_timm_json(text));
});

fn check(read: Result<PreprocessorConfig, PreprocessorError>) {
    let config = match read {
        Ok(config) => config,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert!(!config.to_string().is_empty());
    check_written(&config);
    let output = config.output();
    let preprocessor = Preprocessor::new(config).expect("what was read is checked");
    let Some(size) = output else {
        return;
    };
    assert_eq!(preprocessor.output_size(7, 5), (size.height, size.width));
    if size.height > LARGEST || size.width > LARGEST {
        return;
    }
    let picture = Picture::new(7, 5, PixelKind::Rgb, (0..105).collect()).expect("7 x 5 pixels");
    let values = preprocessor.pixel_values(&picture);
    assert_eq!(values.len() as u32, 3 * size.height * size.width);
    assert!(values.iter().all(|value| value.is_finite()));
}

fn check_written(config: &PreprocessorConfig) {
    if let Some(written) = config.to_hf_json() {
        let again = PreprocessorConfig::from_hf_json(&written.to_string(), None);
        let expected = PreprocessorConfig {
            convention: Convention::Transformers,
            fill: [0; 3],
            ..config.clone()
        };
        assert_eq!(again.expect("what is written reads"), expected);
    }
    if let Some(written) = config.to_open_clip_json() {
        let again = PreprocessorConfig::from_open_clip_json(&written.to_string());
        let again = again.expect("what is written reads");
        let expected = PreprocessorConfig {
            convention: Convention::OpenClip,
            crop: again.crop,
            ..config.clone()
        };
        assert_eq!(again, expected);
    }
}
