#![doc = include_str!("../README.md")]

mod attention_pool;
mod classify;
mod config;
mod embed;
mod head;
mod hf;
pub mod image;
mod keys;
mod open;
mod position;
mod vit;

pub use attention_pool::AttentionPool;
pub use classify::{ClassifyOutput, LabelledBatch, classify_step};
pub use config::{ImageSize, Pooling, VisionConfig};
pub use embed::{PatchEmbed, PatchEmbedSaved};
pub use head::{VisionHead, VisionHeadSaved};
pub use keys::VisionKeys;
pub use transformer::ConfigError;
pub use vit::{VisionEncoder, VisionTransformer};
