//! Parity with the Python originals, driven by the fixtures.
//!
//! `SHOESTRING_FIXTURES` names another root; every folder of a family is walked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adapters;
mod clip;
mod configs;
mod fixture;
mod losses;
mod optim;

mod single;
mod tasks;
mod train;
