//! How many floating-point operations products have executed.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
};

static EXECUTED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static BY_THIS_THREAD: Cell<u64> = const { Cell::new(0) };
}

/// The floating-point operations that all products of this process have executed so far: `2 m n k` for a product of
/// `[m, k]` and `[k, n]`, those of attention included.
///
/// What two calls differ by is what was executed between them, on all threads.
pub fn flops() -> u64 {
    EXECUTED.load(Ordering::Relaxed)
}

/// What `f` gives, and the floating-point operations of the products that it has asked for on this thread, whatever other
/// threads do meanwhile.
pub fn flops_of<T>(f: impl FnOnce() -> T) -> (T, u64) {
    let before = BY_THIS_THREAD.get();
    let result = f();
    (result, BY_THIS_THREAD.get() - before)
}

/// Counts `count` products of `[m, k]` and `[k, n]`.
pub(crate) fn count_products(count: usize, [m, k, n]: [usize; 3]) {
    let flops = [count, m, k, n].into_iter().map(|size| size as u64);
    let flops = 2 * flops.product::<u64>();
    EXECUTED.fetch_add(flops, Ordering::Relaxed);
    BY_THIS_THREAD.set(BY_THIS_THREAD.get() + flops);
}
