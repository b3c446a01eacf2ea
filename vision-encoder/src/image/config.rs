//! Reading transformers' `preprocessor_config.json`, and what it shares with open_clip's configuration.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::PreprocessorError;
use super::normalise::Normalise;
use super::preprocess::{Crop, CropRounding, Preprocessor, Resize};
use super::resample::Filter;

const KNOWN: &str = "CLIPImageProcessor, SiglipImageProcessor, ViTImageProcessor, DeiTImageProcessor, BlipImageProcessor";
pub(super) const SIZES: &str =
    "a number of pixels, {\"shortest_edge\": n} or {\"height\": n, \"width\": n}, at least 1";

/// The keys of a transformers file that matter here; what a file leaves out is the processor's default.
#[derive(Deserialize)]
struct HfConfig {
    image_processor_type: Option<String>,
    /// The name of the key before transformers 4.26.
    feature_extractor_type: Option<String>,
    do_resize: Option<bool>,
    size: Option<Value>,
    resample: Option<Value>,
    do_center_crop: Option<bool>,
    crop_size: Option<Value>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
}

pub(super) fn from_hf_json(text: &str) -> Result<Preprocessor, PreprocessorError> {
    let file: HfConfig = parse(text)?;
    let name = file
        .image_processor_type
        .or(file.feature_extractor_type)
        .unwrap_or_default();
    let mut built = defaults_of(&name)?;
    let squares = !matches!(built.resize, Resize::ShortestEdge(_));
    if file.do_resize == Some(false) {
        return Err(value(
            "do_resize",
            "false",
            "true: the model takes pictures of one size",
        ));
    }
    if let Some(size) = &file.size {
        built.resize = resize_of("size", size, squares)?;
    }
    if let Some(id) = &file.resample {
        built.filter = match id.as_u64() {
            Some(2) => Filter::Bilinear,
            Some(3) => Filter::Bicubic,
            _ => return Err(value("resample", id, "2 (bilinear) or 3 (bicubic)")),
        };
    }
    built.crop = hf_crop(built.crop, file.do_center_crop, file.crop_size.as_ref())?;
    built.normalise = hf_normalise(
        &built,
        file.do_rescale
            .unwrap_or(true)
            .then_some(file.rescale_factor.unwrap_or(1.0 / 255.0)),
        file.do_normalize.unwrap_or(true),
        (file.image_mean, file.image_std),
    )?;
    checked(built)
}

/// The processor of this name as transformers builds it without arguments.
fn defaults_of(name: &str) -> Result<Preprocessor, PreprocessorError> {
    let stem = [
        "ImageProcessorFast",
        "ImageProcessorPil",
        "ImageProcessor",
        "FeatureExtractor",
    ]
    .iter()
    .find_map(|end| name.strip_suffix(end));
    let crop = |size| Crop {
        height: size,
        width: size,
        rounding: CropRounding::Truncate,
    };
    match stem {
        Some("CLIP") => Ok(Preprocessor::clip(224)),
        Some("Siglip") => Ok(Preprocessor::siglip(224)),
        Some("ViT") => Ok(Preprocessor::vit(224)),
        Some("DeiT") => Ok(Preprocessor::siglip(256).with_crop(crop(224))),
        Some("Blip") => Ok(Preprocessor::blip(384)),
        _ => Err(PreprocessorError::UnknownProcessor {
            found: name.to_owned(),
            expected: KNOWN,
        }),
    }
}

fn hf_crop(
    default: Option<Crop>,
    wanted: Option<bool>,
    size: Option<&Value>,
) -> Result<Option<Crop>, PreprocessorError> {
    if !wanted.unwrap_or(default.is_some()) {
        return Ok(None);
    }
    let rounding = CropRounding::Truncate;
    match (size, default) {
        (Some(size), _) => match resize_of("crop_size", size, true)? {
            Resize::Exact { height, width } => Ok(Some(Crop {
                height,
                width,
                rounding,
            })),
            Resize::ShortestEdge(_) => Err(value(
                "crop_size",
                size,
                "a number or {\"height\": n, \"width\": n}",
            )),
        },
        (None, Some(crop)) => Ok(Some(crop)),
        (None, None) => Err(value(
            "crop_size",
            "nothing",
            "a size, because do_center_crop is true",
        )),
    }
}

fn hf_normalise(
    defaults: &Preprocessor,
    rescale: Option<f64>,
    normalises: bool,
    (mean, std): (Option<[f32; 3]>, Option<[f32; 3]>),
) -> Result<Normalise, PreprocessorError> {
    let rescale = rescale.unwrap_or(1.0);
    if !normalises {
        return Ok(Normalise::new(rescale, [0.0; 3], [1.0; 3]));
    }
    let std = checked_std("image_std", std.unwrap_or(defaults.std))?;
    Ok(Normalise::new(rescale, mean.unwrap_or(defaults.mean), std))
}

