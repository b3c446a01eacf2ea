//! Training steps, and the loss alone.

use std::hint::black_box;

use burn::{
    module::Module,
    tensor::{Device, Distribution, Int, Tensor, TensorData},
};
use checkpointing::{Policy, Seed};
use fusion::{
    Batch, DualConfig, StepConfig, contrastive_step,
    loss::{ContrastiveLoss, LogitMap, Tiling},
    normalise,
};
use optimizer::{AdamW, Groups, SlotOptimizer};
use serde_json::{Map, Value, json};
use text_encoder::TextConfig;
use vision_encoder::VisionConfig;

use super::{BenchArgs, Case, fields, timed};
use crate::{
    device::{self, Backend},
    memory::peak_of,
    model::{self, Model},
};

/// Micro-batches of the case `accum`, as the peer's.
pub(super) const MICRO_BATCHES: usize = 8;

/// open_clip's ViT-S-32: 224 pixels, patch 32, width 384, 12 layers, 6 heads, twice.
fn vit_s_32() -> DualConfig {
    let vision = VisionConfig::clip(224, 32, 384, 12);
    DualConfig::clip(vision, TextConfig::clip(49408, 77, 384, 12), 384)
}

/// Random pictures, and captions of 21 tokens as the peer's, cut to the longest of the batch.
fn random_batch(pairs: usize, device: &Device) -> Batch {
    let tokens = 21usize.next_multiple_of(Backend::built().token_multiple());
    let ids = (0..pairs * tokens).map(|i| match i % tokens {
        0 => 49406,
        place if place < 20 => 1 + (i as i64 * 7919) % 49404,
        20 => 49407,
        _ => 0,
    });
    let ids = TensorData::new(ids.collect::<Vec<i64>>(), [pairs, tokens]);
    let normal = Distribution::Normal(0.0, 1.0);
    Batch {
        pixels: Tensor::random([pairs, 3, 224, 224], normal, device),
        ids: Tensor::<2, Int>::from_data(ids, device),
        mask: None,
    }
}

/// Steps of the case that `args` name.
pub(super) fn measure(args: &BenchArgs, device: &Device) -> Map<String, Value> {
    let mut model = model::initialised(&vit_s_32(), 0, device);
    let total = model::parameter_count(&model);
    let mut trainable = total;
    if args.case == Case::LockedImage {
        trainable -= model::parameter_count(&model.vision);
        model.vision = model.vision.no_grad();
    }
    let policy = match args.case {
        Case::Checkpointed => Policy::EveryCut,
        _ => Policy::StoreAll,
    };
    let micro_batches = match args.case {
        Case::Accum => MICRO_BATCHES,
        _ => 1,
    };
    let batches: Vec<_> = (0..micro_batches)
        .map(|_| random_batch(args.batch, device))
        .collect();
    let slots = Groups::default().slots(&model);
    let slots = slots.expect("no group has a pattern");
    let memory = device::state_memory(device);
    let mut optimizer = SlotOptimizer::new(Box::new(AdamW::default()), slots, memory);
    let config = StepConfig {
        loss: ContrastiveLoss::Softmax,
        policy,
        parts: device::parts(device, args.batch),
    };
    let mut model: Option<Model> = Some(model);
    let [median, least] = timed(args.steps, || {
        let seed = Seed::new(0).child(optimizer.steps());
        // The step takes the model, so that its tensors are updated in place.
        if let Some(owned) = model.take() {
            let out = device::apart(config.parts, || {
                contrastive_step(&owned, &batches, &config, seed)
            });
            let turn = optimizer.begin(1e-4, 1.0);
            model = Some(optimizer.update_module(&turn, owned, out.gradients));
            black_box(out.loss);
        }
        // An error of the device shows itself at the next read.
        let _ = device.sync();
    });
    let samples = args.batch * micro_batches;
    fields([
        ("batch", json!(samples)),
        ("step_s", json!(median)),
        ("step_min_s", json!(least)),
        ("samples_per_s", json!(samples as f64 / median)),
        ("trainable", json!(trainable)),
        ("total", json!(total)),
    ])
}

/// The contrastive loss and its gradients alone.
pub(super) fn loss(args: &BenchArgs, device: &Device) -> Map<String, Value> {
    let features = || {
        let x = Tensor::<2>::random([args.batch, 512], Distribution::Normal(0.0, 1.0), device);
        normalise(x).0
    };
    let (image, text) = (features(), features());
    let logits = LogitMap {
        scale: 14.3,
        bias: None,
    };
    let before = peak_of(device);
    let [median, least] = timed(args.steps, || {
        let out = ContrastiveLoss::Softmax.evaluate(
            image.clone(),
            text.clone(),
            logits,
            Tiling::default(),
        );
        black_box(out.loss);
        let _ = device.sync();
    });
    fields([
        ("batch", json!(args.batch)),
        ("step_s", json!(median)),
        ("step_min_s", json!(least)),
        ("rss_before_mb", json!(before / (1 << 20))),
    ])
}
