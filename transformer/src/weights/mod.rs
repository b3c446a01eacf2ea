//! Weights by name: how a model's parameters and the tensors of a released file find each other.
//!
//! A model lists its [`Binding`]s, one for each parameter: the path in the module, the key on
//! disk, and the [`Layout`] there. Loading accounts for every parameter and every key.

mod binding;
mod load;
mod naming;
mod save;
mod source;

use std::collections::BTreeMap;

use burn::tensor::{DType, TensorData};
use safetensors::{Dtype, SafeTensors};

pub use binding::{Binding, Bindings, Layout};
pub use load::{Loaded, check_keys, load, load_from};
pub use save::{save, save_gradients};
pub use source::{ElementType, Entry, TensorSource};

/// Why weights do not fit a model. The caller adds the file's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The bytes are no safetensors file.
    #[error("not a safetensors file ({0}); is the download complete?")]
    Unreadable(String),
    /// The values of a tensor cannot be read.
    #[error("tensor `{key}` cannot be read: {reason}")]
    Values {
        /// The tensor.
        key: String,
        /// Why not.
        reason: String,
    },
    /// A tensor is of a type no weight has.
    #[error("tensor `{key}` is {found}; expected float32, float16, bfloat16 or float64")]
    Type {
        /// The tensor.
        key: String,
        /// Its type.
        found: String,
    },
    /// Tensors the model needs are not in the file.
    #[error("missing tensor{} {}; does the config belong to these weights?", plural(.keys), list(.keys))]
    Missing {
        /// Their keys.
        keys: Vec<String>,
    },
    /// The file holds tensors the model has no place for.
    #[error("unexpected tensor{} {}; does the config belong to these weights?", plural(.keys), list(.keys))]
    Unexpected {
        /// Their keys.
        keys: Vec<String>,
    },
    /// A tensor has another shape than the config says.
    #[error(
        "tensor `{key}` has shape {found:?}, expected {expected:?}; does the config belong to these weights?"
    )]
    Shape {
        /// The tensor.
        key: String,
        /// The shape the config asks for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A parameter of the model has no binding: a defect of the model, not of the file.
    #[error("parameter `{path}` has no name on disk; this is a defect of the model's key map")]
    Unbound {
        /// The parameter's path.
        path: String,
    },
}

fn plural(keys: &[String]) -> &'static str {
    if keys.len() == 1 { "" } else { "s" }
}

fn list(keys: &[String]) -> String {
    let shown: Vec<String> = keys.iter().take(5).map(|key| format!("`{key}`")).collect();
    match keys.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Tensors by their key on disk.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    tensors: BTreeMap<String, TensorData>,
}

impl Weights {
    /// Reads the bytes of a safetensors file; floats become float32.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self, WeightsError> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| WeightsError::Unreadable(error.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (key, view) in file.iter() {
            let dtype = match view.dtype() {
                Dtype::F64 => DType::F64,
                Dtype::F32 => DType::F32,
                Dtype::F16 => DType::F16,
                Dtype::BF16 => DType::BF16,
                Dtype::I64 => DType::I64,
                other => {
                    let found = format!("{other:?}");
                    return Err(WeightsError::Type {
                        key: key.to_string(),
                        found,
                    });
                }
            };
            let data =
                TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype);
            let data = if dtype.is_float() {
                data.convert::<f32>()
            } else {
                data
            };
            tensors.insert(key.to_string(), data);
        }
        Ok(Self { tensors })
    }

    /// The bytes of a safetensors file.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, WeightsError> {
        let views = self.tensors.iter().map(|(key, data)| {
            let shape = data.shape().iter().copied().collect();
            let dtype = if data.dtype() == DType::I64 {
                Dtype::I64
            } else {
                Dtype::F32
            };
            (
                key,
                safetensors::tensor::TensorView::new(dtype, shape, data.as_bytes()),
            )
        });
        let views = views
            .map(|(key, view)| view.map(|view| (key, view)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| WeightsError::Unreadable(error.to_string()))?;
        safetensors::serialize(views, None)
            .map_err(|error| WeightsError::Unreadable(error.to_string()))
    }

    /// The tensor under `key`.
    pub fn get(&self, key: &str) -> Option<&TensorData> {
        self.tensors.get(key)
    }

    /// Adds a tensor, or replaces it.
    pub fn insert(&mut self, key: impl Into<String>, data: TensorData) {
        self.tensors.insert(key.into(), data);
    }

    /// The keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Renames keys: old releases spell some differently.
    pub fn rename(self, f: impl Fn(String) -> String) -> Self {
        Self {
            tensors: self
                .tensors
                .into_iter()
                .map(|(key, data)| (f(key), data))
                .collect(),
        }
    }
}

/// Row-major transposition of `[rows, columns]`.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for column in 0..columns {
        out.extend((0..rows).map(|row| values[row * columns + column]));
    }
    out
}
