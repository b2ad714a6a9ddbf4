//! The mount API of kernel 5.2 and later: mounts are made detached, changed, and then moved onto a descriptor.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::{Result, call, call_fd, raw};

/// Mount attributes of mount_setattr(2).
pub mod attr {
    #![allow(missing_docs)]
    pub const RDONLY: u64 = 0x01;
    pub const NOSUID: u64 = 0x02;
    pub const NODEV: u64 = 0x04;
    pub const NOEXEC: u64 = 0x08;
    pub const ATIME: u64 = 0x70;
    pub const NOATIME: u64 = 0x10;
    pub const STRICTATIME: u64 = 0x20;
    pub const NODIRATIME: u64 = 0x80;
    pub const IDMAP: u64 = 0x0010_0000;
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// What mount_setattr(2) shall change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MountAttr {
    /// `attr` bits to set.
    pub set: u64,
    /// `attr` bits to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0.
    pub propagation: u64,
}

/// open_tree(2) with OPEN_TREE_CLONE: a detached copy of a mount.
pub fn open_tree_clone(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    open_tree(dir, path, recursive, 0)
}

/// [`open_tree_clone`] of a symbolic link itself, where `path` is one.
pub fn open_tree_clone_nofollow(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    open_tree(dir, path, recursive, libc::AT_SYMLINK_NOFOLLOW)
}

fn open_tree(dir: BorrowedFd<'_>, path: &CStr, recursive: bool, more: i32) -> Result<OwnedFd> {
    const CLONE: i32 = 1;
    const RECURSIVE: i32 = 0x8000;
    let flags = CLONE | libc::O_CLOEXEC | libc::AT_EMPTY_PATH | more | if recursive { RECURSIVE } else { 0 };
    // SAFETY: `path` ends with a NUL; the result is a new descriptor.
    unsafe { call_fd(libc::SYS_open_tree, [raw(dir), path.as_ptr() as usize, flags as usize, 0, 0, 0]) }
}

/// mount_setattr(2), kernel 5.12, on the mount that `path` below `dir` is the root of.
pub fn mount_setattr(dir: BorrowedFd<'_>, path: &CStr, recursive: bool, what: MountAttr) -> Result<()> {
    set_attributes(dir, path, recursive, [what.set, what.clear, what.propagation, 0])
}

/// mount_setattr(2), MOUNT_ATTR_IDMAP, kernel 5.12: shows the ids on a detached mount, and on all below it when
/// `recursive`, with those of a user namespace. EINVAL: the file system can't.
pub fn idmap_mount(mount: BorrowedFd<'_>, recursive: bool, user_namespace: BorrowedFd<'_>) -> Result<()> {
    set_attributes(mount, c"", recursive, [attr::IDMAP, 0, 0, raw(user_namespace) as u64])
}

/// `attr` is the kernel's struct mount_attr: to set, to clear, propagation, user namespace.
fn set_attributes(dir: BorrowedFd<'_>, path: &CStr, recursive: bool, attr: [u64; 4]) -> Result<()> {
    const RECURSIVE: i32 = 0x8000;
    let flags = libc::AT_EMPTY_PATH | if recursive { RECURSIVE } else { 0 };
    let args = [raw(dir), path.as_ptr() as usize, flags as usize, attr.as_ptr() as usize, size_of_val(&attr), 0];
    // SAFETY: `path` ends with a NUL; `attr` is the kernel's struct mount_attr, four u64.
    unsafe { call(libc::SYS_mount_setattr, args) }.map(drop)
}

/// move_mount(2): attaches the mount `from` at what `to` refers to.
pub fn move_mount(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    move_mount_at(from, to, c"")
}

/// move_mount(2): attaches the mount `from` at `path` below `dir`, following links.
pub fn move_mount_at(from: BorrowedFd<'_>, dir: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    const F_EMPTY_PATH: usize = 0x04;
    const T_SYMLINKS: usize = 0x10;
    const T_EMPTY_PATH: usize = 0x40;
    let flags = F_EMPTY_PATH | T_EMPTY_PATH | T_SYMLINKS;
    let args = [raw(from), c"".as_ptr() as usize, raw(dir), path.as_ptr() as usize, flags, 0];
    // SAFETY: both paths end with a NUL.
    unsafe { call(libc::SYS_move_mount, args) }.map(drop)
}

/// fsopen(2).
pub fn fsopen(fstype: &CStr) -> Result<OwnedFd> {
    // SAFETY: `fstype` ends with a NUL; 1 is FSOPEN_CLOEXEC; the result is a new descriptor.
    unsafe { call_fd(libc::SYS_fsopen, [fstype.as_ptr() as usize, 1, 0, 0, 0, 0]) }
}

