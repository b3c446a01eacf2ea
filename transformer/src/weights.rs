//! Weights by name: how a model's parameters and the tensors of a released file find each other.
//!
//! A model lists its [`Binding`]s, one for each parameter: the path in the module, the key on
//! disk, and the [`Layout`] there. Loading accounts for every parameter and every key.

use std::collections::{BTreeMap, BTreeSet};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{DType, Tensor, TensorData},
};
use checkpointing::Gradients;
use safetensors::{Dtype, SafeTensors};

/// How a parameter lies on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As in the module.
    Same,
    /// With leading axes of size one, as many as given.
    Unsqueezed(usize),
    /// A linear map as torch writes it, `[d_output, d_input]`.
    Transposed,
    /// A patch embedding as a convolution, `[d_model, channels, size, size]`.
    Patches {
        /// Channels of the picture.
        channels: usize,
        /// Side of a patch in pixels.
        size: usize,
    },
    /// One element without axes, `[]`.
    Scalar,
}

/// Where one parameter is found on disk.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The path in the module: field names joined by dots.
    pub path: String,
    /// The key on disk.
    pub key: String,
    /// How it lies there.
    pub layout: Layout,
    /// The parameter is part `.0` of `.1` equal parts stacked along the first axis of the tensor
    /// on disk (fused query, key and value).
    pub part: (usize, usize),
}

/// The bindings of a model, built up front to back.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    list: Vec<Binding>,
    ignored: Vec<&'static str>,
}

impl Bindings {
    /// Binds the parameter at `path` to `key`.
    pub fn bind(&mut self, path: impl Into<String>, key: impl Into<String>, layout: Layout) {
        let (path, key) = (path.into(), key.into());
        self.list.push(Binding {
            path,
            key,
            layout,
            part: (0, 1),
        });
    }

    /// Binds a linear layer: `path.weight` and, with `bias`, `path.bias`.
    pub fn linear(&mut self, path: &str, key: &str, bias: bool) {
        self.bind(
            format!("{path}.weight"),
            format!("{key}.weight"),
            Layout::Transposed,
        );
        if bias {
            self.bind(format!("{path}.bias"), format!("{key}.bias"), Layout::Same);
        }
    }

    /// Binds a layer norm.
    pub fn norm(&mut self, path: &str, key: &str) {
        self.bind(
            format!("{path}.gamma"),
            format!("{key}.weight"),
            Layout::Same,
        );
        self.bind(format!("{path}.beta"), format!("{key}.bias"), Layout::Same);
    }

    /// Binds three linear layers stacked into one tensor: `weight` and, if given, `bias`.
    pub fn fused_qkv(&mut self, path: &str, weight: &str, bias: Option<&str>) {
        for (i, name) in ["query", "key", "value"].into_iter().enumerate() {
            self.bind(format!("{path}.{name}.weight"), weight, Layout::Transposed);
            self.set_part(i, 3);
            if let Some(bias) = bias {
                self.bind(format!("{path}.{name}.bias"), bias, Layout::Same);
                self.set_part(i, 3);
            }
        }
    }

    fn set_part(&mut self, index: usize, of: usize) {
        if let Some(last) = self.list.last_mut() {
            last.part = (index, of);
        }
    }

    /// Tolerates keys that end in `suffix`: buffers that carry no weights.
    pub fn ignore(&mut self, suffix: &'static str) {
        self.ignored.push(suffix);
    }

    /// Appends the bindings of a part of the model that stands at `prefix` in the module.
    pub fn nest(&mut self, prefix: &str, part: Bindings) {
        self.list
            .extend(part.list.into_iter().map(|binding| Binding {
                path: format!("{prefix}.{}", binding.path),
                ..binding
            }));
        self.ignored.extend(part.ignored);
    }

    /// Puts `prefix` in front of every key on disk.
    pub fn prefix_keys(mut self, prefix: &str) -> Self {
        self.list
            .iter_mut()
            .for_each(|binding| binding.key = format!("{prefix}{}", binding.key));
        self
    }

    /// The bindings, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Binding> {
        self.list.iter()
    }
}

/// Why weights do not fit a model. The caller adds the file's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The bytes are no safetensors file.
    #[error("not a safetensors file ({0}); is the download complete?")]
    Unreadable(String),
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

impl Layout {
    /// The shape on disk of a parameter of shape `shape`, which is one of `parts`.
    fn on_disk(&self, shape: &[usize], parts: usize) -> Vec<usize> {
        let mut disk = match self {
            Layout::Same => shape.to_vec(),
            Layout::Unsqueezed(axes) => [vec![1; *axes], shape.to_vec()].concat(),
            Layout::Transposed => shape.iter().rev().copied().collect(),
            Layout::Patches { channels, size } => vec![shape[1], *channels, *size, *size],
            Layout::Scalar => Vec::new(),
        };
        if let Some(first) = disk.first_mut() {
            *first *= parts;
        }
        disk
    }

