//! `tmpcopyup`: a new tmpfs starts with a copy of the directory that it hides.
//!
//! The directory is the container's: it is walked by descriptors without following links, to a bounded depth, and what is
//! not a file, a directory or a link is left out, as a copy of it would have no meaning.

use std::os::fd::{AsFd, BorrowedFd};

use crate::sys::{self, Entry, Errno, Result};

/// Deeper trees are refused: each level takes a descriptor and some stack.
const MAX_DEPTH: u32 = 128;

/// Copies the directory `from` into the root of the detached mount `to`.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let from = sys::openat(from, c".", libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    copy_directory(from.as_fd(), to, 0)
}

fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: u32) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno(libc::ENAMETOOLONG));
    }
    let mut buffer = [0u8; 4096];
    while sys::read_entries(from, &mut buffer, |entry| copy_entry(from, to, entry, depth))? {}
    Ok(())
}

fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, entry: Entry<'_>, depth: u32) -> Result<()> {
    let name = entry.name;
    if name == c"." || name == c".." {
        return Ok(());
    }
    let stat = sys::fstatat(from, name, libc::AT_SYMLINK_NOFOLLOW)?;
    let mode = stat.st_mode & 0o7777;
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFDIR => {
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            let source = sys::openat(from, name, flags, 0)?;
            sys::mkdirat(to, name, 0o700)?;
            let copy = sys::openat(to, name, flags, 0)?;
            copy_directory(source.as_fd(), copy.as_fd(), depth + 1)?;
        }
        libc::S_IFREG => {
            let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
            let source = sys::openat(from, name, flags, 0)?;
            if sys::fstat(source.as_fd())?.st_mode & libc::S_IFMT != libc::S_IFREG {
                return Ok(());
            }
            let copy = sys::openat(to, name, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW, 0o600)?;
            while sys::sendfile(source.as_fd(), copy.as_fd(), 1 << 30)? > 0 {}
        }
        libc::S_IFLNK => {
            let mut target = [0u8; libc::PATH_MAX as usize];
            // One byte stays zero: the end of the string.
            let space = libc::PATH_MAX as usize - 1;
            sys::readlinkat(from, name, target.get_mut(..space).unwrap_or_default())?;
            let target = std::ffi::CStr::from_bytes_until_nul(&target).map_err(|_| Errno(libc::ENAMETOOLONG))?;
            sys::symlinkat(target, to, name)?;
        }
        _ => return Ok(()),
    }
    match sys::fchownat(to, name, stat.st_uid, stat.st_gid) {
        // An id that this user namespace does not map.
        Ok(()) | Err(Errno(libc::EINVAL)) => {}
        Err(errno) => return Err(errno),
    }
    if stat.st_mode & libc::S_IFMT != libc::S_IFLNK {
        sys::fchmodat(to, name, mode)?;
    }
    sys::copy_times(to, name, &stat)
}
