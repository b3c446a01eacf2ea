#![doc = include_str!("../README.md")]
// Messages go through `say`, which survives when nobody reads them.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod bench;
pub mod cli;
pub mod corpus;
pub mod data_check;
pub mod device;
mod early;
pub mod embed;
pub mod eval;
pub mod evaluate;
pub mod export;
pub mod files;
pub mod input;
pub mod loader;
mod lock;
pub mod memory;
pub mod model;
mod outputs;
mod progress;
pub mod recipe;
pub mod record;
pub mod resume;
pub mod run;
mod say;
pub mod schedule;
pub mod show_recipe;
mod signals;
mod task;
pub mod train;
mod training;
pub mod watched;
pub mod weight_file;
mod zero_shot;
