//! Files by descriptor: openat2(2), the `*at` calls, descriptors themselves.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::{Errno, Result, call, call_fd, raw, retry};

/// The current directory as a directory descriptor, `AT_FDCWD`.
pub const CWD: BorrowedFd<'static> = {
    // SAFETY: AT_FDCWD is no descriptor, so nobody can close it; every call that takes it knows it.
    unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) }
};

/// `RESOLVE_IN_ROOT`: absolute links and `..` stay below the directory (openat2(2), kernel 5.6).
pub const RESOLVE_IN_ROOT: u64 = libc::RESOLVE_IN_ROOT;
/// `RESOLVE_NO_MAGICLINKS`: refuse links such as /proc/self/fd/3.
pub const RESOLVE_NO_MAGICLINKS: u64 = libc::RESOLVE_NO_MAGICLINKS;
/// `RESOLVE_NO_SYMLINKS`: refuse all links.
pub const RESOLVE_NO_SYMLINKS: u64 = libc::RESOLVE_NO_SYMLINKS;
/// `RESOLVE_NO_XDEV`: refuse to cross a mount.
pub const RESOLVE_NO_XDEV: u64 = libc::RESOLVE_NO_XDEV;
/// `RESOLVE_BENEATH`: refuse absolute paths, absolute links and `..` above the directory.
pub const RESOLVE_BENEATH: u64 = libc::RESOLVE_BENEATH;

/// openat2(2). Always close-on-exec. EAGAIN (a rename raced with the walk) is tried again, a bounded number of times.
pub fn openat2(dir: BorrowedFd<'_>, path: &CStr, flags: i32, mode: u32, resolve: u64) -> Result<OwnedFd> {
    let how: [u64; 3] = [(flags | libc::O_CLOEXEC) as u64, u64::from(mode), resolve];
    // The kernel gives up after a rename or a mount anywhere raced with a scoped walk that met `..`; runc (#4637) and
    // libpathrs saw this under load, and an attacker may cause it, so there is an end.
    let mut attempts = 128;
    retry(|| {
        loop {
            // SAFETY: `path` ends with a NUL; `how` is the kernel's struct open_how, three u64.
            let result = unsafe {
                call_fd(
                    libc::SYS_openat2,
                    [raw(dir), path.as_ptr() as usize, how.as_ptr() as usize, size_of_val(&how), 0, 0],
                )
            };
            match result {
                Err(Errno(libc::EAGAIN)) if attempts > 0 => attempts -= 1,
                other => return other,
            }
        }
    })
}

/// openat(2). Always close-on-exec.
pub fn openat(dir: BorrowedFd<'_>, path: &CStr, flags: i32, mode: u32) -> Result<OwnedFd> {
    let flags = (flags | libc::O_CLOEXEC) as usize;
    // SAFETY: `path` ends with a NUL; the result is a new descriptor.
    retry(|| unsafe { call_fd(libc::SYS_openat, [raw(dir), path.as_ptr() as usize, flags, mode as usize, 0, 0]) })
}

/// mkdirat(2).
pub fn mkdirat(dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<()> {
    // SAFETY: `name` ends with a NUL.
    unsafe { call(libc::SYS_mkdirat, [raw(dir), name.as_ptr() as usize, mode as usize, 0, 0, 0]) }.map(drop)
}

/// mknodat(2). `mode` holds the type too.
pub fn mknodat(dir: BorrowedFd<'_>, name: &CStr, mode: u32, device: u64) -> Result<()> {
    let args = [raw(dir), name.as_ptr() as usize, mode as usize, device as usize, 0, 0];
    // SAFETY: `name` ends with a NUL.
    unsafe { call(libc::SYS_mknodat, args) }.map(drop)
}

/// symlinkat(2).
pub fn symlinkat(target: &CStr, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: both strings end with a NUL.
    unsafe { call(libc::SYS_symlinkat, [target.as_ptr() as usize, raw(dir), name.as_ptr() as usize, 0, 0, 0]) }
        .map(drop)
}

/// unlinkat(2).
pub fn unlinkat(dir: BorrowedFd<'_>, name: &CStr, flags: i32) -> Result<()> {
    // SAFETY: `name` ends with a NUL.
    unsafe { call(libc::SYS_unlinkat, [raw(dir), name.as_ptr() as usize, flags as usize, 0, 0, 0]) }.map(drop)
}

/// readlinkat(2): how many bytes of the target fitted in the buffer. An empty name reads the link that `dir` is.
pub fn readlinkat(dir: BorrowedFd<'_>, name: &CStr, buffer: &mut [u8]) -> Result<usize> {
    let args = [raw(dir), name.as_ptr() as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0];
    // SAFETY: `name` ends with a NUL; the kernel writes at most the buffer's length.
    unsafe { call(libc::SYS_readlinkat, args) }
}

/// fchmod(2).
pub fn fchmod(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_fchmod, [raw(fd), mode as usize, 0, 0, 0, 0]) }.map(drop)
}

