//! The cross-entropy over a vocabulary, head and loss together, beside the whole matrix of logits.

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData, activation::log_softmax};
use kernels::product;
use serde_json::{Map, Value, json};
use transformer::{VocabularyHead, VocabularyWants, vocabulary_cross_entropy};

use super::{BenchArgs, fields, timed};
use crate::device::memory::peak_of;

pub(super) const VOCABULARY: usize = 50_000;
const WIDTH: usize = 768;

/// Times the loss of `--batch` tokens with all gradients, and by the whole matrix; beside them the memory that the first
/// takes beyond weights, input and gradients.
pub(super) fn measure(args: &BenchArgs, device: &Device) -> Map<String, Value> {
    let normal = |std| Distribution::Normal(0.0, std);
    let hidden = Tensor::<2>::random([args.batch, WIDTH], normal(1.0), device);
    let head = VocabularyHead {
        weight: Tensor::random([VOCABULARY, WIDTH], normal(0.02), device),
        bias: None,
    };
    let labels: Vec<usize> = (0..args.batch).map(|i| i * 7919 % VOCABULARY).collect();
    let some: Vec<Option<usize>> = labels.iter().copied().map(Some).collect();
    let wants = VocabularyWants {
        hidden: true,
        weight: true,
        bias: false,
    };
    let before = peak_of(device);
    let [seconds, _] = timed(args.steps, || {
        drop(vocabulary_cross_entropy(
            hidden.clone(),
            &head,
            &some,
            args.batch,
            wants,
        ));
        let _ = device.sync();
    });
    let gradients = 4 * WIDTH * (VOCABULARY + args.batch);
    let beyond = (peak_of(device) - before).saturating_sub(gradients as u64);
    let [naive, _] = timed(args.steps, || {
        drop(whole_matrix(&hidden, &head, &labels));
        let _ = device.sync();
    });
    fields([
        ("tokens", json!(args.batch)),
        ("vocabulary", json!(VOCABULARY)),
        ("step_seconds", json!(seconds)),
        ("naive_seconds", json!(naive)),
        ("ratio", json!(seconds / naive)),
        ("mb_beyond_gradients", json!(beyond / (1 << 20))),
    ])
}

/// The same by a matrix `[tokens, vocabulary]`, in closed form.
fn whole_matrix(
    hidden: &Tensor<2>,
    head: &VocabularyHead,
    labels: &[usize],
) -> (f64, [Tensor<2>; 2]) {
    let tokens = labels.len();
    let labels: Vec<i64> = labels.iter().map(|label| *label as i64).collect();
    let labels = TensorData::new(labels, [tokens, 1]);
    let labels = Tensor::<2, Int>::from_data(labels, &hidden.device());
    let logits = product(hidden.clone(), head.weight.clone().transpose());
    let log = log_softmax(logits, 1);
    let loss = log.clone().gather(1, labels.clone()).mean();
    let share = 1.0 / tokens as f64;
    let ones = Tensor::full([tokens, 1], -share, &hidden.device());
    let add = burn::tensor::IndexingUpdateOp::Add;
    let cotangent = (log.exp() * share).scatter(1, labels, ones, add);
    let weight = product(cotangent.clone().transpose(), hidden.clone());
    let hidden = product(cotangent, head.weight.clone());
    (-f64::from(loss.into_scalar::<f32>()), [hidden, weight])
}
