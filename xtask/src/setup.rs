//! `cargo xtask setup BACKEND`: installs what a backend needs beside cargo, and finds it again for every other command.

mod cuda;
mod libtorch;
mod python;
mod wgpu;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

pub(crate) use python::Venv;

use crate::backend::Backend;
use crate::cargo;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The backend to set up.
    #[arg(value_enum)]
    backend: Backend,
    /// LibTorch for NVIDIA GPUs, 7 GB instead of 2; chosen by itself where a driver is found.
    #[arg(long)]
    cuda: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match args.backend {
        Backend::Flex => eprintln!("flex needs nothing beside cargo and a C compiler"),
        Backend::Libtorch => libtorch::install(args.cuda)?,
        Backend::Wgpu => wgpu::install()?,
        Backend::Cuda => cuda::install()?,
    }
    eprintln!(
        "{0} is ready: cargo xtask train --backend {0}",
        args.backend.feature()
    );
    Ok(ExitCode::SUCCESS)
}

/// Variables that cargo and what it starts need for a backend.
pub(crate) type Environment = Vec<(&'static str, OsString)>;

/// What a backend needs of them, and the folders of its shared libraries.
#[derive(Default)]
struct Needs {
    variables: Environment,
    libraries: Vec<PathBuf>,
}

/// Variables of glibc's allocator, where a program has none of its own. It then keeps up to so many bytes instead of giving
/// large blocks back to the system and taking them again page by page: an eighth of a block's time, and two thirds of the
/// optimizer's. One arena for all threads: a second has heaps of 64 MB, and gives back those that are free. Large pages,
/// which take a tenth off the optimizer's time.
const ALLOCATOR: [(&str, &str); 4] = [
    ("MALLOC_TRIM_THRESHOLD_", "4000000000"),
    ("MALLOC_MMAP_MAX_", "0"),
    ("MALLOC_ARENA_MAX", "1"),
    ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
];

/// What `setup` has installed, as the variables that make it found, and what makes the backend run well.
///
/// # Errors
///
/// If a backend is not set up; says by which command it is.
pub(crate) fn environment(backends: &[Backend]) -> Result<Environment> {
    let mut needs = Needs::default();
    for backend in backends {
        let more = match backend {
            Backend::Flex | Backend::Wgpu => Needs::default(),
            Backend::Libtorch => libtorch::needs()?,
            Backend::Cuda => cuda::needs(),
        };
        needs.variables.extend(more.variables);
        needs.libraries.extend(more.libraries);
    }
    let mut environment = needs.variables;
    if !needs.libraries.is_empty() {
        let before = std::env::var_os(LIBRARY_PATH).unwrap_or_default();
        environment.push((LIBRARY_PATH, search_path(needs.libraries, &before)?));
    }
    let unset = ALLOCATOR
        .into_iter()
        .filter(|(name, _)| std::env::var_os(name).is_none());
    environment.extend(unset.map(|(name, value)| (name, value.into())));
    Ok(environment)
}

/// Where what `setup` installs stands.
fn folder(name: &str) -> Result<PathBuf> {
    Ok(std::path::absolute(cargo::target_dir())?
        .join("setup")
        .join(name))
}

/// A link to a folder or file.
#[cfg(unix)]
fn link(from: &Path, to: &Path) -> Result<()> {
    std::os::unix::fs::symlink(from, to).with_context(|| to.display().to_string())
}

#[cfg(not(unix))]
fn link(from: &Path, _to: &Path) -> Result<()> {
    anyhow::bail!(
        "{}: on this system it has to be installed by hand, and LIBTORCH or CUDA_PATH to name it",
        from.display()
    )
}

/// Where shared libraries are looked for.
const LIBRARY_PATH: &str = if cfg!(target_os = "macos") {
    "DYLD_LIBRARY_PATH"
} else {
    "LD_LIBRARY_PATH"
};

/// A search path with `folders` before what it has; nothing twice, and no empty entry, which would be the current folder.
fn search_path(mut folders: Vec<PathBuf>, before: &OsStr) -> Result<OsString> {
    for folder in std::env::split_paths(before) {
        if !folder.as_os_str().is_empty() && !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    Ok(std::env::join_paths(folders)?)
}

/// Whether an NVIDIA driver runs on this machine.
fn has_nvidia_driver() -> bool {
    std::path::Path::new("/proc/driver/nvidia/version").exists()
        || Command::new("nvidia-smi")
            .output()
            .is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_go_before_a_search_path_and_nothing_empty_stays() {
        let path = |before: &str| {
            let folders = vec!["/torch/lib".into(), "/nvrtc/lib".into()];
            search_path(folders, before.as_ref()).unwrap()
        };
        assert_eq!(path(""), "/torch/lib:/nvrtc/lib");
        assert_eq!(path("/a::/torch/lib:/b"), "/torch/lib:/nvrtc/lib:/a:/b");
    }
}
