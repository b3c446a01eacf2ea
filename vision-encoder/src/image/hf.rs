//! transformers' `preprocessor_config.json`, read and written.

use serde_json::{Map, Value, json};

use super::axis::Filter;
use super::description::{PreprocessorConfig, ResizeMode, Size, TO_UNIT};
use super::error::{PreprocessorError, refused};
use super::json::{self, flag, height_width, number, parse, pixels, text, three};

const KNOWN: &str = "CLIPImageProcessor, ChineseCLIPImageProcessor, SiglipImageProcessor, ViTImageProcessor, DeiTImageProcessor, BlipImageProcessor, BitImageProcessor";
const SIZES: &str = "a number of pixels, [height, width], {\"shortest_edge\": n} or {\"height\": n, \"width\": n}, of 1 to 16384";

/// Keys that change no pixel of what is decoded here: names, formats of arrays, and RGB, which pictures are anyway.
const NEUTRAL: &[&str] = &[
    "_commit_hash",
    "_processor_class",
    "_valid_processor_keys",
    "auto_map",
    "data_format",
    "device",
    "disable_grouping",
    "do_convert_rgb",
    "feature_extractor_type",
    "image_processor_type",
    "image_seq_length",
    "input_data_format",
    "model_input_names",
    "num_channels",
    "patch_size",
    "processor_class",
    "return_tensors",
    "transformers_version",
];
/// Keys that are read below.
const READ: &[&str] = &[
    "crop_size",
    "default_to_square",
    "do_center_crop",
    "do_normalize",
    "do_rescale",
    "do_resize",
    "image_mean",
    "image_std",
    "rescale_factor",
    "resample",
    "size",
];

/// Pillow's numbers for the kernels.
const RESAMPLE: [(u64, Filter); 6] = [
    (0, Filter::Nearest),
    (1, Filter::Lanczos),
    (2, Filter::Bilinear),
    (3, Filter::Bicubic),
    (4, Filter::Box),
    (5, Filter::Hamming),
];

/// The processor as transformers builds it without arguments, and whether a size of one number is a square.
struct Defaults {
    config: PreprocessorConfig,
    squares: bool,
}

pub(super) fn read(
    text: &str,
    model_type: Option<&str>,
) -> Result<PreprocessorConfig, PreprocessorError> {
    read_object(&parse(text)?, model_type)
}

pub(super) fn read_nested(
    text: &str,
    model_type: Option<&str>,
) -> Result<Option<PreprocessorConfig>, PreprocessorError> {
    match parse(text)?.get("image_processor") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(nested)) => read_object(nested, model_type).map(Some),
        Some(other) => Err(refused("image_processor", other, "an object")),
    }
}

fn read_object(
    file: &Map<String, Value>,
    model_type: Option<&str>,
) -> Result<PreprocessorConfig, PreprocessorError> {
    let Defaults {
        mut config,
        squares,
    } = defaults_of(file, model_type)?;
    check_keys(file)?;
    if flag(file, "do_resize")? == Some(false) {
        let expected = "true: the model takes pictures of one size";
        return Err(refused("do_resize", "false", expected));
    }
    let squares = flag(file, "default_to_square")?.unwrap_or(squares);
    if let Some(size) = json::given(file, "size") {
        (config.resize, config.size) = size_of("size", size, squares)?;
    }
    if let Some(id) = json::given(file, "resample") {
        let filter = RESAMPLE
            .iter()
            .find(|(number, _)| id.as_u64() == Some(*number));
        let (_, filter) = filter.ok_or_else(|| {
            let expected =
                "0 (nearest), 1 (lanczos), 2 (bilinear), 3 (bicubic), 4 (box) or 5 (hamming)";
            refused("resample", id, expected)
        })?;
        config.interpolation = *filter;
    }
    config.crop = crop_of(file, config.crop)?;
    config.rescale = match flag(file, "do_rescale")? {
        Some(false) => 1.0,
        _ => number(file, "rescale_factor")?.unwrap_or(TO_UNIT),
    };
    if flag(file, "do_normalize")? == Some(false) {
        (config.mean, config.std) = ([0.0; 3], [1.0; 3]);
    } else {
        config.mean = three(file, "image_mean")?.unwrap_or(config.mean);
        config.std = three(file, "image_std")?.unwrap_or(config.std);
    }
    config.checked().map_err(by_file_key)
}

