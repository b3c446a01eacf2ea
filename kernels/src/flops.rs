//! How many floating-point operations products have executed.

use std::sync::atomic::{AtomicU64, Ordering};

static EXECUTED: AtomicU64 = AtomicU64::new(0);

/// The floating-point operations that all products of this process have executed so far: `2 m n k` for a product of
/// `[m, k]` and `[k, n]`, those of attention included.
///
/// What two calls differ by is what was executed between them, on all threads.
pub fn flops() -> u64 {
    EXECUTED.load(Ordering::Relaxed)
}

/// Counts `count` products of `[m, k]` and `[k, n]`.
pub(crate) fn count_products(count: usize, [m, k, n]: [usize; 3]) {
    let flops = [count, m, k, n].into_iter().map(|size| size as u64);
    EXECUTED.fetch_add(2 * flops.product::<u64>(), Ordering::Relaxed);
}
