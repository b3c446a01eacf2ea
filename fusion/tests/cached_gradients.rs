//! Micro-batches and parts of a contrastive step, with dropout and patch dropout on: the gradients are those of one graph
//! over the same draws.

use std::ops::Range;

use burn::{
    module::{Module, ModuleVisitor, Param, ParamId},
    tensor::{Device, Distribution, Int, Tensor, TensorData, activation::log_softmax},
};
use checkpointing::{Execution, Policy, Seed};
use fusion::{Batch, DualConfig, DualEncoder, StepConfig, contrastive_step, loss::ContrastiveLoss};
use text_encoder::{TextConfig, TextEncoder, TextTransformer};
use transformer::Tokens;
use vision_encoder::{VisionConfig, VisionEncoder, VisionTransformer};

fn batch(pairs: usize, device: &Device) -> Batch {
    let ids: Vec<i64> = (0..pairs * 6)
        .map(|i| if i % 6 == 5 { 29 } else { (i * 5 % 28) as i64 })
        .collect();
    Batch {
        pixels: Tensor::random([pairs, 3, 8, 8], Distribution::Normal(0.0, 1.0), device),
        ids: Tensor::from_data(TensorData::new(ids, [pairs, 6]), device),
        mask: None,
    }
}

/// The gradients of a graph, by parameter.
struct Collect<'a>(&'a mut burn::tensor::Gradients, Vec<(ParamId, Tensor<1>)>);

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.val().grad_remove(self.0).expect("a gradient");
        self.1.push((param.id, gradient.flatten(0, D - 1)));
    }
}

/// Loss and gradients by one graph over some rows of batches, seeded one by one.
fn graph(
    model: &DualEncoder<VisionTransformer, TextTransformer>,
    pieces: &[(&Batch, Range<usize>)],
    seed: Seed,
) -> (f64, Vec<(ParamId, Tensor<1>)>) {
    let device = pieces[0].0.pixels.device();
    let tracked = model.clone().train();
    let unit = |features: Tensor<2>| {
        let norms = (features.clone() * features.clone()).sum_dim(1).sqrt();
        features / norms
    };
    let (mut images, mut texts) = (Vec::new(), Vec::new());
    for (i, (batch, rows)) in pieces.iter().enumerate() {
        let seed = seed.child(i as u64);
        let pixels = batch.pixels.clone().slice([rows.clone()]);
        let ids = batch.ids.clone().slice([rows.clone()]);
        let picture = model.vision.input(pixels).lift();
        let caption = model.text.input(ids, None).lift();
        let vision = tracked.vision.chain(Tokens::Pooled);
        let text = tracked.text.chain(Tokens::Pooled);
        let image = vision.run(0..vision.len(), picture, seed.child(0));
        let caption = text.run(0..text.len(), caption, seed.child(1));
        images.push(unit(image.into_hidden().squeeze_dim(1)));
        texts.push(unit(caption.into_hidden().squeeze_dim(1)));
    }
    let (images, texts) = (Tensor::cat(images, 0), Tensor::cat(texts, 0));
    let scale = tracked.logit_scale.val().exp().unsqueeze::<2>();
    let logits = images.matmul(texts.transpose()) * scale;
    let places: Vec<i64> = (0..7).collect();
    let places = TensorData::new(places, [7, 1]);
    let places = Tensor::<2, Int>::from_data(places, &device).autodiff();
    let side = |logits: Tensor<2>| log_softmax(logits, 1).gather(1, places.clone()).mean();
    let loss = (side(logits.clone()) + side(logits.transpose())) * -0.5;
    let want_loss = f64::from(loss.clone().inner().into_scalar::<f32>());

    let mut grads = loss.backward();
    let mut collect = Collect(&mut grads, Vec::new());
    tracked.visit(&mut collect);
    (want_loss, collect.1)
}

#[test]
fn micro_batches_with_dropout_give_the_gradients_of_one_graph() {
    let device = testing::device();
    let vision = VisionConfig {
        patch_dropout: 0.5,
        ..VisionConfig::clip(8, 2, 64, 2)
    };
    let mut text = TextConfig::clip(30, 6, 64, 2);
    text.sizes.dropout = 0.2;
    let model = DualConfig::clip(vision, text, 16).init(&device);
    let batches = [batch(4, &device), batch(3, &device)];
    let seed = Seed::new(21);

    // The rows of each piece, where a batch is computed as a whole and where it is in two parts.
    let [first, second] = &batches;
    let wholes = vec![(first, 0..4), (second, 0..3)];
    let halves = vec![(first, 0..2), (first, 2..4), (second, 0..1), (second, 1..3)];
    for (parts, pieces) in [(1, wholes), (2, halves)] {
        let (want_loss, wanted) = graph(&model, &pieces, seed);
        for policy in [Policy::StoreAll, Policy::EveryCut, Policy::Nested(3, 1)] {
            let config = StepConfig {
                loss: ContrastiveLoss::Softmax,
                execution: Execution { policy, parts },
            };
            let step = contrastive_step(&model, &batches, &config, seed);
            assert!((step.loss - want_loss).abs() <= 1e-5 * want_loss);
            assert_eq!(step.gradients.len(), wanted.len());
            for (id, want) in &wanted {
                let got = step.gradients.get(*id).expect("a gradient");
                // That of a key's bias is nothing but rounding.
                let size = testing::largest(want).max(1e-3);
                testing::assert_within(got, want, 2e-4 * size);
            }
        }
    }
}
