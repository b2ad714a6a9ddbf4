//! The console step, in the child.

use std::os::fd::AsFd;

use super::ConsoleStep;
use crate::child::{Context, Failure};
use crate::chroot::in_root;
use crate::sys::{self, Errno};

/// Magic number of devpts, statfs(2).
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Details of failures.
pub(crate) const NO_PTMX: u32 = 1;
pub(crate) const NOT_DEVPTS: u32 = 2;
pub(crate) const SEND_FAILED: u32 = 3;
pub(crate) const DEVICE_FAILED: u32 = 4;

/// The master comes from the container's own devpts and is checked by descriptor, its peer is opened without a path
/// (CVE-2025-52565: what lies at /dev/pts/N or /dev/console may be a link to the host's files).
pub(crate) fn console(context: &Context<'_>, step: &ConsoleStep) -> Result<(), Failure> {
    let root = context.root()?;
    let ptmx = sys::openat2(
        root.as_fd(),
        c"/dev/pts/ptmx",
        libc::O_RDWR | libc::O_NOCTTY,
        0,
        sys::RESOLVE_IN_ROOT | sys::RESOLVE_NO_MAGICLINKS | sys::RESOLVE_NO_SYMLINKS,
    );
    let master = ptmx.map_err(|errno| Failure::new(errno, NO_PTMX))?;
    let is_ptmx = sys::fstat(master.as_fd())?.st_rdev == libc::makedev(5, 2);
    if !is_ptmx || sys::file_system_magic(master.as_fd())? != DEVPTS_SUPER_MAGIC {
        return Err(Failure::new(Errno(libc::ENODEV), NOT_DEVPTS));
    }
    sys::unlock_pty(master.as_fd())?;
    let terminal = sys::open_pty_peer(master.as_fd())?;
    if let Some(size) = step.size {
        sys::set_window_size(master.as_fd(), size)?;
    }
    match sys::fchown(terminal.as_fd(), step.uid, u32::MAX) {
        // An id that the user namespace of the devpts does not map.
        Ok(()) | Err(Errno(libc::EINVAL)) => {}
        Err(errno) => return Err(errno.into()),
    }
    if step.device {
        let target = in_root::file(root.as_fd(), c"/dev/console").map_err(|e| Failure::new(e, DEVICE_FAILED))?;
        // By descriptor: the peer's own mount and inode, whatever its name is now.
        let copy = sys::open_tree_clone(terminal.as_fd(), c"", false).map_err(|e| Failure::new(e, DEVICE_FAILED))?;
        sys::move_mount(copy.as_fd(), target.as_fd()).map_err(|e| Failure::new(e, DEVICE_FAILED))?;
    }
    for number in 0..3 {
        sys::dup_onto(terminal.as_fd(), number)?;
    }
    sys::set_controlling_terminal(&terminal)?;
    // Last: whoever has the master may act on it at once.
    match step.socket {
        // The payload is the master's name, as runc sends it: the receivers want 1 to 4095 bytes.
        Some(socket) => sys::send_with_fd(context.fd(socket), b"/dev/ptmx", master.as_fd())
            .map(drop)
            .map_err(|errno| Failure::new(errno, SEND_FAILED)),
        None => context.send_master(master.as_fd()),
    }
}
