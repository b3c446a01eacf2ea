//! What the program does: a file for each command.

pub(crate) mod adapters;
pub(crate) mod bench;
pub(crate) mod data_check;
pub(crate) mod embed;
pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod show_recipe;
pub(crate) mod train;
