//! How to read a table.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How to read a [`Table`](crate::Table). The names of the fields are the names of the options in a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TableConfig {
    /// The column of image paths: `filepath`. Where a table has neither this column nor `title`, and nobody set
    /// another, well-known names are tried, such as `file_name`, `image` and `path`.
    pub image_column: String,
    /// The column of captions: `title`, or a well-known name such as `caption` and `text`.
    pub caption_column: String,
    /// What stands between two columns; found from the header unless it is given.
    pub separator: Separator,
    /// Whether double quotes protect separators and line breaks. Switch it off for tables written without quoting,
    /// in which a caption may begin with a quote that never closes.
    pub quoting: bool,
    /// The folder that relative paths start from, in place of the folder of the table.
    pub image_root: Option<PathBuf>,
    /// Pictures of more bytes are skipped: 64 MiB.
    pub max_image_bytes: u64,
    /// Rows with longer captions are skipped: 1 MiB.
    pub max_caption_bytes: usize,
    /// A longer row ends the reading, since an open quote is its likely cause: 16 MiB.
    pub max_row_bytes: usize,
}

impl Default for TableConfig {
    fn default() -> Self {
        Self {
            image_column: "filepath".into(),
            caption_column: "title".into(),
            separator: Separator::Auto,
            quoting: true,
            image_root: None,
            max_image_bytes: 64 << 20,
            max_caption_bytes: 1 << 20,
            max_row_bytes: 16 << 20,
        }
    }
}

/// What stands between two columns of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Separator {
    /// Whichever of the others finds both columns in the header.
    #[default]
    Auto,
    /// A tab.
    Tab,
    /// A comma.
    Comma,
    /// A semicolon, as spreadsheets write where the comma is the decimal sign.
    Semicolon,
    /// A vertical bar.
    Pipe,
}