/// fchmodat(2): follows a link at `name`; the caller owns the directory or has just made the entry.
pub fn fchmodat(dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<()> {
    // SAFETY: `name` ends with a NUL.
    unsafe { call(libc::SYS_fchmodat, [raw(dir), name.as_ptr() as usize, mode as usize, 0, 0, 0]) }.map(drop)
}

/// fchownat(2) of what `fd` itself refers to, also with O_PATH. `u32::MAX` leaves an id.
pub fn fchown(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    fchownat(fd, c"", uid, gid)
}

/// fchownat(2), never following a link.
pub fn fchownat(dir: BorrowedFd<'_>, name: &CStr, uid: u32, gid: u32) -> Result<()> {
    let flags = (libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW) as usize;
    // SAFETY: the name ends with a NUL.
    unsafe { call(libc::SYS_fchownat, [raw(dir), name.as_ptr() as usize, uid as usize, gid as usize, flags, 0]) }
        .map(drop)
}

/// utimensat(2) on an entry, never following a link: access and modification time as of `stat`.
pub fn copy_times(dir: BorrowedFd<'_>, name: &CStr, stat: &libc::stat) -> Result<()> {
    let times: [i64; 4] = [stat.st_atime, stat.st_atime_nsec, stat.st_mtime, stat.st_mtime_nsec];
    let flags = libc::AT_SYMLINK_NOFOLLOW as usize;
    // SAFETY: the name ends with a NUL; the kernel reads two struct timespec, four 64-bit words.
    unsafe { call(libc::SYS_utimensat, [raw(dir), name.as_ptr() as usize, times.as_ptr() as usize, flags, 0, 0]) }
        .map(drop)
}

/// fstat(2), also of an O_PATH descriptor.
pub fn fstat(fd: BorrowedFd<'_>) -> Result<libc::stat> {
    fstatat(fd, c"", libc::AT_EMPTY_PATH)
}

/// fstatat(2).
pub fn fstatat(dir: BorrowedFd<'_>, name: &CStr, flags: i32) -> Result<libc::stat> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    let args = [raw(dir), name.as_ptr() as usize, stat.as_mut_ptr() as usize, flags as usize, 0, 0];
    // SAFETY: the name ends with a NUL; on 64-bit machines libc's struct stat is the kernel's.
    unsafe { call(libc::SYS_newfstatat, args) }?;
    // SAFETY: all-zero is a valid value, and the kernel has filled it in.
    Ok(unsafe { stat.assume_init() })
}

/// The magic number of the file system that holds `fd`, fstatfs(2).
#[allow(clippy::unnecessary_cast, reason = "the type depends on the libc")]
pub fn file_system_magic(fd: BorrowedFd<'_>) -> Result<i64> {
    let mut stat = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: on 64-bit machines libc's struct statfs is the kernel's.
    unsafe { call(libc::SYS_fstatfs, [raw(fd), stat.as_mut_ptr() as usize, 0, 0, 0, 0]) }?;
    // SAFETY: all-zero is a valid value, and the kernel has filled it in.
    Ok(unsafe { stat.assume_init() }.f_type as i64)
}

/// faccessat2(2) with AT_EACCESS, kernel 5.8: by the effective ids, as execve(2) will look.
pub fn accessible(path: &CStr, mode: i32) -> Result<()> {
    let args = [libc::AT_FDCWD as usize, path.as_ptr() as usize, mode as usize, libc::AT_EACCESS as usize, 0, 0];
    // SAFETY: `path` ends with a NUL.
    unsafe { call(libc::SYS_faccessat2, args) }.map(drop)
}

/// setxattr(2): an extended attribute without a value.
pub fn mark(path: &CStr, name: &CStr) -> Result<()> {
    // SAFETY: both strings end with a NUL; nothing is read of a value whose length is 0.
    unsafe { call(libc::SYS_setxattr, [path.as_ptr() as usize, name.as_ptr() as usize, 0, 0, 0, 0]) }.map(drop)
}

/// getxattr(2): whether there is this extended attribute.
#[must_use]
pub fn is_marked(path: &CStr, name: &CStr) -> bool {
    // SAFETY: both strings end with a NUL; with a length of 0 the kernel writes nothing.
    unsafe { call(libc::SYS_getxattr, [path.as_ptr() as usize, name.as_ptr() as usize, 0, 0, 0, 0]) }.is_ok()
}

/// read(2).
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes at most the buffer's length.
    retry(|| unsafe { call(libc::SYS_read, [raw(fd), buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]) })
}

