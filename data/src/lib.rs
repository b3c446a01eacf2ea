#![doc = include_str!("../README.md")]

mod classes;
mod error;
mod folder;
mod groups;
mod json;
mod jsonl;
mod ledger;
mod listing;
mod order;
mod picture;
mod rows;
mod seeding;
mod shapes;
mod source;
mod table;
mod templates;
mod webdataset;

pub use classes::ClassList;
pub use error::{Error, MissingColumn};
pub use folder::{ImageFolder, ImageFolderConfig};
pub use groups::Groups;
pub use jsonl::{JsonLines, JsonLinesConfig};
pub use ledger::Ledger;
pub use order::{Mixture, Part, bucketed, order};
pub use shapes::{
    Colour, Object, Relation, Scene, Shape, Shapes, ShapesConfig, Size, Split, is_held_out,
};
pub use source::{ImageData, Place, Reason, Sample, SampleError, Source};
pub use table::{Separator, Table, TableConfig};
pub use templates::{CLIP_TEMPLATES, Templates};
pub use webdataset::{WebDataset, WebDatasetConfig};
