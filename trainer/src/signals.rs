//! Signals: the first asks a run to save and stop, another one ends the program at once.

use std::sync::{Arc, atomic::AtomicBool};

use anyhow::Context;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

/// A flag that Ctrl-C, `kill` and the closing of the terminal set. A second Ctrl-C or `kill` ends the program, with the
/// exit status that a shell gives to what the signal ended.
///
/// # Errors
///
/// If the system takes no handler.
pub(crate) fn stop_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let context = || "installing the handlers of signals";
    for signal in [SIGINT, SIGTERM] {
        // The handlers of a signal run in this order: the first one sees what earlier signals set.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))
            .with_context(context)?;
        flag::register(signal, Arc::clone(&stop)).with_context(context)?;
    }
    // A terminal that closes sends it twice, by way of the shell and of the kernel. Under nohup it must stay ignored.
    if !is_ignored(SIGHUP) {
        flag::register(SIGHUP, Arc::clone(&stop)).with_context(context)?;
    }
    Ok(stop)
}

/// Whether whoever started the program had a signal ignored, as far as the system tells.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
