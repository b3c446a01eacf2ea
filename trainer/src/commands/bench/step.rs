//! Training steps, and the loss alone.

use std::{collections::BTreeMap, hint::black_box};

use burn::{
    module::{Module, ModuleDisplay},
    tensor::{Device, Distribution, Int, Tensor, TensorData},
};
use checkpointing::{Execution, Gradients, Policy, Seed, check::with_trainable};
use fusion::{
    Batch, DualConfig, StepConfig, contrastive_step,
    loss::{ContrastiveLoss, LogitMap, Tiling},
    normalise,
};
use kernels::Activation;
use optimizer::{AdamW, Groups, SlotOptimizer};
use peft::{
    Adaptable, BottleneckConfig, Kind, LoraConfig, LoraStart, ModuleNames, Names, Plan, Targets,
    attach,
};
use serde_json::{Map, Value, json};
use text_encoder::{MaskedBatch, MaskedLanguageModel, TextConfig, mlm_step};
use vision_encoder::{LabelledBatch, VisionConfig, classify_step};

use super::{BenchArgs, Case, fields, timed};
use crate::{
    device::{self, Backend, memory::peak_of},
    input::model::{drawn, parameter_count},
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

/// The model with adapters as the peer's, all else frozen.
fn adapted<M: Module + Adaptable>(model: M, case: Case, device: &Device) -> M {
    let lora = |is_dora| Kind::Lora {
        config: LoraConfig {
            rank: 8,
            alpha: 16.0,
            rank_stabilised: false,
            dropout: 0.0,
            start: LoraStart::Kaiming,
        },
        is_dora,
        ranks: BTreeMap::new(),
        alphas: BTreeMap::new(),
    };
    let maps = ["query", "key", "value", "attention.output"];
    let (kind, targets) = match case {
        Case::Ia3 => {
            let feedforward = Names::List(vec!["fc2".to_owned()]);
            (Kind::Ia3 { feedforward }, &["key", "value", "fc2"][..])
        }
        Case::Bottleneck => {
            let config = BottleneckConfig {
                width: 64,
                scale: 1.0,
                activation: Activation::Gelu,
                norm: None,
            };
            let is_parallel = false;
            let kind = Kind::Bottleneck {
                config,
                is_parallel,
            };
            (kind, &["attention.output", "fc2"][..])
        }
        Case::Dora => (lora(true), &maps[..]),
        _ => (lora(false), &maps[..]),
    };
    let plan = Plan {
        kind,
        targets: Targets {
            names: Names::List(targets.iter().map(|name| (*name).to_owned()).collect()),
            ..Targets::default()
        },
    };
    let mut model = model;
    attach(&mut model, "bench", &plan, &ModuleNames::default(), device)
        .expect("every block has these maps");
    with_trainable(model, |path| path.contains(".adapters."))
}

/// Steps of the case that `args` name.
pub(super) fn measure(args: &BenchArgs, device: &Device) -> Map<String, Value> {
    let mut model = drawn(0, device, |device| vit_s_32().init(device));
    if args.case == Case::LockedImage {
        model.vision = model.vision.no_grad();
    }
    if args.case.is_of_adapters() {
        model = adapted(model, args.case, device);
    }
    let policy = match args.case {
        Case::Checkpointed | Case::LoraCkpt => Policy::EveryCut,
        _ => Policy::StoreAll,
    };
    let micro_batches = match args.case {
        Case::Accum => MICRO_BATCHES,
        _ => 1,
    };
    let batches: Vec<_> = (0..micro_batches)
        .map(|_| random_batch(args.batch, device))
        .collect();
    let config = StepConfig {
        loss: ContrastiveLoss::Softmax,
        execution: Execution {
            policy,
            parts: device::parts_side_by_side(device, args.batch),
        },
    };
    let samples = args.batch * micro_batches;
    steps(args, samples, model, device, |model, seed| {
        contrastive_step(model, &batches, &config, seed).gradients
    })
}

/// Pictures and classes as the peer's: ViT-S/16 at 224, 1000 classes.
pub(super) fn classify(args: &BenchArgs, device: &Device) -> Map<String, Value> {
    const CLASSES: usize = 1000;
    let config = VisionConfig {
        d_output: Some(CLASSES),
        ..VisionConfig::vit(224, 16, 384, 12)
    };
    let model = drawn(0, device, |device| config.init(device));
    let normal = Distribution::Normal(0.0, 1.0);
    let batch = LabelledBatch {
        pixels: Tensor::random([args.batch, 3, 224, 224], normal, device),
        labels: (0..args.batch).map(|i| i * 7919 % CLASSES).collect(),
    };
    let batches = [batch];
    let execution = execution(args, device);
    steps(args, args.batch, model, device, |model, seed| {
        classify_step(model, &batches, 0.0, execution, seed).gradients
    })
}

/// Captions of 32 tokens with hidden words as the peer's: BERT of width 384 with 12 layers and 30522 words.
pub(super) fn mlm(args: &BenchArgs, device: &Device) -> Map<String, Value> {
    const TOKENS: usize = 32;
    let config = TextConfig {
        pooler: false,
        ..TextConfig::bert(30522, 512, 384, 12)
    };
    let model = drawn(0, device, |device| {
        MaskedLanguageModel::new(&config, device)
    });
    // The second token of each caption, and as many others as make 15 % of the rest.
    let is_hidden = |i: usize| i % TOKENS == 1 || (i * 7919) % 100 < 15;
    let word = |i: usize| 1000 + (i * 7919) % 29_000;
    let all = 0..args.batch * TOKENS;
    let ids = all
        .clone()
        .map(|i| if is_hidden(i) { 103 } else { word(i) as i64 });
    let shape = [args.batch, TOKENS];
    let ids = TensorData::new(ids.collect::<Vec<i64>>(), shape);
    let batch = MaskedBatch {
        ids: Tensor::from_data(ids, device),
        mask: Some(Tensor::<2, Int>::ones(shape, device).equal_elem(1)),
        labels: all.map(|i| is_hidden(i).then(|| word(i))).collect(),
    };
    let batches = [batch];
    let execution = execution(args, device);
    steps(args, args.batch, model, device, |model, seed| {
        mlm_step(model, &batches, execution, seed).gradients
    })
}

fn execution(args: &BenchArgs, device: &Device) -> Execution {
    Execution {
        policy: Policy::StoreAll,
        parts: device::parts_side_by_side(device, args.batch),
    }
}

/// Times steps of AdamW, whose gradients `gradients` gives.
fn steps<M: Module + ModuleDisplay>(
    args: &BenchArgs,
    samples: usize,
    model: M,
    device: &Device,
    gradients: impl Fn(&M, Seed) -> Gradients,
) -> Map<String, Value> {
    let total = parameter_count(&model);
    let slots = Groups::default().slots(&model);
    let slots = slots.expect("no group has a pattern");
    let trainable: usize = slots
        .iter()
        .map(|slot| slot.shape.iter().product::<usize>())
        .sum();
    let memory = device::state_memory(device);
    let mut optimizer = SlotOptimizer::new(Box::new(AdamW::default()), slots, memory);
    let parts = device::parts_side_by_side(device, args.batch);
    let mut model = Some(model);
    let [median, least] = timed(args.steps, || {
        let seed = Seed::new(0).child(optimizer.steps());
        // The step takes the model, so that its tensors are updated in place.
        if let Some(owned) = model.take() {
            let gradients = device::with_torch_threads(parts, || gradients(&owned, seed));
            let turn = optimizer.begin(1e-4, 1.0);
            model = Some(optimizer.update_module(&turn, owned, gradients));
        }
        // An error of the device shows itself at the next read.
        let _ = device.sync();
    });
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
