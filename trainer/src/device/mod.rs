//! Which device computes, and what it can do. No file beside this and those below it names a backend.

#[cfg(feature = "cuda")]
mod float32;
#[cfg(feature = "libtorch")]
mod libtorch;
pub mod memory;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
    str::FromStr,
    sync::{Mutex, OnceLock, PoisonError},
};

use anyhow::{Context, anyhow, bail, ensure};
use burn::tensor::{DType, Device, Tensor};
use kernels::is_host;
use optimizer::StateMemory;
use serde::{Deserialize, Serialize};

/// What the program was built for: a feature of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Pure Rust, on the processor.
    Flex,
    /// LibTorch, on the processor or on CUDA.
    Libtorch,
    /// Vulkan, Metal or DirectX.
    Wgpu,
    /// NVIDIA's, with kernels compiled by NVRTC.
    Cuda,
}

impl Backend {
    /// The one this program was built for; of several the one that `BURN_DEVICE` names, as for Burn's own default
    /// device, or the first in Burn's order.
    pub fn built() -> Self {
        let built = [
            (cfg!(feature = "cuda"), Self::Cuda, "cuda"),
            (cfg!(feature = "wgpu"), Self::Wgpu, "wgpu"),
            (cfg!(feature = "libtorch"), Self::Libtorch, "tch"),
            (true, Self::Flex, "flex"),
        ];
        let mut built = built.into_iter().filter(|(is_built, ..)| *is_built);
        let first = built.clone().next();
        let named = std::env::var("BURN_DEVICE").ok();
        let named = named.map(|named| named.to_lowercase());
        let named = named.and_then(|named| built.find(|(.., name)| named == *name));
        named
            .or(first)
            .map_or(Self::Flex, |(_, backend, _)| backend)
    }

    /// As `--backend` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Libtorch => "libtorch",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }

    /// Caption lengths are rounded up to this many tokens: a GPU's kernels are compiled and tuned shape by shape, so that
    /// few are to occur.
    pub fn token_multiple(self) -> usize {
        match self {
            Self::Flex | Self::Libtorch => 1,
            Self::Wgpu | Self::Cuda => 8,
        }
    }

    /// What runs beside the processor, in the order of `--device`.
    fn accelerators(self) -> Vec<Device> {
        match self {
            Self::Flex => Vec::new(),
            Self::Libtorch => libtorch_cuda(),
            Self::Wgpu => wgpu(),
            Self::Cuda => cuda(),
        }
    }

    /// The processor as a device, where the backend has one.
    fn cpu(self) -> Option<Device> {
        match self {
            Self::Flex => Some(Device::default()),
            Self::Libtorch => libtorch_cpu(),
            // A software renderer is listed among the others.
            Self::Wgpu | Self::Cuda => None,
        }
    }

    /// What to do where there is no device.
    fn remedy(self) -> &'static str {
        match self {
            Self::Flex | Self::Libtorch => "leave --device out to compute on the processor",
            Self::Wgpu => {
                "the Vulkan loader and a driver are needed: `cargo xtask setup wgpu` installs a software one, a GPU's \
                 comes from its maker; or train with `--backend flex`"
            }
            Self::Cuda => {
                "NVIDIA's driver (libcuda.so.1) and the run-time compiler (libnvrtc.so) are needed: `cargo xtask setup \
                 cuda` looks for both; or train with `--backend flex`"
            }
        }
    }
}

fn libtorch_cpu() -> Option<Device> {
    #[cfg(feature = "libtorch")]
    return Some(libtorch::cpu());
    #[cfg(not(feature = "libtorch"))]
    None
}

fn libtorch_cuda() -> Vec<Device> {
    #[cfg(feature = "libtorch")]
    return Device::enumerate(burn::tensor::DeviceType::LibTorch).into_vec();
    #[cfg(not(feature = "libtorch"))]
    Vec::new()
}

fn wgpu() -> Vec<Device> {
    #[cfg(feature = "wgpu")]
    return Device::enumerate(burn::tensor::DeviceType::Wgpu).into_vec();
    #[cfg(not(feature = "wgpu"))]
    Vec::new()
}

fn cuda() -> Vec<Device> {
    #[cfg(feature = "cuda")]
    return Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec();
    #[cfg(not(feature = "cuda"))]
    Vec::new()
}

/// `--device`: a number among the backend's devices, or `cpu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The processor.
    Cpu,
    /// A GPU, counted from 0.
    Index(usize),
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Index(index) => index.fmt(f),
        }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "cpu" {
            return Ok(Self::Cpu);
        }
        let index = text.parse().map(Self::Index);
        index.map_err(|_| "a device is a number counted from 0, or `cpu`".to_owned())
    }
}

