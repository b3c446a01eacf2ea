//! Cutting captions to the longest of the batch changes neither features nor gradients.

use burn::tensor::{Bool, Device, Distribution, Int, Tensor, TensorData};
use checkpointing::{Pass, Passenger, Policy, Pulled, Seed, State, forward, trainable_parameters};
use text_encoder::{TextConfig, TextEncoder, TextTransformer};
use transformer::Tokens;

const LENGTHS: [usize; 4] = [3, 11, 6, 9];
const CONTEXT: usize = 40;
const VOCAB: usize = 50;

/// Captions that end in the highest id, padded with 0 to `tokens`.
fn captions(tokens: usize, device: &Device) -> State {
    let place = |row: usize, token: usize| match token.cmp(&(LENGTHS[row] - 1)) {
        std::cmp::Ordering::Less => 1 + ((row * 13 + token * 7) % (VOCAB - 2)) as i64,
        std::cmp::Ordering::Equal => VOCAB as i64 - 1,
        std::cmp::Ordering::Greater => 0,
    };
    let all = || (0..LENGTHS.len()).flat_map(|row| (0..tokens).map(move |token| (row, token)));
    let ids: Vec<i64> = all().map(|(row, token)| place(row, token)).collect();
    let real: Vec<bool> = all().map(|(row, token)| token < LENGTHS[row]).collect();
    let shape = [LENGTHS.len(), tokens];
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), device);
    let real = Tensor::<2, Bool>::from_data(TensorData::new(real, shape), device);
    State::default()
        .with("ids", Passenger::Ids(ids))
        .with("mask", Passenger::Mask(real))
}

fn run(model: &TextTransformer, input: State, cotangent: &Tensor<3>) -> (Tensor<3>, Pulled) {
    let chain = model.chain(Tokens::All);
    let schedule = Policy::StoreAll.schedule(chain.len());
    let pass = Pass::new(&schedule, Seed::evaluation());
    let (output, pullback) = forward(&chain, &pass, input);
    let output = output.into_hidden();
    (output, pullback.pull(&chain, cotangent.clone()))
}

#[test]
fn trimmed_captions_give_the_same_features_and_gradients() {
    let device = testing::device();
    let mut clip = TextConfig {
        d_output: Some(8),
        ..TextConfig::clip(VOCAB, CONTEXT, 24, 2)
    };
    let mut bert = TextConfig::bert(VOCAB, CONTEXT, 24, 2);
    clip.sizes.n_heads = 3;
    bert.sizes.n_heads = 3;
    for config in [clip, bert] {
        assert!(config.trims());
        let model = config.init(&device);
        let width = config.d_output.unwrap_or(config.sizes.d_model);
        let shape = [LENGTHS.len(), 1, width];
        let cotangent = Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let (full, full_pulled) = run(&model, captions(CONTEXT, &device), &cotangent);
        let (trimmed, pulled) = run(&model, captions(16, &device), &cotangent);
        // What stands behind a caption weighs exactly nothing; a matrix product of another size may
        // still round its sums differently.
        testing::assert_close(&trimmed, &full, 5e-6);
        let gradients = |pulled: &Pulled| {
            let ids = trainable_parameters(&model).into_iter();
            ids.map(|id| pulled.gradients.get(id).expect("a gradient").clone())
                .collect::<Vec<_>>()
        };
        let (got, want) = (gradients(&pulled), gradients(&full_pulled));
        // Of the largest gradient of all: that of a key's bias is zero but for rounding.
        let largest = want.iter().map(testing::largest);
        let bound = 5e-6 * largest.fold(0.0, f64::max);
        for (got, want) in got.iter().zip(&want) {
            testing::assert_within(got, want, bound);
        }
    }
}

#[test]
fn siglip_is_never_trimmed() {
    assert!(!TextConfig::siglip(VOCAB, CONTEXT, 24, 2).trims());
}
