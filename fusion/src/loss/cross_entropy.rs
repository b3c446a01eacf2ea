//! Cross entropy of class labels.

use burn::tensor::{Int, Tensor, TensorData, activation};

/// The label of a row that does not count.
pub const IGNORED: i64 = -100;

/// The mean cross entropy of the rows that count, and its gradient with respect to the logits.
///
/// If no row counts, both are zero.
///
/// # Shapes
///
/// * `logits` and the gradient: `[batch, classes]`
/// * `labels`: one a row, below `classes`, or [`IGNORED`]
///
/// # Panics
///
/// If there is not one label a row, or a label is out of range.
pub fn cross_entropy(logits: Tensor<2>, labels: &[i64]) -> (f64, Tensor<2>) {
    let [batch, classes] = logits.dims();
    assert_eq!(labels.len(), batch, "one label a row");
    let counted = labels.iter().filter(|label| **label != IGNORED).count();
    if counted == 0 {
        return (0.0, logits.zeros_like());
    }
    let in_range = |label: i64| usize::try_from(label).is_ok_and(|label| label < classes);
    let wrong = labels
        .iter()
        .find(|label| **label != IGNORED && !in_range(**label));
    assert!(
        wrong.is_none(),
        "label {wrong:?} is not one of {classes} classes"
    );

    let device = logits.device();
    let index = Tensor::<2, Int>::from_data(TensorData::new(labels.to_vec(), [batch, 1]), &device);
    let ignored = index.clone().equal_elem(IGNORED);
    let share = Tensor::<2>::full([batch, 1], 1.0 / counted as f32, &device)
        .mask_fill(ignored.clone(), 0.0);
    let columns: Tensor<2, Int> =
        Tensor::<1, Int>::arange(0..classes as i64, &device).unsqueeze_dim(0);
    let shape = [batch, classes];
    let hit = index.clone().expand(shape).equal(columns.expand(shape));

    let log_softmax = activation::log_softmax(logits, 1);
    let picked = log_softmax
        .clone()
        .gather(1, index.mask_fill(ignored.clone(), 0));
    let loss = picked
        .mask_fill(ignored, 0.0)
        .into_data()
        .iter::<f64>()
        .sum::<f64>();
    let softmax = log_softmax.exp();
    let gradient = softmax.clone().mask_where(hit, softmax - 1.0) * share;
    (-loss / counted as f64, gradient)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;

    /// The same from the definition, in double precision.
    fn reference(logits: &[f32], labels: &[i64], classes: usize) -> (f64, Vec<f64>) {
        let counted = labels.iter().filter(|x| **x >= 0).count() as f64;
        let (mut loss, mut gradient) = (0.0, Vec::new());
        for (row, label) in logits.chunks(classes).zip(labels) {
            let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            for (j, x) in row.iter().enumerate() {
                let hit = j as i64 == *label;
                loss += if hit {
                    (sum.ln() - f64::from(*x)) / counted
                } else {
                    0.0
                };
                let slope = f64::from(*x).exp() / sum - f64::from(u8::from(hit));
                gradient.push(if *label < 0 { 0.0 } else { slope / counted });
            }
        }
        (loss, gradient)
    }

    #[test]
    fn loss_and_gradient_follow_the_definition() {
        let device = testing::device();
        let logits = Tensor::<2>::random([5, 7], Distribution::Normal(0.0, 4.0), &device);
        let labels = [6, IGNORED, 0, 3, 3];
        let (loss, gradient) = cross_entropy(logits.clone(), &labels);
        let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
        let (want_loss, want) = reference(&logits, &labels, 7);
        assert!(
            (loss - want_loss).abs() < 1e-6 * want_loss,
            "{loss}, not {want_loss}"
        );
        let want = Tensor::from_data(TensorData::new(want, [5, 7]).convert::<f32>(), &device);
        testing::assert_close(&gradient, &want, 2e-6);
    }

    #[test]
    fn rows_that_do_not_count_give_zero() {
        let (loss, gradient) =
            cross_entropy(Tensor::ones([2, 3], &Device::default()), &[IGNORED; 2]);
        assert_eq!(loss, 0.0);
        assert_eq!(gradient.into_data().iter::<f32>().sum::<f32>(), 0.0);
    }

    #[test]
    #[should_panic(expected = "is not one of 3 classes")]
    fn a_label_beyond_the_classes_is_refused() {
        cross_entropy(Tensor::ones([1, 3], &Device::default()), &[3]);
    }
}
