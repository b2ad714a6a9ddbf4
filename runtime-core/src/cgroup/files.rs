//! Reading and writing the kernel's control files: one open, one read or write, one close.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::files::{self, c_path as c};
use crate::sys::{self, Errno, Result};

/// What a path is relative to when there is no directory at hand.
pub(super) const CWD: BorrowedFd<'static> = nix::fcntl::AT_FDCWD;

/// Opens for reading, or for writing without creating or truncating.
pub(super) fn open(dir: BorrowedFd<'_>, path: &Path, access: i32) -> Result<OwnedFd> {
    sys::openat(dir, &c(path)?, access, 0)
}

/// Opens a directory.
pub(super) fn open_dir(path: &Path) -> Result<OwnedFd> {
    open(CWD, path, libc::O_RDONLY | libc::O_DIRECTORY)
}

/// mkdir(2) with mode 0755.
pub(super) fn mkdir(path: &Path) -> Result<()> {
    sys::mkdirat(CWD, &c(path)?, 0o755)
}

/// What the directories have that were made for containers to be below them, xattr(7). Containers share them, and whoever is the
/// last one removes them, not who made them. In a user namespace there is no such attribute: then it is who made them.
const PARENT: &CStr = c"trusted.orlop.parent";

/// Marks a directory that was made for what is to be below it.
pub(super) fn mark_parent(path: &Path) {
    let _ = c(path).and_then(|path| sys::mark(&path, PARENT));
}

/// Whether a directory was made for what is below it.
pub(super) fn is_parent(path: &Path) -> bool {
    c(path).is_ok_and(|path| sys::is_marked(&path, PARENT))
}

/// rmdir(2).
pub(super) fn rmdir(path: &Path) -> Result<()> {
    sys::unlinkat(CWD, &c(path)?, libc::AT_REMOVEDIR)
}

/// Changes the owner, not the group.
pub(super) fn chown(dir: BorrowedFd<'_>, path: &Path, uid: u32) -> Result<()> {
    sys::fchownat(dir, &c(path)?, uid, u32::MAX)
}

/// One value in one write, which is what makes it atomic for the kernel.
pub(super) fn write_fd(fd: &OwnedFd, value: &str) -> Result<()> {
    match sys::write(fd.as_fd(), value.as_bytes())? {
        written if written == value.len() => Ok(()),
        _ => Err(Errno(libc::EIO)),
    }
}

/// Writes one value into a file.
pub(super) fn write(path: &Path, value: &str) -> Result<()> {
    write_fd(&open(CWD, path, libc::O_WRONLY)?, value)
}

/// Reads what is left of a file.
pub(super) fn read_fd(fd: BorrowedFd<'_>) -> Result<String> {
    String::from_utf8(files::read_to_end(fd)?).map_err(|_| Errno(libc::EILSEQ))
}

/// Reads a whole file.
pub(super) fn read(path: &Path) -> Result<String> {
    read_fd(open(CWD, path, libc::O_RDONLY)?.as_fd())
}

/// The value of `key` in a file of lines `key value` (`cgroup.events`, `memory.events`, `memory.oom_control`).
pub(super) fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Waits until `key` of a `cgroup.events` file is `wanted`. False: the deadline came first.
///
/// The kernel tells of every change by POLLPRI on the open file; what changed before the last read is not lost.
pub(super) fn wait_for_event(path: &Path, key: &str, wanted: u64, deadline: Instant) -> Result<bool> {
    let file = open(CWD, path, libc::O_RDONLY)?;
    loop {
        // A file of cgroupfs is read again from its start.
        nix::unistd::lseek(&file, 0, nix::unistd::Whence::SeekSet).map_err(|e| Errno(e as i32))?;
        if value_of(&read_fd(file.as_fd())?, key) == Some(wanted) {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        poll(file.as_fd(), libc::POLLPRI, left)?;
    }
}

/// Waits until a process has ended. False: the deadline came first.
pub(super) fn wait_for_exit(pid: i32, deadline: Instant) -> Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    match sys::pidfd_open(pid) {
        Ok(pidfd) => Ok(poll(pidfd.as_fd(), libc::POLLIN, left)? != 0),
        Err(Errno(libc::ESRCH)) => Ok(true),
        Err(errno) => Err(errno),
    }
}

/// At least one millisecond, so that what is left of a deadline is never rounded to "look only".
fn poll(fd: BorrowedFd<'_>, events: i16, left: Duration) -> Result<u32> {
    let milliseconds = left.as_millis().clamp(1, 60_000) as u64;
    sys::poll([(fd, events)], Some(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_whole() {
        let text = "low 0\noom 2\noom_kill 17\n";
        assert_eq!(value_of(text, "oom_kill"), Some(17));
        assert_eq!(value_of(text, "oom"), Some(2));
        assert_eq!(value_of(text, "kill"), None);
        assert_eq!(value_of("", "oom"), None);
    }
}