/// The bounds are the recipe's; the file has its own names.
fn by_file_key(error: PreprocessorError) -> PreprocessorError {
    json::renamed(
        error,
        &[
            ("image.size", "size"),
            ("image.crop", "crop_size"),
            ("image.mean", "image_mean"),
            ("image.std", "image_std"),
        ],
    )
}

fn defaults_of(
    file: &Map<String, Value>,
    model_type: Option<&str>,
) -> Result<Defaults, PreprocessorError> {
    let name = match text(file, "image_processor_type")? {
        Some(name) => Some(name),
        None => text(file, "feature_extractor_type")?,
    };
    let stem = match name {
        Some(name) => [
            "ImageProcessorFast",
            "ImageProcessorPil",
            "ImageProcessor",
            "FeatureExtractor",
        ]
        .iter()
        .find_map(|end| name.strip_suffix(end)),
        None => model_type.and_then(|kind| match kind {
            "clip" | "altclip" | "clip_vision_model" => Some("CLIP"),
            "chinese_clip" => Some("ChineseCLIP"),
            "siglip" | "siglip_vision_model" => Some("Siglip"),
            "siglip2" => Some("Siglip2"),
            "vit" => Some("ViT"),
            "deit" => Some("DeiT"),
            "blip" | "blip-2" => Some("Blip"),
            "dinov2" => Some("Bit"),
            _ => None,
        }),
    };
    let defaults = |config, squares| Ok(Defaults { config, squares });
    match stem {
        Some("CLIP" | "ChineseCLIP" | "Bit") => defaults(PreprocessorConfig::clip(224), false),
        Some("Siglip") => defaults(PreprocessorConfig::siglip(224), false),
        Some("ViT") => defaults(PreprocessorConfig::vit(224), true),
        Some("DeiT") => defaults(
            PreprocessorConfig {
                crop: Some(Size::square(224)),
                ..PreprocessorConfig::siglip(256)
            },
            true,
        ),
        Some("Blip") => defaults(PreprocessorConfig::blip(384), true),
        Some("Siglip2") => Err(PreprocessorError::NaFlex {
            found: name.unwrap_or("siglip2").to_owned(),
        }),
        _ => Err(PreprocessorError::UnknownProcessor {
            found: name.unwrap_or_default().to_owned(),
            expected: KNOWN,
        }),
    }
}

/// A key that nobody here knows may change pixels; only one that is switched off certainly does not.
fn check_keys(file: &Map<String, Value>) -> Result<(), PreprocessorError> {
    let pads = flag(file, "do_pad")? == Some(true);
    let is_known = |key: &str| {
        // The size of the padding has no effect unless padding is switched on.
        READ.contains(&key) || NEUTRAL.contains(&key) || key == "pad_size" && !pads
    };
    let is_off = |value: &Value| value.is_null() || *value == Value::Bool(false);
    let unknown = file
        .iter()
        .find(|(key, value)| !is_known(key.as_str()) && !is_off(value));
    match unknown {
        Some((key, value)) => Err(refused(
            key,
            value,
            "no such key, or null: it may change pixels",
        )),
        None => Ok(()),
    }
}

fn crop_of(
    file: &Map<String, Value>,
    default: Option<Size>,
) -> Result<Option<Size>, PreprocessorError> {
    if !flag(file, "do_center_crop")?.unwrap_or(default.is_some()) {
        return Ok(None);
    }
    let Some(given) = json::given(file, "crop_size") else {
        let expected = "a size, because do_center_crop is true";
        return default
            .map(Some)
            .ok_or_else(|| refused("crop_size", "nothing", expected));
    };
    match size_of("crop_size", given, true)? {
        (ResizeMode::Squash, size) => Ok(Some(size)),
        _ => Err(refused(
            "crop_size",
            given,
            "a number, [height, width] or {\"height\": n, \"width\": n}",
        )),
    }
}

/// A size in any of the ways in which transformers has written it over the years.
fn size_of(
    key: &'static str,
    size: &Value,
    squares: bool,
) -> Result<(ResizeMode, Size), PreprocessorError> {
    let squash = |height: &Value, width: &Value| {
        height_width(height, width).map(|size| (ResizeMode::Squash, size))
    };
    let understood = match size {
        Value::Object(sides) => {
            let side = |name: &str| sides.get(name).filter(|side| !side.is_null());
            let others = sides.iter().any(|(name, side)| {
                !["height", "width", "shortest_edge"].contains(&name.as_str()) && !side.is_null()
            });
            match (side("height"), side("width"), side("shortest_edge")) {
                _ if others => None,
                (Some(height), Some(width), None) => squash(height, width),
                (None, None, Some(edge)) => {
                    pixels(edge).map(|edge| (ResizeMode::Shortest, Size::square(edge)))
                }
                _ => None,
            }
        }
        Value::Array(sides) => match sides.as_slice() {
            [height, width] => squash(height, width),
            _ => None,
        },
        plain => pixels(plain).map(|side| {
            let mode = if squares {
                ResizeMode::Squash
            } else {
                ResizeMode::Shortest
            };
            (mode, Size::square(side))
        }),
    };
    understood.ok_or_else(|| refused(key, size, SIZES))
}

