#![doc = include_str!("../README.md")]

mod autodiff;
mod chain;
pub mod check;
mod cost;
mod dropout;
mod execution;
mod forward;
mod gradients;
mod parameters;
mod schedule;
mod scope;
mod seed;
mod segment;
mod state;
mod trains;

pub use autodiff::{Autodiff, Graph};
pub use chain::{Chain, Footprint};
pub use cost::{Cost, Outline, product_flops};
pub use dropout::dropout;
pub use execution::{Execution, pull_in_lockstep, side_by_side};
pub use forward::{Backward, Pass, Pullback, Pulled, Stepped, forward};
pub use gradients::Gradients;
pub use parameters::{Parameter, parameters, trainable_parameters};
pub use schedule::{How, Policy, Schedule, Stage};
pub use scope::Scope;
pub use seed::Seed;
pub use segment::{Call, Forward, Saved, Segment, Wants};
pub use state::{HIDDEN, Passenger, Slot, State, Streams, bytes_of};
pub use trains::is_trainable;
