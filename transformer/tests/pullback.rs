//! The pullback of a chain of blocks equals whole-graph autodiff, for every policy.

use burn::{
    module::{Initializer, Module, ModuleVisitor, Param, ParamId},
    tensor::{Bool, Device, Distribution, Int, Tensor},
};
use checkpointing::{
    Chain, Forward, HIDDEN, Pass, Passenger, Policy, Pulled, Seed, State, check, forward,
};
use transformer::{
    Activation, AttentionConfig, Block, BlockConfig, NormOrder, POOLED, PooledToken, push_blocks,
};

const DEPTH: usize = 4;
const SHAPE: [usize; 3] = [3, 7, 12];

struct Case {
    name: &'static str,
    config: BlockConfig,
    masked: bool,
}

fn cases() -> Vec<Case> {
    let attention = |causal| AttentionConfig {
        causal,
        ..AttentionConfig::new(12, 3)
    };
    let plain = BlockConfig::new(attention(false), 20);
    let dropout = BlockConfig {
        attention: AttentionConfig {
            dropout: 0.3,
            ..attention(false)
        },
        dropout: 0.2,
        ..plain.clone()
    };
    let post = BlockConfig {
        norm_order: NormOrder::Post,
        dropout: 0.1,
        ..plain.clone()
    };
    let causal = BlockConfig {
        activation: Activation::QuickGelu,
        ..BlockConfig::new(attention(true), 20)
    };
    let scaled = BlockConfig {
        layer_scale: Some(0.3),
        attention: AttentionConfig {
            qk_norm: Some(1e-6),
            ..attention(false)
        },
        ..plain.clone()
    };
    vec![
        Case {
            name: "plain",
            config: plain.clone(),
            masked: false,
        },
        Case {
            name: "masked",
            config: plain,
            masked: true,
        },
        Case {
            name: "causal",
            config: causal,
            masked: true,
        },
        Case {
            name: "dropout",
            config: dropout,
            masked: false,
        },
        Case {
            name: "post-norm with dropout",
            config: post,
            masked: true,
        },
        Case {
            name: "layer scale and q/k norm",
            config: scaled,
            masked: false,
        },
    ]
}

fn input(case: &Case, device: &Device) -> State {
    let x = Tensor::random(SHAPE, Distribution::Normal(0.0, 1.0), device);
    let state = State::hidden(x);
    if !case.masked {
        return state;
    }
    let mut real = [[true; 7]; 3];
    real[1][4..].fill(false);
    real[2][6] = false;
    state.with(
        "mask",
        Passenger::Mask(Tensor::<2, Bool>::from_data(real, device)),
    )
}

/// Output, input cotangent and gradients by one graph over the whole tower.
fn whole_graph(
    blocks: &[Block],
    input: &State,
    cotangent: &Tensor<3>,
    seed: Seed,
) -> (Tensor<3>, Tensor<3>, Vec<(ParamId, Tensor<1>)>) {
    let tracked = blocks.to_vec().train();
    let leaf = Tensor::from_inner(input.stream(HIDDEN)).require_grad();
    let mut state = State::hidden(leaf.clone());
    if let Some(mask) = input.mask("mask") {
        state = state.with("mask", Passenger::Mask(mask.autodiff()));
    }
    for (i, block) in tracked.iter().enumerate() {
        state = block.forward(state, seed.child(i as u64));
    }
    let output = state.into_hidden();
    let mut grads = (output.clone() * Tensor::from_inner(cotangent.clone()))
        .sum()
        .backward();

    struct Collect<'a>(&'a mut burn::tensor::Gradients, Vec<(ParamId, Tensor<1>)>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = param.val().grad_remove(self.0) {
                self.1.push((param.id, gradient.flatten(0, D - 1)));
            }
        }
    }
    let pulled = leaf
        .grad_remove(&mut grads)
        .expect("the input has a gradient");
    let mut collect = Collect(&mut grads, Vec::new());
    tracked.visit(&mut collect);
    (output.inner(), pulled, collect.1)
}

fn pull(
    blocks: &[Block],
    policy: Policy,
    input: &State,
    cotangent: &Tensor<3>,
    seed: Seed,
) -> (Tensor<3>, Pulled) {
    let mut chain = Chain::new();
    push_blocks(&mut chain, blocks, input.ids(POOLED).is_some());
    let schedule = policy.schedule(chain.len());
    let pass = Pass::new(&schedule, seed).wanting(HIDDEN);
    let (output, pullback) = forward(&chain, &pass, input.clone());
    let output = output.into_hidden();
    (output, pullback.pull(&chain, cotangent.clone()))
}

