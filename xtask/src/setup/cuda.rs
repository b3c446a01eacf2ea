//! CUDA: NVIDIA's driver comes from the system; the run-time compiler and its headers can be had from PyPI.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::python::Venv;
use super::{Needs, folder, has_nvidia_driver, link};

/// The compiler of kernels, and the headers that they include.
const PACKAGES: [&str; 3] = [
    "nvidia-cuda-nvrtc-cu12",
    "nvidia-cuda-runtime-cu12",
    "nvidia-cuda-cccl-cu12",
];

pub(super) fn install() -> Result<()> {
    if !has_nvidia_driver() {
        bail!(
            "no NVIDIA driver runs on this machine; install it (Debian: `apt-get install nvidia-driver`), or choose \
             `--backend wgpu` or `flex`"
        );
    }
    if let Some(toolkit) = toolkit() {
        eprintln!("using the CUDA toolkit in {}", toolkit.display());
        return Ok(());
    }
    let venv = Venv::make(&folder("cuda")?)?;
    venv.install(&PACKAGES)?;
    // Burn looks for these headers below the others.
    let nvidia = venv.packages()?.join("nvidia");
    let cccl = nvidia.join("cuda_runtime/include/cccl");
    if cccl.exists() {
        return Ok(());
    }
    link(&nvidia.join("cuda_cccl/include"), &cccl)
}

/// A toolkit where Burn looks for one.
fn toolkit() -> Option<PathBuf> {
    let given = std::env::var_os("CUDA_PATH").map(PathBuf::from);
    let usual = ["/usr/local/cuda", "/opt/cuda"].map(PathBuf::from);
    given
        .into_iter()
        .chain(usual)
        .find(|path| path.join("include/cuda_runtime.h").exists())
}

/// The toolkit from PyPI, if it was installed; any other is found without help.
pub(super) fn needs() -> Needs {
    let found = || {
        let packages = Venv::find(&folder("cuda").ok()?)?.packages().ok()?;
        let nvidia: &Path = &packages.join("nvidia");
        let runtime = nvidia.join("cuda_runtime");
        runtime.exists().then(|| Needs {
            libraries: vec![nvidia.join("cuda_nvrtc/lib"), runtime.join("lib")],
            variables: vec![("CUDA_PATH", runtime.into_os_string())],
        })
    };
    if toolkit().is_some() {
        return Needs::default();
    }
    found().unwrap_or_default()
}
