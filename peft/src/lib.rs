#![doc = include_str!("../README.md")]

mod adapter;
mod linear;

pub use adapter::Adapter;
pub use linear::{Linear, LinearConfig};
