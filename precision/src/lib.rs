#![doc = include_str!("../README.md")]

mod casts;
mod format;
mod stored;

pub use casts::{Half, narrow, widen};
pub use format::{Format, UnknownFormat};
pub use stored::Stored;
