//! How things are done on a device: one registry for all of it.

use std::sync::{PoisonError, RwLock};

use burn::{
    backend::DispatchTensor,
    tensor::{DType, Device, Tensor, TensorData},
};

use crate::Product;

/// How elements get in and out of the tensors of a device that is the processor, but does not lend its memory.
///
/// The tensors have one axis and are float32, perhaps strided.
#[derive(Clone, Copy, Debug)]
pub struct RawAccess {
    /// Copies elements from a place on.
    pub read: fn(&DispatchTensor, usize, &mut [f32]),
    /// Overwrites elements from a place on, of a tensor that nothing else holds; several threads do so at once, each its
    /// own.
    pub write: fn(&DispatchTensor, usize, &[f32]),
}

/// How things are done on a device, where it is not as the framework does them.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeviceProfile {
    /// Multiplies matrices.
    pub product: Option<Product>,
    /// Lets loops over several tensors reach their elements.
    pub raw_access: Option<RawAccess>,
}

/// A device as it is known: what was said of it, and what was found by asking it.
#[derive(Clone)]
struct Known {
    device: Device,
    said: DeviceProfile,
    is_host: Option<bool>,
    has_exact_gelu_gradient: Option<bool>,
}

static DEVICES: RwLock<Vec<Known>> = RwLock::new(Vec::new());

/// Says how things are done on `device`. To be said before its first tensor.
pub fn set_profile(device: &Device, profile: DeviceProfile) {
    update(device, |known| known.said = profile);
}

/// What was said of a device.
pub(crate) fn profile(device: &Device) -> DeviceProfile {
    look_up(device, |known| known.said).unwrap_or_default()
}

/// Whether tensors of `device` are host memory: it gives back the very bytes it was given.
pub fn is_host(device: &Device) -> bool {
    if let Some(answer) = look_up(device, |known| known.is_host).flatten() {
        return answer;
    }
    let answer = gives_back_the_same_bytes(&device.clone().inner());
    update(device, |known| known.is_host = Some(answer));
    answer
}

/// Whether the framework's gelu has its own gradient on `device`, found by `ask` the first time.
pub(crate) fn has_exact_gelu_gradient(device: &Device, ask: impl FnOnce(&Device) -> bool) -> bool {
    if let Some(answer) = look_up(device, |known| known.has_exact_gelu_gradient).flatten() {
        return answer;
    }
    let answer = ask(&device.clone().inner());
    update(device, |known| known.has_exact_gelu_gradient = Some(answer));
    answer
}

fn look_up<T>(device: &Device, what: impl FnOnce(&Known) -> T) -> Option<T> {
    let devices = DEVICES.read().unwrap_or_else(PoisonError::into_inner);
    // A device equals itself on a graph.
    devices
        .iter()
        .find(|known| known.device == *device)
        .map(what)
}

fn update(device: &Device, change: impl FnOnce(&mut Known)) {
    let mut devices = DEVICES.write().unwrap_or_else(PoisonError::into_inner);
    match devices.iter_mut().find(|known| known.device == *device) {
        Some(known) => change(known),
        None => {
            let mut known = Known {
                device: device.clone().inner(),
                said: DeviceProfile::default(),
                is_host: None,
                has_exact_gelu_gradient: None,
            };
            change(&mut known);
            devices.push(known);
        }
    }
}

fn gives_back_the_same_bytes(device: &Device) -> bool {
    let place = |data: &TensorData| data.as_bytes().as_ptr();
    // Copies may fall on the places that the originals had; hardly so in this order.
    let data = [0.0f32; 4].map(|x| TensorData::from([x, x]));
    let before = data.each_ref().map(place);
    let tensors = data.map(|data| Tensor::<1>::from_data(data, (device, DType::F32)));
    let [a, b, c, d] = tensors;
    let after = [b, a, d, c].map(Tensor::into_data);
    let [b, a, d, c] = after.each_ref().map(place);
    [a, b, c, d] == before
}
