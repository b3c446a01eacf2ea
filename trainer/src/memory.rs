//! The process's peak memory.

use nix::sys::resource::{UsageWho, getrusage};

/// The process's own high-water mark of resident memory in bytes; 0 where the system does not say.
pub fn peak_bytes() -> u64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss().max(0) as u64 * 1024)
}
