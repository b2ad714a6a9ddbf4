//! The only unsafe code: one system call a function, no policy.
//!
//! Every function here may be called after clone3(2) in a copy of a threaded program: none allocates, takes a lock or
//! reads the environment, and none goes through a libc wrapper that does (libc's set*id broadcast to all threads).
//! A function is `unsafe` only where the caller must keep a promise that its types can't express.
#![allow(unsafe_code)]

mod bpf;
mod clone;
mod cred;
mod dir;
mod errno;
mod exec;
mod file;
mod mount;
mod namespace;
mod net;
mod probe;
mod process;
mod reexec;
mod seccomp;
mod shared;
mod tty;

pub use bpf::*;
pub(crate) use clone::clone3_and_run;
pub use clone::{Clone3, pidfd_getfd, pidfd_open, pidfd_send_signal, wait_child, wait_exit};
pub use cred::*;
pub use dir::{Entry, read_entries};
pub use errno::{Errno, Result};
pub use exec::{CStringArray, execve, exit};
pub use file::*;
pub use mount::*;
pub use namespace::{namespace_kind, setdomainname, sethostname, setns, unshare};
pub use net::{loopback_up, receive, receive_with_fd, send, send_with_fd, socketpair};
pub use probe::seccomp_knows_flags;
pub use process::*;
pub use reexec::*;
pub use seccomp::{SockFilter, seccomp_set_mode_filter};
pub use shared::{SharedWords, now, processor_time, uptime};
pub use tty::*;

use std::os::fd::{FromRawFd, OwnedFd};

/// A system call with six arguments, as the kernel takes them.
///
/// # Safety
/// As for the system call `number`: pointers among the arguments must be valid for what the kernel does with them.
unsafe fn call(number: libc::c_long, args: [usize; 6]) -> Result<usize> {
    // SAFETY: the caller vouches for the arguments; syscall(3) itself only moves registers and sets errno, which is
    // thread-local memory that exists in a cloned child too.
    let result = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]) };
    if result == -1 { Err(Errno::last()) } else { Ok(result as usize) }
}

/// [`call`] for a system call that returns a new file descriptor.
///
/// # Safety
/// As for [`call`]; and the system call must return a file descriptor that nobody else owns.
unsafe fn call_fd(number: libc::c_long, args: [usize; 6]) -> Result<OwnedFd> {
    // SAFETY: passed on to the caller.
    let fd = unsafe { call(number, args) }?;
    // SAFETY: the caller vouches that the result is a fresh descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The same call again while a signal interrupts it.
fn retry<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno(libc::EINTR)) => {}
            result => return result,
        }
    }
}

/// A borrowed descriptor as a system call's argument.
fn raw(fd: std::os::fd::BorrowedFd<'_>) -> usize {
    use std::os::fd::AsRawFd;
    fd.as_raw_fd() as usize
}