/// write(2).
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
    // SAFETY: the kernel reads at most the slice's length.
    retry(|| unsafe { call(libc::SYS_write, [raw(fd), bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]) })
}

/// copy_file_range(2) from one file's position to the other's; 0 at the end.
pub fn copy_file_range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, length: usize) -> Result<usize> {
    // SAFETY: null offsets are allowed.
    retry(|| unsafe { call(libc::SYS_copy_file_range, [raw(from), 0, raw(to), 0, length, 0]) })
}

/// sendfile(2) from one file's position to the other's; 0 at the end.
pub fn sendfile(from: BorrowedFd<'_>, to: BorrowedFd<'_>, length: usize) -> Result<usize> {
    // SAFETY: a null offset is allowed.
    retry(|| unsafe { call(libc::SYS_sendfile, [raw(to), raw(from), 0, length, 0, 0]) })
}

/// dup3(2) onto a number of the caller's choice, without close-on-exec.
pub fn dup_onto(fd: BorrowedFd<'_>, number: i32) -> Result<()> {
    // SAFETY: no pointers. Whoever owned `number` before loses it: callers use it for 0, 1 and 2 in a child.
    retry(|| unsafe { call(libc::SYS_dup3, [raw(fd), number as usize, 0, 0, 0, 0]) }).map(drop)
}

/// dup3(2) onto 0, 1 and 2, in a process of its own. A stream that is none stays.
///
/// Some may be at one of these places already, even at each other's: those are first brought above, fcntl(2) F_DUPFD_CLOEXEC.
pub fn become_standard_streams(streams: [Option<BorrowedFd<'_>>; 3]) -> Result<()> {
    let mut above = streams.map(|fd| fd.map(raw));
    for fd in above.iter_mut().flatten().filter(|fd| **fd <= 2) {
        // SAFETY: no pointers.
        *fd = retry(|| unsafe { call(libc::SYS_fcntl, [*fd, libc::F_DUPFD_CLOEXEC as usize, 3, 0, 0, 0]) })?;
    }
    for (number, fd) in above.iter().enumerate() {
        if let Some(fd) = *fd {
            // SAFETY: no pointers.
            retry(|| unsafe { call(libc::SYS_dup3, [fd, number, 0, 0, 0, 0]) })?;
        }
    }
    Ok(())
}

/// dup3(2): `number` leads to what `fd` leads to, and still closes at execve(2).
pub fn replace(number: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> Result<()> {
    let args = [raw(fd), raw(number), libc::O_CLOEXEC as usize, 0, 0, 0];
    // SAFETY: no pointers. The number stays open, so who owns it owns the new description instead.
    retry(|| unsafe { call(libc::SYS_dup3, args) }).map(drop)
}

/// FD_CLOEXEC off: the descriptor stays open over execve(2).
pub fn keep_over_exec(number: i32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_fcntl, [number as usize, libc::F_SETFD as usize, 0, 0, 0, 0]) }.map(drop)
}

