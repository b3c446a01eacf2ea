//! What a pass is predicted to hold is what the allocator sees of it. One test: the count is the process's.

use std::alloc::System;

use burn::tensor::{Device, Distribution, Tensor};
use checkpointing::{Chain, HIDDEN, Pass, Policy, Seed, State, check, forward};
use kernels::flops_of;
use precision::Format;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use transformer::{AttentionConfig, Block, BlockConfig, NormOrder, push_blocks};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const DEPTH: usize = 5;

fn blocks(d_model: usize, order: NormOrder, dropout: f64, device: &Device) -> Vec<Block> {
    let config = BlockConfig {
        norm_order: order,
        dropout,
        layer_scale: (dropout > 0.0).then_some(0.5),
        ..BlockConfig::new(AttentionConfig::new(d_model, 4), 3 * d_model)
    };
    (0..DEPTH).map(|_| config.init(device)).collect()
}

#[test]
fn held_bytes_and_operations_are_as_predicted() {
    let device = testing::host();
    let mut cases = 0;
    // Threads make their buffers at the first products.
    for _ in 0..3 {
        let blocks = blocks(128, NormOrder::Pre, 0.0, &device);
        let mut chain = Chain::new();
        push_blocks(&mut chain, &blocks, false);
        let input = State::hidden(Tensor::zeros([32, 50, 128], &device));
        let schedule = Policy::StoreAll.schedule(chain.len());
        drop(forward(&chain, &Pass::new(&schedule, Seed::new(1)), input));
    }
    for [batch, tokens, d_model] in [[16, 50, 64], [2, 197, 96], [24, 17, 128]] {
        for (order, dropout) in [(NormOrder::Pre, 0.0), (NormOrder::Post, 0.1)] {
            let all = blocks(d_model, order, dropout, &device);
            let halves: Vec<Block> = all
                .iter()
                .enumerate()
                .map(|(i, block)| check::with_trainable(block.clone(), |_| i >= 2))
                .collect();
            let biases: Vec<Block> = all
                .iter()
                .map(|block| check::with_trainable(block.clone(), |path| path.ends_with("bias")))
                .collect();
            for (name, blocks) in [("all", all), ("half frozen", halves), ("biases", biases)] {
                for (policy, format) in [
                    (Policy::StoreAll, Format::F32),
                    (Policy::StoreAll, Format::Bf16),
                    (Policy::EveryCut, Format::F32),
                    (Policy::Every(2), Format::F16),
                    (Policy::Nested(4, 2), Format::F32),
                ] {
                    for wants in [true, false] {
                        let mut chain = Chain::new();
                        push_blocks(&mut chain, &blocks, false);
                        let schedule = policy.schedule(chain.len());
                        let schedule = schedule.with_kept_in(format).with_cuts_in(format);
                        let mut pass = Pass::new(&schedule, Seed::new(1));
                        if wants {
                            pass = pass.wanting(HIDDEN);
                        }
                        let shape = [batch, tokens, d_model];
                        // Parameters are drawn at their first use.
                        let zeros = State::hidden(Tensor::zeros(shape, &device));
                        drop(chain.run(0..chain.len(), zeros, Seed::evaluation()));
                        let region = Region::new(ALLOCATOR);
                        let x = Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device);
                        let input = State::hidden(x);
                        let footprint = chain.footprint(&pass, input.outline());
                        let ((output, pullback), flops) =
                            flops_of(|| forward(&chain, &pass, input));
                        let hidden = output.into_hidden();
                        let cotangent = hidden.ones_like();
                        drop(hidden);
                        let change = region.change();
                        // Growth of a block in its place counts as a reallocation.
                        let live = change.bytes_allocated as f64 - change.bytes_deallocated as f64;
                        let cotangent_bytes = (4 * batch * tokens * d_model) as f64;
                        let held = live - cotangent_bytes;
                        let predicted = footprint.held_bytes as f64;
                        println!(
                            "{shape:?} {order:?} {name} {policy:?} {format} {wants}: {held} bytes, \
                             predicted {predicted}"
                        );
                        assert!((held - predicted).abs() <= 0.03 * predicted + 4096.0);
                        assert_eq!(footprint.held_bytes, pullback.bytes());
                        assert_eq!(footprint.forward_flops, flops);
                        let (_, flops) = flops_of(|| pullback.pull(&chain, cotangent));
                        assert_eq!(footprint.backward_flops, flops);
                        cases += 1;
                    }
                }
            }
        }
    }
    assert_eq!(cases, 3 * 2 * 3 * 5 * 2);
}
