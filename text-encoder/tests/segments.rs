//! Each segment of a text tower against autodiff and against what it says of its cost, with every parameter frozen and
//! not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use burn::tensor::{Device, Distribution, Int, Tensor};
use checkpointing::{
    Call, Passenger, Seed, State, Wants,
    check::{check_segment, freezings, shaken},
};
use peft::{Adaptable, Kind, LoraConfig, LoraStart, ModuleNames, Names, Plan, Targets, attach};
use text_encoder::{LABELLED, MlmHead, TextConfig};

fn configs() -> [(&'static str, TextConfig); 4] {
    let mut clip = TextConfig::clip(30, 7, 24, 1);
    clip.d_output = Some(6);
    clip.sizes.n_heads = 3;
    let mut bert = TextConfig::bert(30, 7, 24, 1);
    bert.padding_id = Some(0);
    bert.sizes.n_heads = 3;
    bert.sizes.dropout = 0.2;
    [
        ("clip", clip.clone()),
        (
            "clip without a projection",
            TextConfig {
                d_output: None,
                final_norm: false,
                ..clip
            },
        ),
        ("bert", bert.clone()),
        (
            "bert with a projection",
            TextConfig {
                d_output: Some(5),
                ..bert
            },
        ),
    ]
}

fn input(device: &Device) -> State {
    let ids = Tensor::<2, Int>::from_data([[3, 7, 29, 0, 0], [5, 5, 11, 7, 29]], device);
    let segments = Tensor::<2, Int>::from_data([[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]], device);
    State::default()
        .with("ids", Passenger::Ids(ids))
        .with("segments", Passenger::Ids(segments))
}

#[test]
fn the_embedding_is_autodiffs_and_costs_what_it_says() {
    let device = testing::device();
    let nothing = Wants::nothing();
    let call = Call::new(Seed::new(5), &nothing);
    for (name, config) in configs() {
        let plain = config.init(&device);
        let adapted = with_adapters(plain.clone(), &lora(), &["tokens"], &device);
        for tower in [plain, adapted] {
            let tower = shaken(tower);
            for (freezing, embed) in freezings(&tower.embed) {
                println!("{name}, {freezing}");
                check_segment(&embed, &input(&device), &call, 1e-5);
            }
        }
    }
}

fn lora() -> Kind {
    Kind::Lora {
        config: LoraConfig {
            rank: 3,
            alpha: 4.0,
            rank_stabilised: false,
            dropout: 0.3,
            start: LoraStart::Kaiming,
        },
        is_dora: false,
        ranks: BTreeMap::new(),
        alphas: BTreeMap::new(),
    }
}

fn with_adapters<M: Adaptable>(mut model: M, kind: &Kind, at: &[&str], device: &Device) -> M {
    let plan = Plan {
        kind: kind.clone(),
        targets: Targets {
            names: Names::List(at.iter().map(|name| (*name).to_owned()).collect()),
            ..Targets::default()
        },
    };
    attach(&mut model, "a", &plan, &ModuleNames::default(), device).unwrap();
    model
}

#[test]
fn heads_with_adapters_are_autodiffs_and_cost_what_they_say() {
    let device = testing::device();
    let x = Tensor::random([2, 5, 24], Distribution::Normal(0.0, 1.0), &device);
    let input = input(&device).with_stream(checkpointing::HIDDEN, x);
    let feedforward = Names::List(vec!["projection".into()]);
    let [.., (_, config)] = configs();
    for kind in [lora(), Kind::Ia3 { feedforward }] {
        let tower = config.init(&device);
        let tower = with_adapters(tower, &kind, &["pooler", "projection"], &device);
        let head = with_adapters(MlmHead::new(&config, &device), &kind, &["dense"], &device);
        let (head, transform) = (shaken(tower.head), shaken(head.transform));
        for wants in [Wants::hidden(), Wants::nothing()] {
            let call = Call::new(Seed::new(5), &wants);
            for (freezing, head) in freezings(&head) {
                println!("{kind:?}, {freezing}, {wants:?}");
                check_segment(&head, &input, &call, 1e-5);
            }
            for (freezing, transform) in freezings(&transform) {
                println!("{kind:?}, masked words, {freezing}, {wants:?}");
                check_segment(&transform, &input, &call, 1e-5);
            }
        }
    }
}

#[test]
fn every_head_is_autodiffs_and_costs_what_it_says() {
    let device = testing::device();
    for (name, config) in configs() {
        let tower = shaken(config.init(&device));
        for tokens in [5, 1] {
            let x = Tensor::random([2, tokens, 24], Distribution::Normal(0.0, 1.0), &device);
            let input = input(&device).with_stream(checkpointing::HIDDEN, x);
            for (freezing, head) in freezings(&tower.head) {
                for wants in [Wants::hidden(), Wants::nothing()] {
                    println!("{name}, {tokens} tokens, {freezing}, {wants:?}");
                    let call = Call::new(Seed::new(5), &wants);
                    check_segment(&head, &input, &call, 1e-5);
                }
            }
        }
    }
}

#[test]
fn the_head_of_masked_words_is_autodiffs_and_costs_what_it_says() {
    let device = testing::device();
    let [.., (_, config), _] = configs();
    let head = shaken(MlmHead::new(&config, &device));
    let x = Tensor::random([2, 5, 24], Distribution::Normal(0.0, 1.0), &device);
    let all = State::hidden(x);
    let places = Tensor::<2, Int>::from_data([[1, 3, 4, 8]], &device);
    let some = all.clone().with(LABELLED, Passenger::Ids(places));
    for (freezing, segment) in freezings(&head.transform) {
        for (input, which) in [(&all, "all"), (&some, "some")] {
            for wants in [Wants::hidden(), Wants::nothing()] {
                println!("{which}, {freezing}, {wants:?}");
                let call = Call::new(Seed::new(5), &wants);
                check_segment(&segment, input, &call, 1e-5);
            }
        }
    }
}
