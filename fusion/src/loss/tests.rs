//! The closed forms against autodiff on the definition, on features of any length.

use burn::tensor::{Device, Distribution, Tensor, activation};

use super::*;

const LOGITS: LogitMap = LogitMap {
    scale: 7.5,
    bias: Some(-3.0),
};

/// The definition, on whole matrices and a graph.
fn reference(
    loss: ContrastiveLoss,
    image: &Tensor<2>,
    text: &Tensor<2>,
    logits: LogitMap,
) -> LossAndGrads {
    let leaf = |tensor: Tensor<2>| tensor.autodiff().require_grad();
    let scalar = |x: f32| leaf(Tensor::full([1, 1], x, &image.device()));
    let (image, text) = (leaf(image.clone()), leaf(text.clone()));
    let (scale, bias) = (scalar(logits.scale), scalar(logits.bias.unwrap_or(0.0)));
    let batch = image.dims()[0];
    let scores = image.clone().matmul(text.clone().transpose()) * scale.clone() + bias.clone();
    let eye = Tensor::<2>::eye(batch, &scores.clone().inner().device()).autodiff();
    let value = match loss {
        ContrastiveLoss::Softmax => {
            let picked =
                activation::log_softmax(scores.clone(), 1) + activation::log_softmax(scores, 0);
            (picked * eye).sum() / (-2.0 * batch as f64)
        }
        ContrastiveLoss::Sigmoid => {
            let targets = eye * 2.0 - 1.0;
            activation::log_sigmoid(scores * targets).sum() / -(batch as f64)
        }
    };
    let grads = value.backward();
    let number = |x: &Tensor<2>| {
        x.grad(&grads)
            .unwrap()
            .into_data()
            .iter::<f64>()
            .next()
            .unwrap()
    };
    LossAndGrads {
        loss: value.into_data().iter::<f64>().next().unwrap(),
        grad_image: image.grad(&grads).unwrap(),
        grad_text: text.grad(&grads).unwrap(),
        grad_scale: number(&scale),
        grad_bias: logits.bias.map(|_| number(&bias)),
    }
}

fn features(batch: usize, spread: f64) -> [Tensor<2>; 2] {
    let (normal, device) = (Distribution::Normal(0.0, spread), testing::device());
    [(); 2].map(|()| Tensor::random([batch, 6], normal, &device))
}

fn assert_close(got: &LossAndGrads, want: &LossAndGrads, case: &str) {
    let near = |got: f64, want: f64, what: &str| {
        assert!(
            (got - want).abs() <= 1e-4 + 1e-4 * want.abs(),
            "{case}: {what} {got}, not {want}"
        );
    };
    near(got.loss, want.loss, "loss");
    near(got.grad_scale, want.grad_scale, "grad_scale");
    assert_eq!(got.grad_bias.is_some(), want.grad_bias.is_some(), "{case}");
    near(
        got.grad_bias.unwrap_or(0.0),
        want.grad_bias.unwrap_or(0.0),
        "grad_bias",
    );
    testing::assert_close(&got.grad_image, &want.grad_image, 2e-5);
    testing::assert_close(&got.grad_text, &want.grad_text, 2e-5);
}

fn tilings(batch: usize) -> Vec<Tiling> {
    let odd = Tiling {
        rows: 5,
        columns: 2,
        kept_bytes: 3 * 5 * 2 * 4,
    };
    let sides = [1, 3, 7, batch, 2 * batch].map(Tiling::square);
    sides.into_iter().chain([odd, Tiling::default()]).collect()
}

#[test]
fn closed_forms_equal_autodiff_at_every_tiling() {
    for loss in [ContrastiveLoss::Softmax, ContrastiveLoss::Sigmoid] {
        for (batch, spread) in [(1, 1.0), (2, 0.3), (33, 1.0), (33, 3.0)] {
            for logits in [
                LOGITS,
                LogitMap {
                    bias: None,
                    ..LOGITS
                },
            ] {
                let [image, text] = features(batch, spread);
                let want = reference(loss, &image, &text, logits);
                for tiling in tilings(batch) {
                    let got = loss.evaluate(image.clone(), text.clone(), logits, tiling);
                    assert_close(
                        &got,
                        &want,
                        &format!("{loss:?} {batch} {spread} {tiling:?}"),
                    );
                }
            }
        }
    }
}

#[test]
fn tensor_operations_equal_host_loops() {
    for loss in [ContrastiveLoss::Softmax, ContrastiveLoss::Sigmoid] {
        let [image, text] = features(20, 1.0);
        let tiling = Tiling {
            rows: 7,
            columns: 4,
            kept_bytes: 200,
        };
        let want = loss.evaluate(image.clone(), text.clone(), LOGITS, tiling);
        // A tensor that supports a graph is not opened as host memory.
        let mut got = loss.evaluate(image.autodiff(), text.autodiff(), LOGITS, tiling);
        got.grad_image = got.grad_image.inner();
        got.grad_text = got.grad_text.inner();
        assert_close(&got, &want, &format!("{loss:?}"));
    }
}

#[test]
fn logits_far_beyond_the_range_of_exp_are_exact() {
    let device = Device::default();
    let image = Tensor::<2>::from_floats([[100.0, 0.0], [0.0, 100.0]], &device);
    let logits = LogitMap {
        scale: 100.0,
        bias: None,
    };
    for tiling in [Tiling::square(1), Tiling::square(2)] {
        let got = ContrastiveLoss::Softmax.evaluate(image.clone(), image.clone(), logits, tiling);
        assert_eq!(got.loss, 0.0);
        let swapped = image.clone().flip([0]);
        let got = ContrastiveLoss::Softmax.evaluate(image.clone(), swapped, logits, tiling);
        assert_eq!(got.loss, 1e6);
        assert_eq!(got.grad_scale, 1e4);
    }
}

#[test]
fn not_a_number_is_not_hidden() {
    let [image, text] = features(9, 1.0);
    let broken = image.slice_assign([4..5, 2..3], Tensor::full([1, 1], f32::NAN, &text.device()));
    for loss in [ContrastiveLoss::Softmax, ContrastiveLoss::Sigmoid] {
        let got = loss.evaluate(broken.clone(), text.clone(), LOGITS, Tiling::square(4));
        assert!(
            got.loss.is_nan() && got.grad_scale.is_nan(),
            "{loss:?}: {got:?}"
        );
    }
}

#[test]
#[should_panic(expected = "one shape")]
fn unequal_batches_are_refused() {
    let [image, _] = features(3, 1.0);
    let [text, _] = features(4, 1.0);
    ContrastiveLoss::Softmax.evaluate(image, text, LOGITS, Tiling::default());
}
