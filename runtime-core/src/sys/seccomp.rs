//! Seccomp filters.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::{Errno, Result, call};

/// One instruction of classic BPF, laid out as the kernel's `struct sock_filter` (`linux/filter.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SockFilter {
    /// The operation: class, size or operation, mode or source.
    pub code: u16,
    /// How many instructions to skip when the test of a jump holds.
    pub jt: u8,
    /// How many instructions to skip when it does not.
    pub jf: u8,
    /// The constant: an offset, an operand, a distance or a verdict.
    pub k: u32,
}

/// `struct sock_fprog` (`linux/filter.h`).
#[repr(C)]
struct SockFprog {
    len: u16,
    filter: *const SockFilter,
}

/// Puts the calling thread under a filter, for itself and all it will execute: seccomp(2), `SECCOMP_SET_MODE_FILTER`.
///
/// `flags` are `SECCOMP_FILTER_FLAG_*`. With `NEW_LISTENER` (Linux 5.0) the listener's fd is returned, close-on-exec.
///
/// # Errors
///
/// EINVAL when the kernel does not accept the program or a flag, EACCES without both no_new_privs and CAP_SYS_ADMIN,
/// EBUSY when a listener exists already, E2BIG for more instructions than a `u16` counts.
pub fn seccomp_set_mode_filter(flags: u32, filter: &[SockFilter]) -> Result<Option<OwnedFd>> {
    let Ok(len) = u16::try_from(filter.len()) else {
        return Err(Errno(libc::E2BIG));
    };
    let program = SockFprog { len, filter: filter.as_ptr() };
    let operation = libc::SECCOMP_SET_MODE_FILTER as usize;
    // SAFETY: `program` is laid out as sock_fprog and points at `len` instructions, laid out as sock_filter, that
    // outlive the call; the kernel copies and checks them, and only reads.
    let fd = unsafe { call(libc::SYS_seccomp, [operation, flags as usize, &raw const program as usize, 0, 0, 0]) }?;
    if u64::from(flags) & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: the kernel made this fd for the caller, who is its only owner.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
}
