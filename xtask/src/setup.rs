//! `cargo xtask setup BACKEND`: installs what a backend needs beside cargo, and finds it again for every other command.

mod cuda;
mod libtorch;
mod python;
mod wgpu;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Result;

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

/// The variables of glibc's allocator, which keeps up to so many bytes instead of giving large blocks back to the system
/// and taking them again page by page: an eighth of a block's time, and two thirds of the optimizer's.
const KEPT: [&str; 2] = ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"];
const KEPT_BYTES: &str = "4000000000";

/// What `setup` has installed, as the variables that make it found, and what makes the backend run well.
///
/// # Errors
///
/// If the backend is not set up; says by which command it is.
pub(crate) fn environment(backend: Backend) -> Result<Environment> {
    let mut environment = match backend {
        Backend::Flex | Backend::Wgpu => Vec::new(),
        Backend::Libtorch => libtorch::environment()?,
        Backend::Cuda => cuda::environment(),
    };
    let unset = KEPT.iter().filter(|name| std::env::var_os(name).is_none());
    environment.extend(unset.map(|name| (*name, OsString::from(KEPT_BYTES))));
    Ok(environment)
}

/// Where what `setup` installs stands.
fn folder(name: &str) -> Result<PathBuf> {
    Ok(std::path::absolute(cargo::target_dir())?
        .join("setup")
        .join(name))
}

/// The search path of shared libraries with `first` before what it has.
fn library_path(first: &[PathBuf]) -> Result<(&'static str, OsString)> {
    let name = if cfg!(target_os = "macos") {
        "DYLD_LIBRARY_PATH"
    } else {
        "LD_LIBRARY_PATH"
    };
    let before = std::env::var_os(name).unwrap_or_default();
    let known: Vec<PathBuf> = std::env::split_paths(&before).collect();
    let new = first.iter().filter(|path| !known.contains(path));
    Ok((name, std::env::join_paths(new.chain(&known))?))
}

/// Whether an NVIDIA driver runs on this machine.
fn has_nvidia_driver() -> bool {
    std::path::Path::new("/proc/driver/nvidia/version").exists()
        || Command::new("nvidia-smi")
            .output()
            .is_ok_and(|output| output.status.success())
}