/// The device of `choice`; without one the first GPU that the backend finds, or the processor.
///
/// # Errors
///
/// Names the device or library that is missing, and the remedy.
pub fn open(choice: Option<Choice>) -> anyhow::Result<Device> {
    let backend = Backend::built();
    let helped = |error| anyhow!("{}: {error:#}; {}", backend.name(), backend.remedy());
    let found = without_panic(|| (backend.accelerators(), backend.cpu()));
    let (accelerators, cpu) = found.map_err(helped)?;
    let helps = accelerators.is_empty();
    let device = pick(accelerators, cpu, choice).map_err(|error| {
        if helps {
            helped(error)
        } else {
            error.context(backend.name())
        }
    })?;
    works(&device).map_err(helped)?;
    #[cfg(feature = "cuda")]
    if backend == Backend::Cuda {
        let product = Some(float32::product as kernels::Product);
        kernels::set_profile(
            &device,
            kernels::DeviceProfile {
                product,
                raw_access: None,
            },
        );
    }
    #[cfg(feature = "libtorch")]
    if backend == Backend::Libtorch && !is_gpu(&device) {
        let raw_access = Some(libtorch::RAW_ACCESS);
        kernels::set_profile(
            &device,
            kernels::DeviceProfile {
                product: None,
                raw_access,
            },
        );
    }
    Ok(device)
}

/// Runs `f`, which computes on `device`: in host memory on one of the threads that compute, where each loop has one thread
/// less to wake and none to wait for.
pub fn on_rayon_thread<T: Send>(device: &Device, f: impl FnOnce() -> T + Send) -> T {
    if is_host(device) {
        rayon::scope(|_| f())
    } else {
        f()
    }
}

/// Into how many parts a step shares out a micro-batch, to compute them side by side: two on the processor, where threads
/// else wait for each other at every operation. The same on any number of threads, so that the sums are, too. On a GPU
/// one, see [`Execution`](checkpointing::Execution).
pub fn parts_side_by_side(device: &Device, pairs: usize) -> usize {
    /// Fewer make products so small that they are slower.
    const LEAST: usize = 8;
    if is_gpu(device) {
        1
    } else {
        (pairs / LEAST).clamp(1, 2)
    }
}

/// Runs `f`, in which the threads that compute work on `parts` things side by side: the threads that LibTorch itself has
/// for each operation are shared out among them.
pub fn with_torch_threads<T>(parts: usize, f: impl FnOnce() -> T) -> T {
    #[cfg(feature = "libtorch")]
    if parts > 1 && Backend::built() == Backend::Libtorch {
        let all = tch::get_num_threads();
        let each = (all / i32::try_from(parts).unwrap_or(all)).max(1);
        rayon::broadcast(|_| tch::set_num_threads(each));
        let result = f();
        rayon::broadcast(|_| tch::set_num_threads(all));
        return result;
    }
    let _ = parts;
    f()
}

/// What `choice` means among these devices.
fn pick<T>(accelerators: Vec<T>, cpu: Option<T>, choice: Option<Choice>) -> anyhow::Result<T> {
    let count = accelerators.len();
    let mut accelerators = accelerators.into_iter();
    match choice {
        None => accelerators.next().or(cpu).context("no device was found"),
        Some(Choice::Cpu) => cpu.context("this backend has no device `cpu`"),
        Some(Choice::Index(index)) => match (accelerators.nth(index), count) {
            (Some(device), _) => Ok(device),
            (None, 0) => bail!("there is no device {index}: no GPU was found"),
            (None, 1) => bail!("there is no device {index}: the only one is 0"),
            (None, _) => bail!("there is no device {index}: they are 0 to {}", count - 1),
        },
    }
}

/// Whether a device computes at all. Drivers load their libraries at the first kernel, and panic where one is missing.
fn works(device: &Device) -> anyhow::Result<()> {
    let two = without_panic(|| {
        let one = Tensor::<1>::ones([1], device);
        (one.clone() + one).into_data().iter::<f32>().next()
    })
    .context("the device does not compute")?;
    ensure!(
        two == Some(2.0),
        "the device does not compute: 1 + 1 = {two:?}"
    );
    Ok(())
}

/// A panic within `f` as an error, and nothing of it on standard error.
fn without_panic<T>(f: impl FnOnce() -> T) -> anyhow::Result<T> {
    static HOOK: Mutex<()> = Mutex::new(());
    let _one_at_a_time = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(f));
    std::panic::set_hook(hook);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        anyhow!("{}", text.unwrap_or("the driver failed without a message"))
    })
}

/// What a device can do, for the first lines of a run and its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The backend.
    pub backend: Backend,
    /// The device as it names itself.
    pub name: String,
    /// All of its memory in bytes, where that is known.
    pub memory: Option<u64>,
    /// The number types it computes with.
    pub dtypes: Vec<String>,
    /// Processor threads that compute.
    pub threads: usize,
}

