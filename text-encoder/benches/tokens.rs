//! Captions per second, on one thread: `cargo bench -p text-encoder --bench tokens`.
//!
//! The captions are made here, so no file is needed. With `SHOESTRING_FIXTURES` set to a folder that has
//! `tokenizers/clip`, CLIP's own vocabulary is measured too.

#![allow(clippy::disallowed_methods, reason = "reads fixtures")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use text_encoder::tokenizer::{Cleaning, Padding, Tokenizer};

const CAPTIONS: usize = 2048;

fn captions() -> Vec<String> {
    let nouns = [
        "dog",
        "cat",
        "child",
        "woman",
        "photographer",
        "bicycle",
        "mountain",
        "umbrella",
        "skateboarder",
    ];
    let colours = [
        "red",
        "blue",
        "dark-green",
        "yellow",
        "white",
        "black",
        "turquoise",
    ];
    let verbs = [
        "runs past",
        "looks at",
        "jumps over",
        "is standing next to",
        "carries",
        "doesn't see",
    ];
    let caption = |i: usize| {
        let (noun, other) = (nouns[i % nouns.len()], nouns[i / 3 % nouns.len()]);
        let (colour, verb) = (colours[i % colours.len()], verbs[i / 2 % verbs.len()]);
        format!(
            "A {colour} {noun} {verb} the {other} number {}, on a sunny afternoon.",
            i % 1000
        )
    };
    (0..CAPTIONS).map(caption).collect()
}

fn tokens(criterion: &mut Criterion) {
    let captions = captions();
    let mut group = criterion.benchmark_group("tokens");
    group.throughput(Throughput::Elements(CAPTIONS as u64));
    group.sample_size(20);
    let learn = || Tokenizer::train_bpe(captions.iter().map(String::as_str), 4096).expect("trains");
    group.bench_function("train_bpe 4096", |bencher| {
        bencher.iter(|| black_box(learn()))
    });
    let trained = learn();
    group.bench_function("trained, trimmed", |bencher| {
        bencher.iter(|| black_box(trained.encode_batch(&captions, 77).expect("encodes")));
    });
    let folder = std::env::var_os("SHOESTRING_FIXTURES")
        .map(|root| std::path::Path::new(&root).join("tokenizers/clip"));
    let merges =
        folder.and_then(|folder| std::fs::read(folder.join("bpe_simple_vocab_16e6.txt.gz")).ok());
    if let Some(merges) = merges {
        let clip = || {
            Tokenizer::clip_bpe(&merges)
                .expect("reads")
                .with_padding(Padding::Context)
        };
        let warm = clip();
        group.bench_function("CLIP, 77", |bencher| {
            bencher.iter(|| black_box(warm.encode_batch(&captions, 77).expect("encodes")));
        });
        group.bench_function("CLIP, 77, empty cache", |bencher| {
            let fresh = || clip();
            bencher.iter_batched(
                fresh,
                |tokenizer| black_box(tokenizer.encode_batch(&captions, 77).expect("encodes")),
                criterion::BatchSize::PerIteration,
            );
        });
        let siglip = clip().with_cleaning(Cleaning::Canonicalize);
        group.bench_function("CLIP, canonicalised, 77", |bencher| {
            bencher.iter(|| black_box(siglip.encode_batch(&captions, 77).expect("encodes")));
        });
    }
    group.finish();
}

criterion_group!(benches, tokens);
criterion_main!(benches);
