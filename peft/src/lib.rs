#![doc = include_str!("../README.md")]

mod adapter;
mod linear;
mod product;

pub use adapter::Adapter;
pub use linear::{Linear, LinearConfig};
pub use product::{Product, column_sums, multiply_by, product};
