//! An allocator that aborts whoever allocates between clone and execve.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use runtime_core::sys;

/// Allocates for the process that was started by execve, and for no copy of it.
struct OfThisProcess;

/// Whom it serves; 0 is everybody.
pub(crate) static OWN_PID: AtomicI32 = AtomicI32::new(0);

fn check() {
    let own = OWN_PID.load(Relaxed);
    if own != 0 && sys::getpid() != own {
        let _ = sys::write(sys::standard_stream(2), b"the child allocates\n");
        std::process::abort();
    }
}

// SAFETY: everything is the system allocator's, which keeps the contract.
unsafe impl GlobalAlloc for OfThisProcess {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        check();
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: OfThisProcess = OfThisProcess;
