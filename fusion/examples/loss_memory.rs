//! Time and peak memory of the loss beyond its features:
//! `cargo run --release -p fusion --example loss_memory -- 32768 512`.
#![allow(clippy::disallowed_methods, reason = "reads the process's own memory")]

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use fusion::{
    loss::{ContrastiveLoss, LogitMap, Tiling},
    normalise,
};

const LOGITS: LogitMap = LogitMap {
    scale: 14.3,
    bias: Some(-1.0),
};

fn peak_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|argument| argument.parse::<usize>());
    let mut next = |default| arguments.next().and_then(Result::ok).unwrap_or(default);
    let (n, d) = (next(32768), next(512));
    let device = Device::default();
    let features = || {
        normalise(Tensor::<2>::random(
            [n, d],
            Distribution::Normal(0.0, 1.0),
            &device,
        ))
        .0
    };
    let (image, text) = (features(), features());
    for loss in [ContrastiveLoss::Softmax, ContrastiveLoss::Sigmoid] {
        let (before, start) = (peak_mb(), Instant::now());
        let out = loss.evaluate(image.clone(), text.clone(), LOGITS, Tiling::default());
        let (seconds, after) = (start.elapsed().as_secs_f64(), peak_mb());
        println!(
            "{loss:?}: N = {n}, d = {d}, loss {:.4}, {seconds:.1} s",
            out.loss
        );
        println!("  peak before {before:?} MB, after {after:?} MB");
    }
}
