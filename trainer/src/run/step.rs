//! One step of the optimizer.

use checkpointing::Seed;
use optimizer::{Step, gradient_norm};

use super::{
    metrics::Metrics,
    training::{Trained, Training},
};
use crate::{
    device::on_rayon_thread,
    recipe::Train,
    run::schedule::LearningRate,
    task::{BatchOf, Learnt, Task},
};

impl<T: Task> Training<'_, T> {
    /// Makes step `step + 1`. If its loss or its gradients are no numbers nothing is changed, and the step fails or is
    /// skipped, as the recipe says.
    pub(super) fn step(
        &self,
        trained: Trained<T::Model>,
        batches: Vec<BatchOf<T>>,
        step: u64,
    ) -> (Trained<T::Model>, anyhow::Result<Metrics>) {
        let rate = self.learning_rate().at(step);
        let (task, recipe) = (self.task, self.recipe);
        on_rayon_thread(self.device, move || {
            let seed = Seed::new(recipe.seed).child(step);
            let learnt = task.step(&trained.model, batches, seed);
            let (trained, metrics) = update(task, &recipe.train, trained, learnt, rate);
            if metrics.is_skipped && !recipe.train.skip_nonfinite {
                let Metrics { loss, norm, .. } = metrics;
                let error = anyhow::anyhow!(
                    "the loss is {loss}, the norm of the gradients {norm} at step {}; lower `train.lr` or raise \
                     `train.warmup`, or skip such steps with `train.skip_nonfinite`",
                    step + 1
                );
                return (trained, Err(error));
            }
            (trained, Ok(metrics))
        })
    }

    fn learning_rate(&self) -> LearningRate {
        let settings = &self.recipe.train;
        LearningRate {
            base: settings.lr,
            warmup: settings.warmup,
            steps: self.steps,
            decay: settings.schedule,
        }
    }
}

/// Updates the model, unless loss or gradients are no numbers.
fn update<T: Task>(
    task: &T,
    settings: &Train,
    trained: Trained<T::Model>,
    learnt: Learnt,
    rate: f64,
) -> (Trained<T::Model>, Metrics) {
    let Trained {
        mut model,
        mut optimizer,
    } = trained;
    let Learnt { loss, gradients } = learnt;
    let (norm, is_skipped) = if loss.is_finite() {
        let outcome;
        (model, outcome) = optimizer.step(model, gradients, rate, settings.clip_norm);
        match outcome {
            Step::Done { norm, .. } => (norm, false),
            Step::Skipped { norm } => (norm, true),
        }
    } else {
        (gradient_norm(&model, &gradients), true)
    };
    if !is_skipped {
        task.constrain(&mut model);
    }
    let metrics = Metrics {
        loss,
        norm,
        rate,
        is_skipped,
    };
    (Trained { model, optimizer }, metrics)
}
