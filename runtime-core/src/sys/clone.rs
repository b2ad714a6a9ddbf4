//! New processes and their handles: clone3(2), pidfd_open(2), waitid(2).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::{Errno, Result, call, call_fd, raw, retry};

/// What clone3(2) shall make.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clone3<'fd> {
    /// `CLONE_*`, without CLONE_VM and CLONE_PIDFD.
    pub flags: u64,
    /// The cgroup v2 directory in which the child is born (CLONE_INTO_CGROUP, kernel 5.7).
    pub cgroup: Option<BorrowedFd<'fd>>,
}

/// Who returns from [`clone3`].
enum Fork {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

/// The kernel's `struct clone_args`, version 2 (CLONE_ARGS_SIZE_VER2).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_PIDFD: u64 = 0x1000;
/// libc's constant overflows its c_int.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// clone3(2) in the manner of fork(2): the child has a copy of the caller's memory and goes on from here.
///
/// # Safety
/// The child is a copy of one thread of a program that may have many: until it executes a program or exits it may
/// only call functions of this module and touch memory that the caller owned before the call. It must not allocate,
/// free, lock, panic or return to code that does.
unsafe fn clone3(what: Clone3<'_>) -> Result<Fork> {
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: what.flags | CLONE_PIDFD,
        pidfd: &raw mut pidfd as u64,
        exit_signal: if what.flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD as u64 } else { 0 },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = what.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` and `pidfd` live on this stack, of which the child gets its own copy; no CLONE_VM, no stack, no
    // TLS. What the child may do is the caller's promise.
    match unsafe { call(libc::SYS_clone3, [&raw const args as usize, size_of::<CloneArgs>(), 0, 0, 0, 0]) }? {
        0 => Ok(Fork::Child),
        // SAFETY: the kernel stored a fresh descriptor, as CLONE_PIDFD says.
        pid => Ok(Fork::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

/// [`clone3`], with `child` as the new process's whole life. Returns, in the caller alone, the pid in the caller's pid
/// namespace and a close-on-exec handle. For the room `child` alone.
pub(crate) fn clone3_and_run(what: Clone3<'_>, child: impl FnOnce()) -> Result<(i32, OwnedFd)> {
    // SAFETY: the new process runs `child` and nothing else. All callers are in the room `child` and its `apply` files,
    // whose code neither allocates, locks nor unwinds (held by the layering test and by the test with the aborting
    // allocator), and which sees only what its caller borrowed before this call.
    match unsafe { clone3(what) }? {
        Fork::Child => {
            child();
            super::exit(0)
        }
        Fork::Parent { pid, pidfd } => Ok((pid, pidfd)),
    }
}

/// pidfd_open(2), kernel 5.3. ESRCH: no such process.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: no pointers; the result is a new descriptor.
    unsafe { call_fd(libc::SYS_pidfd_open, [pid as usize, 0, 0, 0, 0, 0]) }
}

/// pidfd_getfd(2), kernel 5.6: a copy of a descriptor of another process.
pub fn pidfd_getfd(pidfd: BorrowedFd<'_>, target: i32) -> Result<OwnedFd> {
    // SAFETY: no pointers; the result is a new descriptor.
    unsafe { call_fd(libc::SYS_pidfd_getfd, [raw(pidfd), target as usize, 0, 0, 0, 0]) }
}

/// pidfd_send_signal(2), kernel 5.1.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: a null siginfo is allowed.
    unsafe { call(libc::SYS_pidfd_send_signal, [raw(pidfd), signal as usize, 0, 0, 0, 0]) }.map(drop)
}

/// Waits for the end of a child and reaps it. Returns its exit code, or 128 + the signal that ended it.
pub fn wait_exit(pidfd: BorrowedFd<'_>) -> Result<i32> {
    let status = wait_child(pidfd, 0)?.ok_or(Errno(libc::ECHILD))?;
    status.code().or(status.signal().map(|signal| 128 + signal)).ok_or(Errno(libc::ECHILD))
}

/// waitid(2) for the end of a child: how it ended, or `None` where WNOHANG is among the flags and it has not.
///
/// With WNOWAIT it stays a zombie, and can be asked again.
pub fn wait_child(pidfd: BorrowedFd<'_>, flags: i32) -> Result<Option<ExitStatus>> {
    let flags = libc::WEXITED | WALL | flags;
    // SAFETY: all-zero is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let address = &raw mut info as usize;
    // SAFETY: `info` outlives the call and has the layout that the kernel writes.
    retry(|| unsafe { call(libc::SYS_waitid, [libc::P_PIDFD as usize, raw(pidfd), address, flags as usize, 0, 0]) })?;
    // SAFETY: waitid(2) succeeded: the SIGCHLD part of the union is filled in, or all is zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    // As wait(2) tells it, which is what std takes.
    match info.si_code {
        libc::CLD_EXITED => Ok(Some(ExitStatus::from_raw((status & 0xff) << 8))),
        libc::CLD_KILLED => Ok(Some(ExitStatus::from_raw(status))),
        libc::CLD_DUMPED => Ok(Some(ExitStatus::from_raw(status | 0x80))),
        _ => Err(Errno(libc::ECHILD)),
    }
}

/// `__WALL`: children of every exit signal, also those that a hop made with CLONE_PARENT.
const WALL: i32 = 0x4000_0000;
