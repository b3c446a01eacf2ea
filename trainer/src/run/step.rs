//! One step of the optimizer.

use checkpointing::Seed;
use optimizer::{Step, gradient_norm};

use super::{
    metrics::Metrics,
    training::{Trained, Training},
    trains,
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
    ///
    /// Gives lines, too, that say what trains, before the first step of a run in which not everything does.
    pub(super) fn step(
        &mut self,
        trained: Trained<T::Model>,
        batches: Vec<BatchOf<T>>,
        step: u64,
    ) -> (Trained<T::Model>, anyhow::Result<Metrics>, Vec<String>) {
        let rate = self.learning_rate().at(step);
        let (task, recipe, first) = (self.task, self.recipe, self.first);
        let unmoved = self.unmoved.as_mut();
        on_rayon_thread(self.device, move || {
            let seed = Seed::new(recipe.seed).child(step);
            let learnt = task.step(&trained.model, batches, seed);
            let mut lines = Vec::new();
            if let Some(unmoved) = unmoved {
                let (model, gradients) = (&trained.model, &learnt.gradients);
                if step == first {
                    lines = trains::table(model, &trained.optimizer, gradients, recipe.train.lr);
                }
                if let Err(error) = unmoved.look(step - first + 1, gradients) {
                    return (trained, Err(error), lines);
                }
            }
            let (trained, metrics) = update(task, &recipe.train, trained, learnt, rate);
            if metrics.is_skipped && !recipe.train.skip_nonfinite {
                let Metrics { loss, norm, .. } = metrics;
                let error = anyhow::anyhow!(
                    "the loss is {loss}, the norm of the gradients {norm} at step {}; lower `train.lr` or raise \
                     `train.warmup`, or skip such steps with `train.skip_nonfinite`",
                    step + 1
                );
                return (trained, Err(error), lines);
            }
            (trained, Ok(metrics), lines)
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
