//! Decoding and preprocessing, a picture at a time on one thread: `cargo bench -p vision-encoder --bench images`.
//!
//! The pictures are those of the `images/preprocess` fixture in the repository; nothing needs to be fetched.
#![allow(
    clippy::disallowed_methods,
    missing_docs,
    reason = "reads fixtures; criterion's macros are undocumented"
)]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use vision_encoder::image::{DecodeOptions, Draw, Preprocessor, RandomResizedCrop, decode};

fn images(c: &mut Criterion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/images/preprocess/files");
    let file = |name: &str| std::fs::read(folder.join(name)).expect("the fixture has this file");
    let options = DecodeOptions::default();
    let clip = Preprocessor::clip(224);
    let crop = RandomResizedCrop::new(224);
    for name in ["photo.png", "exif.jpg", "cmyk.jpg", "rgba.png"] {
        let bytes = file(name);
        let picture = decode(&bytes, &options).expect("the fixture decodes");
        let planes = clip.apply(&picture);
        c.bench_function(&format!("decode/{name}"), |b| {
            b.iter(|| decode(black_box(&bytes), &options))
        });
        c.bench_function(&format!("resize/{name}"), |b| {
            b.iter(|| clip.apply(black_box(&picture)))
        });
        c.bench_function(&format!("normalise/{name}"), |b| {
            b.iter(|| clip.normalise().apply(black_box(&planes)))
        });
        let draw = Draw {
            seed: 0,
            epoch: 0,
            sample: 0,
        };
        c.bench_function(&format!("random_crop/{name}"), |b| {
            b.iter(|| crop.apply(black_box(&picture), draw))
        });
        c.bench_function(&format!("whole/{name}"), |b| {
            b.iter(|| {
                decode(black_box(&bytes), &options).map(|picture| clip.pixel_values(&picture))
            })
        });
    }
}

criterion_group!(benches, images);
criterion_main!(benches);
