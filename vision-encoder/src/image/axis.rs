//! How pixels are averaged, and which of them along a side.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kernel of a resize. All but the nearest neighbour are antialiased: the kernel is widened when shrinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// The mean of the pixels under it.
    Box,
    /// Triangle.
    Bilinear,
    /// Hamming's window.
    Hamming,
    /// Cubic convolution with a = -0.5.
    Bicubic,
    /// Lanczos' window, of three lobes.
    Lanczos,
}

impl Filter {
    /// Its name in recipes and configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Box => "box",
            Self::Bilinear => "bilinear",
            Self::Hamming => "hamming",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
        }
    }
}

/// One axis of a resize and crop: `len` pixels are resized to `resized`, of which `kept` from `offset` on are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axis {
    pub(super) len: u32,
    pub(super) resized: u32,
    pub(super) offset: u32,
    pub(super) kept: u32,
}

impl Axis {
    /// All of the resized axis.
    pub(super) fn whole(len: u32, resized: u32) -> Self {
        Self {
            len,
            resized,
            offset: 0,
            kept: resized,
        }
    }

    pub(super) fn is_scaled(self) -> bool {
        self.len != self.resized
    }

    /// Source pixels for each resized pixel.
    pub(super) fn scale(self) -> f64 {
        f64::from(self.len) / f64::from(self.resized)
    }
}
