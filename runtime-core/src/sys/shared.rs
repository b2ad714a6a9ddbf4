//! Memory that two processes share, and the clocks whose times they put into it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use super::{Errno, Result, call, fstat, raw};

/// A file's content as 64-bit words, shared with every process that has it mapped, and with the children that are cloned
/// while it is.
#[derive(Debug)]
pub struct SharedWords {
    address: *mut AtomicU64,
    count: usize,
}

// SAFETY: the mapping belongs to the process and not to a thread, and is only reached by atomic operations.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Makes the file `count` words long, all zero when it is new, and maps it.
    pub fn new(file: &OwnedFd, count: usize) -> Result<Self> {
        // SAFETY: no pointers.
        unsafe { call(libc::SYS_ftruncate, [raw(file.as_fd()), count * 8, 0, 0, 0, 0]) }?;
        Self::map(file, count)
    }

    /// Maps the file as long as it is.
    pub fn open(file: &OwnedFd) -> Result<Self> {
        Self::map(file, fstat(file.as_fd())?.st_size as usize / 8)
    }

    fn map(file: &OwnedFd, count: usize) -> Result<Self> {
        if count == 0 {
            return Err(Errno(libc::EINVAL));
        }
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let args = [0, count * 8, protection, libc::MAP_SHARED as usize, raw(file.as_fd()), 0];
        // SAFETY: a new mapping at a place of the kernel's choice touches no memory that is in use.
        let address = unsafe { call(libc::SYS_mmap, args) }? as *mut AtomicU64;
        Ok(SharedWords { address, count })
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is `count` words long, aligned to a page, and lives as long as `self`. Others change it at any
        // time, which atomics allow; every bit pattern is a value.
        unsafe { std::slice::from_raw_parts(self.address, self.count) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference to its words outlives `self`.
        let _ = unsafe { call(libc::SYS_munmap, [self.address as usize, self.count * 8, 0, 0, 0, 0]) };
    }
}

/// CLOCK_REALTIME of clock_gettime(2), in nanoseconds. Mostly no system call.
#[must_use]
pub fn now() -> u64 {
    clock(libc::CLOCK_REALTIME)
}

/// CLOCK_MONOTONIC, in nanoseconds.
#[must_use]
pub fn uptime() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// CLOCK_PROCESS_CPUTIME_ID: the processor time of this process since it was made, in nanoseconds.
#[must_use]
pub fn processor_time() -> u64 {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing; clock_gettime(3) goes to the kernel's page of code or to the kernel, and
    // takes no lock.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
