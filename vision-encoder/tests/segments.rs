//! Each segment of a vision tower against autodiff and against what it says of its cost, with every parameter frozen and
//! not.

use burn::tensor::{Device, Distribution, Tensor};
use checkpointing::{
    Call, Passenger, Seed, State, Wants,
    check::{check_segment, freezings, shaken},
};
use peft::{Dora, Ia3, LoraConfig, LoraStart, Method, Place, for_places};
use vision_encoder::{Pooling, VisionConfig, VisionTransformer};

fn towers(device: &Device) -> Vec<(&'static str, VisionTransformer)> {
    let clip = VisionConfig {
        d_output: Some(6),
        ..VisionConfig::clip(8, 4, 64, 1)
    };
    let configs = [
        ("class token, norms", clip.clone()),
        (
            "pooler",
            VisionConfig {
                pooler: true,
                ..clip.clone()
            },
        ),
        (
            "pooler without a projection",
            VisionConfig {
                pooler: true,
                d_output: None,
                ..VisionConfig::vit(8, 4, 64, 1)
            },
        ),
        (
            "patch dropout, all tokens",
            VisionConfig {
                patch_dropout: 0.5,
                pooling: Pooling::None,
                token_norm: true,
                ..clip.clone()
            },
        ),
        (
            "average",
            VisionConfig {
                class_token: false,
                pooling: Pooling::Average,
                token_norm: true,
                pooled_norm: true,
                pre_norm: false,
                output_bias: true,
                ..clip.clone()
            },
        ),
        (
            "average behind a class token, nothing else",
            VisionConfig {
                pooling: Pooling::Average,
                token_norm: false,
                pooled_norm: false,
                d_output: None,
                pre_norm: false,
                patch_dropout: 0.3,
                ..clip.clone()
            },
        ),
        (
            "attention pool",
            VisionConfig {
                class_token: false,
                pooling: Pooling::Attention,
                token_norm: true,
                pooled_norm: false,
                patch_bias: true,
                ..clip
            },
        ),
    ];
    let mut towers = Vec::new();
    for (name, config) in configs {
        let plain = config.init(device);
        let adapted = with_adapters(plain.clone(), device);
        towers.push((name, shaken(plain)));
        towers.push((name, shaken(adapted)));
    }
    towers
}

/// Adapters on every map outside the blocks, one kind after another.
fn with_adapters(mut tower: VisionTransformer, device: &Device) -> VisionTransformer {
    let lora = LoraConfig {
        rank: 3,
        alpha: 4.0,
        rank_stabilised: false,
        dropout: 0.3,
        start: LoraStart::Kaiming,
    };
    let mut count = 0;
    for_places(&mut tower, |path, place| {
        let Place::Linear(map) = place else {
            return;
        };
        if path.starts_with("blocks") {
            return;
        }
        let sizes = map.base().sizes();
        let method = match count % 3 {
            0 => Method::Lora(lora.init(sizes, device)),
            1 => Method::Dora(Dora::new(&lora, &map.base(), device)),
            _ => Method::Ia3(Ia3::new(sizes, count % 2 == 0, device)),
        };
        map.attach("a", method).expect("the map has no adapter yet");
        count += 1;
    });
    tower
}

#[test]
fn the_embedding_is_autodiffs_and_costs_what_it_says() {
    let device = testing::device();
    let nothing = Wants::nothing();
    let call = Call::new(Seed::new(5), &nothing);
    for (name, tower) in towers(&device) {
        // Of the size it was made for, and of another, whose positions are resampled.
        for [height, width] in [[8, 8], [12, 8]] {
            let normal = Distribution::Normal(0.0, 1.0);
            let pixels = Tensor::random([2, 3, height, width], normal, &device);
            let input = State::default().with("pixels", Passenger::Pixels(pixels));
            for (freezing, embed) in freezings(&tower.embed) {
                println!("{name}, {height} x {width}, {freezing}");
                check_segment(&embed, &input, &call, 1e-5);
            }
        }
    }
}

#[test]
fn every_head_is_autodiffs_and_costs_what_it_says() {
    let device = testing::device();
    for (name, tower) in towers(&device) {
        let x = Tensor::random([2, 5, 64], Distribution::Normal(0.0, 1.0), &device);
        let input = State::hidden(x);
        for (freezing, head) in freezings(&tower.head) {
            for wants in [Wants::hidden(), Wants::nothing()] {
                println!("{name}, {freezing}, {wants:?}");
                let call = Call::new(Seed::new(5), &wants);
                check_segment(&head, &input, &call, 1e-5);
            }
        }
    }
}
