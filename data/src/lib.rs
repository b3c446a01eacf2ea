#![doc = include_str!("../README.md")]

mod annotations;
mod captioned;
mod choice;
mod classes;
mod columns;
mod digest;
mod error;
mod files;
mod folder;
mod groups;
mod json;
mod jsonl;
mod kind;
mod ledger;
mod listing;
mod opening;
mod order;
mod picture;
mod probe;
mod recognise;
mod rows;
mod seeding;
mod shapes;
mod shown;
mod source;
mod table;
mod templates;
#[cfg(test)]
mod testing;
mod walk;
mod webdataset;

pub use annotations::{Annotations, AnnotationsConfig};
pub use captioned::{CaptionedConfig, CaptionedFolder};
pub use classes::ClassList;
pub use columns::{Parquet, ParquetConfig};
pub use error::{Error, MissingColumn};
pub use folder::{ImageFolder, ImageFolderConfig};
pub use groups::Groups;
pub use jsonl::{JsonLines, JsonLinesConfig};
pub use ledger::Ledger;
pub use order::{Mixture, Part, bucketed, order};
pub use probe::probe;
pub use recognise::{SourceKind, recognise};
pub use shapes::{
    Colour, Object, Relation, Scene, Shape, Shapes, ShapesConfig, Size, Split, is_held_out,
};
pub use source::{ImageData, Place, Reason, Sample, SampleError, Source};
pub use table::{Separator, Table, TableConfig};
pub use templates::{CLIP_TEMPLATES, Templates};
pub use webdataset::{WebDataset, WebDatasetConfig};
