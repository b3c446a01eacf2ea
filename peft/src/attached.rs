//! Adapters in the place that a map has for them.

use burn::{module::Module, tensor::Tensor};

use crate::{Adapter, Bottleneck, Dora, Ia3, Lora, PeftError};

/// One of the ways to adapt a map.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a module cannot be boxed, and there are few"
)]
pub enum Method {
    /// A low-rank update.
    Lora(Lora),
    /// A low-rank update, and the lengths of the weight's columns.
    Dora(Dora),
    /// Factors of what the map reads or gives.
    Ia3(Ia3),
    /// A small MLP behind the map.
    Bottleneck(Bottleneck),
}

impl Method {
    /// What they have in common.
    pub fn adapter(&self) -> &dyn Adapter {
        match self {
            Self::Lora(adapter) => adapter,
            Self::Dora(adapter) => adapter,
            Self::Ia3(adapter) => adapter,
            Self::Bottleneck(adapter) => adapter,
        }
    }

    /// Its weight among several, of what adds.
    pub(crate) fn weight_mut(&mut self) -> Option<&mut f64> {
        match self {
            Self::Lora(adapter) => Some(&mut adapter.weight),
            Self::Bottleneck(adapter) => Some(&mut adapter.weight),
            Self::Dora(_) | Self::Ia3(_) => None,
        }
    }
}

/// An adapter in its place.
#[derive(Module, Debug)]
pub struct Attached {
    /// The adapter.
    pub method: Method,
    #[module(skip)]
    name: String,
    is_on: bool,
    /// Whether it is folded into the weight.
    is_merged: bool,
    /// What undoing that needs to know.
    #[module(skip)]
    noted: Option<Tensor<1>>,
}

impl Attached {
    /// An adapter by a name, switched on.
    pub fn new(name: impl Into<String>, method: Method) -> Self {
        Self {
            method,
            name: name.into(),
            is_on: true,
            is_merged: false,
            noted: None,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is switched on.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether it is folded into the weight.
    pub fn is_merged(&self) -> bool {
        self.is_merged
    }

    /// Whether it works beside the map: it is on and not folded in.
    pub(crate) fn works(&self) -> bool {
        self.is_on && !self.is_merged
    }

    pub(crate) fn switch(&mut self, is_on: bool) -> Result<(), PeftError> {
        if self.is_merged {
            return Err(PeftError::Merged {
                name: self.name.clone(),
            });
        }
        self.is_on = is_on;
        Ok(())
    }

    pub(crate) fn set_merged(&mut self, noted: Option<Tensor<1>>) {
        self.is_merged = true;
        self.noted = noted;
    }

    pub(crate) fn set_unmerged(&mut self) {
        self.is_merged = false;
        self.noted = None;
    }

    pub(crate) fn noted(&self) -> Option<Tensor<1>> {
        self.noted.clone()
    }
}
