//! `[train]`: the loop, the optimizer, and what is saved at the cuts.

use checkpointing::Policy;
use optimizer::{GroupRule, Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tagged;

/// The loop and the optimizer. Biases, norms and the scale are not decayed, unless a group says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    /// How often the training samples are gone through; either this or `steps`.
    pub epochs: Option<u64>,
    /// Optimizer steps in all; either this or `epochs`.
    pub steps: Option<u64>,
    /// Samples of an optimizer step; pairs of one are each other's negatives.
    pub batch: usize,
    /// Samples whose activations are held at once, a divisor of `batch`; the whole batch when absent. The gradient is the
    /// same: of pairs by GradCache (Gao et al. 2021).
    pub micro_batch: Option<usize>,
    /// The highest learning rate, reached after `warmup`.
    pub lr: f64,
    /// The optimizer: `stable-adamw` lowers the rate of a parameter whose gradients jump (Wortsman et al. 2023).
    pub optimizer: Kind,
    /// The optimizer's decay rates of the first and second moment.
    pub betas: [f64; 2],
    /// The optimizer's epsilon.
    pub eps: f64,
    /// The optimizer's weight decay.
    pub weight_decay: f64,
    /// Parameters that learn at another rate, or decay otherwise.
    pub groups: Vec<GroupRule>,
    /// By what the learning rate is multiplied from one layer of a tower to the one below, from the head down to the
    /// embedding (BEiT); 1 when absent.
    pub layer_decay: Option<f64>,
    /// Steps in which the learning rate rises linearly from 0.
    pub warmup: u64,
    /// What the learning rate does after the warmup.
    #[serde(serialize_with = "tagged::serialize")]
    pub schedule: Schedule,
    /// The highest norm of all gradients together; 0 leaves them as they are.
    pub clip_norm: f64,
    /// Whether a step is skipped whose loss or gradients are not finite, and told; otherwise the run ends there.
    pub skip_nonfinite: bool,
    /// The highest factor on the similarities: the exponential of the learnt scale is clamped to it.
    pub max_scale: f64,
    /// The share of activations that are dropped in training; of attention weights, too, where the config of a folder drops
    /// some.
    pub dropout: f64,
    /// The share of patches that are dropped in training.
    pub patch_dropout: f64,
    /// What is kept between forward and backward: `store-all`, `every-cut`, `every(n)` or `nested(n,m)`.
    pub checkpointing: Policy,
    /// Steps between two lines of metrics.
    pub log_every: u64,
    /// Epochs between two evaluations; 0 evaluates at the end only.
    pub eval_every: u64,
}

impl Default for Train {
    /// open_clip's settings, as far as they do not depend on the data.
    fn default() -> Self {
        Self {
            epochs: None,
            steps: None,
            batch: 128,
            micro_batch: None,
            lr: 5e-4,
            optimizer: Kind::default(),
            betas: [0.9, 0.98],
            eps: 1e-6,
            weight_decay: 0.2,
            groups: Vec::new(),
            layer_decay: None,
            warmup: 0,
            schedule: Schedule::Cosine,
            clip_norm: 1.0,
            skip_nonfinite: false,
            max_scale: 100.0,
            dropout: 0.0,
            patch_dropout: 0.0,
            checkpointing: Policy::StoreAll,
            log_every: 10,
            eval_every: 1,
        }
    }
}

/// What the learning rate does after the warmup.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Half a cosine down towards 0, which the step after the last would reach.
    Cosine,
    /// Stays.
    Constant,
    /// Stays, then falls in the last steps.
    ConstantCooldown(Cooldown),
}

/// The fall of the learning rate in the last steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cooldown {
    /// How many steps it takes.
    pub steps: u64,
    /// 1 falls linearly, more falls faster at first.
    pub power: f64,
    /// The learning rate at the end.
    pub end_lr: f64,
}
