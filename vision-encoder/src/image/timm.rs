//! timm's `pretrained_cfg`, read.

use serde_json::{Map, Value};

use super::axis::Filter;
use super::description::{Convention, PreprocessorConfig, ResizeMode, Size, TO_UNIT};
use super::error::{PreprocessorError, refused};
use super::json::{given, height_width, number, parse, renamed, text, three};

const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];

pub(super) fn read(file: &str) -> Result<PreprocessorConfig, PreprocessorError> {
    let whole = parse(file)?;
    let cfg = match given(&whole, "pretrained_cfg") {
        None => &whole,
        Some(Value::Object(cfg)) => cfg,
        Some(other) => return Err(refused("pretrained_cfg", other, "an object")),
    };
    let names = [
        ("image.mean", "mean"),
        ("image.std", "std"),
        ("image.size", "crop_pct"),
    ];
    read_cfg(cfg)?
        .checked()
        .map_err(|error| renamed(error, &names))
}

fn read_cfg(cfg: &Map<String, Value>) -> Result<PreprocessorConfig, PreprocessorError> {
    let crop = input_size(cfg)?;
    let kept = number(cfg, "crop_pct")?.unwrap_or(0.875);
    if !(kept > 0.0 && kept <= 1.0) {
        return Err(refused("crop_pct", kept, "a number above 0 and up to 1"));
    }
    let scaled = |side: u32| (f64::from(side) / kept).floor() as u32;
    let mean = three(cfg, "mean")?.unwrap_or(IMAGENET_MEAN);
    let resize = match text(cfg, "crop_mode")?.unwrap_or("center") {
        "center" => ResizeMode::Shortest,
        "squash" => ResizeMode::Squash,
        "border" => ResizeMode::Longest,
        other => {
            return Err(refused(
                "crop_mode",
                other,
                "`center`, `squash` or `border`",
            ));
        }
    };
    let interpolation = match text(cfg, "interpolation")?.unwrap_or("bicubic") {
        "nearest" => Filter::Nearest,
        "bilinear" => Filter::Bilinear,
        "bicubic" => Filter::Bicubic,
        "lanczos" => Filter::Lanczos,
        "box" => Filter::Box,
        "hamming" => Filter::Hamming,
        other => {
            let expected = "`nearest`, `bilinear`, `bicubic`, `lanczos`, `box` or `hamming`";
            return Err(refused("interpolation", other, expected));
        }
    };
    Ok(PreprocessorConfig {
        convention: Convention::Timm,
        resize,
        size: Size {
            height: scaled(crop.height),
            width: scaled(crop.width),
        },
        interpolation,
        crop: Some(crop),
        fill: if resize == ResizeMode::Longest {
            mean.map(|mean| (255.0 * mean).round_ties_even() as u8)
        } else {
            [0; 3]
        },
        rescale: TO_UNIT,
        mean,
        std: three(cfg, "std")?.unwrap_or(IMAGENET_STD),
    })
}

/// `[channels, height, width]`.
fn input_size(cfg: &Map<String, Value>) -> Result<Size, PreprocessorError> {
    let Some(found) = given(cfg, "input_size") else {
        return Ok(Size::square(224));
    };
    let size = match found.as_array().map(Vec::as_slice) {
        Some([channels, height, width]) if channels.as_u64() == Some(3) => {
            height_width(height, width)
        }
        _ => None,
    };
    size.ok_or_else(|| {
        refused(
            "input_size",
            found,
            "[3, height, width], of 1 to 16384 pixels",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_picture_is_kept() {
        let text = r#"{"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"input_size": [3, 224, 224],
            "crop_pct": 0.9, "crop_mode": "center", "interpolation": "bicubic", "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5], "num_classes": 1000}}"#;
        let config = read(text).unwrap();
        assert_eq!(config.size, Size::square(248));
        assert_eq!(config.output(), Some(Size::square(224)));
        assert_eq!(config.resize, ResizeMode::Shortest);
        let border = read(r#"{"input_size": [3, 32, 48], "crop_mode": "border", "crop_pct": 1}"#);
        assert_eq!(border.unwrap().fill, [124, 116, 104]);
    }

    #[test]
    fn what_timm_does_not_say_is_refused_by_name() {
        for (text, key) in [
            (r#"{"crop_pct": 0}"#, "crop_pct"),
            (r#"{"crop_pct": 1e-9}"#, "crop_pct"),
            (r#"{"crop_mode": "tile"}"#, "crop_mode"),
            (r#"{"interpolation": "random"}"#, "interpolation"),
            (r#"{"input_size": [1, 28, 28]}"#, "input_size"),
            (r#"{"std": 0}"#, "std"),
        ] {
            let error = read(text).unwrap_err();
            assert!(
                matches!(&error, PreprocessorError::Value { key: k, .. } if k == key),
                "{text}: {error}"
            );
        }
    }
}