const POLICIES: [Policy; 5] = [
    Policy::StoreAll,
    Policy::EveryCut,
    Policy::Every(3),
    Policy::Nested(2, 1),
    Policy::Nested(3, 2),
];

fn cotangent_of(pulled: &Pulled) -> &Tensor<3> {
    pulled.cotangents.get(HIDDEN).expect("it was wanted")
}

#[test]
fn pullback_equals_whole_graph_autodiff_for_every_policy() {
    let device = testing::device();
    let share = 5e-6;
    for case in cases() {
        let blocks: Vec<Block> = (0..DEPTH).map(|_| case.config.init(&device)).collect();
        let input = input(&case, &device);
        let cotangent = Tensor::random(SHAPE, Distribution::Normal(0.0, 1.0), &device);
        let seed = Seed::new(11);
        let (output, input_cotangent, gradients) = whole_graph(&blocks, &input, &cotangent, seed);
        // Of the largest gradient of all: that of a key's bias is zero but for rounding.
        let largest = gradients.iter().map(|(_, want)| testing::largest(want));
        let largest = largest.fold(0.0, f64::max);
        for policy in POLICIES {
            println!("{}: {policy:?}", case.name);
            let (got, mut pulled) = pull(&blocks, policy, &input, &cotangent, seed);
            testing::assert_close(&got, &output, share);
            testing::assert_close(cotangent_of(&pulled), &input_cotangent, share);
            for (id, want) in &gradients {
                let got = pulled
                    .gradients
                    .take(*id)
                    .expect("every parameter has a gradient");
                testing::assert_within(&got, want, share * largest);
            }
            assert!(pulled.gradients.is_empty());
        }
    }
}

#[test]
fn the_pooled_token_alone_is_the_same_as_among_all() {
    let device = testing::device();
    let share = 5e-6;
    let places = Tensor::<2, Int>::from_data([[0], [3], [5]], &device);
    // Dropout draws by shape: with fewer tokens it draws others.
    let exact = cases()
        .into_iter()
        .filter(|case| !case.name.contains("dropout"));
    let post = Case {
        name: "post-norm",
        config: BlockConfig {
            norm_order: NormOrder::Post,
            ..BlockConfig::new(AttentionConfig::new(12, 3), 20)
        },
        masked: true,
    };
    for case in exact.chain([post]) {
        let blocks: Vec<Block> = (0..DEPTH).map(|_| case.config.init(&device)).collect();
        let input = input(&case, &device);
        let cotangent = Tensor::random([3, 1, 12], Distribution::Normal(0.0, 1.0), &device);
        let seed = Seed::evaluation();
        // Among all tokens: the others' cotangents are zero.
        let rows = Tensor::<1, Int>::from_data([0, 7 + 3, 2 * 7 + 5], &device);
        let add = burn::tensor::IndexingUpdateOp::Add;
        let spread = Tensor::<2>::zeros([3 * 7, 12], &device).select_assign(
            0,
            rows,
            cotangent.clone().reshape([3, 12]),
            add,
        );
        let spread = spread.reshape(SHAPE);
        let (all, all_cotangent, gradients) = whole_graph(&blocks, &input, &spread, seed);
        let [_, tokens, _] = all.dims();
        let want = PooledToken::new(places.clone(), tokens).pick(all);
        let largest = gradients.iter().map(|(_, want)| testing::largest(want));
        let largest = largest.fold(0.0, f64::max);
        let alone = input.with(POOLED, Passenger::Ids(places.clone()));
        for policy in POLICIES {
            println!("{}: {policy:?}", case.name);
            let (got, mut pulled) = pull(&blocks, policy, &alone, &cotangent, seed);
            testing::assert_close(&got, &want, share);
            testing::assert_close(cotangent_of(&pulled), &all_cotangent, share);
            for (id, want) in &gradients {
                let got = pulled.gradients.take(*id).expect("a gradient");
                testing::assert_within(&got, want, share * largest);
            }
        }
    }
}

#[test]
fn policies_agree_bit_for_bit() {
    let device = testing::device();
    for case in cases() {
        let blocks: Vec<Block> = (0..DEPTH).map(|_| case.config.init(&device)).collect();
        let input = input(&case, &device);
        let cotangent = Tensor::random(SHAPE, Distribution::Normal(0.0, 1.0), &device);
        let seed = Seed::new(5);
        let (output, all) = pull(&blocks, Policy::StoreAll, &input, &cotangent, seed);
        for policy in POLICIES {
            let (got, pulled) = pull(&blocks, policy, &input, &cotangent, seed);
            got.into_data().assert_eq(&output.clone().into_data(), true);
            for id in checkpointing::trainable_parameters(&blocks) {
                let want = all
                    .gradients
                    .get(id)
                    .expect("a gradient")
                    .clone()
                    .into_data();
                let got = pulled
                    .gradients
                    .get(id)
                    .expect("a gradient")
                    .clone()
                    .into_data();
                got.assert_eq(&want, true);
            }
        }
    }
}

