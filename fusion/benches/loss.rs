//! The contrastive losses: `cargo bench -p fusion --bench loss`. Inputs are random.

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fusion::{
    loss::{ContrastiveLoss, LogitMap, Tiling},
    normalise,
};

const LOGITS: LogitMap = LogitMap {
    scale: 14.3,
    bias: Some(-1.0),
};

fn losses(criterion: &mut Criterion) {
    let device = Device::default();
    let mut group = criterion.benchmark_group("loss");
    group.sample_size(10);
    for n in [256, 1024] {
        let features = || {
            normalise(Tensor::<2>::random(
                [n, 512],
                Distribution::Normal(0.0, 1.0),
                &device,
            ))
            .0
        };
        let (image, text) = (features(), features());
        for loss in [ContrastiveLoss::Softmax, ContrastiveLoss::Sigmoid] {
            group.bench_function(BenchmarkId::new(format!("{loss:?}"), n), |bencher| {
                bencher.iter(|| {
                    loss.evaluate(image.clone(), text.clone(), LOGITS, Tiling::default())
                        .loss
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, losses);
criterion_main!(benches);
