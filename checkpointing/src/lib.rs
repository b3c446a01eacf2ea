#![doc = include_str!("../README.md")]

mod chain;
mod gradients;
mod parameters;
mod schedule;
mod seed;
mod segment;
mod state;

pub use chain::{Pullback, forward};
pub use gradients::{Gradients, is_trainable, trainable_parameters};
pub use parameters::{Parameter, parameters};
pub use schedule::{Policy, Schedule, Stage};
pub use seed::Seed;
pub use segment::{Link, Pulled, Segment, Tape, record_with_autodiff};
pub use state::{Passenger, State};
