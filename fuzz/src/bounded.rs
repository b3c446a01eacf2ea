//! An allocator that refuses what no input of a fuzzer can need.

use std::alloc::{GlobalAlloc, Layout, System};

/// The largest piece of memory that a parser may ask for at once, in bytes. Inputs are smaller by far, so that a larger
/// one comes from a number in the input that was believed.
const LIMIT: usize = 64 << 20;

/// The system's allocator with a limit.
struct Bounded;

#[global_allocator]
static BOUNDED: Bounded = Bounded;

// SAFETY: every call goes to the system's allocator as it is, or fails as an allocator may; std then aborts.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LIMIT {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LIMIT {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > LIMIT {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from the system's allocator, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}
