//! A step of classification: cross-entropy over the classes that a tower's projection tells apart.

use burn::tensor::Tensor;
use checkpointing::{Execution, Gradients, Seed};
use transformer::{CrossEntropy, Tokens, cross_entropy};

use crate::VisionEncoder;

/// Pictures and their classes.
#[derive(Clone, Debug)]
pub struct LabelledBatch {
    /// Normalised pictures, `[batch, channels, height, width]`.
    pub pixels: Tensor<4>,
    /// The class of each.
    pub labels: Vec<usize>,
}

/// What a step of classification gives.
#[derive(Debug)]
pub struct ClassifyOutput {
    /// The mean over all pictures of the step.
    pub loss: f64,
    /// The gradients of everything that trains.
    pub gradients: Gradients,
}

/// Loss and gradients of a batch of pictures, given as one or more micro-batches, by a tower whose features `[batch, 1,
/// classes]` are logits. The loss is the mean over all of them, so that the micro-batches change nothing but the order of
/// sums.
pub fn classify_step(
    model: &impl VisionEncoder,
    micro_batches: &[LabelledBatch],
    label_smoothing: f64,
    execution: Execution,
    seed: Seed,
) -> ClassifyOutput {
    let chain = model.chain(Tokens::Pooled);
    let mean_over = micro_batches.iter().map(|batch| batch.labels.len()).sum();
    let config = CrossEntropy {
        label_smoothing,
        mean_over,
    };
    let mut output = ClassifyOutput {
        loss: 0.0,
        gradients: Gradients::default(),
    };
    let mut seeds = (0..).map(|place| seed.child(place));
    for batch in micro_batches {
        let [pictures, ..] = batch.pixels.dims();
        let parts: Vec<_> = execution.split(pictures).collect();
        let state = |rows: &std::ops::Range<usize>| {
            let pixels = batch.pixels.clone();
            model.input(if parts.len() == 1 {
                pixels
            } else {
                pixels.slice([rows.clone()])
            })
        };
        let states: Vec<_> = parts.iter().map(state).zip(&mut seeds).collect();
        let total = &mut output.loss;
        let loss = |outputs: Vec<Tensor<3>>, _: &mut Gradients| {
            let logits = Tensor::cat(outputs, 0).squeeze_dim(1);
            let found = cross_entropy(logits, &batch.labels, config);
            *total += found.loss;
            let cotangent = |rows: &std::ops::Range<usize>| {
                found.logits.clone().slice([rows.clone()]).unsqueeze_dim(1)
            };
            parts.iter().map(cotangent).collect()
        };
        execution.step(&chain, states, loss, &mut output.gradients);
    }
    output
}
