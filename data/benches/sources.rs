//! Samples of the generated set and rows of a table, on one thread. Needs no input: `cargo bench -p data`.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use data::{Shapes, ShapesConfig, Source, Split, Table, TableConfig, order};

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

fn epoch(c: &mut Criterion) {
    c.bench_function("order of a million", |b| {
        b.iter(|| order(black_box(1), 2, 1_000_000))
    });
}

criterion_group!(benches, shapes, table, epoch);
criterion_main!(benches);
