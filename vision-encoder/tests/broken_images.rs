//! Every file of `../shared/data/bad/images`, by the list that comes with it; passed over where that folder is absent.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "reads the shared data"
)]

use std::path::{Path, PathBuf};

use vision_encoder::image::{
    DecodeOptions, ImageError, Picture, Preprocessor, RandomResizedCrop, decode,
};

fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/bad");
    if !folder.is_dir() {
        println!("no {}: nothing checked", folder.display());
        return None;
    }
    Some(folder)
}

fn load(path: &Path) -> Result<Picture, ImageError> {
    decode(&std::fs::read(path).unwrap(), &DecodeOptions::default())
}

/// Worst and mean difference, in grey levels.
fn difference(a: &Picture, b: &Picture) -> (u8, f64) {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    let differences: Vec<u8> = a
        .bytes()
        .iter()
        .zip(b.bytes())
        .map(|(a, b)| a.abs_diff(*b))
        .collect();
    let sum: f64 = differences.iter().copied().map(f64::from).sum();
    (
        differences.iter().copied().max().unwrap(),
        sum / differences.len() as f64,
    )
}

#[test]
fn every_listed_image_loads_or_is_refused_as_expected() {
    let Some(folder) = folder() else { return };
    let cases = std::fs::read_to_string(folder.join("cases.csv")).unwrap();
    let cases = cases
        .lines()
        .skip(1)
        .map(|line| line.split('\t').collect::<Vec<_>>());
    let mut seen = 0;
    for case in cases.filter(|case| case[0].starts_with("images/")) {
        seen += 1;
        let result = load(&folder.join(case[0]));
        let expected = case[1] == "ok";
        assert_eq!(
            result.is_ok(),
            expected,
            "{}: {}: {:?}",
            case[0],
            case[2],
            result.err()
        );
        match result {
            Ok(picture) => {
                assert_eq!(
                    Preprocessor::clip(224).apply(&picture).len(),
                    3 * 224 * 224,
                    "{}",
                    case[0]
                );
                let draw = vision_encoder::image::Draw {
                    seed: 0,
                    epoch: 0,
                    sample: 0,
                };
                assert_eq!(
                    RandomResizedCrop::new(32).apply(&picture, draw).len(),
                    3 * 32 * 32,
                    "{}",
                    case[0]
                );
            }
            Err(error) => println!("{}: {error}", case[0]),
        }
    }
    assert!(seen > 0, "cases.csv lists no images");
}

#[test]
fn refusals_say_what_is_wrong() {
    let Some(folder) = folder() else { return };
    let error = |name: &str| load(&folder.join("images").join(name)).unwrap_err();
    assert_eq!(error("zero-bytes.png"), ImageError::Empty);
    assert!(matches!(
        error("not-an-image.jpg"),
        ImageError::NotAnImage { .. }
    ));
    assert!(matches!(
        error("bomb.png"),
        ImageError::TooManyPixels {
            width: 60000,
            height: 60000,
            ..
        }
    ));
    assert!(matches!(
        error("large-1bit.png"),
        ImageError::TooManyPixels { .. }
    ));
    assert!(matches!(
        error("truncated.jpg"),
        ImageError::Broken { format: "JPEG", .. }
    ));
    assert!(matches!(
        error("truncated.png"),
        ImageError::Broken { format: "PNG", .. }
    ));
    let crc = error("bad-crc.png").to_string();
    assert!(crc.contains("checksum"), "{crc}");
}

#[test]
fn unusual_pictures_look_as_they_should() {
    let Some(folder) = folder() else { return };
    let image = |name: &str| load(&folder.join("images").join(name)).unwrap().into_rgb();
    let reference = |name: &str| {
        load(&folder.join("reference").join(name))
            .unwrap()
            .into_rgb()
    };
    assert_eq!(image("gray16.png"), reference("gray16.png"));
    assert_eq!(image("rgb16.png"), image("good.png"));
    assert_eq!(image("png-named.jpg"), image("good.png"));
    assert_eq!(image("alpha.png"), reference("alpha-on-white.png"));
    let (_, mean) = difference(&image("exif-rotated.jpg"), &reference("exif-upright.png"));
    assert!(mean < 6.0, "EXIF: mean difference {mean}");
    let (_, mean) = difference(&image("cmyk.jpg"), &image("good.png"));
    assert!(mean < 12.0, "CMYK: mean difference {mean}");
    let (_, mean) = difference(&image("progressive.jpg"), &image("good.jpg"));
    assert!(mean < 6.0, "progressive: mean difference {mean}");
}
