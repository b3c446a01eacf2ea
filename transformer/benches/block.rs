//! One block of ViT-S at batch 32, by its closed-form pullback and by autodiff:
//! `cargo bench -p transformer --bench block`. Inputs are random.

use burn::tensor::{Device, Distribution, Tensor};
use checkpointing::{Autodiff, Call, Forward, Gradients, Seed, Segment, State, Streams, Wants};
use criterion::{Criterion, criterion_group, criterion_main};
use transformer::{AttentionConfig, BlockConfig};

fn block(criterion: &mut Criterion) {
    let device = Device::default();
    let block = BlockConfig::new(AttentionConfig::new(384, 6), 1536).init(&device);
    let x = Tensor::<3>::random([32, 50, 384], Distribution::Normal(0.0, 1.0), &device);
    let input = State::hidden(x.clone());
    let graph = Autodiff(block.clone());
    let wants = Wants::hidden();
    let call = Call::new(Seed::evaluation(), &wants);
    let mut group = criterion.benchmark_group("block");
    group.sample_size(10);
    group.bench_function("forward", |bencher| {
        bencher.iter(|| block.forward(input.clone(), Seed::evaluation()));
    });
    group.bench_function("closed form", |bencher| {
        bencher.iter(|| {
            let (_, saved) = block.record(input.clone(), &call);
            block.pull(
                saved,
                Streams::hidden(x.clone()),
                &call,
                &mut Gradients::default(),
            )
        });
    });
    group.bench_function("autodiff", |bencher| {
        bencher.iter(|| {
            let (_, saved) = graph.record(input.clone(), &call);
            graph.pull(
                saved,
                Streams::hidden(x.clone()),
                &call,
                &mut Gradients::default(),
            )
        });
    });
    group.finish();
}

criterion_group!(benches, block);
criterion_main!(benches);