    fn is_transposed(&self) -> bool {
        matches!(self, Layout::Transposed | Layout::Patches { .. })
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

/// Loads every parameter of `module` from `weights`.
///
/// # Errors
///
/// Names a key that is missing, extra or of another shape.
pub fn load<M: Module>(
    module: M,
    bindings: &Bindings,
    weights: &Weights,
) -> Result<M, WeightsError> {
    let by_path: BTreeMap<&str, &Binding> = bindings
        .iter()
        .map(|binding| (binding.path.as_str(), binding))
        .collect();
    let wanted: BTreeSet<&str> = bindings
        .iter()
        .map(|binding| binding.key.as_str())
        .collect();
    let missing: Vec<String> = wanted
        .iter()
        .filter(|key| weights.get(key).is_none())
        .map(|key| (*key).to_string())
        .collect();
    if !missing.is_empty() {
        return Err(WeightsError::Missing { keys: missing });
    }
    let unexpected: Vec<String> = weights
        .keys()
        .filter(|key| !wanted.contains(key))
        .filter(|key| !bindings.ignored.iter().any(|suffix| key.ends_with(suffix)))
        .map(str::to_string)
        .collect();
    if !unexpected.is_empty() {
        return Err(WeightsError::Unexpected { keys: unexpected });
    }
    let mut loader = Loader {
        by_path,
        weights,
        path: Vec::new(),
        error: None,
    };
    let module = module.map(&mut loader);
    match loader.error {
        Some(error) => Err(error),
        None => Ok(module),
    }
}

struct Loader<'a> {
    by_path: BTreeMap<&'a str, &'a Binding>,
    weights: &'a Weights,
    path: Vec<String>,
    error: Option<WeightsError>,
}

impl Loader<'_> {
    fn values(&self, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let path = self.path.join(".");
        let Some(binding) = self.by_path.get(path.as_str()) else {
            return Err(WeightsError::Unbound { path });
        };
        let key = &binding.key;
        let Some(data) = self.weights.get(key) else {
            return Err(WeightsError::Missing {
                keys: vec![key.clone()],
            });
        };
        let (part, parts) = binding.part;
        let expected = binding.layout.on_disk(shape, parts);
        let found: Vec<usize> = data.shape().iter().copied().collect();
        if found != expected {
            return Err(WeightsError::Shape {
                key: key.clone(),
                expected,
                found,
            });
        }
        let all = data.as_slice::<f32>().map_err(|error| WeightsError::Type {
            key: key.clone(),
            found: error.to_string(),
        })?;
        let size = all.len() / parts;
        let values = &all[part * size..(part + 1) * size];
        Ok(if binding.layout.is_transposed() {
            transposed(values, shape[1], shape[0])
        } else {
            values.to_vec()
        })
    }
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.error.is_some() {
            return param;
        }
        let shape: Vec<usize> = param.lazy_shape().iter().copied().collect();
        match self.values(&shape) {
            Ok(values) => {
                let device = param.lazy_device();
                let tensor = Tensor::from_data(TensorData::new(values, shape), &device);
                {
                    let id = param.id;
                    param.transform_for_load(tensor, id)
                }
            }
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}

/// The parameters of `module` as they lie on disk.
///
/// # Errors
///
/// Names a parameter that has no binding.
pub fn save<M: Module>(module: &M, bindings: &Bindings) -> Result<Weights, WeightsError> {
    collect(module, bindings, Values::Parameters)
}

/// The gradients of `module` as they lie on disk; parameters without one are left out.
///
/// # Errors
///
/// Names a parameter that has no binding.
pub fn save_gradients<M: Module>(
    module: &M,
    bindings: &Bindings,
    gradients: &Gradients,
) -> Result<Weights, WeightsError> {
    collect(module, bindings, Values::Gradients(gradients))
}

#[derive(Clone, Copy)]
enum Values<'a> {
    Parameters,
    Gradients(&'a Gradients),
}

fn collect<M: Module>(
    module: &M,
    bindings: &Bindings,
    values: Values<'_>,
) -> Result<Weights, WeightsError> {
    let by_path = bindings
        .iter()
        .map(|binding| (binding.path.as_str(), binding))
        .collect();
    let parts = BTreeMap::new();
    let mut saver = Saver {
        by_path,
        values,
        path: Vec::new(),
        parts,
        error: None,
    };
    module.visit(&mut saver);
    if let Some(error) = saver.error {
        return Err(error);
    }
    let mut weights = Weights::default();
    for (key, (shape, parts)) in saver.parts {
        let values: Vec<f32> = parts.into_values().flatten().collect();
        weights.insert(key, TensorData::new(values, shape));
    }
    Ok(weights)
}

type Parts = BTreeMap<String, (Vec<usize>, BTreeMap<usize, Vec<f32>>)>;

struct Saver<'a> {
    by_path: BTreeMap<&'a str, &'a Binding>,
    values: Values<'a>,
    path: Vec<String>,
    parts: Parts,
    error: Option<WeightsError>,
}

impl ModuleVisitor for Saver<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        let Some(binding) = self.by_path.get(path.as_str()) else {
            self.error = Some(WeightsError::Unbound { path });
            return;
        };
        let shape: Vec<usize> = param.lazy_shape().iter().copied().collect();
        let data = match self.values {
            Values::Parameters => param.val().into_data(),
            Values::Gradients(gradients) => match gradients.get(param.id) {
                Some(gradient) => gradient.clone().into_data(),
                None => return,
            },
        };
        let values: Vec<f32> = data.iter::<f32>().collect();
        let values = if binding.layout.is_transposed() {
            transposed(&values, shape[0], shape[1])
        } else {
            values
        };
        let (part, parts) = binding.part;
        let entry = self.parts.entry(binding.key.clone()).or_default();
        entry.0 = binding.layout.on_disk(&shape, parts);
        entry.1.insert(part, values);
    }
}
