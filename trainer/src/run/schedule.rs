//! The learning rate of each step, as open_clip sets it.

use std::f64::consts::PI;

use crate::recipe::{Cooldown, Schedule};

/// Learning rates by step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRate {
    /// The highest, reached after the warmup.
    pub base: f64,
    /// Steps of the warmup.
    pub warmup: u64,
    /// Steps in all.
    pub steps: u64,
    /// What follows the warmup.
    pub decay: Schedule,
}

impl LearningRate {
    /// The learning rate of step `step`, from 0.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.base * (step + 1) as f64 / self.warmup as f64;
        }
        match self.decay {
            Schedule::Constant => self.base,
            Schedule::Cosine => {
                let progress = (step - self.warmup) as f64
                    / self.steps.saturating_sub(self.warmup).max(1) as f64;
                0.5 * (1.0 + (PI * progress).cos()) * self.base
            }
            Schedule::ConstantCooldown(cooldown) => {
                let Cooldown {
                    steps,
                    power,
                    end_lr: end,
                } = cooldown;
                let start = self.steps.saturating_sub(steps);
                if step < start {
                    return self.base;
                }
                let progress = (step - start) as f64 / steps.max(1) as f64;
                (1.0 - progress).powf(power) * (self.base - end) + end
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warmup_ends_at_the_base_and_cosine_near_zero() {
        let rate = LearningRate {
            base: 2.0,
            warmup: 4,
            steps: 100,
            decay: Schedule::Cosine,
        };
        assert_eq!(rate.at(0), 0.5);
        assert_eq!(rate.at(3), 2.0);
        assert_eq!(rate.at(4), 2.0);
        assert!(rate.at(99) < 0.01);
    }
}
