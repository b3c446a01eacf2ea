//! [`guarded`]: a panic in somebody else's code becomes an error.
//!
//! A parser of another's may panic on a damaged file. Such a file is one bad sample, not the end of a run. The net is
//! for code that we do not own: what panics in ours is a fault of ours, and is to be seen.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, PanicHookInfo, UnwindSafe};
use std::sync::Once;

thread_local! {
    /// Nets that this thread is inside of.
    static NETS: Cell<usize> = const { Cell::new(0) };
    /// Where the last panic inside a net was.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Calls `f`; a panic in it is caught, and nothing of it is printed.
///
/// The first call wraps the panic hook of the process, once. The wrapped hook goes on to hear of every panic outside of a
/// net, also of other threads' at the same time. A panic on a thread that `f` starts is not caught.
///
/// # Errors
///
/// The panic's message, with the file and line it comes from.
///
/// # Examples
///
/// ```
/// let third = |bytes: &[u8]| bytes[2];
/// assert_eq!(transformer::guard::guarded(|| third(&[1, 2, 3])), Ok(3));
/// assert!(transformer::guard::guarded(|| third(&[])).is_err());
/// ```
pub fn guarded<T>(f: impl FnOnce() -> T + UnwindSafe) -> Result<T, String> {
    wrap_hook();
    let net = Net::enter();
    let outcome = panic::catch_unwind(f);
    drop(net);
    outcome.map_err(|payload| {
        let message = message_of(payload);
        match PLACE.with(RefCell::take) {
            Some(place) => format!("{message} ({place})"),
            None => message,
        }
    })
}

/// Counts a net for as long as it lives.
struct Net;

impl Net {
    fn enter() -> Self {
        NETS.with(|nets| nets.set(nets.get() + 1));
        Self
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        NETS.with(|nets| nets.set(nets.get() - 1));
    }
}

fn wrap_hook() {
    static WRAPPED: Once = Once::new();
    // A thread that is panicking may not touch the hook: a net in a destructor does without.
    if WRAPPED.is_completed() || std::thread::panicking() {
        return;
    }
    WRAPPED.call_once(|| {
        let outer = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // A thread that ends has no such number any more, and is in no net.
            if NETS.try_with(Cell::get).unwrap_or(0) == 0 {
                outer(info);
            } else {
                note_place(info);
            }
        }));
    });
}

fn note_place(info: &PanicHookInfo<'_>) {
    let place = info.location().map(|place| {
        let file = place.file().rsplit(['/', '\\']).next().unwrap_or_default();
        format!("{file}:{}", place.line())
    });
    PLACE.with(|last| last.replace(place));
}

fn message_of(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => match payload.downcast::<&'static str>() {
            Ok(text) => (*text).to_owned(),
            Err(other) => {
                // Dropping a value of an unknown type might panic, outside of the net.
                std::mem::forget(other);
                "a panic without a message".to_owned()
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_well_comes_back() {
        assert_eq!(guarded(|| 7), Ok(7));
    }

    #[test]
    fn a_panic_is_an_error_with_its_message_and_place() {
        let (empty, at): (&[u8], usize) = (&[], 3);
        let reason = guarded(|| empty[at]).unwrap_err();
        assert!(reason.contains("index is 3"), "{reason}");
        assert!(reason.contains("guard.rs:"), "{reason}");
        let reason = guarded(|| panic!("of a constant")).unwrap_err();
        assert!(reason.starts_with("of a constant (guard.rs:"), "{reason}");
    }

    #[test]
    fn a_payload_of_another_type_is_an_error_too() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        let reason = guarded(|| panic::panic_any(Bomb)).unwrap_err();
        assert!(reason.starts_with("a panic without a message"), "{reason}");
    }

    #[test]
    fn nets_may_be_nested() {
        let outer = guarded(|| {
            let inner = guarded(|| panic!("inner")).unwrap_err();
            assert!(inner.starts_with("inner"), "{inner}");
            panic!("outer")
        });
        let reason = outer.unwrap_err();
        assert!(reason.starts_with("outer"), "{reason}");
        NETS.with(|nets| assert_eq!(nets.get(), 0));
    }
}
