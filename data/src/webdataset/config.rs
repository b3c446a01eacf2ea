//! How to read shards.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How to read a [`WebDataset`](crate::WebDataset). The names of the fields are the names of the options in a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebDatasetConfig {
    /// The key of the caption in a `.json` entry: `caption`. Where it is not there and nobody set another, well-known
    /// names are tried, such as `text`.
    pub caption_key: String,
    /// A file with one class name a line: a `.cls` entry is then the number of a line, from 0, and the caption is that
    /// class in a template. Without it the text of the entry is the caption.
    pub classes: Option<PathBuf>,
    /// The captions of classes, each with one `{}` for the class: `a photo of a {}.` Samples take them in turn.
    pub templates: Vec<String>,
    /// Pictures of more bytes are skipped: 64 MiB.
    pub max_image_bytes: u64,
    /// Captions of more bytes, and `.json` entries of more bytes that are needed for one, are skipped: 1 MiB.
    pub max_caption_bytes: usize,
}

impl Default for WebDatasetConfig {
    fn default() -> Self {
        Self {
            caption_key: "caption".into(),
            classes: None,
            templates: vec!["a photo of a {}.".into()],
            max_image_bytes: 64 << 20,
            max_caption_bytes: 1 << 20,
        }
    }
}
