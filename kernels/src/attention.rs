//! The core of attention, between its maps, without a stored matrix of weights.
//!
//! The pullback computes the weights again from queries and keys, tile by tile (Dao et al. 2022, "FlashAttention"), so
//! that what is kept between forward and pullback grows with the number of tokens and not with its square.

mod by_head;
mod mask;
mod products;
mod tensors;

use burn::tensor::Tensor;

pub use mask::{Mask, Sees};

use crate::{Dropout, flops::count_products, host::HostTensor};

/// Scaled dot-product attention in several heads (Vaswani et al. 2017): the queries, keys and values again, and what each
/// query mixes of the values. A query that sees no key mixes zeros.
///
/// Shapes: queries `[batch, queries, d_model]`, keys and values `[batch, keys, d_model]` -> `[batch, queries, d_model]`.
/// A dropout is drawn over `[batch, n_heads, queries, keys]`.
///
/// # Panics
///
/// Panics if shapes do not fit each other or the mask, or if the heads do not divide `d_model`.
pub fn attend(
    qkv: [Tensor<3>; 3],
    n_heads: usize,
    mask: &Mask,
    dropout: Option<Dropout>,
) -> ([Tensor<3>; 3], Tensor<3>) {
    check(&qkv, n_heads, mask);
    if !qkv.iter().all(HostTensor::opens) {
        let mixed = tensors::forward(qkv.clone(), n_heads, mask, dropout, tensors::TILE);
        return (qkv, mixed);
    }
    count(&qkv, n_heads, 2);
    let qkv = qkv.map(HostTensor::fetch);
    let mixed = by_head::forward(qkv.each_ref(), n_heads, mask, dropout);
    (qkv.map(HostTensor::close), mixed)
}

/// The cotangents of queries, keys and values for the cotangent of what was mixed. Shapes as for [`attend`].
///
/// # Panics
///
/// As [`attend`], and if the cotangent has another shape than the queries.
pub fn pull_attend(
    qkv: [Tensor<3>; 3],
    n_heads: usize,
    mask: &Mask,
    dropout: Option<Dropout>,
    cotangent: Tensor<3>,
) -> [Tensor<3>; 3] {
    check(&qkv, n_heads, mask);
    assert_eq!(
        cotangent.dims(),
        qkv[0].dims(),
        "a cotangent for each query"
    );
    if !qkv.iter().all(HostTensor::opens) || !HostTensor::opens(&cotangent) {
        return tensors::pull(qkv, n_heads, mask, dropout, cotangent, tensors::TILE);
    }
    count(&qkv, n_heads, 5);
    let cotangent = HostTensor::fetch(cotangent);
    by_head::pull(
        qkv.map(HostTensor::fetch),
        n_heads,
        mask,
        dropout,
        &cotangent,
    )
}

fn check([q, k, v]: &[Tensor<3>; 3], n_heads: usize, mask: &Mask) {
    let ([batch, queries, d_model], [_, keys, _]) = (q.dims(), k.dims());
    assert!(
        n_heads > 0 && d_model % n_heads == 0,
        "{n_heads} heads do not divide d_model, {d_model}"
    );
    for x in [k, v] {
        assert_eq!(
            x.dims(),
            [batch, keys, d_model],
            "keys and values are `[batch, keys, d_model]`"
        );
    }
    mask.check(batch, [queries, keys]);
}

/// Counts `products` products of the size of the scores.
fn count([q, k, _]: &[Tensor<3>; 3], n_heads: usize, products: usize) {
    let ([batch, queries, d_model], [_, keys, _]) = (q.dims(), k.dims());
    count_products(
        products * batch * n_heads,
        [queries, d_model / n_heads, keys],
    );
}

