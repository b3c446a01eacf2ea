//! open_clip's `preprocess_cfg`, read and written.

use serde_json::{Map, Value, json};

use super::axis::Filter;
use super::description::{
    CLIP_MEAN, CLIP_STD, Convention, PreprocessorConfig, ResizeMode, Size, TO_UNIT,
};
use super::error::{PreprocessorError, refused};
use super::json::{self, given, height_width, parse, pixels, text, three};

const SIZES: &str = "a number of pixels or [height, width], of 1 to 16384";

pub(super) fn read(file: &str) -> Result<PreprocessorConfig, PreprocessorError> {
    let whole = parse(file)?;
    let is_whole = whole.contains_key("preprocess_cfg") || whole.contains_key("model_cfg");
    let nothing = Map::new();
    let cfg = if is_whole {
        match given(&whole, "preprocess_cfg") {
            None => &nothing,
            Some(Value::Object(cfg)) => cfg,
            Some(other) => return Err(refused("preprocess_cfg", other, "an object")),
        }
    } else {
        &whole
    };
    // open_clip takes the size from the tower that it has built.
    let of_tower = whole
        .get("model_cfg")
        .and_then(|model| model.pointer("/vision_cfg/image_size"))
        .filter(|size| !size.is_null());
    let size = match (of_tower, given(cfg, "size")) {
        (Some(size), _) => size_of("model_cfg.vision_cfg.image_size", size)?,
        (None, Some(size)) => size_of("size", size)?,
        (None, None) => Size::square(224),
    };
    read_cfg(cfg, size)?
        .checked()
        .map_err(|error| json::renamed(error, &[("image.mean", "mean"), ("image.std", "std")]))
}

fn read_cfg(cfg: &Map<String, Value>, size: Size) -> Result<PreprocessorConfig, PreprocessorError> {
    if let Some(mode) = text(cfg, "mode")?.filter(|mode| *mode != "RGB") {
        return Err(refused("mode", mode, "RGB"));
    }
    let (resize, crop) = match text(cfg, "resize_mode")?.unwrap_or("shortest") {
        "shortest" => (ResizeMode::Shortest, Some(size)),
        "longest" => (ResizeMode::Longest, Some(size)),
        "squash" => (ResizeMode::Squash, None),
        other => {
            let expected = "`shortest`, `longest` or `squash`";
            return Err(refused("resize_mode", other, expected));
        }
    };
    let interpolation = match text(cfg, "interpolation")?.unwrap_or("bicubic") {
        // Where it covers an oblong, open_clip forgets the kernel that was asked for.
        "bilinear" if resize == ResizeMode::Shortest && !size.is_square() => Filter::Bicubic,
        "bilinear" => Filter::Bilinear,
        // Random is for training; open_clip evaluates with bicubic.
        "bicubic" | "random" => Filter::Bicubic,
        other => {
            let expected = "`bicubic`, `bilinear` or `random`";
            return Err(refused("interpolation", other, expected));
        }
    };
    Ok(PreprocessorConfig {
        convention: Convention::OpenClip,
        resize,
        size,
        interpolation,
        crop,
        fill: fill_of(cfg)?,
        rescale: TO_UNIT,
        mean: or_default(cfg, "mean", CLIP_MEAN)?,
        std: or_default(cfg, "std", CLIP_STD)?,
    })
}

/// Nothing and zero are both no value to open_clip.
fn or_default(
    cfg: &Map<String, Value>,
    key: &'static str,
    default: [f64; 3],
) -> Result<[f64; 3], PreprocessorError> {
    if cfg.get(key).and_then(Value::as_f64) == Some(0.0) {
        return Ok(default);
    }
    Ok(three(cfg, key)?.unwrap_or(default))
}

/// One grey level, or one for each colour.
fn fill_of(cfg: &Map<String, Value>) -> Result<[u8; 3], PreprocessorError> {
    let Some(numbers) = three(cfg, "fill_color")? else {
        return Ok([0; 3]);
    };
    let is_level = |n: &f64| n.fract() == 0.0 && (0.0..=255.0).contains(n);
    if numbers.iter().all(is_level) {
        return Ok(numbers.map(|n| n as u8));
    }
    let found = &cfg["fill_color"];
    Err(refused("fill_color", found, "whole numbers of 0 to 255"))
}

/// A number, or open_clip's `[height, width]`.
fn size_of(key: &'static str, size: &Value) -> Result<Size, PreprocessorError> {
    let understood = match size.as_array().map(Vec::as_slice) {
        Some([side]) => pixels(side).map(Size::square),
        Some([height, width]) => height_width(height, width),
        Some(_) => None,
        None => pixels(size).map(Size::square),
    };
    understood.ok_or_else(|| refused(key, size, SIZES))
}

