//! Tensors and their data, kept in a format.

use burn::tensor::{Tensor, TensorData};
use half::{bf16, f16};
use kernels::host::HostTensor;

use crate::{Format, Half, narrow, widen};

/// A tensor that is kept in a format until it is used again.
#[derive(Clone, Debug)]
pub struct Stored<const D: usize> {
    format: Format,
    tensor: Tensor<D>,
}

impl<const D: usize> Stored<D> {
    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The shape.
    pub fn dims(&self) -> [usize; D] {
        self.tensor.dims()
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.format.bytes(self.tensor.shape().num_elements())
    }

    /// The tensor in float32 again, on the device it was on. What was stored in [`Format::F32`] is the tensor itself.
    pub fn load(self) -> Tensor<D> {
        if self.format == Format::F32 {
            return self.tensor;
        }
        let device = self.tensor.device();
        if device.is_autodiff() || !kernels::is_host(&device) {
            return self.tensor.cast(Format::F32.dtype());
        }
        let data = self.format.load_data(self.tensor.into_data());
        Tensor::from_data(data, (&device, Format::F32.dtype()))
    }
}

impl Format {
    /// Keeps a float32 tensor in this format, on its device. In [`Format::F32`] it is the tensor itself: no copy, bit for
    /// bit.
    pub fn store<const D: usize>(self, tensor: Tensor<D>) -> Stored<D> {
        let format = self;
        if format == Self::F32 {
            return Stored { format, tensor };
        }
        let device = tensor.device();
        let tensor = if HostTensor::opens(&tensor) {
            let data = format.store_data(tensor.into_data());
            Tensor::from_data(data, (&device, format.dtype()))
        } else {
            tensor.cast(format.dtype())
        };
        Stored { format, tensor }
    }

    /// Float32 data in this format, in host memory. In [`Format::F32`] it is the data itself.
    ///
    /// # Panics
    ///
    /// Panics if the data is not float32.
    pub fn store_data(self, data: TensorData) -> TensorData {
        match self {
            Self::F32 => data,
            Self::Bf16 => narrowed::<bf16>(&data),
            Self::F16 => narrowed::<f16>(&data),
        }
    }

    /// Data of this format as float32 again, in host memory.
    ///
    /// # Panics
    ///
    /// Panics if the data is not of this format.
    pub fn load_data(self, data: TensorData) -> TensorData {
        match self {
            Self::F32 => data,
            Self::Bf16 => widened::<bf16>(&data),
            Self::F16 => widened::<f16>(&data),
        }
    }
}

fn narrowed<E: Half>(data: &TensorData) -> TensorData {
    let values = data.as_slice::<f32>().expect("the data is float32");
    let mut out = vec![E::ZERO; values.len()];
    narrow(values, &mut out);
    TensorData::new(out, data.shape().clone())
}

fn widened<E: Half>(data: &TensorData) -> TensorData {
    let values = data.as_slice::<E>().expect("the data is of its format");
    let mut out = vec![0.0f32; values.len()];
    widen(values, &mut out);
    TensorData::new(out, data.shape().clone())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    fn random() -> Tensor<2> {
        Tensor::random(
            [37, 5],
            Distribution::Normal(0.0, 100.0),
            &testing::device(),
        )
    }

    fn bits(tensor: &Tensor<2>) -> Vec<u32> {
        tensor
            .to_data()
            .iter::<f32>()
            .map(|x| x.to_bits())
            .collect()
    }

    #[test]
    fn float32_is_the_tensor_itself() {
        let device = testing::host();
        let data = TensorData::from([[1.5f32, f32::MIN_POSITIVE / 4.0], [-0.0, 3.0]]);
        let place = data.as_bytes().as_ptr();
        let stored = Format::F32.store(Tensor::<2>::from_data(data, &device));
        assert_eq!((stored.bytes(), stored.dims()), (16, [2, 2]));
        let data = stored.load().into_data();
        assert_eq!(data.as_bytes().as_ptr(), place);
        let bits: Vec<u32> = data.iter::<f32>().map(f32::to_bits).collect();
        assert_eq!(bits, [0x3FC0_0000, 0x0020_0000, 0x8000_0000, 0x4040_0000]);
    }

    #[test]
    fn sixteen_bits_take_two_bytes_for_each_element() {
        for format in [Format::Bf16, Format::F16] {
            let stored = format.store(random());
            assert_eq!(stored.bytes(), 2 * 37 * 5);
            assert_eq!(stored.tensor.dtype(), format.dtype());
            assert_eq!(
                stored.tensor.to_data().as_bytes().len(),
                stored.bytes(),
                "{format}"
            );
        }
    }

    #[test]
    fn a_loaded_tensor_is_the_rounded_one_and_stays_so() {
        for (format, unit) in [(Format::Bf16, 2f64.powi(-8)), (Format::F16, 2f64.powi(-11))] {
            let x = random();
            let loaded = format.store(x.clone()).load();
            testing::assert_within(&loaded, &x, unit * testing::largest(&x));
            assert_eq!(bits(&format.store(loaded.clone()).load()), bits(&loaded));
            // As the framework itself casts.
            let cast: Tensor<2> = x.cast(format.dtype()).cast(Format::F32.dtype());
            assert_eq!(bits(&loaded), bits(&cast), "{format}");
        }
    }

    #[test]
    fn a_transposed_tensor_is_stored_in_its_own_order() {
        let x = random().transpose();
        let want = Format::Bf16
            .store(x.clone().mul_scalar(1.0).reshape([5, 37]))
            .load();
        assert_eq!(bits(&Format::Bf16.store(x).load()), bits(&want));
    }
}
