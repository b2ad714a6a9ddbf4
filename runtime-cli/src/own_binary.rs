//! The program's own file, which a container can reach through /proc/PID/exe while a process of the runtime is inside, is
//! one that nobody can write to (CVE-2019-5736: a container overwrote the host's runc).
//!
//! A command that enters a container executes the program once more, from a read-only mount of its own file that is
//! attached nowhere: no process sees it in a mount table, no remount reaches it, and it is gone with the process. Where
//! mounting is not permitted (rootless), from a sealed copy in memory. Installed on a read-only mount, the
//! program is safe as it is.
//!
//! An immutable file (chattr(1)) is not enough: a container with CAP_LINUX_IMMUTABLE can take that attribute off
//! through the descriptor that it got.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};
use runtime_core::sys::{self, Errno, MountAttr};
use runtime_core::trace::span;
use runtime_core::{Error, ErrorKind, Result};

use crate::trace_file::TraceFile;

/// The running program's file.
const SELF: &str = "/proc/self/exe";

/// How the program is executed the second time, before the descriptor's number. Nobody else would write the path so,
/// and the kernel keeps it: it tells the second time from the first, with the arguments and the environment as they were.
const SECOND: &str = "/proc/self/./fd/";

/// Whether the program was executed by [`protect`].
pub(crate) fn is_second() -> bool {
    sys::executed_path().to_bytes().starts_with(SECOND.as_bytes())
}

/// Returns when the program runs from a file that nobody can write to; it executes itself again where needed.
pub(crate) fn protect(argv: &[OsString], trace: &TraceFile) -> Result<()> {
    let protecting = span(|| "protect the runtime's binary");
    let second = is_second();
    if second {
        // The kernel names a process after the last part of the path: a number.
        let name = argv.first().map(|program| Path::new(program).file_name().unwrap_or(program));
        let _ = sys::set_process_name(&c_string(name.unwrap_or(OsStr::new(env!("CARGO_BIN_NAME")))));
    }
    let failed = |errno: Errno| match errno {
        // Engines take "no such file or directory" for a program that the container lacks.
        Errno(libc::ENOENT) => Error::new(ErrorKind::System, "protect the runtime's binary: /proc is not mounted"),
        errno => Error::system("protect the runtime's binary", errno),
    };
    let on = statvfs(SELF).map_err(|error| failed(Errno(error as i32)))?;
    if on.flags().contains(FsFlags::ST_RDONLY) {
        return Ok(());
    }
    let file = OwnedFd::from(File::open(SELF).map_err(|error| failed(error.into()))?);
    if sys::is_sealed(file.as_fd()) {
        return Ok(());
    }
    if second {
        return Err(Error::new(ErrorKind::System, "the runtime's binary is writable although it was protected"));
    }
    let copy = read_only_mount(&file).or_else(|_| sealed_copy(&file)).map_err(failed)?;
    let path = c_string(OsStr::new(&format!("{SECOND}{}", copy.as_raw_fd())));
    let argv: Vec<CString> = argv.iter().map(|argument| c_string(argument)).collect();
    drop(protecting);
    trace.write(false);
    // A container that tries to write to the file gets nowhere, and keeps it busy for an instant.
    let busy = |errno: &Errno| *errno == Errno(libc::ETXTBSY);
    let refused = std::iter::repeat_with(|| sys::execveat(&path, &argv)).take(ATTEMPTS).find(|errno| !busy(errno));
    Err(failed(refused.unwrap_or(Errno(libc::ETXTBSY))))
}

/// A start is refused once in a hundred times beside a loop that tries to write: so many in a row, never.
const ATTEMPTS: usize = 100;

/// The file on a mount of its own.
fn read_only_mount(file: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mount = sys::open_tree_clone(file.as_fd(), c"", false)?;
    let read_only = MountAttr { set: sys::attr::RDONLY, ..MountAttr::default() };
    sys::mount_setattr(mount.as_fd(), c"", false, read_only)?;
    Ok(mount)
}

/// The file's content in memory, for ever as it is.
fn sealed_copy(file: &OwnedFd) -> Result<OwnedFd, Errno> {
    let copy = sys::executable_memfd(c"orlop")?;
    while sys::sendfile(file.as_fd(), copy.as_fd(), 1 << 30)? > 0 {}
    sys::seal(copy.as_fd())?;
    Ok(copy)
}

/// A string that came from the kernel or from us, so it has no NUL inside.
fn c_string(text: &OsStr) -> CString {
    CString::new(text.as_bytes()).unwrap_or_default()
}
