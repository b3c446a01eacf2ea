//! How to read JSON lines.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How to read [`JsonLines`](crate::JsonLines). The names of the fields are the names of the options in a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JsonLinesConfig {
    /// The key of image paths: `filepath`. Where the first lines have neither this key nor `title`, and nobody set
    /// another, well-known names are tried, such as `file_name`, `image` and `path`.
    pub image_key: String,
    /// The key of captions: `title`, or a well-known name such as `caption` and `text`. A list of texts is as many
    /// captions.
    pub caption_key: String,
    /// The folder that relative paths start from, in place of the folder of the file.
    pub image_root: Option<PathBuf>,
    /// Pictures of more bytes are skipped: 64 MiB.
    pub max_image_bytes: u64,
    /// Lines with longer captions are skipped: 1 MiB.
    pub max_caption_bytes: usize,
    /// Longer lines are skipped, and never held in memory: 16 MiB.
    pub max_row_bytes: usize,
}

impl Default for JsonLinesConfig {
    fn default() -> Self {
        Self {
            image_key: "filepath".into(),
            caption_key: "title".into(),
            image_root: None,
            max_image_bytes: 64 << 20,
            max_caption_bytes: 1 << 20,
            max_row_bytes: 16 << 20,
        }
    }
}
