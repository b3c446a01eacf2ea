//! The last net below the tokenizer's library.
//!
//! What is clear is checked before the library sees it (`check`). The library panics on more than can be listed: on
//! parts that it cannot parse, on template pieces without a token, inside regular expressions. Such a panic becomes an
//! error here, and nowhere else.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether a panic of this thread will be caught and told as an error.
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Runs `work`; a panic in it is an error with the panic's message, which is not printed.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !IS_CAUGHT.get() {
                before(info);
            }
        }));
    });
    let outer = IS_CAUGHT.replace(true);
    // What `work` borrows is a tokenizer, whose caches are complete or absent after each step.
    let done = catch_unwind(AssertUnwindSafe(work));
    IS_CAUGHT.set(outer);
    done.map_err(|panic| message(panic.as_ref()))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the tokenizer's library stopped".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        let empty: Vec<u32> = Vec::new();
        let error = caught(|| empty[3]).expect_err("panics");
        assert!(error.contains("out of bounds"), "{error}");
        assert_eq!(caught(|| 7), Ok(7));
        assert!(!IS_CAUGHT.get());
    }
}
