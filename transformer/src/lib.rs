#![doc = include_str!("../README.md")]

mod activation;
mod attention;
mod block;
mod block_keys;
mod dropout;
pub mod guard;
pub mod host;
mod mlp;
mod norm;
mod pooled;
mod weights;

pub use activation::Activation;
pub use attention::{Attention, AttentionConfig, Core};
pub use block::{Block, BlockConfig, NormOrder};
pub use block_keys::BlockKeys;
pub use dropout::dropout;
pub use mlp::Mlp;
pub use norm::LayerNorm;
pub use pooled::{POOLED, pick_token};
pub use weights::{Binding, Bindings, Layout, Weights, WeightsError, load, save, save_gradients};