pub(super) fn write(config: &PreprocessorConfig) -> Option<Value> {
    let PreprocessorConfig { size, crop, .. } = *config;
    let sides = |size: Size| json!({ "height": size.height, "width": size.width });
    // transformers pads with black alone.
    let may_pad = crop.is_some_and(|crop| crop.height > size.height || crop.width > size.width);
    if may_pad && config.fill != [0; 3] {
        return None;
    }
    let (kind, resize) = match config.resize {
        ResizeMode::Longest => return None,
        ResizeMode::Shortest if !size.is_square() => return None,
        ResizeMode::Shortest => ("CLIP", json!({ "shortest_edge": size.height })),
        ResizeMode::Squash if crop.is_some() => ("CLIP", sides(size)),
        ResizeMode::Squash if config.interpolation == Filter::Bilinear => ("ViT", sides(size)),
        ResizeMode::Squash => ("Siglip", sides(size)),
    };
    let (resample, _) = RESAMPLE
        .iter()
        .find(|(_, filter)| *filter == config.interpolation)?;
    let mut json = json!({
        "image_processor_type": format!("{kind}ImageProcessor"),
        "do_resize": true,
        "size": resize,
        "resample": resample,
        "do_center_crop": crop.is_some(),
        "do_rescale": config.rescale != 1.0,
        "rescale_factor": config.rescale,
        "do_normalize": true,
        "image_mean": config.mean,
        "image_std": config.std,
        "do_convert_rgb": true,
    });
    if let Some(crop) = crop {
        json["crop_size"] = sides(crop);
    }
    Some(json)
}

#[cfg(test)]
mod tests {
    use super::super::description::Convention;
    use super::*;

    /// The same with transformers' order and rounding.
    fn by_transformers(config: &PreprocessorConfig) -> PreprocessorConfig {
        PreprocessorConfig {
            convention: Convention::Transformers,
            ..config.clone()
        }
    }

    fn clip_with(rest: &str) -> Result<PreprocessorConfig, PreprocessorError> {
        read(
            &format!("{{\"image_processor_type\": \"CLIPImageProcessor\", {rest}}}"),
            None,
        )
    }

    #[test]
    fn a_sparse_file_gets_the_defaults_of_its_processor() {
        for (name, expected) in [
            ("CLIPImageProcessor", PreprocessorConfig::clip(224)),
            ("CLIPImageProcessorFast", PreprocessorConfig::clip(224)),
            ("CLIPFeatureExtractor", PreprocessorConfig::clip(224)),
            ("SiglipImageProcessorPil", PreprocessorConfig::siglip(224)),
            ("ViTImageProcessor", PreprocessorConfig::vit(224)),
            ("BlipImageProcessor", PreprocessorConfig::blip(384)),
        ] {
            let text = format!("{{\"image_processor_type\": \"{name}\"}}");
            assert_eq!(read(&text, None).unwrap(), expected, "{name}");
        }
        let old =
            r#"{"feature_extractor_type": "CLIPFeatureExtractor", "size": 64, "crop_size": 64}"#;
        assert_eq!(read(old, None).unwrap(), PreprocessorConfig::clip(64));
        let old = r#"{"feature_extractor_type": "ViTFeatureExtractor", "size": 64}"#;
        assert_eq!(read(old, None).unwrap(), PreprocessorConfig::vit(64));
    }

    #[test]
    fn a_file_without_a_name_goes_by_the_models_type() {
        let text = r#"{"size": {"height": 64, "width": 64}}"#;
        assert_eq!(
            read(text, Some("siglip")).unwrap(),
            PreprocessorConfig::siglip(64)
        );
        assert!(matches!(
            read(text, None),
            Err(PreprocessorError::UnknownProcessor { found, .. }) if found.is_empty()
        ));
        assert!(matches!(
            read(text, Some("siglip2")),
            Err(PreprocessorError::NaFlex { .. })
        ));
    }

