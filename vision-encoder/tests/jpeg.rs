//! JPEG files of every kind, bit by bit as Pillow decodes them; the pixels stand beside each as PNG.
//!
//! `fixtures/jpeg` was made with Pillow 13 and libjpeg-turbo 3.1: subsamplings (444, 422, 420, 440, 411, 441),
//! progressive (`_p`), arithmetic coding (`_a`), CMYK and YCCK, restart markers, no loss, and what libjpeg warns of.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "reads fixtures"
)]

use std::path::{Path, PathBuf};

use vision_encoder::image::{DecodeOptions, ImageError, Picture, PixelKind, decode};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/jpeg")
        .join(folder);
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "jpg"));
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}

fn opened(path: &Path) -> Result<Picture, ImageError> {
    decode(&std::fs::read(path).unwrap(), &DecodeOptions::reference())
}

#[test]
fn every_kind_is_decoded_as_pillow_does() {
    let files = files("ok");
    for path in &files {
        let name = path.display();
        let picture = opened(path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let is_ink = ["cmyk", "ycck"]
            .iter()
            .any(|ink| name.to_string().contains(ink));
        assert_eq!(picture.kind() == PixelKind::Cmyk, is_ink, "{name}");
        let expected = opened(&path.with_extension("png")).unwrap();
        assert!(picture.into_rgb() == expected.into_rgb(), "{name} differs");
    }
    assert!(files.len() > 20);
}

#[test]
fn damage_is_an_error() {
    for path in files("broken") {
        let error = opened(&path).unwrap_err();
        assert!(
            matches!(error, ImageError::Broken { format: "JPEG", .. }),
            "{}: {error}",
            path.display()
        );
    }
}

#[test]
fn a_file_that_ends_early_is_an_error_wherever_it_ends() {
    for path in files("ok") {
        let whole = std::fs::read(&path).unwrap();
        let end = whole
            .windows(2)
            .rposition(|two| two == b"\xff\xd9")
            .unwrap();
        for length in (1..=end + 1).step_by(13).chain([end, end + 1]) {
            let cut = decode(&whole[..length], &DecodeOptions::default());
            assert!(cut.is_err(), "{}, {length} bytes", path.display());
        }
    }
}
