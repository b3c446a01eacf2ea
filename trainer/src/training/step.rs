//! One step of the optimizer.

use checkpointing::{Policy, Seed};
use fusion::{StepConfig, contrastive_step};
use optimizer::{Step, gradient_norm};

use super::{Trained, Training};
use crate::{
    corpus::HostBatch,
    device::{self, compute},
    model,
    recipe::{Checkpointing, Schedule},
    schedule::{Decay, LearningRate},
};

/// Metrics of one step.
pub(super) struct Metrics {
    pub(super) loss: f64,
    pub(super) norm: f64,
    pub(super) rate: f64,
    /// Whether the loss or the gradients were no numbers, so that nothing was changed.
    pub(super) is_skipped: bool,
}

impl Training<'_> {
    /// Makes step `step + 1`. If its loss or its gradients are no numbers nothing is changed, and the step fails or is
    /// skipped, as the recipe says.
    pub(super) fn step(
        &self,
        trained: Trained,
        batch: Vec<HostBatch>,
        step: u64,
    ) -> (Trained, anyhow::Result<Metrics>) {
        let (recipe, config, device) = (self.recipe, self.config, self.device);
        let rate = self.learning_rate().at(step);
        compute(device, move || {
            let settings = &recipe.train;
            let batches: Vec<_> = batch
                .into_iter()
                .map(|batch| batch.to_device(device))
                .collect();
            let policy = match settings.checkpointing {
                Checkpointing::StoreAll => Policy::StoreAll,
                Checkpointing::EveryCut => Policy::EveryCut,
                Checkpointing::Every(n) => Policy::Every(n),
            };
            let loss = model::loss_of(config);
            let seed = Seed::new(recipe.seed).child(step);
            let pairs = settings.micro_batch.unwrap_or(settings.batch);
            let config = StepConfig {
                loss,
                policy,
                parts: device::parts(device, pairs),
            };
            let Trained {
                mut model,
                mut optimizer,
            } = trained;
            let out = device::apart(config.parts, || {
                contrastive_step(&model, &batches, &config, seed)
            });
            let loss = out.loss;
            let (norm, is_skipped) = if loss.is_finite() {
                let outcome;
                (model, outcome) = optimizer.step(model, out.gradients, rate, settings.clip_norm);
                match outcome {
                    Step::Done { norm, .. } => (norm, false),
                    Step::Skipped { norm } => (norm, true),
                }
            } else {
                (gradient_norm(&model, &out.gradients), true)
            };
            if is_skipped && !settings.skip_nonfinite {
                let error = anyhow::anyhow!(
                    "the loss is {loss}, the norm of the gradients {norm} at step {}; lower `train.lr` or raise \
                     `train.warmup`, or skip such steps with `train.skip_nonfinite`",
                    step + 1
                );
                return (Trained { model, optimizer }, Err(error));
            }
            if !is_skipped {
                model.clamp_scale(settings.max_scale);
            }
            let metrics = Metrics {
                loss,
                norm,
                rate,
                is_skipped,
            };
            (Trained { model, optimizer }, Ok(metrics))
        })
    }

    fn learning_rate(&self) -> LearningRate {
        let settings = &self.recipe.train;
        let decay = match &settings.schedule {
            Schedule::Cosine => Decay::Cosine,
            Schedule::Constant => Decay::Constant,
            Schedule::ConstantCooldown(cooldown) => Decay::Cooldown {
                steps: cooldown.steps,
                power: cooldown.power,
                end: cooldown.end_lr,
            },
        };
        LearningRate {
            base: settings.lr,
            warmup: settings.warmup,
            steps: self.steps,
            decay,
        }
    }
}
