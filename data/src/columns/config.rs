//! How to read Parquet.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How to read [`Parquet`](crate::Parquet). The names of the fields are the names of the options in a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ParquetConfig {
    /// The column of pictures or of their paths: `filepath`. Where there is neither this column nor `title`, and nobody set
    /// another, well-known names are tried, such as `image` and `jpg`.
    pub image_column: String,
    /// The column of captions: `title`, or a well-known name such as `caption` and `text`. A list of texts is as many
    /// captions.
    pub caption_column: String,
    /// The folder that relative paths start from, in place of the folder of the file.
    pub image_root: Option<PathBuf>,
    /// Pictures of more bytes are skipped: 64 MiB.
    pub max_image_bytes: u64,
    /// Rows with longer captions are skipped: 1 MiB.
    pub max_caption_bytes: usize,
}

impl Default for ParquetConfig {
    fn default() -> Self {
        Self {
            image_column: "filepath".into(),
            caption_column: "title".into(),
            image_root: None,
            max_image_bytes: 64 << 20,
            max_caption_bytes: 1 << 20,
        }
    }
}
