#![doc = include_str!("../README.md")]

mod config;
mod embed;
mod head;
mod hf;
mod keys;
mod mlm;
mod open;
pub mod tokenizer;
mod tower;

pub use config::{TextConfig, TextPooling};
pub use embed::{TextEmbed, TextEmbedSaved};
pub use head::{TextHead, TextHeadSaved};
pub use keys::TextKeys;
pub use mlm::{
    LABELLED, MaskedBatch, MaskedLanguageModel, MlmHead, MlmOutput, MlmSaved, MlmTransform,
    mlm_step,
};
pub use tower::{TextEncoder, TextTransformer};
pub use transformer::ConfigError;
