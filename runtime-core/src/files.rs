//! Reading a small file whole: open, read to the end, close.
//!
//! std's `fs::read` asks for the size as well, reads a file that tells none (procfs) in pieces of 32 bytes and more, and with
//! musl sets close-on-exec a second time: twice the system calls, for files that every command reads.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::sys::{self, Errno, Result};

/// The path for a system call. A NUL byte in it is EINVAL.
pub(crate) fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno(libc::EINVAL))
}

/// Reads a whole file.
pub(crate) fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    read_to_end(sys::openat(sys::CWD, &c_path(path.as_ref())?, libc::O_RDONLY, 0)?.as_fd())
}

/// Reads what is left of a file.
pub(crate) fn read_to_end(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match sys::read(fd, &mut buffer)? {
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
