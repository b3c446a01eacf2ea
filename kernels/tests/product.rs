//! A device with products of its own.

use burn::{
    backend::DispatchTensor,
    tensor::{Distribution, Tensor},
};
use kernels::{DeviceProfile, column_sums, flops, linear, product, set_profile};

fn doubled(left: DispatchTensor, right: DispatchTensor) -> DispatchTensor {
    let [left, right] = [left, right].map(Tensor::<2>::from_dispatch);
    (left.matmul(right) * 2.0).into_dispatch()
}

// One test: profiles and the count are the process's.
#[test]
fn a_device_multiplies_as_it_is_told_to_and_products_are_counted() {
    let device = testing::host();
    let random = |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Default, &device);
    let (input, weight, cotangent) = (random([7, 5]), random([5, 3]), random([7, 3]));
    let bias = Tensor::<1>::random([3], Distribution::Default, &device);

    let before = flops();
    let plain = linear(input.clone(), weight.clone(), None);
    assert_eq!(flops() - before, 2 * 7 * 5 * 3);
    let four = |x: &Tensor<2>| x.clone().unsqueeze::<3>().expand([4, 7, 5]);
    let before = flops();
    product(four(&input), four(&input).swap_dims(1, 2));
    assert_eq!(flops() - before, 4 * 2 * 7 * 5 * 7);

    let profile = DeviceProfile {
        product: Some(doubled),
        raw_access: None,
    };
    set_profile(&device, profile);
    let before = flops();
    let got = linear(input.clone(), weight.clone(), Some(bias.clone()));
    assert_eq!(flops() - before, 2 * 7 * 5 * 3);
    testing::assert_close(&got, &(plain.clone() * 2.0 + bias.unsqueeze()), 1e-6);
    let leaf = input.autodiff().require_grad();
    let tracked = product(leaf, weight.autodiff());
    testing::assert_close(&tracked.inner(), &(plain * 2.0), 1e-6);

    let column = random([3, 1]);
    let want = cotangent.clone().matmul(column.clone());
    testing::assert_close(&product(cotangent, column), &want, 1e-6);
    for rows in [0, 1, 7, 131, 1536] {
        let matrix = random([rows, 3]);
        let want: Tensor<1> = matrix.clone().sum_dim(0).squeeze_dim(0);
        testing::assert_close(&column_sums(matrix), &want, 1e-5);
    }
}
