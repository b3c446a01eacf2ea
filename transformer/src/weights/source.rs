//! Where tensors come from: names, types and shapes are known, values are read when they are asked for.

use burn::tensor::{DType, TensorData};

use super::{Weights, WeightsError};

/// The type of a tensor on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// Floating-point numbers that a weight may be of.
    Float,
    /// Something else, by its name in the file.
    Other(String),
}

impl ElementType {
    /// The types of a framework's tensors that a weight may be of: float64, float32, float16 and bfloat16.
    pub fn of(dtype: DType) -> Self {
        match dtype {
            DType::F64 | DType::F32 | DType::F16 | DType::BF16 => Self::Float,
            other => Self::Other(format!("{other:?}")),
        }
    }
}

/// What is known of a tensor before its values are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// The type of its elements.
    pub element_type: ElementType,
}

/// Tensors by their key on disk, in memory or in files that are open.
pub trait TensorSource {
    /// The keys, in any order.
    fn keys(&self) -> Vec<&str>;

    /// Shape and type of a tensor, if there is one under this key.
    fn entry(&self, key: &str) -> Option<Entry>;

    /// The values of a tensor in its own number format, in the entry's shape.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or are no floating-point numbers.
    fn read(&self, key: &str) -> Result<TensorData, WeightsError>;
}

impl TensorSource for Weights {
    fn keys(&self) -> Vec<&str> {
        Self::keys(self).collect()
    }

    fn entry(&self, key: &str) -> Option<Entry> {
        let data = self.get(key)?;
        Some(Entry {
            shape: data.shape().iter().copied().collect(),
            element_type: ElementType::of(data.dtype()),
        })
    }

    fn read(&self, key: &str) -> Result<TensorData, WeightsError> {
        let data = self.get(key).ok_or_else(|| WeightsError::Missing {
            keys: vec![key.into()],
        })?;
        Ok(data.clone())
    }
}