pub(super) fn write(config: &PreprocessorConfig) -> Option<Value> {
    let PreprocessorConfig {
        size, crop, fill, ..
    } = *config;
    let resize_mode = match config.resize {
        ResizeMode::Shortest => "shortest",
        ResizeMode::Longest => "longest",
        ResizeMode::Squash => "squash",
    };
    let crops = match config.resize {
        ResizeMode::Squash => crop.is_none_or(|crop| crop == size),
        _ => crop == Some(size),
    };
    let covers_oblong = config.resize == ResizeMode::Shortest && !size.is_square();
    let interpolation = match config.interpolation {
        Filter::Bicubic => "bicubic",
        Filter::Bilinear if !covers_oblong => "bilinear",
        _ => return None,
    };
    if !crops || config.rescale != TO_UNIT || fill[1..] != fill[..2] {
        return None;
    }
    Some(json!({
        "size": size,
        "mode": "RGB",
        "mean": config.mean,
        "std": config.std,
        "interpolation": interpolation,
        "resize_mode": resize_mode,
        "fill_color": fill[0],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBLONG: Size = Size {
        height: 48,
        width: 32,
    };

    #[test]
    fn it_is_read_from_its_own_file_or_from_the_object_alone() {
        let alone = r#"{"size": [64, 64], "interpolation": "bicubic", "resize_mode": "shortest"}"#;
        assert_eq!(read(alone).unwrap(), PreprocessorConfig::open_clip(64));
        let old = r#"{"model_cfg": {"vision_cfg": {"image_size": 64}}}"#;
        assert_eq!(read(old).unwrap(), PreprocessorConfig::open_clip(64));
        let squash = r#"{"preprocess_cfg": {"size": 64, "resize_mode": "squash", "mean": 0.5, "std": [0.1, 0.2, 0.3]}}"#;
        let expected = PreprocessorConfig {
            resize: ResizeMode::Squash,
            crop: None,
            mean: [0.5; 3],
            std: [0.1, 0.2, 0.3],
            ..PreprocessorConfig::open_clip(64)
        };
        assert_eq!(read(squash).unwrap(), expected);
    }

    #[test]
    fn the_towers_size_comes_before_the_one_written_beside_it() {
        let text = r#"{"model_cfg": {"vision_cfg": {"image_size": [48, 32]}}, "preprocess_cfg": {"size": 224,
            "resize_mode": "longest", "interpolation": "bilinear", "fill_color": 7}}"#;
        let expected = PreprocessorConfig {
            resize: ResizeMode::Longest,
            size: OBLONG,
            crop: Some(OBLONG),
            interpolation: Filter::Bilinear,
            fill: [7; 3],
            ..PreprocessorConfig::open_clip(1)
        };
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn values_that_open_clip_does_not_take_are_named() {
        for (text, key) in [
            (r#"{"resize_mode": "crop"}"#, "resize_mode"),
            (r#"{"interpolation": "lanczos"}"#, "interpolation"),
            (r#"{"mode": "L"}"#, "mode"),
            (r#"{"size": 0}"#, "size"),
            (r#"{"size": [1, 2, 3]}"#, "size"),
            (r#"{"size": 99999999999}"#, "size"),
            (r#"{"fill_color": 256}"#, "fill_color"),
            (r#"{"std": [1, 0, 1]}"#, "std"),
            (r#"{"mean": "x"}"#, "mean"),
            (
                r#"{"model_cfg": {"vision_cfg": {"image_size": -1}}}"#,
                "model_cfg.vision_cfg.image_size",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(
                matches!(&error, PreprocessorError::Value { key: k, .. } if k == key),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let base = PreprocessorConfig::open_clip(32);
        let longest = PreprocessorConfig {
            resize: ResizeMode::Longest,
            interpolation: Filter::Bilinear,
            fill: [9; 3],
            ..base.clone()
        };
        let oblong = PreprocessorConfig {
            size: OBLONG,
            crop: Some(OBLONG),
            ..base.clone()
        };
        let squash = PreprocessorConfig {
            resize: ResizeMode::Squash,
            crop: None,
            mean: [0.5; 3],
            ..base.clone()
        };
        for config in [base.clone(), longest, oblong.clone(), squash] {
            let text = write(&config).unwrap().to_string();
            assert_eq!(read(&text).unwrap(), config, "{text}");
        }
        for other in [
            PreprocessorConfig {
                interpolation: Filter::Bilinear,
                ..oblong
            },
            PreprocessorConfig {
                crop: None,
                ..base.clone()
            },
            PreprocessorConfig {
                rescale: 1.0,
                ..base.clone()
            },
            PreprocessorConfig {
                fill: [1, 2, 3],
                ..base
            },
        ] {
            assert_eq!(write(&other), None, "{other}");
        }
    }
}
