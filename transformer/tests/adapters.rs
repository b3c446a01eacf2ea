//! A block with adapters is what autodiff says it is, whichever of its parameters train, and costs what it says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use burn::{
    module::Module,
    tensor::{Device, Distribution, Tensor},
};
use checkpointing::{
    Call, Forward, HIDDEN, Seed, State, Wants,
    check::{check_segment, freezings, shaken, with_trainable},
};
use peft::{BottleneckConfig, Dora, Ia3, Linear, LoraConfig, LoraStart, Method};
use transformer::{Activation, AttentionConfig, Block, BlockConfig, NormOrder};

const SHAPE: [usize; 3] = [3, 5, 12];

fn lora(dropout: f64) -> LoraConfig {
    LoraConfig {
        rank: 3,
        alpha: 4.0,
        rank_stabilised: dropout > 0.0,
        dropout,
        start: LoraStart::Gaussian,
    }
}

const BOTTLENECK: BottleneckConfig = BottleneckConfig {
    width: 4,
    scale: 0.7,
    activation: Activation::Gelu,
    norm: None,
};

fn maps(block: &mut Block) -> [&mut Linear; 6] {
    let attention = &mut block.attention;
    [
        &mut attention.query,
        &mut attention.key,
        &mut attention.value,
        &mut attention.output,
        &mut block.mlp.fc1,
        &mut block.mlp.fc2,
    ]
}

fn attach_lora(map: &mut Linear, name: &str, dropout: f64) {
    let sizes = map.base().sizes();
    let device = map.weight.device();
    let adapter = lora(dropout).init(sizes, &device);
    map.attach(name, Method::Lora(adapter)).unwrap();
}

/// What is attached, by name.
fn adapted(device: &Device, order: NormOrder) -> Vec<(&'static str, Block)> {
    let mut config = BlockConfig::new(AttentionConfig::new(12, 3), 20);
    config.norm_order = order;
    config.dropout = 0.1;
    let plain = config.init(device);
    let with = |attach: &dyn Fn(usize, &mut Linear)| {
        let mut block = plain.clone();
        for (at, map) in maps(&mut block).into_iter().enumerate() {
            attach(at, map);
        }
        block
    };
    let mut parallel = plain.clone();
    let beside = BottleneckConfig {
        norm: Some(1e-5),
        ..BOTTLENECK
    };
    parallel.mlp.parallel = Some(beside.init(12, device));
    vec![
        ("lora", with(&|_, map| attach_lora(map, "a", 0.0))),
        ("lora, dropout", with(&|_, map| attach_lora(map, "a", 0.3))),
        (
            "two loras, one off",
            with(&|_, map| {
                attach_lora(map, "a", 0.0);
                attach_lora(map, "b", 0.0);
                attach_lora(map, "c", 0.0);
                map.weigh("b", -0.4).unwrap();
                map.switch("c", false).unwrap();
            }),
        ),
        (
            "dora",
            with(&|at, map| {
                let dropout = if at == 5 { 0.3 } else { 0.0 };
                let dora = Dora::new(&lora(dropout), &map.base(), device);
                map.attach("a", Method::Dora(dora)).unwrap();
            }),
        ),
        (
            "ia3",
            with(&|at, map| {
                let ia3 = Ia3::new(map.base().sizes(), at >= 4, device);
                map.attach("a", Method::Ia3(ia3)).unwrap();
                if at != 3 {
                    let ia3 = Ia3::new(map.base().sizes(), at >= 4, device);
                    map.attach("b", Method::Ia3(ia3)).unwrap();
                }
            }),
        ),
        (
            "bottlenecks",
            with(&|at, map| {
                if [3, 5].contains(&at) {
                    let config = BottleneckConfig {
                        norm: (at == 3).then_some(1e-5),
                        ..BOTTLENECK
                    };
                    let bottleneck = config.init(12, device);
                    map.attach("a", Method::Bottleneck(bottleneck)).unwrap();
                }
            }),
        ),
        ("parallel bottleneck", parallel),
        (
            "factors, a low-rank update and a bottleneck in a row",
            with(&|at, map| {
                let ia3 = Ia3::new(map.base().sizes(), at == 5, device);
                map.attach("a", Method::Ia3(ia3)).unwrap();
                attach_lora(map, "b", 0.2);
                if at == 3 {
                    let bottleneck = BOTTLENECK.init(12, device);
                    map.attach("c", Method::Bottleneck(bottleneck)).unwrap();
                }
            }),
        ),
    ]
}

