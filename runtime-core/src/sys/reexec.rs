//! A program's own file: how it was executed, whether anybody could write to it, and executing it again.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{BorrowedFd, OwnedFd};

use super::{Errno, Result, call, call_fd, raw};

/// Standard input, output and error.
pub const STDIO: [BorrowedFd<'static>; 3] = {
    // SAFETY: Rust's runtime opens /dev/null for those that are closed when the program starts, and nobody closes them.
    unsafe { [BorrowedFd::borrow_raw(0), BorrowedFd::borrow_raw(1), BorrowedFd::borrow_raw(2)] }
};

/// memfd_create(2) for a file that shall be sealed and then executed.
pub fn executable_memfd(name: &CStr) -> Result<OwnedFd> {
    const CLOEXEC_SEALABLE: usize = 1 | 2;
    const EXEC: usize = 0x10;
    // SAFETY: `name` ends with a NUL; the result is a new descriptor.
    let create = |flags| unsafe { call_fd(libc::SYS_memfd_create, [name.as_ptr() as usize, flags, 0, 0, 0, 0]) };
    match create(CLOEXEC_SEALABLE | EXEC) {
        // Before kernel 6.3 the flag does not exist and every memfd may be executed.
        Err(Errno(libc::EINVAL)) => create(CLOEXEC_SEALABLE),
        result => result,
    }
}

/// What makes the content of a memfd final.
const FINAL: i32 = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

/// F_ADD_SEALS: nobody can change the file's content any more.
pub fn seal(file: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_fcntl, [raw(file), libc::F_ADD_SEALS as usize, FINAL as usize, 0, 0, 0]) }.map(drop)
}

/// F_GET_SEALS: whether [`seal`] was done to the file. A file that knows no seals has none.
#[must_use]
pub fn is_sealed(file: BorrowedFd<'_>) -> bool {
    // SAFETY: no pointers.
    let seals = unsafe { call(libc::SYS_fcntl, [raw(file), libc::F_GET_SEALS as usize, 0, 0, 0, 0]) };
    seals.is_ok_and(|seals| seals as i32 & FINAL == FINAL)
}

/// AT_EXECFN of getauxval(3): the path by which the running program was executed, as it was given to execve(2).
#[must_use]
pub fn executed_path() -> &'static CStr {
    // SAFETY: getauxval(3) only reads a table that the kernel made at the start.
    match unsafe { libc::getauxval(libc::AT_EXECFN) } {
        0 => c"",
        // SAFETY: the kernel put this string above the first stack frame, where it stays as long as the program.
        address => unsafe { CStr::from_ptr(address as *const c_char) },
    }
}

unsafe extern "C" {
    /// environ(7). Not every libc's bindings name it.
    static environ: *const *const c_char;
}

/// PR_SET_NAME of prctl(2): the name in ps(1), at most 15 bytes.
pub fn set_process_name(name: &CStr) -> Result<()> {
    let args = [libc::PR_SET_NAME as usize, name.as_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: `name` ends with a NUL; the kernel reads at most 16 bytes.
    unsafe { call(libc::SYS_prctl, args) }.map(drop)
}

/// execveat(2) of an absolute path, with the program's environment as it is. Returns only when it failed.
///
/// Not execve(2): tools that watch for runtimes by tracing it would see every command twice.
#[must_use]
pub fn execveat(path: &CStr, argv: &[CString]) -> Errno {
    let argv: Vec<*const c_char> = argv.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
    // SAFETY: the program has one thread and does not change its environment at this moment.
    let environment = unsafe { environ };
    let args = [libc::AT_FDCWD as usize, path.as_ptr() as usize, argv.as_ptr() as usize, environment as usize, 0, 0];
    // SAFETY: `path` and all strings end with a NUL, both arrays with a null pointer.
    match unsafe { call(libc::SYS_execveat, args) } {
        Ok(_) => Errno(libc::EIO),
        Err(errno) => errno,
    }
}

/// A child that has ended, wait4(2) without waiting: its pid, and its exit code or 128 + the signal that ended it.
/// `None`: there is none now.
pub fn reap() -> Option<(i32, i32)> {
    let mut status = 0i32;
    let flags = (libc::WNOHANG | libc::__WALL) as usize;
    // SAFETY: the kernel writes one int; no resource usage is asked for.
    match unsafe { call(libc::SYS_wait4, [-1isize as usize, &raw mut status as usize, flags, 0, 0, 0]) } {
        Ok(pid) if pid > 0 && libc::WIFSIGNALED(status) => Some((pid as i32, 128 + libc::WTERMSIG(status))),
        Ok(pid) if pid > 0 => Some((pid as i32, libc::WEXITSTATUS(status))),
        _ => None,
    }
}
