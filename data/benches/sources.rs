//! Samples of the generated set, rows of a table and samples of a shard, on one thread. Needs no input: `cargo bench -p data`.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use data::{
    Shapes, ShapesConfig, Source, Split, Table, TableConfig, WebDataset, WebDatasetConfig, order,
};

fn shapes(c: &mut Criterion) {
    let mut group = c.benchmark_group("shapes");
    group.throughput(Throughput::Elements(1));
    for size in [32, 64] {
        let config = ShapesConfig {
            size,
            ..Default::default()
        };
        let train = Shapes::new(config, Split::Train).expect("the default set");
        let mut indices = (0..train.len()).cycle();
        group.bench_function(BenchmarkId::new("sample", size), |b| {
            b.iter(|| black_box(train.sample(indices.next().unwrap_or(0))));
        });
    }
    group.finish();
}

fn table(c: &mut Criterion) {
    const ROWS: u64 = 20_000;
    let mut text = String::from("filepath\ttitle\n");
    for row in 0..ROWS {
        let _ = writeln!(
            text,
            "images/{:06}.jpg\ta photo of \"{row}\" small things",
            row / 5
        );
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("t.tsv");
    std::fs::write(&path, text).expect("a written table");
    let mut group = c.benchmark_group("table");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("open", |b| {
        b.iter(|| Table::open(&path, &TableConfig::default()))
    });
    group.finish();
}

fn shard(c: &mut Criterion) {
    const SAMPLES: u64 = 2_000;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("t.tar");
    let file = std::fs::File::create(&path).expect("a new file");
    let mut builder = tar::Builder::new(file);
    let mut add = |name: String, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        let added = builder.append_data(&mut header, name, content);
        added.expect("a written entry");
    };
    for sample in 0..SAMPLES {
        add(format!("{sample:06}.jpg"), &[7; 40_000]);
        add(format!("{sample:06}.json"), &[b' '; 700]);
        add(format!("{sample:06}.txt"), b"a photo of small things");
    }
    drop(builder);
    let config = WebDatasetConfig::default();
    let mut group = c.benchmark_group("shard");
    group.throughput(Throughput::Elements(SAMPLES));
    group.bench_function("open", |b| b.iter(|| WebDataset::open(&[&path], &config)));
    let set = WebDataset::open(&[&path], &config).expect("a readable shard");
    let mut indices = order(0, 0, set.len()).into_iter().cycle();
    group.throughput(Throughput::Elements(1));
    group.bench_function("sample", |b| {
        b.iter(|| black_box(set.sample(indices.next().unwrap_or(0))));
    });
    group.finish();
}

fn epoch(c: &mut Criterion) {
    c.bench_function("order of a million", |b| {
        b.iter(|| order(black_box(1), 2, 1_000_000))
    });
}

criterion_group!(benches, shapes, table, shard, epoch);
criterion_main!(benches);