/// What scores are multiplied by.
fn scale(d_head: usize) -> f32 {
    1.0 / (d_head as f32).sqrt()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Bool, Device, Distribution, Int};

    use super::*;

    const BATCH: usize = 2;
    const KEYS: usize = 13;

    fn masks(queries: usize, device: &Device) -> Vec<(&'static str, Mask)> {
        let mut real = [[true; KEYS]; BATCH];
        real[0][9..].fill(false);
        real[1][2] = false;
        let mut none = real;
        none[1].fill(false);
        let none = Tensor::<2, Bool>::from_data(none, device);
        let real = Tensor::<2, Bool>::from_data(real, device);
        let lengths = Tensor::<2, Int>::from_data([[4], [7]], device);
        // The picture that each text token sees, counted from 1; 0 sees none.
        let last: Vec<i64> = (0..BATCH * queries).map(|i| (i % 5) as i64).collect();
        let last = Tensor::<1, Int>::from_ints(last.as_slice(), device).reshape([BATCH, queries]);
        vec![
            ("all", Mask::default()),
            ("causal", Mask::causal()),
            ("padded", Mask::default().with_real(Some(real.clone()))),
            ("causal and padded", Mask::causal().with_real(Some(real))),
            (
                "a sequence of padding",
                Mask::default().with_real(Some(none.clone())),
            ),
            ("a causal one", Mask::causal().with_real(Some(none))),
            ("prefix", Mask::prefix(lengths)),
            ("pictures", Mask::pictures(last, 3)),
        ]
    }

    fn autodiff(
        qkv: &[Tensor<3>; 3],
        heads: usize,
        mask: &Mask,
        dropout: Option<Dropout>,
        cotangent: &Tensor<3>,
    ) -> [Tensor<3>; 3] {
        let leaves = qkv.clone().map(|x| x.autodiff().require_grad());
        let mixed = tensors::forward(leaves.clone(), heads, mask, dropout, usize::MAX);
        let mut grads = (mixed * cotangent.clone().autodiff()).sum().backward();
        leaves.map(|leaf| {
            let zeros = leaf.clone().inner().zeros_like();
            leaf.grad_remove(&mut grads).unwrap_or(zeros)
        })
    }

    #[test]
    fn heads_tiles_and_autodiff_agree_for_every_mask() {
        let device = testing::host();
        let random = |tokens| {
            Tensor::<3>::random([BATCH, tokens, 54], Distribution::Normal(0.0, 2.0), &device)
        };
        for queries in [KEYS, 1] {
            for (name, mask) in masks(queries, &device) {
                for dropout in [None, Some(Dropout { p: 0.3, seed: 8 })] {
                    println!("{queries} queries, {name}, {dropout:?}");
                    let qkv = [random(queries), random(KEYS), random(KEYS)];
                    let cotangent = random(queries);
                    let want = tensors::forward(qkv.clone(), 3, &mask, dropout, usize::MAX);
                    let pulled = autodiff(&qkv, 3, &mask, dropout, &cotangent);
                    let (kept, mixed) = attend(qkv.clone(), 3, &mask, dropout);
                    for (kept, was) in kept.iter().zip(&qkv) {
                        kept.to_data().assert_eq(&was.to_data(), true);
                    }
                    testing::assert_close(&mixed, &want, 2e-6);
                    let got = pull_attend(qkv.clone(), 3, &mask, dropout, cotangent.clone());
                    for (got, want) in got.iter().zip(&pulled) {
                        testing::assert_close(got, want, 4e-6);
                    }
                    // Tiles of all queries of one sequence, and of some of them.
                    for tile in [3 * queries * KEYS, 3 * KEYS * 4] {
                        let mixed = tensors::forward(qkv.clone(), 3, &mask, dropout, tile);
                        testing::assert_close(&mixed, &want, 2e-6);
                        let cotangent = cotangent.clone();
                        let got = tensors::pull(qkv.clone(), 3, &mask, dropout, cotangent, tile);
                        for (got, want) in got.iter().zip(&pulled) {
                            testing::assert_close(got, want, 4e-6);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn without_keys_nothing_is_mixed() {
        let device = testing::host();
        let zeros = |tokens| Tensor::<3>::ones([2, tokens, 8], &device);
        let qkv = [zeros(3), zeros(0), zeros(0)];
        let (_, mixed) = attend(qkv.clone(), 2, &Mask::default(), None);
        testing::assert_within(&mixed, &zeros(3).zeros_like(), 0.0);
        let [q, k, v] = pull_attend(qkv, 2, &Mask::default(), None, zeros(3));
        testing::assert_within(&q, &zeros(3).zeros_like(), 0.0);
        assert_eq!([k.dims(), v.dims()], [[2, 0, 8]; 2]);
    }

    #[test]
    #[should_panic(expected = "3 heads do not divide d_model, 8")]
    fn heads_divide_the_width() {
        let x = Tensor::<3>::ones([2, 3, 8], &testing::host());
        attend([x.clone(), x.clone(), x], 3, &Mask::default(), None);
    }

    #[test]
    #[should_panic(expected = "real tokens are `[batch, keys]`")]
    fn a_mask_of_other_keys_is_refused() {
        let x = Tensor::<3>::ones([1, 3, 8], &testing::host());
        let real = Tensor::<2, Bool>::from_data([[true; 4]], &testing::host());
        let mask = Mask::default().with_real(Some(real));
        attend([x.clone(), x.clone(), x], 2, &mask, None);
    }

    #[test]
    fn many_queries_go_tile_by_tile_through_a_head() {
        let device = testing::host();
        let random =
            |tokens| Tensor::<3>::random([1, tokens, 8], Distribution::Normal(0.0, 1.0), &device);
        // More queries than a tile holds at this number of keys.
        let qkv = [random(150), random(900), random(900)];
        let cotangent = random(150);
        let mask = Mask::default();
        let (_, mixed) = attend(qkv.clone(), 2, &mask, None);
        let want = tensors::forward(qkv.clone(), 2, &mask, None, usize::MAX);
        testing::assert_close(&mixed, &want, 2e-6);
        let want = autodiff(&qkv, 2, &mask, None, &cotangent);
        let got = pull_attend(qkv, 2, &mask, None, cotangent);
        for (got, want) in got.iter().zip(&want) {
            testing::assert_close(got, want, 4e-6);
        }
    }
}
