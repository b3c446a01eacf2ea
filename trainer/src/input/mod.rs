//! What a model comes with and reads: weights, preprocessing, tokenizer, sources, batches.

pub mod caption_reader;
pub(crate) mod early;
mod folder;
pub mod image_reader;
pub mod loader;
pub mod model;
pub(crate) mod preprocessing;
pub mod sources;
pub(crate) mod tokenizer;
pub(crate) mod towers;
pub mod watched;
pub mod weight_file;
mod weights;

pub use folder::Folder;
pub(crate) use folder::{HF, OPEN_CLIP};
pub use preprocessing::PREPROCESSING;
pub(crate) use weights::PREPROCESSOR;
pub use weights::{ConfigFile, WeightsFolder};

/// The tokenizer of a record.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
