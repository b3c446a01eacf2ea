//! How to read a JSON file.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How to read [`Annotations`](crate::Annotations). The names of the fields are the names of the options in a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AnnotationsConfig {
    /// In a list of objects the key of image paths: `filepath`. Where the first objects have neither this key nor `title`,
    /// and nobody set another, well-known names are tried, such as `file_name` and `image`.
    pub image_key: String,
    /// In a list of objects the key of captions: `title`, or a well-known name such as `caption` and `text`.
    pub caption_key: String,
    /// The split that is read, by the key `split` of a picture; all of them unless it is set. `train` takes Karpathy's
    /// `restval` with it, as is usual.
    pub split: Option<String>,
    /// The folder that relative paths start from, in place of the folder of the file.
    pub image_root: Option<PathBuf>,
    /// Pictures of more bytes are skipped: 64 MiB.
    pub max_image_bytes: u64,
    /// Longer captions are skipped: 1 MiB.
    pub max_caption_bytes: usize,
    /// A longer file is refused, since all of it is read at once: 2 GiB.
    pub max_file_bytes: u64,
}

impl Default for AnnotationsConfig {
    fn default() -> Self {
        Self {
            image_key: "filepath".into(),
            caption_key: "title".into(),
            split: None,
            image_root: None,
            max_image_bytes: 64 << 20,
            max_caption_bytes: 1 << 20,
            max_file_bytes: 2 << 30,
        }
    }
}
