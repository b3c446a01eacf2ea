//! The loss's memory is linear in the batch. A process of its own, since a peak does not fall.
#![allow(clippy::disallowed_methods, reason = "reads the process's own memory")]

use burn::tensor::{Device, Distribution, Tensor};
use fusion::{
    loss::{ContrastiveLoss, LogitMap, Tiling},
    normalise,
};

const N: usize = 8192;
const D: usize = 64;
const LOGITS: LogitMap = LogitMap {
    scale: 14.3,
    bias: Some(-1.0),
};

/// The high-water mark of resident memory in bytes, where the system tells.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[test]
fn no_matrix_of_all_pairs_is_ever_held() {
    let device = Device::default();
    let features = || {
        normalise(Tensor::<2>::random(
            [N, D],
            Distribution::Normal(0.0, 1.0),
            &device,
        ))
        .0
    };
    let (image, text) = (features(), features());
    let Some(before) = peak() else {
        println!("skipped: this system does not tell a process's peak memory");
        return;
    };
    for loss in [ContrastiveLoss::Softmax, ContrastiveLoss::Sigmoid] {
        let out = loss.evaluate(image.clone(), text.clone(), LOGITS, Tiling::default());
        assert!(out.loss.is_finite());
    }
    let used = peak().expect("told before") - before;
    let matrix = (N * N * 4) as u64;
    println!(
        "beyond the features: {} MB; the matrix: {} MB",
        used >> 20,
        matrix >> 20
    );
    assert!(
        used < matrix / 2,
        "{used} bytes beyond the features; the matrix has {matrix}"
    );
}
