#![doc = include_str!("../README.md")]

mod activation;
mod attention;
mod dropout;
mod flops;
pub mod host;
mod norm;
mod product;
mod profile;

pub use activation::Activation;
pub use attention::{Mask, Sees, attend, pull_attend};
pub use dropout::Dropout;
pub use flops::{flops, flops_of};
pub use norm::{PulledNorm, pull_layer_norm};
pub use product::{Product, column_sums, linear, product};
pub use profile::{DeviceProfile, RawAccess, is_host, set_profile};