/// Whether this number is an open descriptor that stays open over execve(2).
#[must_use]
pub fn survives_exec(number: i32) -> bool {
    // SAFETY: no pointers.
    let flags = unsafe { call(libc::SYS_fcntl, [number as usize, libc::F_GETFD as usize, 0, 0, 0, 0]) };
    flags.is_ok_and(|flags| flags & libc::FD_CLOEXEC as usize == 0)
}

/// O_NONBLOCK off.
pub fn set_blocking(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_fcntl, [raw(fd), libc::F_SETFL as usize, 0, 0, 0, 0]) }.map(drop)
}

/// O_NONBLOCK on.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_fcntl, [raw(fd), libc::F_SETFL as usize, libc::O_NONBLOCK as usize, 0, 0, 0]) }.map(drop)
}

/// close_range(2), kernel 5.9, of descriptors that a cloned child has inherited.
pub(crate) fn close_inherited(first: u32, last: u32) -> Result<()> {
    // SAFETY: no pointers. The owners of these numbers are the parent's: they do not exist in the child, which never
    // returns to their code, and which uses none of them after this call.
    unsafe { call(libc::SYS_close_range, [first as usize, last as usize, 0, 0, 0, 0]) }.map(drop)
}

/// close(2) of a descriptor that a cloned child has inherited.
pub(crate) fn close_inherited_one(number: i32) -> Result<()> {
    // SAFETY: as for `close_inherited`. Not close_range(2): a system call filter may be in place, and close(2) is in all.
    unsafe { call(libc::SYS_close, [number as usize, 0, 0, 0, 0, 0]) }.map(drop)
}

/// pipe2(2) with O_CLOEXEC: the reading end, the writing end.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    use std::os::fd::FromRawFd;
    let mut ends = [0i32; 2];
    // SAFETY: the kernel writes two ints.
    unsafe { call(libc::SYS_pipe2, [ends.as_mut_ptr() as usize, libc::O_CLOEXEC as usize, 0, 0, 0, 0]) }?;
    // SAFETY: both are fresh descriptors.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Waits until one of the descriptors has one of its events, ppoll(2). `None` waits without end.
/// The result has a bit for each descriptor in order; 0 at the deadline.
pub fn poll<const N: usize>(fds: [(BorrowedFd<'_>, i16); N], timeout_ms: Option<u64>) -> Result<u32> {
    use std::os::fd::AsRawFd;
    let mut list = fds.map(|(fd, events)| libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 });
    let mut time: [i64; 2] = timeout_ms.map_or([0; 2], |ms| [(ms / 1000) as i64, (ms % 1000 * 1_000_000) as i64]);
    // The kernel leaves the remaining time in `time`, so a retry after a signal does not start anew.
    let address = if timeout_ms.is_some() { time.as_mut_ptr() as usize } else { 0 };
    // SAFETY: the list has N entries; a null or a valid timespec; no signal mask.
    retry(|| unsafe { call(libc::SYS_ppoll, [list.as_mut_ptr() as usize, N, address, 0, 0, 0]) })?;
    Ok(list.iter().enumerate().fold(0, |bits, (i, fd)| if fd.revents != 0 { bits | 1 << i } else { bits }))
}

/// Standard input, output or error, by its number. It may be closed: calls on it then give EBADF.
#[must_use]
pub const fn standard_stream(number: i32) -> BorrowedFd<'static> {
    assert!(number >= 0 && number <= 2);
    // SAFETY: the three standard streams belong to the whole process, and nobody here closes them.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// memfd_create(2): an anonymous file, close-on-exec.
pub fn memfd(name: &CStr) -> Result<OwnedFd> {
    // SAFETY: `name` ends with a NUL; 1 is MFD_CLOEXEC; the result is a new descriptor.
    unsafe { call_fd(libc::SYS_memfd_create, [name.as_ptr() as usize, 1, 0, 0, 0, 0]) }
}

/// lseek(2) to the start.
pub fn rewind(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_lseek, [raw(fd), 0, libc::SEEK_SET as usize, 0, 0, 0]) }.map(drop)
}