impl Capabilities {
    /// Asks a device that [`open`] has opened.
    pub fn of(device: &Device) -> Self {
        let backend = Backend::built();
        let gpu = is_gpu(device);
        let (name, memory) = match (gpu, backend) {
            (false, _) => (processor(), host_memory()),
            (true, Backend::Wgpu) => (identity(device), None),
            (true, _) => {
                let (name, memory) = nvidia(device).unzip();
                (name.unwrap_or_else(|| identity(device)), memory)
            }
        };
        let dtypes = [
            (DType::F64, "f64"),
            (DType::F32, "f32"),
            (DType::F16, "f16"),
            (DType::BF16, "bf16"),
            (DType::I8, "i8"),
        ];
        let supported = dtypes
            .into_iter()
            .filter(|(dtype, _)| device.supports_dtype(*dtype));
        Self {
            backend,
            name,
            memory,
            dtypes: supported.map(|(_, name)| name.to_owned()).collect(),
            threads: rayon::current_num_threads(),
        }
    }
}

impl std::fmt::Display for Capabilities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {}", self.backend.name(), self.name)?;
        if let Some(memory) = self.memory {
            write!(f, ", {:.0} GB", memory as f64 / 1e9)?;
        }
        write!(f, ", {} threads; {}", self.threads, self.dtypes.join(" "))
    }
}

/// Whether a device has memory of its own.
pub fn is_gpu(device: &Device) -> bool {
    match Backend::built() {
        Backend::Flex => false,
        Backend::Libtorch => libtorch_cpu().is_none_or(|cpu| cpu != *device),
        Backend::Wgpu | Backend::Cuda => true,
    }
}

/// Where the optimizer's state of a model on `device` lies.
pub fn state_memory(device: &Device) -> StateMemory {
    if is_gpu(device) {
        StateMemory::Device
    } else {
        StateMemory::Host
    }
}

fn identity(device: &Device) -> String {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    if let Some(identity) = device.identity() {
        return identity.name;
    }
    format!("{device:?}")
}

/// Name and bytes of memory of an NVIDIA card, as its driver's own tool says; it counts the cards in another order where
/// only some are to be seen.
fn nvidia(device: &Device) -> Option<(String, u64)> {
    if std::env::var_os("CUDA_VISIBLE_DEVICES").is_some() {
        return None;
    }
    let place = Backend::built()
        .accelerators()
        .iter()
        .position(|other| other == device)?;
    let mut tool = Command::new("nvidia-smi");
    tool.args([
        "--query-gpu=name,memory.total",
        "--format=csv,noheader,nounits",
    ]);
    let output = tool.arg(format!("--id={place}")).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (name, mebibytes) = text.trim().rsplit_once(',')?;
    let mebibytes: u64 = mebibytes.trim().parse().ok()?;
    Some((name.trim().to_owned(), mebibytes << 20))
}

fn processor() -> String {
    static NAME: OnceLock<String> = OnceLock::new();
    let read = || {
        let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let named = || read().unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    NAME.get_or_init(named).clone()
}

fn host_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(devices: &[u8], choice: &str) -> Result<u8, String> {
        let choice = (!choice.is_empty()).then(|| choice.parse().unwrap());
        pick(devices.to_vec(), Some(9), choice).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_choice_the_first_gpu_or_the_processor_computes() {
        assert_eq!(picked(&[5, 6], ""), Ok(5));
        assert_eq!(picked(&[], ""), Ok(9));
        let none = pick(Vec::<u8>::new(), None, None).unwrap_err();
        assert_eq!(none.to_string(), "no device was found");
    }

    #[test]
    fn a_device_that_is_not_there_is_told_with_those_that_are() {
        assert_eq!(picked(&[5, 6], "1"), Ok(6));
        assert_eq!(picked(&[5, 6], "cpu"), Ok(9));
        let error = |devices: &[u8]| picked(devices, "2").unwrap_err();
        assert_eq!(error(&[5, 6]), "there is no device 2: they are 0 to 1");
        assert_eq!(error(&[5]), "there is no device 2: the only one is 0");
        assert_eq!(error(&[]), "there is no device 2: no GPU was found");
        assert!("gpu".parse::<Choice>().is_err());
    }

    #[test]
    fn a_panic_of_a_driver_becomes_an_error_with_its_words() {
        let error = without_panic(|| -> u8 { panic!("libfoo.so is missing") }).unwrap_err();
        assert_eq!(error.to_string(), "libfoo.so is missing");
    }

    #[test]
    fn the_device_of_the_tests_says_what_it_can() {
        let device = open(None).unwrap();
        let found = Capabilities::of(&device);
        assert_eq!(found.backend, Backend::built());
        assert!(found.dtypes.iter().any(|dtype| dtype == "f32"), "{found}");
        assert!(found.to_string().contains(&found.name));
    }
}
