//! What the parent opens before the clone.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crate::error::{Error, ErrorKind, Result};
use crate::namespace::Kind;
use crate::plan::Open;
use crate::sys::{self, Errno};

/// Magic number of procfs, statfs(2).
const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// Opens all, in order. What was opened is closed when one fails.
pub(super) fn open(list: &[Open]) -> Result<Vec<OwnedFd>> {
    list.iter().map(|what| one(what).map_err(|errno| failed(what, errno))).collect()
}

fn failed(what: &Open, errno: Errno) -> Error {
    match (what, errno) {
        (Open::Namespace { path, kind }, Errno(libc::EINVAL)) => {
            Error::new(ErrorKind::InvalidSpec, format!("{} is not a {kind} namespace", path.to_string_lossy()))
        }
        _ => Error::system(what, errno),
    }
}

fn one(what: &Open) -> sys::Result<OwnedFd> {
    match what {
        Open::Tree { path, recursive } => sys::open_tree_clone(sys::CWD, path, *recursive),
        Open::Namespace { path, kind } => namespace(path, *kind),
        Open::Process { pid } => sys::pidfd_open(*pid),
        Open::Proc => {
            let proc = sys::openat(sys::CWD, c"/proc", libc::O_PATH | libc::O_DIRECTORY, 0)?;
            match sys::file_system_magic(proc.as_fd())? {
                PROC_SUPER_MAGIC => Ok(proc),
                _ => Err(Errno(libc::ENODEV)),
            }
        }
        // For both ends: it can then be opened before there is a writer, and reading from it never sees an end.
        Open::StartFifo(path) => {
            sys::mknodat(sys::CWD, path, libc::S_IFIFO | 0o600, 0)?;
            sys::openat(sys::CWD, path, libc::O_RDWR, 0)
        }
        // For writing alone: `start` sees the end when the only writer, init, has executed the program or has died.
        Open::VerdictFifo(path) => {
            sys::mknodat(sys::CWD, path, libc::S_IFIFO | 0o600, 0)?;
            let _reader = sys::openat(sys::CWD, path, libc::O_RDONLY | libc::O_NONBLOCK, 0)?;
            sys::openat(sys::CWD, path, libc::O_WRONLY, 0)
        }
        Open::Socket(path) => connect(path),
    }
}

fn namespace(path: &CStr, kind: Kind) -> sys::Result<OwnedFd> {
    // NS_GET_NSTYPE, kernel 4.11: what the file is, not what its name says.
    let file = sys::openat(sys::CWD, path, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0)?;
    match sys::namespace_kind(file.as_fd()) {
        Ok(flag) if flag == kind.flag() => Ok(file),
        Ok(_) | Err(Errno(libc::ENOTTY)) => Err(Errno(libc::EINVAL)),
        Err(errno) => Err(errno),
    }
}

/// A socket's address holds 107 bytes: a longer path is entered by its directory's descriptor.
fn connect(path: &CStr) -> sys::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let path = std::path::Path::new(OsStr::from_bytes(path.to_bytes()));
    let connected = if path.as_os_str().len() < 108 {
        std::os::unix::net::UnixStream::connect(path)
    } else {
        let directory = std::fs::File::open(path.parent().unwrap_or(path))?;
        let name = path.file_name().unwrap_or_default();
        let short = std::path::Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        std::os::unix::net::UnixStream::connect(short)
    };
    Ok(connected?.into())
}
