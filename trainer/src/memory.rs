//! The process's peak memory.

use nix::sys::resource::{UsageWho, getrusage};

/// The process's own high-water mark of resident memory in bytes; 0 where the system does not say.
///
/// `getrusage` alone would count what stood in this process before it became this program (`cargo run`).
pub fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    let usage =
        || getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss().max(0) as u64);
    kilobytes.unwrap_or_else(usage) * 1024
}
