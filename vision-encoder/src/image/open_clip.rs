//! Reading open_clip's `preprocess_cfg`.

use serde::Deserialize;
use serde_json::Value;

use super::config::{SIZES, checked, checked_std, json, parse, pixels, resize_of, value};
use super::error::PreprocessorError;
use super::normalise::Normalise;
use super::preprocess::{Preprocessor, Resize};
use super::resample::Filter;

/// open_clip's `preprocess_cfg`.
#[derive(Deserialize)]
struct OpenClipConfig {
    size: Option<Value>,
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
    interpolation: Option<String>,
    resize_mode: Option<String>,
}

pub(super) fn from_open_clip_json(text: &str) -> Result<Preprocessor, PreprocessorError> {
    let mut whole: Value = parse(text)?;
    let image_size = whole.pointer("/model_cfg/vision_cfg/image_size").cloned();
    let cfg = whole
        .get_mut("preprocess_cfg")
        .map(Value::take)
        .unwrap_or(whole);
    let cfg: OpenClipConfig = serde_json::from_value(cfg).map_err(json)?;
    let size = cfg.size.or(image_size).unwrap_or(Value::from(224));
    let (height, width) = match open_clip_size(&size)? {
        Resize::Exact { height, width } => (height, width),
        Resize::ShortestEdge(side) => (side, side),
    };
    let mut built = Preprocessor::open_clip(height);
    match cfg.resize_mode.as_deref().unwrap_or("shortest") {
        "squash" => (built.resize, built.crop) = (Resize::Exact { height, width }, None),
        "shortest" if height == width => {}
        "shortest" => return Err(value("size", size, "a square, with resize_mode `shortest`")),
        other => return Err(value("resize_mode", other, "`shortest` or `squash`")),
    }
    built.filter = match cfg.interpolation.as_deref().unwrap_or("bicubic") {
        "bicubic" => Filter::Bicubic,
        "bilinear" => Filter::Bilinear,
        other => return Err(value("interpolation", other, "`bicubic` or `bilinear`")),
    };
    let std = checked_std("std", cfg.std.unwrap_or(built.std))?;
    built.normalise = Normalise::new(1.0 / 255.0, cfg.mean.unwrap_or(built.mean), std);
    checked(built)
}

/// A number, or open_clip's `[height, width]`.
fn open_clip_size(size: &Value) -> Result<Resize, PreprocessorError> {
    match size.as_array().map(Vec::as_slice) {
        Some([height, width]) => {
            let side = |v| pixels(v).ok_or_else(|| value("size", size, SIZES));
            Ok(Resize::Exact {
                height: side(height)?,
                width: side(width)?,
            })
        }
        _ => resize_of("size", size, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_clip_is_read_from_its_own_file_or_from_the_object_alone() {
        let alone = r#"{"size": [64, 64], "interpolation": "bicubic", "resize_mode": "shortest"}"#;
        assert_eq!(
            from_open_clip_json(alone).unwrap(),
            Preprocessor::open_clip(64)
        );
        let whole = r#"{"model_cfg": {"vision_cfg": {"image_size": 64}}, "preprocess_cfg": {"resize_mode": "squash"}}"#;
        let squash = from_open_clip_json(whole).unwrap();
        assert_eq!(squash.output_size(100, 50), (64, 64));
        let longest = from_open_clip_json(r#"{"resize_mode": "longest"}"#).unwrap_err();
        assert!(
            longest.to_string().contains("`resize_mode`: found longest"),
            "{longest}"
        );
    }
}
