//! The backends, by the names that `--backend` and `trainer/Cargo.toml` give them.

use std::ffi::OsStr;

use anyhow::{Result, bail};
use clap::ValueEnum;

/// What computes: the feature of `trainer` that is built. Burn's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// Pure Rust on the CPU; needs nothing installed.
    #[default]
    Flex,
    /// LibTorch, on the CPU or on CUDA.
    Libtorch,
    /// Any GPU with Vulkan, Metal or DirectX.
    Wgpu,
    /// NVIDIA GPUs.
    Cuda,
}

impl Backend {
    /// The feature's name in `trainer/Cargo.toml`.
    pub(crate) fn feature(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Libtorch => "libtorch",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }

    /// Burn's name of its device, for `BURN_DEVICE`.
    pub(crate) fn burn_device(self) -> &'static str {
        match self {
            Self::Libtorch => "tch",
            other => other.feature(),
        }
    }

    /// What is built for training: a GPU's kernels are tuned.
    pub(crate) fn features(self) -> String {
        match self {
            Self::Flex | Self::Libtorch => self.feature().to_owned(),
            Self::Wgpu | Self::Cuda => format!("{},tune", self.feature()),
        }
    }

    /// The backend of a name.
    pub(crate) fn parse(value: &OsStr) -> Result<Self> {
        let text = value.to_string_lossy();
        Self::from_str(&text, false)
            .or_else(|_| bail!("unknown backend `{text}`; choose one of {}", Self::names()))
    }

    /// All names, for messages.
    pub(crate) fn names() -> String {
        let features: Vec<_> = Self::value_variants().iter().map(|b| b.feature()).collect();
        features.join(", ")
    }
}
