#![doc = include_str!("../README.md")]
// Messages go through `say`, which survives when nobody reads them.
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod adapters;
pub mod cli;
mod commands;
pub mod device;
pub mod files;
pub mod input;
mod outputs;
mod progress;
pub mod recipe;
pub mod run;
mod say;
mod signals;
pub mod task;