    #[test]
    fn version_5_nests_it() {
        let text = r#"{"processor_class": "SiglipProcessor", "image_processor": {
            "image_processor_type": "SiglipImageProcessor", "size": {"height": 64, "width": 64}, "crop_size": null,
            "image_mean": 0.25, "do_pad": null}}"#;
        let expected = PreprocessorConfig {
            mean: [0.25; 3],
            ..PreprocessorConfig::siglip(64)
        };
        assert_eq!(read_nested(text, None).unwrap(), Some(expected));
        let old = r#"{"processor_class": "SiglipProcessor"}"#;
        assert_eq!(read_nested(old, None).unwrap(), None);
    }

    #[test]
    fn steps_can_be_switched_off() {
        let config = clip_with(
            r#""size": {"height": 2, "width": 3}, "do_center_crop": false, "do_normalize": false, "do_rescale": false,
            "resample": 2"#,
        )
        .unwrap();
        let expected = PreprocessorConfig {
            resize: ResizeMode::Squash,
            size: Size {
                height: 2,
                width: 3,
            },
            interpolation: Filter::Bilinear,
            crop: None,
            rescale: 1.0,
            mean: [0.0; 3],
            std: [1.0; 3],
            ..PreprocessorConfig::clip(2)
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn a_value_that_cannot_be_honoured_is_named() {
        for (rest, key) in [
            (r#""do_resize": false"#, "do_resize"),
            (r#""do_resize": "yes""#, "do_resize"),
            (r#""size": {"longest_edge": 5}"#, "size"),
            (r#""size": {"shortest_edge": 5, "longest_edge": 9}"#, "size"),
            (r#""size": {"shortest_edge": 0}"#, "size"),
            (r#""size": 16385"#, "size"),
            (r#""size": 1e3"#, "size"),
            (r#""resample": 7"#, "resample"),
            (r#""crop_size": {"shortest_edge": 4}"#, "crop_size"),
            (r#""image_std": [1, 0, 1]"#, "image_std"),
            (r#""image_mean": [1, 0]"#, "image_mean"),
            (r#""rescale_factor": 0"#, "rescale_factor"),
            (r#""do_pad": true"#, "do_pad"),
            (
                r#""do_pad": null, "pad_size": 9, "size_divisor": 32"#,
                "size_divisor",
            ),
            (r#""image_processor_type": 2"#, "image_processor_type"),
            (r#""crop_pct": 0.9"#, "crop_pct"),
            (r#""use_square_size": true"#, "use_square_size"),
        ] {
            let error = clip_with(rest).unwrap_err();
            assert!(
                matches!(&error, PreprocessorError::Value { key: k, .. } if k == key),
                "{rest}: {error}"
            );
        }
        assert!(matches!(
            read("{", None),
            Err(PreprocessorError::Json { .. })
        ));
        assert!(matches!(
            read("[]", None),
            Err(PreprocessorError::Json { .. })
        ));
        assert!(matches!(
            read(r#"{"image_processor_type": "FuyuImageProcessor"}"#, None),
            Err(PreprocessorError::UnknownProcessor { found, .. }) if found == "FuyuImageProcessor"
        ));
        assert!(matches!(
            read(
                r#"{"image_processor_type": "Siglip2ImageProcessorFast"}"#,
                None
            ),
            Err(PreprocessorError::NaFlex { .. })
        ));
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let odd = PreprocessorConfig {
            interpolation: Filter::Lanczos,
            crop: Some(Size {
                height: 20,
                width: 50,
            }),
            rescale: 0.25,
            mean: [0.1, 0.2, 0.3],
            ..PreprocessorConfig::clip(40)
        };
        let squashed = PreprocessorConfig {
            resize: ResizeMode::Squash,
            ..odd.clone()
        };
        for config in [
            PreprocessorConfig::clip(224),
            PreprocessorConfig::siglip(224),
            PreprocessorConfig::vit(224),
            PreprocessorConfig::blip(32),
            PreprocessorConfig::open_clip(32),
            PreprocessorConfig {
                rescale: 1.0,
                ..PreprocessorConfig::vit(8)
            },
            odd,
            squashed,
        ] {
            let text = write(&config).unwrap().to_string();
            assert_eq!(
                read(&text, None).unwrap(),
                by_transformers(&config),
                "{text}"
            );
        }
        let longest = PreprocessorConfig {
            resize: ResizeMode::Longest,
            ..PreprocessorConfig::open_clip(32)
        };
        assert_eq!(write(&longest), None);
    }
}