/// fsconfig(2): FSCONFIG_SET_STRING with a value (at most 255 bytes), else FSCONFIG_SET_FLAG.
pub fn fsconfig_set(context: BorrowedFd<'_>, key: &CStr, value: Option<&CStr>) -> Result<()> {
    let (command, value) = value.map_or((0, 0), |value| (1, value.as_ptr() as usize));
    // SAFETY: both strings end with a NUL.
    unsafe { call(libc::SYS_fsconfig, [raw(context), command, key.as_ptr() as usize, value, 0, 0]) }.map(drop)
}

/// fsconfig(2), FSCONFIG_CMD_CREATE: makes the superblock.
pub fn fsconfig_create(context: BorrowedFd<'_>) -> Result<()> {
    const CREATE: usize = 6;
    // SAFETY: this command takes no pointers.
    unsafe { call(libc::SYS_fsconfig, [raw(context), CREATE, 0, 0, 0, 0]) }.map(drop)
}

/// fspick(2): the superblock of the mount at `mount`, to be reconfigured.
pub fn fspick(mount: BorrowedFd<'_>) -> Result<OwnedFd> {
    const CLOEXEC: usize = 1;
    const EMPTY_PATH: usize = 8;
    // SAFETY: the path ends with a NUL; the result is a new descriptor.
    unsafe { call_fd(libc::SYS_fspick, [raw(mount), c"".as_ptr() as usize, CLOEXEC | EMPTY_PATH, 0, 0, 0]) }
}

/// fsconfig(2), FSCONFIG_CMD_RECONFIGURE: what was set takes effect.
pub fn fsconfig_reconfigure(context: BorrowedFd<'_>) -> Result<()> {
    const RECONFIGURE: usize = 7;
    // SAFETY: this command takes no pointers.
    unsafe { call(libc::SYS_fsconfig, [raw(context), RECONFIGURE, 0, 0, 0, 0]) }.map(drop)
}

/// fsmount(2): a detached mount of the superblock.
pub fn fsmount(context: BorrowedFd<'_>, attributes: u64) -> Result<OwnedFd> {
    // SAFETY: no pointers; 1 is FSMOUNT_CLOEXEC; the result is a new descriptor.
    unsafe { call_fd(libc::SYS_fsmount, [raw(context), 1, attributes as usize, 0, 0, 0]) }
}

/// mount(2), for what the newer calls can't do. Null strings are allowed where mount(2) ignores them.
pub fn mount(
    source: Option<&CStr>,
    target: &CStr,
    fstype: Option<&CStr>,
    flags: u64,
    data: Option<&CStr>,
) -> Result<()> {
    let address = |string: Option<&CStr>| string.map_or(0, |s| s.as_ptr() as usize);
    let args = [address(source), target.as_ptr() as usize, address(fstype), flags as usize, address(data), 0];
    // SAFETY: every string is null or ends with a NUL.
    unsafe { call(libc::SYS_mount, args) }.map(drop)
}

/// umount2(2).
pub fn umount(target: &CStr, flags: i32) -> Result<()> {
    // SAFETY: `target` ends with a NUL.
    unsafe { call(libc::SYS_umount2, [target.as_ptr() as usize, flags as usize, 0, 0, 0, 0]) }.map(drop)
}

/// pivot_root(2).
pub fn pivot_root(new_root: &CStr, put_old: &CStr) -> Result<()> {
    // SAFETY: both paths end with a NUL.
    unsafe { call(libc::SYS_pivot_root, [new_root.as_ptr() as usize, put_old.as_ptr() as usize, 0, 0, 0, 0]) }.map(drop)
}

/// chroot(2).
pub fn chroot(path: &CStr) -> Result<()> {
    // SAFETY: `path` ends with a NUL.
    unsafe { call(libc::SYS_chroot, [path.as_ptr() as usize, 0, 0, 0, 0, 0]) }.map(drop)
}

/// fchdir(2).
pub fn fchdir(dir: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_fchdir, [raw(dir), 0, 0, 0, 0, 0]) }.map(drop)
}

/// chdir(2).
pub fn chdir(path: &CStr) -> Result<()> {
    // SAFETY: `path` ends with a NUL.
    unsafe { call(libc::SYS_chdir, [path.as_ptr() as usize, 0, 0, 0, 0, 0]) }.map(drop)
}

/// getcwd(2): whether the current directory is below the current root. The kernel says `(unreachable)` when not;
/// a directory that was removed counts as inside.
pub fn cwd_is_reachable() -> Result<bool> {
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    // SAFETY: the kernel writes at most the buffer's length.
    match unsafe { call(libc::SYS_getcwd, [buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0, 0]) } {
        Ok(_) => Ok(buffer[0] == b'/'),
        Err(super::Errno(libc::ENOENT)) => Ok(true),
        Err(errno) => Err(errno),
    }
}
