//! The tensors of adapters, by the names and shapes of HF PEFT.

use burn::{
    module::Param,
    tensor::{Device, Tensor, TensorData},
};

use crate::{Attached, Bottleneck, EmbeddingLora, Linear, Method, PeftError};

/// What stands before every key of an `adapter_model.safetensors`.
pub const PREFIX: &str = "base_model.model.";

/// The end of a key behind the module's name.
const ENDS: [&str; 13] = [
    "lora_A.weight",
    "lora_B.weight",
    "lora_embedding_A",
    "lora_embedding_B",
    "lora_magnitude_vector",
    "lora_magnitude_vector.weight",
    "ia3_l",
    "bottleneck.norm.weight",
    "bottleneck.norm.bias",
    "bottleneck.down.weight",
    "bottleneck.down.bias",
    "bottleneck.up.weight",
    "bottleneck.up.bias",
];

/// A key of an adapter's file, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// A tensor of the adapter of a module.
    Adapter {
        /// The module's name.
        module: &'a str,
        /// Which tensor.
        tensor: &'static str,
    },
    /// A parameter of the model itself, which was trained as a whole.
    Parameter(String),
}

/// Takes a key apart. Files of older versions have the adapter's name in it.
pub fn parse_key(key: &str) -> Key<'_> {
    let key = key.strip_prefix(PREFIX).unwrap_or(key);
    for tensor in ENDS {
        let module = key.strip_suffix(tensor);
        if let Some(module) = module.and_then(|module| module.strip_suffix('.')) {
            return Key::Adapter { module, tensor };
        }
    }
    let plain = key.replace(".base_layer.", ".");
    Key::Parameter(plain.replace(".modules_to_save.default.", "."))
}

/// The tensors of an adapter, by the end of their key.
pub fn tensors(attached: &Attached) -> Vec<(&'static str, TensorData)> {
    match &attached.method {
        Method::Lora(lora) => vec![
            ("lora_A.weight", transposed(&lora.a)),
            ("lora_B.weight", transposed(&lora.b)),
        ],
        Method::Dora(dora) => vec![
            ("lora_A.weight", transposed(&dora.lora.a)),
            ("lora_B.weight", transposed(&dora.lora.b)),
            ("lora_magnitude_vector", dora.magnitude.val().into_data()),
        ],
        Method::Ia3(ia3) => {
            let factors = ia3.factors.val();
            let [width] = factors.dims();
            let shape = if ia3.is_on_input() {
                [1, width]
            } else {
                [width, 1]
            };
            vec![("ia3_l", factors.reshape(shape).into_data())]
        }
        Method::Bottleneck(bottleneck) => bottleneck_tensors(bottleneck),
    }
}

/// The tensors of a bottleneck, by the end of their key.
pub fn bottleneck_tensors(bottleneck: &Bottleneck) -> Vec<(&'static str, TensorData)> {
    let mut all = vec![
        ("bottleneck.down.weight", transposed(&bottleneck.down)),
        (
            "bottleneck.down.bias",
            bottleneck.down_bias.val().into_data(),
        ),
        ("bottleneck.up.weight", transposed(&bottleneck.up)),
        ("bottleneck.up.bias", bottleneck.up_bias.val().into_data()),
    ];
    if let Some(norm) = &bottleneck.norm {
        all.push(("bottleneck.norm.weight", norm.gamma.val().into_data()));
        all.push(("bottleneck.norm.bias", norm.beta.val().into_data()));
    }
    all
}

/// The tensors of a table's LoRA, by the end of their key.
pub fn embedding_tensors(lora: &EmbeddingLora) -> Vec<(&'static str, TensorData)> {
    vec![
        ("lora_embedding_A", transposed(&lora.a)),
        ("lora_embedding_B", transposed(&lora.b)),
    ]
}

/// Gives a table's LoRA the values of a tensor of a file.
///
/// # Errors
///
/// If it has no such tensor, or it has another shape.
pub fn set_embedding(
    lora: &mut EmbeddingLora,
    tensor: &str,
    data: TensorData,
) -> Result<(), PeftError> {
    match tensor {
        "lora_embedding_A" => set_transposed(&mut lora.a, tensor, data),
        "lora_embedding_B" => set_transposed(&mut lora.b, tensor, data),
        _ => Err(unexpected(tensor)),
    }
}

fn transposed(param: &Param<Tensor<2>>) -> TensorData {
    param.val().transpose().into_data()
}

/// The rank that a file's `lora_A.weight` or `lora_B.weight` has.
pub fn rank_of(tensor: &str, shape: &[usize]) -> Option<usize> {
    match tensor {
        "lora_A.weight" => shape.first().copied(),
        "lora_B.weight" => shape.get(1).copied(),
        _ => None,
    }
}

