//! Config files: a JSON object is read key by key, and an error names the key by its full path in the file.

mod open_clip;
mod section;
mod tower;

use std::ops::RangeInclusive;

use crate::BlockConfig;

pub use section::{Section, hf_activation};
pub use tower::TowerSizes;

/// Why a config cannot be used. The caller adds the file's name.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value of the wrong type, out of bounds, or that there is no model for.
    #[error("`{key}` is {found}; supported: {supported}")]
    Unsupported {
        /// The key, by its full path in the file.
        key: String,
        /// What it says.
        found: String,
        /// What it may say.
        supported: String,
    },
    /// A key that must be there.
    #[error("`{key}` is missing; expected {expected}")]
    Missing {
        /// The key, by its full path in the file.
        key: String,
        /// What it holds.
        expected: String,
    },
    /// A key that nobody knows, where each changes the model.
    #[error("`{key}` is not known, and may change the model; take it out if it does not")]
    Unknown {
        /// The key, by its full path in the file.
        key: String,
    },
}

impl ConfigError {
    /// A number that is out of bounds.
    pub fn out_of_bounds(
        key: impl Into<String>,
        found: impl ToString,
        supported: impl Into<String>,
    ) -> Self {
        Self::Unsupported {
            key: key.into(),
            found: found.to_string(),
            supported: supported.into(),
        }
    }

    /// The key that is at fault.
    pub fn key(&self) -> &str {
        match self {
            Self::Unsupported { key, .. } | Self::Missing { key, .. } | Self::Unknown { key } => {
                key
            }
        }
    }
}

/// What a size may be, whatever the family. No released model comes near the upper bounds: they are there so that
/// nothing is allocated by a number that nobody checked.
pub mod limits {
    use std::ops::RangeInclusive;

    /// Channels of a picture: what decoding gives.
    pub const CHANNELS: RangeInclusive<usize> = 3..=3;
    /// Side of a square picture in pixels.
    pub const IMAGE_SIZE: RangeInclusive<usize> = 1..=4096;
    /// Patches of a picture.
    pub const PATCHES: RangeInclusive<usize> = 1..=65_536;
    /// Width of hidden states and features.
    pub const WIDTH: RangeInclusive<usize> = 1..=65_536;
    /// Width inside an MLP.
    pub const HIDDEN: RangeInclusive<usize> = 1..=1_048_576;
    /// Blocks of a tower.
    pub const LAYERS: RangeInclusive<usize> = 1..=1000;
    /// Tokens of a vocabulary, or classes.
    pub const VOCABULARY: RangeInclusive<usize> = 1..=10_000_000;
    /// Tokens of a caption.
    pub const CONTEXT: RangeInclusive<usize> = 1..=65_536;
    /// Kinds of segments (BERT).
    pub const SEGMENTS: RangeInclusive<usize> = 0..=65_536;
}

/// Checks a size against its bounds.
///
/// # Errors
///
/// Names `key`.
pub fn within(
    key: impl FnOnce() -> String,
    found: usize,
    bounds: &RangeInclusive<usize>,
) -> Result<(), ConfigError> {
    if bounds.contains(&found) {
        return Ok(());
    }
    let supported = if bounds.start() == bounds.end() {
        bounds.start().to_string()
    } else {
        format!("{} to {}", bounds.start(), bounds.end())
    };
    Err(ConfigError::out_of_bounds(key(), found, supported))
}

/// Checks that a number, such as an epsilon, is above 0 and at most 1.
///
/// # Errors
///
/// Names `key`.
pub fn positive_share(key: impl FnOnce() -> String, found: f64) -> Result<(), ConfigError> {
    let supported = "a number above 0, at most 1";
    if found > 0.0 && found <= 1.0 {
        return Ok(());
    }
    Err(ConfigError::out_of_bounds(key(), found, supported))
}

/// Checks that a number is a share that may be dropped: from 0 to below 1.
///
/// # Errors
///
/// Names `key`.
pub fn dropped_share(key: impl FnOnce() -> String, found: f64) -> Result<(), ConfigError> {
    let supported = "a number from 0 to below 1";
    if (0.0..1.0).contains(&found) {
        return Ok(());
    }
    Err(ConfigError::out_of_bounds(key(), found, supported))
}

/// Checks that heads share a width.
///
/// # Errors
///
/// Names `heads`.
pub fn heads_divide(
    heads: impl FnOnce() -> String,
    n_heads: usize,
    width: impl FnOnce() -> String,
    d_model: usize,
) -> Result<(), ConfigError> {
    if n_heads > 0 && d_model.is_multiple_of(n_heads) {
        return Ok(());
    }
    let supported = format!("a divisor of `{}`, {d_model}", width());
    Err(ConfigError::out_of_bounds(heads(), n_heads, supported))
}

/// Elements of a tensor, no more than fit the number.
pub fn elements(shape: &[usize]) -> u64 {
    let product = |product: u64, size: &usize| product.saturating_mul(*size as u64);
    shape.iter().fold(1, product)
}

/// Elements of several tensors, no more than fit the number.
pub fn sum(counts: &[u64]) -> u64 {
    counts
        .iter()
        .fold(0, |sum, count| sum.saturating_add(*count))
}

/// Elements of a linear map.
pub fn linear_parameters(d_input: usize, d_output: usize, bias: bool) -> u64 {
    elements(&[d_input, d_output]).saturating_add(if bias { d_output as u64 } else { 0 })
}

impl BlockConfig {
    /// Elements of all parameters of a block, in closed form.
    pub fn parameters(&self) -> u64 {
        let (attention, hidden) = (&self.attention, self.d_hidden);
        let width = attention.d_model;
        let norm = elements(&[2, width]);
        let map = linear_parameters(width, width, attention.qkv_bias);
        let head = width / attention.n_heads.max(1);
        sum(&[
            norm.saturating_mul(2),
            map.saturating_mul(3),
            linear_parameters(width, width, true),
            if attention.qk_norm.is_some() {
                elements(&[4, head])
            } else {
                0
            },
            linear_parameters(width, hidden, true),
            linear_parameters(hidden, width, true),
            if self.layer_scale.is_some() { norm } else { 0 },
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_name_the_key_and_what_it_may_be() {
        let error = within(|| "layers".into(), 0, &limits::LAYERS).unwrap_err();
        let wanted = ConfigError::out_of_bounds("layers", 0, "1 to 1000");
        assert_eq!(error, wanted);
        assert!(within(String::new, 1000, &limits::LAYERS).is_ok());
        assert!(positive_share(String::new, f64::NAN).is_err());
        assert!(dropped_share(String::new, 1.0).is_err());
        assert!(heads_divide(String::new, 0, String::new, 8).is_err());
    }

    #[test]
    fn counts_end_where_the_number_does() {
        assert_eq!(elements(&[usize::MAX, 2]), u64::MAX);
        assert_eq!(sum(&[u64::MAX, 1]), u64::MAX);
    }
}
