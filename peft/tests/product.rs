//! A device with products of its own.

use burn::{
    backend::DispatchTensor,
    module::Module,
    tensor::{Distribution, Tensor},
};
use peft::{LinearConfig, multiply_by};

fn doubled(left: DispatchTensor, right: DispatchTensor) -> DispatchTensor {
    let [left, right] = [left, right].map(Tensor::<2>::from_dispatch);
    (left.matmul(right) * 2.0).into_dispatch()
}

#[test]
fn a_linear_layer_multiplies_as_its_device_is_told_to() {
    let device = testing::host();
    let layer = LinearConfig::new(5, 3).with_bias(false).init(&device);
    let biased = LinearConfig::new(5, 3).with_drawn_bias().init(&device);
    let input = Tensor::<2>::random([7, 5], Distribution::Default, &device);
    let cotangent = Tensor::<2>::random([7, 3], Distribution::Default, &device);
    let all = || {
        let pulled = layer.pull_input(cotangent.clone());
        let forward = layer.forward(input.clone());
        let leaf = input.clone().autodiff().require_grad();
        let tracked = layer.clone().train().forward(leaf);
        [forward, pulled, tracked.inner()]
    };
    let plain = all();
    let bias = biased.forward(Tensor::<2>::zeros([7, 5], &device));
    let plain_biased = biased.forward(input.clone());
    multiply_by(doubled, &device);
    for (plain, doubled) in plain.into_iter().zip(all()) {
        testing::assert_close(&doubled, &(plain * 2.0), 1e-6);
    }
    let want = plain_biased * 2.0 - bias;
    testing::assert_close(&biased.forward(input), &want, 1e-6);
}