/// Gives an adapter the values of a tensor of a file. A convolution's tensors, `[rank, channels, height, width]` and
/// `[d_output, rank, 1, 1]`, are those of the linear map it is.
///
/// # Errors
///
/// If the adapter has no such tensor, or it has another shape.
pub fn set_tensor(
    map: &mut Linear,
    name: &str,
    tensor: &str,
    data: TensorData,
) -> Result<(), PeftError> {
    let attached = map.adapters.iter_mut().find(|other| other.name() == name);
    let attached = attached.ok_or_else(|| PeftError::Unknown { name: name.into() })?;
    match (&mut attached.method, tensor) {
        (Method::Lora(lora), "lora_A.weight") => set_transposed(&mut lora.a, tensor, data),
        (Method::Lora(lora), "lora_B.weight") => set_transposed(&mut lora.b, tensor, data),
        (Method::Dora(dora), "lora_A.weight") => set_transposed(&mut dora.lora.a, tensor, data),
        (Method::Dora(dora), "lora_B.weight") => set_transposed(&mut dora.lora.b, tensor, data),
        (Method::Dora(dora), "lora_magnitude_vector" | "lora_magnitude_vector.weight") => {
            set_flat(&mut dora.magnitude, tensor, data)
        }
        (Method::Ia3(ia3), "ia3_l") => set_flat(&mut ia3.factors, tensor, data),
        (Method::Bottleneck(bottleneck), _) => set_bottleneck(bottleneck, tensor, data),
        _ => Err(unexpected(tensor)),
    }
}

/// Gives a bottleneck the values of a tensor of a file.
///
/// # Errors
///
/// If it has no such tensor, or it has another shape.
pub fn set_bottleneck(
    bottleneck: &mut Bottleneck,
    tensor: &str,
    data: TensorData,
) -> Result<(), PeftError> {
    match (tensor, &mut bottleneck.norm) {
        ("bottleneck.down.weight", _) => set_transposed(&mut bottleneck.down, tensor, data),
        ("bottleneck.down.bias", _) => set_flat(&mut bottleneck.down_bias, tensor, data),
        ("bottleneck.up.weight", _) => set_transposed(&mut bottleneck.up, tensor, data),
        ("bottleneck.up.bias", _) => set_flat(&mut bottleneck.up_bias, tensor, data),
        ("bottleneck.norm.weight", Some(norm)) => set_flat(&mut norm.gamma, tensor, data),
        ("bottleneck.norm.bias", Some(norm)) => set_flat(&mut norm.beta, tensor, data),
        _ => Err(unexpected(tensor)),
    }
}

fn unexpected(tensor: &str) -> PeftError {
    PeftError::Unexpected {
        tensor: tensor.into(),
    }
}

fn set_transposed(
    place: &mut Param<Tensor<2>>,
    tensor: &str,
    data: TensorData,
) -> Result<(), PeftError> {
    let [rows, columns] = place.lazy_shape().dims();
    let shape = data.shape().to_vec();
    let flat = (shape.first().copied(), shape.iter().skip(1).product());
    if flat != (Some(columns), rows) {
        return Err(wrong_shape(tensor, &shape, &[columns, rows]));
    }
    let device = place.val().device();
    let value = Tensor::<1>::from_data(flattened(data), &device).reshape([columns, rows]);
    *place = place.clone().map(|_| value.transpose());
    Ok(())
}

fn set_flat(place: &mut Param<Tensor<1>>, tensor: &str, data: TensorData) -> Result<(), PeftError> {
    let [width] = place.lazy_shape().dims();
    if data.num_elements() != width {
        return Err(wrong_shape(tensor, &data.shape().to_vec(), &[width]));
    }
    let device: Device = place.val().device();
    let value = Tensor::<1>::from_data(flattened(data), &device);
    *place = place.clone().map(|_| value);
    Ok(())
}

fn flattened(data: TensorData) -> TensorData {
    let values: Vec<f32> = data.iter::<f32>().collect();
    let count = values.len();
    TensorData::new(values, [count])
}

fn wrong_shape(tensor: &str, found: &[usize], wanted: &[usize]) -> PeftError {
    PeftError::Shape {
        tensor: tensor.into(),
        found: found.to_vec(),
        wanted: wanted.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_apart_at_the_tensor() {
        let adapter = |module, tensor| Key::Adapter { module, tensor };
        for (key, want) in [
            (
                "base_model.model.vit.layers.0.attention.q_proj.lora_A.weight",
                adapter("vit.layers.0.attention.q_proj", "lora_A.weight"),
            ),
            (
                "base_model.model.fc.lora_magnitude_vector",
                adapter("fc", "lora_magnitude_vector"),
            ),
            (
                "base_model.model.fc1.base_layer.bias",
                Key::Parameter("fc1.bias".into()),
            ),
            (
                "base_model.model.classifier.weight",
                Key::Parameter("classifier.weight".into()),
            ),
        ] {
            assert_eq!(parse_key(key), want);
        }
    }
}
