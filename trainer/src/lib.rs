#![doc = include_str!("../README.md")]

pub mod bench;
pub mod cli;
pub mod corpus;
pub mod data_check;
pub mod device;
pub mod embed;
pub mod eval;
pub mod evaluate;
pub mod export;
pub mod loader;
pub mod memory;
pub mod model;
pub mod optim;
mod progress;
pub mod recipe;
pub mod record;
pub mod resume;
pub mod run;
pub mod schedule;
pub mod train;
mod training;
pub mod vocabulary;
pub mod weight_file;