#[test]
fn adapted_blocks_are_what_autodiff_says() {
    let device = testing::device();
    let x = Tensor::random(SHAPE, Distribution::Normal(0.0, 1.0), &device);
    let input = State::hidden(x);
    for order in [NormOrder::Pre, NormOrder::Post] {
        for (name, block) in adapted(&device, order) {
            let block = shaken(block);
            for (which, block) in freezings(&block) {
                for wants in [Wants::hidden(), Wants::nothing()] {
                    eprintln!("{order:?}, {name}: {which}, {wants:?}");
                    let call = Call::new(Seed::new(3), &wants);
                    check_segment(&block, &input, &call, 2e-5);
                }
            }
        }
    }
}

#[test]
fn what_was_just_attached_or_is_off_changes_no_bit() {
    let device = testing::device();
    let x = Tensor::random(SHAPE, Distribution::Normal(0.0, 1.0), &device);
    let run = |block: &Block| {
        let output = block.forward(State::hidden(Tensor::clone(&x)), Seed::new(3));
        output.into_hidden().into_data()
    };
    for order in [NormOrder::Pre, NormOrder::Post] {
        for (name, block) in adapted(&device, order) {
            let mut plain = block.clone();
            plain.mlp.parallel = None;
            for map in maps(&mut plain) {
                map.adapters.clear();
            }
            assert_eq!(run(&plain), run(&block), "{name}, just attached");
            // Only the adapters are moved.
            let mut off = shaken(block.clone());
            off.mlp.parallel = None;
            let bases = maps(&mut plain).map(|map| (map.weight.clone(), map.bias.clone()));
            for (map, (weight, bias)) in maps(&mut off).into_iter().zip(bases) {
                (map.weight, map.bias) = (weight, bias);
                let names = map.adapters.iter().map(|other| other.name().to_owned());
                for name in names.collect::<Vec<_>>() {
                    map.switch(&name, false).unwrap();
                }
            }
            off.attention_norm = plain.attention_norm.clone();
            off.mlp_norm = plain.mlp_norm.clone();
            assert_eq!(run(&plain), run(&off), "{name}, switched off");
        }
    }
}

#[test]
fn a_frozen_block_with_low_rank_updates_forms_no_gradient_of_a_weights_size() {
    let device = testing::device();
    let x = Tensor::random(SHAPE, Distribution::Normal(0.0, 1.0), &device);
    for (name, block) in adapted(&device, NormOrder::Pre) {
        let block = with_trainable(block, |path| {
            path.contains("adapters") || path.contains("parallel")
        });
        let wants = Wants::hidden();
        let call = Call::new(Seed::new(3), &wants);
        let input = State::hidden(Tensor::clone(&x));
        let (cotangents, _, gradients) = checkpointing::check::check_costs(&block, &input, &call);
        assert!(cotangents.get(HIDDEN).is_some());
        let all = checkpointing::parameters(&block);
        let trained: Vec<_> = all.iter().filter(|found| found.trains).collect();
        assert!(!trained.is_empty(), "{name}");
        for found in &all {
            let is_off = name == "two loras, one off" && found.path.contains("adapters.2");
            let wanted = found.trains && !is_off;
            assert_eq!(
                gradients.get(found.id).is_some(),
                wanted,
                "{name}: {}",
                found.path
            );
        }
        assert!(block.num_params() > 0);
    }
}
