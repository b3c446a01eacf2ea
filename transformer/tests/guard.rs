//! Who hears of a panic. The hook belongs to the process: one test, in a program of its own.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use transformer::guard::guarded;

#[test]
fn the_hook_hears_of_panics_outside_of_nets_and_of_no_others() {
    static HEARD: AtomicUsize = AtomicUsize::new(0);
    panic::set_hook(Box::new(|_| {
        HEARD.fetch_add(1, Ordering::SeqCst);
    }));
    let panics = || -> () { panic!("expected") };
    assert!(guarded(panics).is_err());
    assert_eq!(HEARD.load(Ordering::SeqCst), 0, "inside of a net");
    assert!(panic::catch_unwind(panics).is_err());
    assert_eq!(HEARD.load(Ordering::SeqCst), 1, "after a net");

    // Another thread panics while this one is inside of a net.
    let meet = Arc::new(Barrier::new(2));
    let there = Arc::clone(&meet);
    let other = std::thread::spawn(move || {
        there.wait();
        panic!("expected");
    });
    let inside = guarded(AssertUnwindSafe(move || {
        meet.wait();
        assert!(other.join().is_err());
        panic!("of this thread");
    }));
    assert!(inside.unwrap_err().starts_with("of this thread"));
    assert_eq!(HEARD.load(Ordering::SeqCst), 2, "beside a net");
}
