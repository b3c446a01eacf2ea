//! Decoding and preprocessing against Pillow, transformers and open_clip, on every folder of the `images` family.
//!
//! The root is `SHOESTRING_FIXTURES`, or `fixtures/` in the repository. The references were made with Pillow 13,
//! transformers 5.23 and open_clip 3.3; each folder's `meta.json` names its versions and tolerances.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "reads fixtures"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;
use vision_encoder::image::{
    DecodeOptions, Orientation, Picture, Preprocessor, PreprocessorConfig, decode,
};

#[test]
fn parity_images() {
    let family = root().join("images");
    let folders: Vec<PathBuf> = entries(&family)
        .into_iter()
        .filter(|path| path.is_dir())
        .collect();
    assert!(!folders.is_empty(), "no fixture under {}", family.display());
    for folder in folders {
        Fixture::open(folder).check();
    }
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    std::env::var_os("SHOESTRING_FIXTURES").map_or(here, PathBuf::from)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// A tensor as doubles, with its shape.
struct Want {
    shape: Vec<usize>,
    values: Vec<f64>,
}

struct Fixture {
    folder: PathBuf,
    meta: Value,
    config: Value,
    outputs: BTreeMap<String, Want>,
    steps: BTreeMap<String, Want>,
    pictures: BTreeMap<String, Vec<u8>>,
    processors: BTreeMap<String, Preprocessor>,
}

impl Fixture {
    fn open(folder: PathBuf) -> Self {
        let json = |name: &str| serde_json::from_slice(&read(&folder.join(name))).unwrap();
        let config: Value = json("config.json");
        let size = config["size"].as_u64().expect("config.json has `size`") as u32;
        let stem = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
        let pictures = entries(&folder.join("files"))
            .iter()
            .map(|path| (stem(path), read(path)))
            .collect();
        let mut processors =
            BTreeMap::from([("open_clip".to_owned(), Preprocessor::open_clip(size))]);
        for path in entries(&folder.join("processors")) {
            let text = String::from_utf8(read(&path.join("preprocessor_config.json"))).unwrap();
            let built = PreprocessorConfig::from_hf_json(&text, None)
                .and_then(Preprocessor::new)
                .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            processors.insert(
                path.file_name().unwrap().to_str().unwrap().to_owned(),
                built,
            );
        }
        let outputs = tensors(&read(&folder.join("outputs.safetensors")));
        let steps = tensors(&read(&folder.join("steps.safetensors")));
        Self {
            meta: json("meta.json"),
            config,
            outputs,
            steps,
            pictures,
            processors,
            folder,
        }
    }

    fn check(&self) {
        self.check_constructors();
        let mut used = BTreeSet::new();
        for (file, tensors) in [
            ("outputs.safetensors", &self.outputs),
            ("steps.safetensors", &self.steps),
        ] {
            let listed = self.meta["files"][file]
                .as_object()
                .expect("meta.json lists the file");
            assert!(
                listed.keys().eq(tensors.keys()),
                "{}: {file} differs from meta.json",
                self.folder.display()
            );
            for (name, want) in tensors {
                let (processor, picture) = name.split_once('.').expect("processor.picture");
                used.insert(picture.trim_end_matches("_transposed"));
                let atol = listed[name]["tolerance"]["atol"].as_f64();
                match (file, processor) {
                    ("outputs.safetensors", _) => {
                        self.check_output(processor, picture, want, atol.unwrap())
                    }
                    (_, "decoded") => self.check_decoded(picture, want),
                    (_, "clip_resized") => {
                        let config = PreprocessorConfig {
                            crop: None,
                            ..self.processor("clip").config().clone()
                        };
                        let clip = Preprocessor::new(config).unwrap();
                        self.check_planes(name, picture, want, &clip);
                    }
                    (_, processor) => {
                        self.check_planes(name, picture, want, self.processor(processor))
                    }
                }
            }
        }
        let unused: Vec<_> = self
            .pictures
            .keys()
            .filter(|name| !used.contains(name.as_str()))
            .collect();
        assert!(
            unused.is_empty(),
            "{}: no check reads {unused:?}",
            self.folder.display()
        );
    }

    /// The constructors say the same as the files the library writes.
    fn check_constructors(&self) {
        let size = |key: &str| self.config[key].as_u64().map(|size| size as u32);
        for (name, built) in &self.processors {
            let side = size(if name == "clip_large" {
                "large_size"
            } else {
                "size"
            })
            .unwrap();
            let expected = match name.as_str() {
                "clip" | "clip_large" => Preprocessor::clip(side),
                "siglip" => Preprocessor::siglip(side),
                "vit" => Preprocessor::vit(side),
                "blip" => Preprocessor::blip(side),
                "open_clip" => Preprocessor::open_clip(side),
                _ => continue,
            };
            assert_eq!(*built, expected, "{name}");
        }
    }

    fn processor(&self, name: &str) -> &Preprocessor {
        self.processors
            .get(name)
            .unwrap_or_else(|| panic!("{}: no processor {name}", self.folder.display()))
    }

    /// The picture as this crate decodes it; `_transposed` at the end asks for it upright.
    fn decoded(&self, picture: &str) -> Picture {
        let (stem, orientation) = match picture.strip_suffix("_transposed") {
            Some(stem) => (stem, Orientation::Upright),
            None => (picture, Orientation::AsStored),
        };
        let bytes = self
            .pictures
            .get(stem)
            .unwrap_or_else(|| panic!("no file for {picture}"));
        let options = DecodeOptions {
            orientation,
            ..DecodeOptions::reference()
        };
        decode(bytes, &options).unwrap_or_else(|e| panic!("{picture}: {e}"))
    }

    fn check_output(&self, processor: &str, picture: &str, want: &Want, atol: f64) {
        let name = format!("{processor}.{picture}");
        let built = self.processor(processor);
        let whole = self.decoded(picture);
        let got = built.pixel_values(&whole).into_iter().map(f64::from);
        compare(&name, &got.collect::<Vec<_>>(), want, atol);
        let (height, width) = built.output_size(whole.width(), whole.height());
        assert_eq!(want.shape, [3, height as usize, width as usize], "{name}");
    }

    fn check_decoded(&self, picture: &str, want: &Want) {
        let got = self.decoded(picture).into_rgb();
        assert_eq!(
            want.shape,
            [got.height() as usize, got.width() as usize, 3],
            "decoded.{picture}"
        );
        let got: Vec<f64> = got.bytes().iter().copied().map(f64::from).collect();
        compare(&format!("decoded.{picture}"), &got, want, 0.0);
    }

    fn check_planes(&self, name: &str, picture: &str, want: &Want, processor: &Preprocessor) {
        let pixels = self.decoded(picture);
        let (height, width) = processor.output_size(pixels.width(), pixels.height());
        assert_eq!(want.shape, [3, height as usize, width as usize], "{name}");
        let got: Vec<f64> = processor
            .apply(&pixels)
            .into_iter()
            .map(f64::from)
            .collect();
        compare(name, &got, want, 1.0);
    }
}

/// Within the tolerance everywhere, and within a quarter of it on average.
fn compare(name: &str, got: &[f64], want: &Want, atol: f64) {
    assert_eq!(got.len(), want.values.len(), "{name}: number of values");
    let differences = got.iter().zip(&want.values).map(|(g, w)| (g - w).abs());
    let (worst, sum) = differences.fold((0.0_f64, 0.0), |(worst, sum), d| (worst.max(d), sum + d));
    let mean = sum / got.len() as f64;
    println!("{name}: worst {worst:.5}, mean {mean:.5}, tolerance {atol}");
    assert!(
        worst <= atol && mean <= atol / 4.0,
        "{name}: off by {worst}, {mean} on average, tolerance {atol}"
    );
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn tensors(bytes: &[u8]) -> BTreeMap<String, Want> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let want = |name: &str| {
        let tensor = file.tensor(name).unwrap();
        let values = match tensor.dtype() {
            safetensors::Dtype::U8 => tensor.data().iter().copied().map(f64::from).collect(),
            safetensors::Dtype::F32 => {
                let words = tensor.data().chunks_exact(4);
                words
                    .map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
                    .collect()
            }
            other => panic!("{name}: unexpected {other:?}"),
        };
        Want {
            shape: tensor.shape().to_vec(),
            values,
        }
    };
    file.names()
        .into_iter()
        .map(|name| (name.to_owned(), want(name)))
        .collect()
}
