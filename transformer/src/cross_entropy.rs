//! Cross-entropy over classes, with label smoothing, in closed form.

use burn::tensor::{Int, Tensor, TensorData, activation};

/// What of [`cross_entropy`] is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy {
    /// The share of each label that is spread evenly over all classes, itself included (Szegedy et al. 2016, section 7);
    /// 0 spreads none.
    pub label_smoothing: f64,
    /// What the sum is divided by: the rows of the whole batch, of which these may be a part.
    pub mean_over: usize,
}

/// What [`cross_entropy`] gives.
#[derive(Debug)]
pub struct ClassLoss {
    /// The loss.
    pub loss: f64,
    /// The gradient of the logits, `[batch, classes]`.
    pub logits: Tensor<2>,
}

/// The cross-entropy of the rows, summed and divided by `config.mean_over`, and its gradient.
///
/// Shapes: logits `[batch, classes]`; a label for each row.
///
/// # Panics
///
/// Panics if there is not one label a row, or a label is no class.
pub fn cross_entropy(logits: Tensor<2>, labels: &[usize], config: CrossEntropy) -> ClassLoss {
    let [batch, classes] = logits.dims();
    assert_eq!(labels.len(), batch, "a label for each row");
    if let Some(label) = labels.iter().find(|label| **label >= classes) {
        panic!("label {label} is not one of {classes} classes");
    }
    let device = logits.device();
    let share = 1.0 / config.mean_over as f64;
    let even = config.label_smoothing / classes as f64;
    let labels: Vec<i64> = labels.iter().map(|label| *label as i64).collect();
    let labels = Tensor::<2, Int>::from_data(TensorData::new(labels, [batch, 1]), &device);
    let log = activation::log_softmax(logits, 1);
    let sum = |values: Tensor<2>| -> f64 { values.into_data().iter::<f64>().sum() };
    let right = sum(log.clone().gather(1, labels.clone()));
    let loss = if even == 0.0 {
        right
    } else {
        (1.0 - config.label_smoothing) * right + even * sum(log.clone().sum_dim(1))
    };
    let spread = log.exp() * share - even * share;
    let hit = Tensor::full([batch, 1], -(1.0 - config.label_smoothing) * share, &device);
    let logits = spread.scatter(1, labels, hit, burn::tensor::IndexingUpdateOp::Add);
    ClassLoss {
        loss: -loss * share,
        logits,
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, Distribution};

    use super::*;

    const PLAIN: CrossEntropy = CrossEntropy {
        label_smoothing: 0.0,
        mean_over: 5,
    };

    /// Loss and gradient of the definition by autodiff, in float64.
    fn naive(logits: &Tensor<2>, labels: &[usize], smoothing: f64) -> (f64, Tensor<2>) {
        let [batch, classes] = logits.dims();
        let host = testing::host();
        let logits = logits.clone().to_device(&host).cast(DType::F64);
        let logits = logits.autodiff().require_grad();
        let target = labels.iter().flat_map(|label| {
            let of = |class| (1.0 - smoothing) * f64::from(u8::from(class == *label));
            (0..classes).map(move |class| of(class) + smoothing / classes as f64)
        });
        let target = TensorData::new(target.collect::<Vec<f64>>(), [batch, classes]);
        let target = Tensor::<2>::from_data(target, (&host, DType::F64)).autodiff();
        let loss = (activation::log_softmax(logits.clone(), 1) * target).sum() / -(batch as f64);
        let mut gradients = loss.clone().backward();
        let gradient = logits.grad_remove(&mut gradients).expect("a gradient");
        (loss.inner().into_scalar::<f64>(), gradient)
    }

    #[test]
    fn loss_and_gradient_follow_the_definition_with_smoothing_and_without() {
        let device = testing::device();
        let logits = Tensor::<2>::random([5, 7], Distribution::Normal(0.0, 4.0), &device);
        let labels = [6, 1, 0, 3, 3];
        for label_smoothing in [0.0, 0.1, 1.0] {
            let config = CrossEntropy {
                label_smoothing,
                ..PLAIN
            };
            let got = cross_entropy(logits.clone(), &labels, config);
            let (loss, gradient) = naive(&logits, &labels, label_smoothing);
            assert!(
                (got.loss - loss).abs() < 1e-6 * loss,
                "{}, not {loss}",
                got.loss
            );
            testing::assert_close(&got.logits, &gradient, 2e-6);
        }
    }

    #[test]
    fn parts_of_a_batch_add_up_to_the_whole() {
        let device = testing::device();
        let logits = Tensor::<2>::random([5, 7], Distribution::Normal(0.0, 4.0), &device);
        let labels = [6, 1, 0, 3, 3];
        let whole = cross_entropy(logits.clone(), &labels, PLAIN);
        let first = cross_entropy(logits.clone().slice([0..2, 0..7]), &labels[..2], PLAIN);
        let second = cross_entropy(logits.slice([2..5, 0..7]), &labels[2..], PLAIN);
        assert!((first.loss + second.loss - whole.loss).abs() < 1e-6 * whole.loss);
        let joined = Tensor::cat(vec![first.logits, second.logits], 0);
        testing::assert_close(&joined, &whole.logits, 1e-6);
    }

    #[test]
    #[should_panic(expected = "is not one of 3 classes")]
    fn a_label_beyond_the_classes_is_refused() {
        cross_entropy(Tensor::ones([1, 3], &Device::default()), &[3], PLAIN);
    }
}
