//! Peak memory.

use std::sync::atomic::{AtomicU64, Ordering};

use burn::tensor::Device;
use nix::sys::resource::{UsageWho, getrusage};

use crate::device;

/// The process's own high-water mark of resident memory in bytes; 0 where the system does not say.
///
/// `getrusage` alone would count what stood in this process before it became this program (`cargo run`).
pub fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    let unit = if cfg!(target_vendor = "apple") {
        1
    } else {
        1024
    };
    let usage = || {
        let usage = getrusage(UsageWho::RUSAGE_SELF);
        usage.map_or(0, |usage| usage.max_rss().max(0) as u64) * unit
    };
    kilobytes.map_or_else(usage, |kilobytes: u64| kilobytes * 1024)
}

/// The high-water mark of the memory that `device` computes in, in bytes: on a processor the process's own, on a GPU
/// what its allocator has taken. LibTorch does not say what it takes on CUDA; there it is the process's, too.
pub fn peak_of(device: &Device) -> u64 {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    let usage = device
        .memory_pool_usage()
        .filter(|_| device::is_gpu(device));
    usage.map_or_else(peak_bytes, |usage| {
        let taken = usage.bytes_reserved;
        taken.max(TAKEN.fetch_max(taken, Ordering::Relaxed))
    })
}