/// A size in any of the ways in which transformers has written it over the years.
pub(super) fn resize_of(
    key: &'static str,
    size: &Value,
    squares: bool,
) -> Result<Resize, PreprocessorError> {
    let side = |name| size.get(name).and_then(pixels);
    let exact = side("height")
        .zip(side("width"))
        .map(|(height, width)| Resize::Exact { height, width });
    let shortest = side("shortest_edge").map(Resize::ShortestEdge);
    let plain = pixels(size).map(|side| match squares {
        true => Resize::Exact {
            height: side,
            width: side,
        },
        false => Resize::ShortestEdge(side),
    });
    exact
        .or(shortest)
        .or(plain)
        .ok_or_else(|| value(key, size, SIZES))
}

/// A side in pixels. A longer one than 2^16 is no model's input, and would only overflow later.
pub(super) fn pixels(value: &Value) -> Option<u32> {
    value
        .as_u64()
        .filter(|side| (1..=1 << 16).contains(side))
        .map(|side| side as u32)
}

pub(super) fn checked_std(key: &'static str, std: [f32; 3]) -> Result<[f32; 3], PreprocessorError> {
    match std.iter().all(|s| s.is_finite() && *s != 0.0) {
        true => Ok(std),
        false => Err(value(
            key,
            format!("{std:?}"),
            "three numbers that are not zero",
        )),
    }
}

/// A crop that is larger than the resized picture would have to invent pixels.
pub(super) fn checked(built: Preprocessor) -> Result<Preprocessor, PreprocessorError> {
    let (height, width) = match built.resize {
        Resize::ShortestEdge(side) => (side, side),
        Resize::Exact { height, width } => (height, width),
    };
    match built.crop {
        Some(crop) if crop.height > height || crop.width > width => {
            let found = format!("{}x{}", crop.width, crop.height);
            Err(value(
                "crop_size",
                found,
                "a size that is no larger than the resized picture",
            ))
        }
        _ => Ok(built),
    }
}

pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, PreprocessorError> {
    serde_json::from_str(text).map_err(json)
}

pub(super) fn json(error: serde_json::Error) -> PreprocessorError {
    PreprocessorError::Json {
        reason: error.to_string(),
    }
}

pub(super) fn value(
    key: &'static str,
    found: impl ToString,
    expected: &'static str,
) -> PreprocessorError {
    PreprocessorError::Value {
        key,
        found: found.to_string(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparse_file_gets_the_defaults_of_its_processor() {
        for (name, expected) in [
            ("CLIPImageProcessor", Preprocessor::clip(224)),
            ("CLIPFeatureExtractor", Preprocessor::clip(224)),
            ("SiglipImageProcessorFast", Preprocessor::siglip(224)),
            ("ViTImageProcessor", Preprocessor::vit(224)),
            ("BlipImageProcessor", Preprocessor::blip(384)),
        ] {
            let text = format!("{{\"image_processor_type\": \"{name}\"}}");
            assert_eq!(from_hf_json(&text).unwrap(), expected, "{name}");
        }
        let old =
            r#"{"feature_extractor_type": "CLIPFeatureExtractor", "size": 64, "crop_size": 64}"#;
        assert_eq!(from_hf_json(old).unwrap(), Preprocessor::clip(64));
        let old = r#"{"feature_extractor_type": "ViTFeatureExtractor", "size": 64}"#;
        assert_eq!(from_hf_json(old).unwrap(), Preprocessor::vit(64));
    }

    #[test]
    fn steps_can_be_switched_off() {
        let text = r#"{"image_processor_type": "CLIPImageProcessor", "size": {"height": 2, "width": 3},
            "do_center_crop": false, "do_normalize": false, "do_rescale": false, "resample": 2}"#;
        let built = from_hf_json(text).unwrap();
        assert_eq!(built.output_size(50, 60), (2, 3));
        assert_eq!(built.filter(), Filter::Bilinear);
        assert_eq!(built.normalise().apply(&[1, 2, 255]), [1.0, 2.0, 255.0]);
    }

    #[test]
    fn a_value_that_cannot_be_honoured_is_named() {
        for (rest, key) in [
            (r#""do_resize": false"#, "do_resize"),
            (r#""size": {"longest_edge": 5}"#, "size"),
            (r#""size": {"shortest_edge": 0}"#, "size"),
            (r#""resample": 1"#, "resample"),
            (r#""crop_size": 300"#, "crop_size"),
            (r#""image_std": [1, 0, 1]"#, "image_std"),
        ] {
            let error = from_hf_json(&format!(
                "{{\"image_processor_type\": \"CLIPImageProcessor\", {rest}}}"
            ));
            let error = error.unwrap_err();
            assert!(
                matches!(error, PreprocessorError::Value { key: k, .. } if k == key),
                "{rest}: {error}"
            );
        }
        assert!(matches!(
            from_hf_json("{"),
            Err(PreprocessorError::Json { .. })
        ));
        let unknown = from_hf_json(r#"{"image_processor_type": "FuyuImageProcessor"}"#)
            .unwrap_err()
            .to_string();
        assert!(
            unknown.contains("FuyuImageProcessor") && unknown.contains("CLIPImageProcessor"),
            "{unknown}"
        );
    }
}
