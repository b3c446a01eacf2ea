#![doc = include_str!("../README.md")]

mod adapter;
mod attach;
mod attached;
mod bottleneck;
mod dora;
mod embedding;
mod error;
mod hf;
mod ia3;
mod linear;
mod lora;
mod merge;
mod norm;
mod place;
mod targets;
mod tensors;

pub use adapter::{Adapter, Base, Folded, LinearCall, Pulled, Reads, Wanted};
pub use attach::{Kind, ModuleNames, Plan, attach};
pub use attached::{Attached, Method};
pub use bottleneck::{Bottleneck, BottleneckConfig};
pub use dora::Dora;
pub use embedding::{EmbeddingLora, pull_look_up};
pub use error::PeftError;
pub use hf::{BiasTraining, HfConfig};
pub use ia3::Ia3;
pub use linear::{Linear, LinearConfig, LinearSaved};
pub use lora::{Lora, LoraConfig, LoraStart};
pub use norm::LayerNorm;
pub use place::{Adaptable, Place, Visit, for_places};
pub use targets::{ALL_LINEAR, Names, Targets};
pub use tensors::{
    Key, PREFIX, bottleneck_tensors, embedding_tensors, parse_key, rank_of, set_bottleneck,
    set_embedding, set_tensor, tensors,
};
