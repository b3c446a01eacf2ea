//! The program as a user runs it: whole runs, interrupted and killed ones, and bad input.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adapters;
mod cases;
mod folder;
mod messages;
mod optimizer;
mod resume;
mod runfolder;
mod runs;
mod signals;
mod sources;
mod tasks;
mod tensors;
mod towers;
mod weights;
