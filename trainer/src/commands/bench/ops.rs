//! The operations of a training step of CLIP ViT-S/32 one by one, at the shapes of its vision tower.

use std::hint::black_box;

use burn::tensor::{Device, Distribution, Tensor};
use checkpointing::{Call, Forward, Gradients, Seed, Segment, State, Wants};
use kernels::{Mask, attend, pull_attend};
use optimizer::{AdamW, Groups, SlotOptimizer};
use peft::LinearConfig;
use serde_json::json;
use transformer::{Activation, AttentionConfig, BlockConfig, LayerNorm};

use super::{BenchArgs, fields, print, timed_with};
use crate::device::state_memory;

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
    let run = Run { args, device };

    let fc1 = LinearConfig::new(WIDTH, HIDDEN).init(device);
    let shape = [rows, WIDTH, HIDDEN];
    run.time("linear", &shape, || drop(fc1.forward(x.clone())));
    run.time("linear-pull-input", &shape, || {
        drop(fc1.pull_input(wide.clone()));
    });
    run.time("linear-pull-weight", &shape, || {
        let mut gradients = Gradients::default();
        fc1.pull_parameters(Some(x.clone()), wide.clone(), &mut gradients);
        drop(black_box(gradients));
    });

    let tokens = || random([rows, WIDTH]).reshape([args.batch, TOKENS, WIDTH]);
    let qkv = [tokens(), tokens(), tokens()];
    let own_qkv = || qkv.each_ref().map(own);
    let shape = [args.batch, HEADS, TOKENS, WIDTH / HEADS];
    run.time_with("attention-core", &shape, own_qkv, |qkv| {
        drop(attend(qkv, HEADS, &Mask::default(), None));
    });
    run.time_with(
        "attention-pull",
        &shape,
        || (own_qkv(), tokens()),
        |(qkv, mixed)| drop(pull_attend(qkv, HEADS, &Mask::default(), None, mixed)),
    );

    let norm = LayerNorm::new(WIDTH, 1e-5, device);
    run.time("layer-norm", &[rows, WIDTH], || {
        drop(norm.forward(x.clone()));
    });
    run.time_with(
        "layer-norm-pull",
        &[rows, WIDTH],
        || [own(&x), own(&x), own(&x)],
        |[input, cotangent, skip]| {
            let mut gradients = Gradients::default();
            drop(norm.pull(input, cotangent, Some(skip), &mut gradients));
            drop(black_box(gradients));
        },
    );
    let mut kept = Some(own(&wide));
    run.time("gelu", &[rows, HIDDEN], || {
        if let Some(x) = kept.take() {
            let (value, x) = Activation::Gelu.forward_keeping(x);
            drop(value);
            kept = Some(x);
        }
    });
    run.time_with(
        "gelu-pull",
        &[rows, HIDDEN],
        || [own(&wide), own(&wide)],
        |[input, cotangent]| drop(Activation::Gelu.pull(input, cotangent)),
    );

    let block = BlockConfig::new(AttentionConfig::new(WIDTH, HEADS), HIDDEN).init(device);
    let input = State::hidden(x.clone().reshape([args.batch, TOKENS, WIDTH]));
    let shape = [args.batch, TOKENS, WIDTH];
    let wants = Wants::hidden();
    let call = Call::new(Seed::evaluation(), &wants);
    run.time("block", &shape, || {
        drop(block.forward(input.clone(), Seed::evaluation()));
    });
    run.time("block-and-pullback", &shape, || {
        let (output, saved) = block.record(input.clone(), &call);
        drop(block.pull(saved, output.streams, &call, &mut Gradients::default()));
    });

    let table = LinearConfig::new(VOCABULARY, WIDTH).with_bias(false);
    let table = table.init(device);
    let slots = Groups::default().slots(&table)?;
    let mut optimizer = SlotOptimizer::new(Box::new(AdamW::default()), slots, state_memory(device));
    let mut table = Some(table);
    let gradient = random([VOCABULARY, WIDTH]);
    run.time_with(
        "adamw",
        &[VOCABULARY, WIDTH],
        || own(&gradient),
        |gradient| {
            if let Some(owned) = table.take() {
                let mut gradients = Gradients::default();
                gradients.add(owned.weight.id, gradient);
                let turn = optimizer.begin(1e-4, 1.0);
                table = Some(optimizer.update_module(&turn, owned, gradients));
            }
        },
    );
    Ok(())
}

/// A copy that shares its memory with nothing, as what a block saves for its pullback does.
fn own<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    x.clone().mul_scalar(1.0)
}

struct Run<'a> {
    args: &'a BenchArgs,
    device: &'a Device,
}

impl Run<'_> {
    /// Prints the line of an operation.
    fn time(&self, name: &str, shape: &[usize], mut op: impl FnMut()) {
        self.time_with(name, shape, || (), |()| op());
    }

    /// As [`time`](Self::time), of an operation that takes what `input` makes untimed.
    fn time_with<T>(
        &self,
        name: &str,
        shape: &[usize],
        mut input: impl FnMut() -> T,
        mut op: impl FnMut(T),
    ) {
        let [median, least] = timed_with(
            self.args.steps,
            || {
                let input = input();
                let _ = self.device.sync();
                input
            },
            |input| {
                op(input);
                let _ = self.device.sync();
            },
        );
        let fields = fields([
            ("batch", json!(self.args.batch)),
            ("shape", json!(shape)),
            ("step_s", json!(median)),
            ("step_min_s", json!(least)),
        ]);
        print(&format!("ops/{name}"), fields, self.device);
    }
}
