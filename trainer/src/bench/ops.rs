//! The operations of a training step of CLIP ViT-S/32 one by one, at the shapes of its vision tower.

use std::hint::black_box;

use burn::tensor::{Device, Distribution, Tensor};
use checkpointing::{Seed, Segment, State};
use peft::LinearConfig;
use serde_json::json;
use transformer::{Activation, AttentionConfig, BlockConfig, LayerNorm};

use super::{BenchArgs, fields, print, timed};
use crate::optim::{AdamW, AdamWConfig};

const TOKENS: usize = 50;
const WIDTH: usize = 384;
const HEADS: usize = 6;
const HIDDEN: usize = 1536;
const VOCABULARY: usize = 49408;

/// Prints a line for each operation.
pub(super) fn measure(args: &BenchArgs, device: &Device) -> anyhow::Result<()> {
    let rows = args.batch * TOKENS;
    let normal = Distribution::Normal(0.0, 1.0);
    let random = |shape: [usize; 2]| Tensor::<2>::random(shape, normal, device);
    let (x, wide) = (random([rows, WIDTH]), random([rows, HIDDEN]));
    let report = |name: &str, shape: &[usize], op: &mut dyn FnMut()| {
        let [median, least] = timed(args.steps, || {
            op();
            let _ = device.sync();
        });
        let fields = fields([
            ("batch", json!(args.batch)),
            ("shape", json!(shape)),
            ("step_s", json!(median)),
            ("step_min_s", json!(least)),
        ]);
        print(&format!("ops/{name}"), fields, device);
    };

    let fc1 = LinearConfig::new(WIDTH, HIDDEN).init(device);
    let shape = [rows, WIDTH, HIDDEN];
    report("linear", &shape, &mut || drop(fc1.forward(x.clone())));
    report("linear-pull-input", &shape, &mut || {
        drop(fc1.pull_input(wide.clone()));
    });
    report("linear-pull-weight", &shape, &mut || {
        fc1.pull_parameters(x.clone(), wide.clone(), &mut |_, gradient| {
            drop(black_box(gradient));
        });
    });

    let attention = AttentionConfig::new(WIDTH, HEADS).init(device);
    let heads = || attention.heads(random([rows, WIDTH]).reshape([args.batch, TOKENS, WIDTH]));
    let [q, k, v, mixed] = [heads(), heads(), heads(), heads()];
    let shape = [args.batch, HEADS, TOKENS, WIDTH / HEADS];
    let weights = attention.weights(q.clone(), k.clone(), None, false);
    report("attention-weights", &shape, &mut || {
        drop(attention.weights(q.clone(), k.clone(), None, false));
    });
    report("attention-mix", &shape, &mut || {
        drop(attention.merge(weights.clone().matmul(v.clone())));
    });
    report("attention-pull", &shape, &mut || {
        let qkv = [q.clone(), k.clone(), v.clone()];
        drop(attention.pull_core(qkv, weights.clone(), mixed.clone()));
    });

    let norm = LayerNorm::new(WIDTH, 1e-5, device);
    report("layer-norm", &[rows, WIDTH], &mut || {
        drop(norm.forward(x.clone()));
    });
    report("layer-norm-pull", &[rows, WIDTH], &mut || {
        let pulled = norm.pull(x.clone(), x.clone(), x.clone(), &mut |_, gradient| {
            drop(black_box(gradient));
        });
        drop(pulled);
    });
    report("gelu", &[rows, HIDDEN], &mut || {
        drop(Activation::Gelu.forward(wide.clone()));
    });
    report("gelu-pull", &[rows, HIDDEN], &mut || {
        drop(Activation::Gelu.pull(wide.clone(), wide.clone()));
    });

    let block = BlockConfig::new(AttentionConfig::new(WIDTH, HEADS), HIDDEN).init(device);
    let input = State::hidden(x.clone().reshape([args.batch, TOKENS, WIDTH]));
    let shape = [args.batch, TOKENS, WIDTH];
    report("block", &shape, &mut || {
        drop(block.forward(input.clone(), Seed::evaluation()));
    });
    report("block-and-pullback", &shape, &mut || {
        let (output, tape) = block.record(input.clone(), Seed::evaluation(), true);
        drop(tape(output.tensors));
    });

    let table = LinearConfig::new(VOCABULARY, WIDTH).with_bias(false);
    let mut table = Some(table.init(device));
    let mut optimizer = AdamW::new(AdamWConfig::default());
    report("adamw", &[VOCABULARY, WIDTH], &mut || {
        if let Some(owned) = table.take() {
            let mut gradients = checkpointing::Gradients::default();
            gradients.add(owned.weight.id, owned.weight.val());
            table = Some(optimizer.step(owned, gradients, 1e-4, 1.0));
        }
    });
    Ok(())
}
