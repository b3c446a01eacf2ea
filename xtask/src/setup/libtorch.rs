//! LibTorch: the libraries of the `torch` package of PyPI, or those that `LIBTORCH` names.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};

use super::python::Venv;
use super::{Needs, folder, has_nvidia_driver, link};

/// The version that `burn-tch` 0.22 binds.
const VERSION: &str = "2.9.0";

/// What the processor's library is linked with, whether or not there is a GPU.
const LINKED: [&str; 2] = ["nvidia-cuda-runtime-cu12", "nvidia-cuda-cupti-cu12"];

/// Libraries that a program without CUDA is linked with.
const LIBRARIES: [&str; 3] = ["libtorch.so", "libtorch_cpu.so", "libc10.so"];

/// Whether PyPI's package for this system is built for CUDA, and can be had without.
const CUDA_PACKAGE: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

pub(super) fn install(cuda: bool) -> Result<()> {
    // On Linux the program's allocator is jemalloc, which is built from C.
    ensure!(
        !cfg!(target_os = "linux") || Command::new("make").arg("--version").output().is_ok(),
        "make was not found; install it (Debian: `apt-get install make`)"
    );
    if let Some(given) = env::var_os("LIBTORCH") {
        check(Path::new(&given)).context("LIBTORCH is set, so nothing was installed")?;
        return Ok(());
    }
    let venv = Venv::make(&folder("libtorch")?)?;
    let torch = format!("torch=={VERSION}");
    let whole = cuda || has_nvidia_driver() || !CUDA_PACKAGE;
    if whole {
        venv.install(&[&torch])?;
    } else {
        // The package asks for 5 GB of CUDA, of which a program on the processor loads two small libraries.
        venv.install(&["--no-deps", &torch])?;
        let needed = venv.output(&requirements_script())?;
        let needed: Vec<&str> = needed.lines().collect();
        ensure!(
            needed.len() == LINKED.len(),
            "torch {VERSION} asks for {needed:?} and not for {LINKED:?}"
        );
        venv.install(&[&["--no-deps"], &needed[..]].concat())?;
    }
    lay_out(&venv.packages()?, whole)?;
    check(&root(whole)?)
}

/// Prints those of torch's requirements that are in `LINKED`, one a line.
fn requirements_script() -> String {
    let names = LINKED.map(|name| format!("'{name}=='")).join(", ");
    format!(
        "from importlib.metadata import requires\n\
         for r in requires('torch'):\n    \
         if r.startswith(({names})): print(r.split(';')[0].strip())"
    )
}

/// What `LIBTORCH` is to be: folders `include` and `lib`, and `nvidia` two above the libraries, where they look.
///
/// With CUDA it is another folder than without, so that cargo sees the change.
fn root(whole: bool) -> Result<PathBuf> {
    let layout = if whole { "layout-cuda" } else { "layout" };
    Ok(folder("libtorch")?.join(layout).join("torch"))
}

/// Makes the folder of [`root`], of links to the installed packages.
///
/// Without CUDA it leaves `libtorch_cuda.so` out, by which the build knows that there is none.
fn lay_out(packages: &Path, whole: bool) -> Result<()> {
    let (root, other) = (root(whole)?, root(!whole)?);
    let layout = root.parent().context("a folder above")?;
    for layout in [Some(layout), other.parent()].into_iter().flatten() {
        if layout.exists() {
            fs::remove_dir_all(layout).with_context(|| layout.display().to_string())?;
        }
    }
    fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
    link(&packages.join("torch/include"), &root.join("include"))?;
    if packages.join("nvidia").exists() {
        link(&packages.join("nvidia"), &layout.join("nvidia"))?;
    }
    let libraries = packages.join("torch/lib");
    if whole {
        return link(&libraries, &root.join("lib"));
    }
    fs::create_dir(root.join("lib"))?;
    for name in LIBRARIES.iter().chain(&["libgomp.so.1"]) {
        if libraries.join(name).exists() {
            link(&libraries.join(name), &root.join("lib").join(name))?;
        }
    }
    Ok(())
}

/// Whether `root` is a LibTorch that can be built with.
fn check(root: &Path) -> Result<()> {
    let library = if cfg!(target_os = "macos") {
        "lib/libtorch_cpu.dylib"
    } else if cfg!(windows) {
        "lib/torch_cpu.dll"
    } else {
        "lib/libtorch_cpu.so"
    };
    for part in [library, "include/torch/csrc/api/include/torch/torch.h"] {
        let path = root.join(part);
        if !path.exists() {
            bail!(
                "{}: not found; LIBTORCH names a folder with `lib` and `include` of LibTorch {VERSION}, or is unset \
                 for `cargo xtask setup libtorch` to fetch one",
                path.display()
            );
        }
    }
    Ok(())
}

/// `LIBTORCH` and where its libraries are.
pub(super) fn needs() -> Result<Needs> {
    let root = match env::var_os("LIBTORCH") {
        // Build scripts run in folders of their own.
        Some(given) => std::path::absolute(given)?,
        None if env::var_os("LIBTORCH_USE_PYTORCH").is_some() => return Ok(Needs::default()),
        None => {
            let roots = [root(true)?, root(false)?];
            let root = roots.into_iter().find(|root| root.join("lib").exists());
            root.context(
                "LibTorch is not here yet: `cargo xtask setup libtorch` fetches it (2 GB)",
            )?
        }
    };
    check(&root)?;
    Ok(Needs {
        libraries: vec![root.join("lib")],
        variables: vec![("LIBTORCH", root.into_os_string())],
    })
}
