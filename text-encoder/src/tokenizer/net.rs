//! The last net below the tokenizer's library.
//!
//! What is clear is checked before the library sees it (`check`). The library panics on more than can be listed: on
//! parts that it cannot parse, on template pieces without a token, inside regular expressions. Such a panic becomes an
//! error here, and nowhere else.

use std::panic::AssertUnwindSafe;

use transformer::guard::guarded;

/// Runs `work`; a panic in it is an error with the panic's message, which is not printed.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // What `work` borrows is a tokenizer, whose caches are complete or absent after each step.
    guarded(AssertUnwindSafe(work))
}
