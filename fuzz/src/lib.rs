#![doc = include_str!("../README.md")]

mod bounded;
mod folder;
mod source;
mod split;

pub use folder::Folder;
pub use source::{check_ledger, walk};
pub use split::split;
