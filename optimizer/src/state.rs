//! What an optimizer keeps of one slot between two steps.

use burn::tensor::{DType, Device, Tensor, TensorData};
use precision::{Format, Stored};

/// Where states lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateMemory {
    /// In the processor's memory, where it computes: an update is one fused loop.
    Host,
    /// In the memory of the parameters' device, such as a GPU: an update is tensor operations.
    Device,
}

/// The state of one slot: tensors of `[elements]`, in the order of the optimizer's
/// [`state_names`](crate::Optimizer::state_names).
#[derive(Clone, Debug)]
pub struct State {
    format: Format,
    kept: Kept,
}

#[derive(Clone, Debug)]
enum Kept {
    Host(Vec<TensorData>),
    Device(Vec<Stored<1>>),
}

impl State {
    /// A state of float32 values.
    pub(crate) fn new(
        values: Vec<TensorData>,
        format: Format,
        memory: StateMemory,
        device: &Device,
    ) -> Self {
        let kept = match memory {
            StateMemory::Host => {
                let store = |values| format.store_data(values);
                Kept::Host(values.into_iter().map(store).collect())
            }
            StateMemory::Device => {
                let store = |values| format.store(Tensor::from_data(values, (device, DType::F32)));
                Kept::Device(values.into_iter().map(store).collect())
            }
        };
        Self { format, kept }
    }

    /// The format in which it is kept.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        match &self.kept {
            Kept::Host(data) => data.iter().map(|data| data.as_bytes().len()).sum(),
            Kept::Device(tensors) => tensors.iter().map(Stored::bytes).sum(),
        }
    }

    /// Its tensors in float32, `[elements]` each.
    pub fn values(&self) -> Vec<TensorData> {
        match &self.kept {
            Kept::Host(data) => {
                let load = |data: &TensorData| self.format.load_data(data.clone());
                data.iter().map(load).collect()
            }
            Kept::Device(tensors) => {
                let load = |tensor: &Stored<1>| tensor.clone().load().into_data();
                tensors.iter().map(load).collect()
            }
        }
    }

    /// Changes its `N` tensors: as float32 slices by `on_host`, or as float32 tensors by `on_device`, wherever it lies.
    /// The one that runs takes `input`.
    ///
    /// # Panics
    ///
    /// Panics if it has another number of tensors.
    pub fn update<const N: usize, I, T>(
        &mut self,
        input: I,
        on_host: impl FnOnce(I, [&mut [f32]; N]) -> T,
        on_device: impl FnOnce(I, [Tensor<1>; N]) -> (T, [Tensor<1>; N]),
    ) -> T {
        let format = self.format;
        match &mut self.kept {
            Kept::Host(kept) => {
                let loaded = std::mem::take(kept).into_iter();
                let loaded = loaded.map(|data| format.load_data(data)).collect();
                let mut loaded: [TensorData; N] = exactly(loaded);
                let slices = loaded.each_mut().map(|data| {
                    let slice = data.as_mut_slice::<f32>();
                    slice.expect("a state is loaded as float32")
                });
                let result = on_host(input, slices);
                kept.extend(loaded.map(|data| format.store_data(data)));
                result
            }
            Kept::Device(kept) => {
                let loaded = std::mem::take(kept).into_iter();
                let loaded = exactly(loaded.map(Stored::load).collect());
                let (result, changed) = on_device(input, loaded);
                kept.extend(changed.map(|tensor| format.store(tensor)));
                result
            }
        }
    }
}

fn exactly<T, const N: usize>(tensors: Vec<T>) -> [T; N] {
    let found = tensors.len();
    let exactly = tensors.try_into();
    exactly.unwrap_or_else(|_| panic!("the state has {found} tensors, not {N}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_in_fewer_bits_takes_fewer_bytes_and_is_changed_as_float32() {
        let device = testing::device();
        for memory in [StateMemory::Host, StateMemory::Device] {
            for format in Format::ALL {
                let zeros = vec![TensorData::zeros::<f32, _>([10]); 2];
                let mut state = State::new(zeros, format, memory, &device);
                assert_eq!(state.bytes(), 2 * format.bytes(10));
                let which = state.update(
                    3.0f32,
                    |x, [a, _]| {
                        a.fill(x);
                        StateMemory::Host
                    },
                    |x, [a, b]| (StateMemory::Device, [a + x, b]),
                );
                assert_eq!(which, memory);
                let values: Vec<Vec<f32>> = state
                    .values()
                    .iter()
                    .map(|values| values.iter::<f32>().collect())
                    .collect();
                assert_eq!(values, [vec![3.0; 10], vec![0.0; 10]]);
            }
        }
    }
}
