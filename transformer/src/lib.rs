#![doc = include_str!("../README.md")]

mod adapters;
mod attention;
mod block;
mod block_keys;
mod branch;
pub mod config;
mod cross_entropy;
pub mod guard;
mod head_end;
mod layer;
mod locked;
mod mlp;
mod pooled;
mod vocabulary_loss;
mod weights;

pub use adapters::{AdapterError, AdapterNames, TrainedPaths};
pub use attention::{Attention, AttentionConfig, AttentionSaved};
pub use block::{Block, BlockConfig, BlockSaved};
pub use block_keys::BlockKeys;
pub use branch::{Branch, BranchEnd, BranchSaved, NormOrder};
pub use checkpointing::dropout;
pub use config::{ConfigError, Section, TowerSizes};
pub use cross_entropy::{ClassLoss, CrossEntropy, cross_entropy};
pub use head_end::{HeadEnd, HeadEndSaved};
pub use kernels::{Activation, Mask};
pub use layer::{Layer, LayerCall, LayerCost};
pub use locked::Locked;
pub use mlp::{Mlp, MlpSaved};
pub use peft::LayerNorm;
pub use pooled::{POOLED, PooledBlock, PooledBlockSaved, PooledToken, Tokens, push_blocks};
pub use vocabulary_loss::{
    VocabularyHead, VocabularyLoss, VocabularyWants, vocabulary_cross_entropy,
};
pub use weights::{
    Binding, Bindings, ElementType, Entry, Layout, Loaded, TensorSource, Weights, WeightsError,
    check_keys, load, load_from, save, save_gradients,
};