#[test]
fn dropout_repeats_with_its_seed_and_is_off_in_evaluation() {
    let device = testing::device();
    let config = BlockConfig {
        dropout: 0.5,
        ..BlockConfig::new(AttentionConfig::new(12, 3), 20)
    };
    let block = config.init(&device);
    let x = State::hidden(Tensor::random(SHAPE, Distribution::Default, &device));
    let run = |seed| block.forward(x.clone(), seed).into_hidden().into_data();
    assert_eq!(run(Seed::new(1)), run(Seed::new(1)));
    assert_ne!(run(Seed::new(1)), run(Seed::new(2)));
    assert_eq!(run(Seed::evaluation()), run(Seed::evaluation()));
}

#[test]
fn a_frozen_prefix_holds_nothing_and_gets_no_gradient() {
    let device = testing::device();
    let config = BlockConfig::new(AttentionConfig::new(12, 3), 20);
    let mut blocks: Vec<Block> = (0..DEPTH).map(|_| config.init(&device)).collect();
    for block in &mut blocks[..2] {
        *block = block.clone().no_grad();
    }
    let mut chain = Chain::new();
    push_blocks(&mut chain, &blocks, false);
    let x = State::hidden(Tensor::random(SHAPE, Distribution::Default, &device));
    for policy in POLICIES {
        let schedule = policy.schedule(chain.len());
        let pass = Pass::new(&schedule, Seed::new(1));
        let (output, pullback) = forward(&chain, &pass, x.clone());
        let ones = output.into_hidden().ones_like();
        if policy == Policy::StoreAll {
            let mut alone = Chain::new();
            push_blocks(&mut alone, &blocks[2..], false);
            let (_, of_rest) = forward(
                &alone,
                &Pass::new(&policy.schedule(2), Seed::new(1)),
                x.clone(),
            );
            assert_eq!(pullback.bytes(), of_rest.bytes());
            let (_, flops) = kernels::flops_of(|| of_rest.pull(&alone, ones.clone()));
            assert_eq!(chain.footprint(&pass, x.outline()).backward_flops, flops);
        }
        let (pulled, flops) = kernels::flops_of(|| pullback.pull(&chain, ones));
        assert_eq!(chain.footprint(&pass, x.outline()).backward_flops, flops);
        assert_eq!(
            pulled.gradients.len(),
            checkpointing::trainable_parameters(&blocks).len()
        );
        assert_eq!(pulled.gradients.len(), 2 * 16);
    }
}

/// Replaces the hidden states by something else without reading them.
#[derive(Module, Debug)]
struct Replaces {
    by: Param<Tensor<1>>,
}

impl Forward for Replaces {
    fn forward(&self, input: State, _seed: Seed) -> State {
        input.map_hidden(|x| x.zeros_like() + self.by.val().unsqueeze())
    }

    fn reads(&self) -> &'static [&'static str] {
        &[]
    }
}

#[test]
fn cotangents_end_where_a_frozen_segment_wrote() {
    let device = testing::device();
    let config = BlockConfig::new(AttentionConfig::new(12, 3), 16);
    let block = config.init(&device);
    let by = Initializer::Normal {
        mean: 0.0,
        std: 1.0,
    }
    .init([12], &device);
    let replaces = check::with_trainable(Replaces { by }, |_| false);
    let frozen = check::with_trainable(config.init(&device), |_| false);
    let x = State::hidden(Tensor::random([2, 3, 12], Distribution::Default, &device));
    let run = |chain: &Chain<'_>| {
        let schedule = Policy::StoreAll.schedule(chain.len());
        let (output, pullback) = forward(chain, &Pass::new(&schedule, Seed::new(1)), x.clone());
        pullback.pull(chain, output.into_hidden().ones_like())
    };
    // Nothing trains, and no cotangent was wanted.
    let mut chain = Chain::new();
    chain.push("frozen", &frozen);
    assert!(run(&chain).cotangents.is_empty());
    // What the first block gave is replaced: it gets no gradient, and no step but to pass by.
    let mut chain = Chain::new();
    chain.push("first", &block);
    chain.push("replaces", checkpointing::Autodiff(replaces));
    chain.push("last", &frozen);
    assert!(run(&chain).gradients.is_empty());
}
