#![doc = include_str!("../README.md")]

mod attention;
mod block;
mod block_keys;
pub mod config;
mod dropout;
pub mod guard;
mod mlp;
mod norm;
mod pooled;
mod weights;

pub use attention::{Attention, AttentionConfig};
pub use block::{Block, BlockConfig, NormOrder};
pub use block_keys::BlockKeys;
pub use config::{ConfigError, Section};
pub use dropout::dropout;
pub use kernels::Activation;
pub use mlp::Mlp;
pub use norm::LayerNorm;
pub use pooled::{POOLED, pick_token};
pub use weights::{
    Binding, Bindings, Entry, Layout, Loaded, Stored, TensorSource, Weights, WeightsError,
    check_keys, load, load_from, save, save_gradients,
};
