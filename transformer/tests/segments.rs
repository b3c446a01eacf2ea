//! Each kind of block against autodiff and against what it says of its cost, with every parameter frozen and not.

use burn::{
    module::Module,
    tensor::{Bool, Device, Distribution, Int, Tensor},
};
use checkpointing::{
    Call, Chain, Cost, Forward, Gradients, Outline, Parameter, Pass, Passenger, Policy, Seed,
    Segment, State, Streams, Wants,
    check::{check_segment, freezings, shaken},
    parameters,
};
use transformer::{
    Activation, AttentionConfig, Block, BlockConfig, NormOrder, POOLED, PooledBlock,
};

const SHAPE: [usize; 3] = [3, 5, 24];

fn configs() -> Vec<(&'static str, BlockConfig)> {
    let attention = AttentionConfig::new(24, 3);
    let plain = BlockConfig::new(attention.clone(), 20);
    let dropped = AttentionConfig {
        dropout: 0.3,
        causal: true,
        ..attention.clone()
    };
    let normed = AttentionConfig {
        qk_norm: Some(1e-6),
        qkv_bias: false,
        ..attention
    };
    vec![
        ("plain", plain.clone()),
        (
            "causal with dropout",
            BlockConfig {
                attention: dropped,
                dropout: 0.2,
                activation: Activation::QuickGelu,
                ..plain.clone()
            },
        ),
        (
            "layer scale and q/k norm",
            BlockConfig {
                layer_scale: Some(0.3),
                attention: normed.clone(),
                ..plain.clone()
            },
        ),
        (
            "post-norm with everything",
            BlockConfig {
                norm_order: NormOrder::Post,
                layer_scale: Some(0.5),
                dropout: 0.1,
                attention: AttentionConfig {
                    dropout: 0.2,
                    ..normed
                },
                ..plain
            },
        ),
    ]
}

fn input(device: &Device) -> State {
    let mut real = [[true; 5]; 3];
    real[1][3..].fill(false);
    let x = Tensor::random(SHAPE, Distribution::Normal(0.0, 1.0), device);
    State::hidden(x).with(
        "mask",
        Passenger::Mask(Tensor::<2, Bool>::from_data(real, device)),
    )
}

#[test]
fn every_block_is_autodiffs_and_costs_what_it_says() {
    let device = testing::device();
    for (name, config) in configs() {
        for (freezing, block) in freezings(&shaken(config.init(&device))) {
            for wants in [Wants::hidden(), Wants::nothing()] {
                println!("{name}, {freezing}, {wants:?}");
                let call = Call::new(Seed::new(3), &wants);
                check_segment(&block, &input(&device), &call, 5e-6);
            }
        }
    }
}

/// A [`PooledBlock`] that owns its block.
#[derive(Module, Debug)]
struct Pooled {
    block: Block,
}

impl Forward for Pooled {
    fn forward(&self, input: State, seed: Seed) -> State {
        PooledBlock(&self.block).forward(input, seed)
    }
}

impl Segment for Pooled {
    type Saved = <PooledBlock<'static> as Segment>::Saved;

    fn parameters(&self) -> Vec<Parameter> {
        parameters(self)
    }

    fn record(&self, input: State, call: &Call<'_>) -> (State, Self::Saved) {
        PooledBlock(&self.block).record(input, call)
    }

    fn pull(
        &self,
        saved: Self::Saved,
        cotangents: Streams,
        call: &Call<'_>,
        gradients: &mut Gradients,
    ) -> Streams {
        PooledBlock(&self.block).pull(saved, cotangents, call, gradients)
    }

    fn cost(&self, input: &Outline, call: &Call<'_>) -> Cost {
        PooledBlock(&self.block).cost(input, call)
    }
}

#[test]
fn every_pooled_block_is_autodiffs_and_costs_what_it_says() {
    let device = testing::device();
    let places = Tensor::<2, Int>::from_data([[0], [2], [4]], &device);
    let input = input(&device).with(POOLED, Passenger::Ids(places));
    for (name, config) in configs() {
        for (freezing, block) in freezings(&shaken(config.init(&device))) {
            for wants in [Wants::hidden(), Wants::nothing()] {
                println!("{name}, {freezing}, {wants:?}");
                let call = Call::new(Seed::new(3), &wants);
                let pooled = Pooled {
                    block: block.clone(),
                };
                check_segment(&pooled, &input, &call, 5e-6);
            }
        }
    }
}

/// The vision tower of ViT-B/16 at batch 16, whose attention weights were kept before: `[16, 12, 197, 197]` a block.
#[test]
fn vit_b_16_keeps_a_fifth_less_without_attention_weights() {
    let device = testing::host();
    let config = BlockConfig::new(AttentionConfig::new(768, 12), 3072);
    let block = config.init(&device);
    let mut chain = Chain::new();
    (0..12).for_each(|i| chain.push(format!("blocks.{i}"), &block));
    let schedule = Policy::StoreAll.schedule(chain.len());
    let outline = Outline::hidden([16, 197, 768]);
    let footprint = chain.footprint(&Pass::new(&schedule, Seed::evaluation()), outline);
    let weights = 12 * 4 * 16 * 12 * 197 * 197;
    let before = footprint.held_bytes + weights;
    println!("{} bytes, {before} with weights", footprint.held_bytes);
    assert!((footprint.held_bytes as f64) <= 0.8 * before as f64);
}
