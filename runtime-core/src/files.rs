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

/// Reads a file of the kernel's that is one record of less than 4 KiB, such as `/proc/PID/stat`: the kernel gives it in one
/// read, and there is no need to read its end.
pub(crate) fn read_record(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let file = sys::openat(sys::CWD, &c_path(path.as_ref())?, libc::O_RDONLY, 0)?;
    let mut record = vec![0; 4096];
    let length = sys::read(file.as_fd(), &mut record)?;
    record.truncate(length);
    Ok(record)
}

/// Reads what is left of a file.
pub(crate) fn read_to_end(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let (mut bytes, mut length) = (vec![0; 4096], 0);
    loop {
        match sys::read(fd, &mut bytes[length..])? {
            0 => break,
            count => length += count,
        }
        if length == bytes.len() {
            bytes.resize(2 * length, 0);
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}
