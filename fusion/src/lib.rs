#![doc = include_str!("../README.md")]

mod config;
mod dual;
mod hf;
pub mod loss;
mod normalise;
mod open_clip;
mod step;

pub use config::{DualConfig, DualKeys, FusionError, MAX_PARAMETERS};
pub use dual::DualEncoder;
pub use normalise::normalise;
pub use step::{Batch, StepConfig, StepOutput, contrastive_step};
