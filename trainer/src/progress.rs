//! Progress bars, on a terminal's standard error alone.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar of `len` steps; its message stands behind the time that is left.
pub(crate) fn bar(len: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{bar:30} {pos}/{len} eta {eta}  {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
