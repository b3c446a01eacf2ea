//! The optimizers by name.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AdamW, Optimizer, StableAdamW};

/// Which optimizer, as a recipe names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// AdamW with decoupled weight decay.
    #[default]
    #[serde(rename = "adamw")]
    AdamW,
    /// AdamW with update clipping, which needs no clipping of gradients: set `clip_norm = 0` with it.
    #[serde(rename = "stable-adamw")]
    StableAdamW,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdamW => "adamw",
            Self::StableAdamW => "stable-adamw",
        })
    }
}

impl Kind {
    /// The optimizer with these decay rates of the moments, and this epsilon.
    pub fn with(self, betas: [f64; 2], eps: f64) -> Box<dyn Optimizer> {
        match self {
            Self::AdamW => Box::new(AdamW { betas, eps }),
            Self::StableAdamW => Box::new(StableAdamW { betas, eps }),
        }
    }
}
