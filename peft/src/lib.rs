#![doc = include_str!("../README.md")]

mod adapter;
mod attached;
mod bottleneck;
mod dora;
mod error;
mod ia3;
mod linear;
mod lora;
mod merge;
mod norm;

pub use adapter::{Adapter, Base, Folded, LinearCall, Pulled, Reads, Wanted};
pub use attached::{Attached, Method};
pub use bottleneck::{Bottleneck, BottleneckConfig};
pub use dora::Dora;
pub use error::PeftError;
pub use ia3::Ia3;
pub use linear::{Linear, LinearConfig, LinearSaved};
pub use lora::{Lora, LoraConfig, LoraStart};
pub use norm::LayerNorm;
