#![doc = include_str!("../README.md")]

mod adamw;
mod error;
mod groups;
mod kind;
mod layer_decay;
mod norm;
mod slot;
mod slot_optimizer;
mod stable_adamw;
mod state;

use std::fmt::Debug;

use burn::tensor::Tensor;

pub use adamw::AdamW;
pub use error::OptimizerError;
pub use groups::{GroupRule, Groups};
pub use kind::Kind;
pub use norm::{clip_scale, gradient_norm};
pub use slot::{Group, Slot};
pub use slot_optimizer::{SlotOptimizer, Step};
pub use stable_adamw::StableAdamW;
pub use state::{State, StateMemory};

/// How one slot is updated. It holds settings and no state.
pub trait Optimizer: Debug + Send + Sync {
    /// The names of the tensors in a slot's state. Each has as many elements as the parameter, and they begin at zero.
    fn state_names(&self) -> &'static [&'static str];

    /// The new values of a parameter, from its values and its complete gradient.
    ///
    /// # Shapes
    ///
    /// All are `[elements]`, the state's tensors too.
    fn update(
        &self,
        turn: &Turn,
        group: &Group,
        value: Tensor<1>,
        gradient: Tensor<1>,
        state: &mut State,
    ) -> Tensor<1>;
}

/// What all updates of one step have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    /// The number of the step, from 1.
    pub step: u64,
    /// The learning rate, before the factors of the groups.
    pub learning_rate: f64,
    /// What every gradient is multiplied by: see [`clip_scale`].
    pub gradient_scale: f64,
}
