//! A device with products of its own.

use burn::{
    backend::DispatchTensor,
    module::Module,
    tensor::{Distribution, Tensor},
};
use peft::{LinearConfig, column_sums, multiply_by, product};

fn doubled(left: DispatchTensor, right: DispatchTensor) -> DispatchTensor {
    let [left, right] = [left, right].map(Tensor::<2>::from_dispatch);
    (left.matmul(right) * 2.0).into_dispatch()
}

#[test]
fn a_device_multiplies_as_it_is_told_to_and_sums_as_ever() {
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

    let column = Tensor::<2>::random([3, 1], Distribution::Default, &device);
    let want = cotangent.clone().matmul(column.clone());
    testing::assert_close(&product(cotangent, column), &want, 1e-6);
    for rows in [0, 1, 7, 131, 1536] {
        let matrix = Tensor::<2>::random([rows, 3], Distribution::Default, &device);
        let want: Tensor<1> = matrix.clone().sum_dim(0).squeeze_dim(0);
        testing::assert_close(&column_sums(matrix), &want, 1e-5);
    }
}
