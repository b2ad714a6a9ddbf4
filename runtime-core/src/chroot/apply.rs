//! Root filesystem steps, in the child.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::in_root::{self, Parent};
use super::{DeviceNode, LegacyMount, MountSource, MountStep, NewFilesystem, RemountStep, Target};
use crate::child::{Context, Failure};
use crate::plan::FdIndex;
use crate::spec::{Propagation, PropagationKind, SourceLink};
use crate::sys::{self, Errno, MountAttr, attr};

/// Magic number of procfs, statfs(2).
pub(crate) const PROC_SUPER_MAGIC: i64 = 0x9fa0;
/// The inode of a procfs's root directory.
const PROC_ROOT_INODE: u64 = 1;

/// Details of failures that are this runtime's refusal and not the kernel's.
pub(crate) const NOT_ORDINARY: u32 = 1;
pub(crate) const NOT_PROC: u32 = 2;
pub(crate) const INSIDE_PROC: u32 = 3;
pub(crate) const BAD_NULL: u32 = 4;
pub(crate) const SOURCE_FAILED: u32 = 5;
pub(crate) const TARGET_FAILED: u32 = 6;
pub(crate) const COPY_UP_FAILED: u32 = 7;
pub(crate) const IDMAP_FAILED: u32 = 8;
pub(crate) const NOT_A_MOUNT: u32 = 9;

fn ms(kind: PropagationKind) -> u64 {
    match kind {
        PropagationKind::Private => libc::MS_PRIVATE,
        PropagationKind::Shared => libc::MS_SHARED,
        PropagationKind::Slave => libc::MS_SLAVE,
        PropagationKind::Unbindable => libc::MS_UNBINDABLE,
    }
}

fn propagate(mount: BorrowedFd<'_>, kind: PropagationKind, recursive: bool) -> sys::Result<()> {
    sys::mount_setattr(mount, c"", recursive, MountAttr { propagation: ms(kind), ..MountAttr::default() })
}

pub(crate) fn mount_propagation(kind: PropagationKind) -> Result<(), Failure> {
    Ok(sys::mount(None, c"/", None, libc::MS_REC | ms(kind), None)?)
}

/// The mount that holds `path` is found by going up: mount_setattr(2) says EINVAL for what is not a mount's root.
/// No mount table is read.
pub(crate) fn private_parent(path: &CStr) -> Result<(), Failure> {
    let mut directory = sys::openat(sys::CWD, path, libc::O_PATH | libc::O_DIRECTORY, 0)?;
    loop {
        match propagate(directory.as_fd(), PropagationKind::Private, false) {
            Err(Errno(libc::EINVAL)) => {
                directory = sys::openat(directory.as_fd(), c"..", libc::O_PATH | libc::O_DIRECTORY, 0)?;
            }
            result => return Ok(result?),
        }
    }
}

/// The copy is of this mount namespace: a descriptor that was opened in another one does not lead to it.
pub(crate) fn copy_tree(
    context: &Context<'_>,
    tree: FdIndex,
    path: &CStr,
    recursive: bool,
    follow: bool,
) -> Result<(), Failure> {
    let clone = if follow { sys::open_tree_clone } else { sys::open_tree_clone_nofollow };
    let copy = clone(sys::CWD, path, recursive)?;
    Ok(sys::replace(context.fd(tree), copy.as_fd())?)
}

pub(crate) fn attach_root(
    context: &Context<'_>,
    tree: FdIndex,
    path: &CStr,
    propagation: PropagationKind,
) -> Result<(), Failure> {
    let tree = context.fd(tree);
    // The copy was made in the host's mount namespace and has the host's peers: it must not keep them.
    if propagation != PropagationKind::Shared {
        propagate(tree, propagation, true)?;
    }
    Ok(sys::move_mount_at(tree, sys::CWD, path)?)
}

pub(crate) fn mount(context: &Context<'_>, step: &MountStep) -> Result<(), Failure> {
    let root = context.root()?;
    let source = make_source(context, step)?;
    if let (SourceLink::Copy, Some(source)) = (step.link, &source)
        && sys::fstat(source.as_fd())?.st_mode & libc::S_IFMT == libc::S_IFLNK
    {
        return copy_link(root.as_fd(), source.as_fd(), &step.target);
    }
    let target = open_target(root.as_fd(), step, source.as_ref())?;
    let detached;
    let mount = match (&source, &step.source) {
        (Some(source), _) => source.as_fd(),
        (None, MountSource::New(NewFilesystem { legacy: Some(LegacyMount { flags, data }), fstype, source, .. })) => {
            // fsconfig(2) takes values of up to 255 bytes: longer ones (the layers of an overlay) go through mount(2).
            // The target is entered and named `.`: no path is walked.
            sys::fchdir(target.as_fd())?;
            sys::mount(Some(source), c".", Some(fstype), super::mount_flags(step.attr_set) | flags, Some(data))?;
            sys::chdir(c"/")?;
            let mounted = in_root::open(root.as_fd(), &step.target, 0)?;
            return set_propagation(mounted.as_fd(), step);
        }
        (None, MountSource::New(new)) => {
            let mode = if new.mode_from_target { Some(sys::fstat(target.as_fd())?.st_mode & 0o7777) } else { None };
            detached = new_filesystem(new, step.attr_set, mode)?;
            detached.as_fd()
        }
        (None, _) => return Err(Errno(libc::EINVAL).into()),
    };
    if let MountSource::Made { new: NewFilesystem { mode_from_target: true, .. }, .. } = step.source {
        // The parent did not know the target.
        sys::fchmodat(mount, c".", sys::fstat(target.as_fd())?.st_mode & 0o7777)?;
    }
    if let MountSource::New(NewFilesystem { copy_up: true, .. })
    | MountSource::Made { new: NewFilesystem { copy_up: true, .. }, .. } = step.source
    {
        super::copy_up::copy(target.as_fd(), mount).map_err(|errno| Failure::new(errno, COPY_UP_FAILED))?;
    }
    // Before the mount can be seen anywhere.
    if let MountSource::New(NewFilesystem { idmap: Some(idmap), .. }) = &step.source {
        sys::idmap_mount(mount, idmap.recursive, context.fd(idmap.namespace))
            .map_err(|errno| Failure::new(errno, IDMAP_FAILED))?;
    }
    set_attributes(mount, step)?;
    match sys::move_mount(mount, target.as_fd()) {
        // What mount(2) says of a file over a directory, and what engines look for: `not a directory`.
        Err(Errno(libc::EINVAL)) if is_directory(mount)? != is_directory(target.as_fd())? => {
            return Err(Errno(libc::ENOTDIR).into());
        }
        moved => moved?,
    }
    // After it: a mount that lands on a shared one becomes shared by that.
    set_propagation(mount, step)
}

/// `copy-symlink`: the link of the host is made anew in the container. What stands there already must be the same link.
fn copy_link(root: BorrowedFd<'_>, source: BorrowedFd<'_>, path: &CStr) -> Result<(), Failure> {
    let failed = |errno| Failure::new(errno, TARGET_FAILED);
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    let wanted = read_link(source, c"", &mut buffer)?;
    let parent = Parent::of(root, path).map_err(failed)?;
    match sys::symlinkat(wanted, parent.directory.as_fd(), parent.name()) {
        Err(errno @ Errno(libc::EEXIST)) => {
            let mut buffer = [0u8; libc::PATH_MAX as usize];
            match read_link(parent.directory.as_fd(), parent.name(), &mut buffer) {
                Ok(found) if found == wanted => Ok(()),
                _ => Err(failed(errno)),
            }
        }
        made => made.map_err(failed),
    }
}

fn read_link<'a>(dir: BorrowedFd<'_>, name: &CStr, buffer: &'a mut [u8]) -> sys::Result<&'a CStr> {
    // One byte stays zero: the end of the string.
    let space = buffer.len() - 1;
    sys::readlinkat(dir, name, buffer.get_mut(..space).unwrap_or_default())?;
    CStr::from_bytes_until_nul(buffer).map_err(|_| Errno(libc::ENAMETOOLONG))
}

fn is_directory(fd: BorrowedFd<'_>) -> Result<bool, Failure> {
    Ok(sys::fstat(fd)?.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

fn set_attributes(mount: BorrowedFd<'_>, step: &MountStep) -> Result<(), Failure> {
    let is_new = matches!(step.source, MountSource::New(_) | MountSource::Made { .. });
    if !is_new && step.attr_set | step.attr_clear != 0 {
        let what = MountAttr { set: step.attr_set, clear: step.attr_clear, propagation: 0 };
        sys::mount_setattr(mount, c"", false, what)?;
    }
    if step.rec_attr_set | step.rec_attr_clear != 0 {
        let what = MountAttr { set: step.rec_attr_set, clear: step.rec_attr_clear, propagation: 0 };
        sys::mount_setattr(mount, c"", true, what)?;
    }
    Ok(())
}

fn set_propagation(mount: BorrowedFd<'_>, step: &MountStep) -> Result<(), Failure> {
    for &Propagation { kind, recursive } in &step.propagation {
        propagate(mount, kind, recursive)?;
    }
    Ok(())
}

enum Source<'fd> {
    Owned(OwnedFd),
    Inherited(BorrowedFd<'fd>),
}

impl Source<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Source::Owned(fd) => fd.as_fd(),
            Source::Inherited(fd) => *fd,
        }
    }
}

fn make_source<'a>(context: &'a Context<'_>, step: &MountStep) -> Result<Option<Source<'a>>, Failure> {
    Ok(match &step.source {
        MountSource::Path { path, recursive } => Some(Source::Owned(
            if step.link == SourceLink::Follow {
                sys::open_tree_clone(sys::CWD, path, *recursive)
            } else {
                sys::open_tree_clone_nofollow(sys::CWD, path, *recursive)
            }
            .map_err(|errno| Failure::new(errno, SOURCE_FAILED))?,
        )),
        MountSource::Made { mount, .. } => Some(Source::Inherited(context.fd(*mount))),
        MountSource::Opened { tree, .. } => {
            // Made in the host's mount namespace, with the host's peers.
            propagate(context.fd(*tree), PropagationKind::Slave, true)?;
            Some(Source::Inherited(context.fd(*tree)))
        }
        MountSource::New(_) => None,
    })
}

fn open_target(root: BorrowedFd<'_>, step: &MountStep, source: Option<&Source<'_>>) -> Result<OwnedFd, Failure> {
    let source = source.map(Source::as_fd);
    let is_directory = match source {
        Some(fd) => is_directory(fd)?,
        None => true,
    };
    let failed = |errno| Failure::new(errno, TARGET_FAILED);
    let link = if step.over_link { in_root::link(root, &step.target).map_err(failed)? } else { None };
    let target = match step.guard {
        _ if let Some(link) = link => link,
        // CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: a link at /proc or /sys would lead label and sysctl writes,
        // masks and read-only paths elsewhere.
        Target::Ordinary => match in_root::ordinary_directory(root, &step.target) {
            Err(errno @ Errno(libc::ELOOP | libc::ENOTDIR)) => return Err(Failure::new(errno, NOT_ORDINARY)),
            result => result.map_err(failed)?,
        },
        _ if is_directory => in_root::directory(root, &step.target).map_err(failed)?,
        _ => in_root::file(root, &step.target).map_err(failed)?,
    };
    match step.guard {
        // CVE-2019-16884: a fake /proc would swallow what is written to the real one.
        Target::ProcRoot => {
            let genuine = match source {
                Some(fd) => {
                    sys::file_system_magic(fd)? == PROC_SUPER_MAGIC && sys::fstat(fd)?.st_ino == PROC_ROOT_INODE
                }
                None => false,
            };
            if !genuine {
                return Err(Failure::new(Errno(libc::EPERM), NOT_PROC));
            }
        }
        Target::NotInProc if sys::file_system_magic(target.as_fd())? == PROC_SUPER_MAGIC => {
            return Err(Failure::new(Errno(libc::EPERM), INSIDE_PROC));
        }
        _ => {}
    }
    Ok(target)
}

/// `mode`: of the root directory, where the options have none.
pub(crate) fn new_filesystem(new: &NewFilesystem, attributes: u64, mode: Option<u32>) -> sys::Result<OwnedFd> {
    let context = sys::fsopen(&new.fstype)?;
    sys::fsconfig_set(context.as_fd(), c"source", Some(&new.source))?;
    for (key, value) in &new.parameters {
        sys::fsconfig_set(context.as_fd(), key, value.as_deref())?;
    }
    if let Some(mode) = mode {
        let digits = octal(mode);
        let text = CStr::from_bytes_until_nul(&digits).unwrap_or(c"755");
        sys::fsconfig_set(context.as_fd(), c"mode", Some(text))?;
    }
    sys::fsconfig_create(context.as_fd())?;
    sys::fsmount(context.as_fd(), attributes)
}

/// Four octal digits and a NUL.
fn octal(mode: u32) -> [u8; 5] {
    let digit = |shift: u32| b'0' + (mode >> shift & 7) as u8;
    [digit(9), digit(6), digit(3), digit(0), 0]
}

pub(crate) fn device(context: &Context<'_>, node: &DeviceNode) -> Result<(), Failure> {
    let root = context.root()?;
    let parent = Parent::of(root.as_fd(), &node.path)?;
    let directory = parent.directory.as_fd();
    let existed = match sys::mknodat(directory, parent.name(), node.mode, node.device) {
        Ok(()) => false,
        Err(Errno(libc::EEXIST)) => true,
        Err(errno) => return Err(errno.into()),
    };
    let made = sys::openat(directory, parent.name(), libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    let stat = sys::fstat(made.as_fd())?;
    if stat.st_rdev != node.device || stat.st_mode & libc::S_IFMT != node.mode & libc::S_IFMT {
        // `config-linux.md`, Devices: a file that is not the requested device is an error.
        return Err(Errno(libc::EEXIST).into());
    }
    // An image's own /dev, or a device that is named twice: what is there stays as it is.
    if existed {
        return Ok(());
    }
    if (stat.st_uid, stat.st_gid) != (node.uid, node.gid) {
        sys::fchown(made.as_fd(), node.uid, node.gid)?;
    }
    // The umask is 0 while the root is made, so the mode is right unless chown(2) has taken a bit.
    Ok(())
}

pub(crate) fn symlink(context: &Context<'_>, path: &CStr, target: &CStr, replace: bool) -> Result<(), Failure> {
    let root = context.root()?;
    let parent = Parent::of(root.as_fd(), path)?;
    if replace {
        match sys::unlinkat(parent.directory.as_fd(), parent.name(), 0) {
            Ok(()) | Err(Errno(libc::ENOENT)) => {}
            // A directory or a mount stands there: it is what the image or the config wants.
            Err(Errno(libc::EISDIR | libc::EBUSY)) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
    match sys::symlinkat(target, parent.directory.as_fd(), parent.name()) {
        Ok(()) | Err(Errno(libc::EEXIST)) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

pub(crate) fn directory(context: &Context<'_>, path: &CStr) -> Result<(), Failure> {
    let root = context.root()?;
    match in_root::directory(root.as_fd(), path) {
        // A read-only root where it is missing: entering it will tell.
        Ok(_) | Err(Errno(libc::EROFS)) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

pub(crate) fn remount(context: &Context<'_>, step: &RemountStep) -> Result<(), Failure> {
    let root = context.root()?;
    let mount = in_root::open(root.as_fd(), &step.path, 0)?;
    let mount = mount.as_fd();
    let not_a_mount = |errno| match errno {
        Errno(libc::EINVAL) => Failure::new(errno, NOT_A_MOUNT),
        errno => errno.into(),
    };
    // Also where nothing changes: it tells whether something is mounted there.
    let what = MountAttr { set: step.attr_set, clear: step.attr_clear, propagation: 0 };
    sys::mount_setattr(mount, c"", false, what).map_err(not_a_mount)?;
    if step.rec_attr_set | step.rec_attr_clear != 0 {
        let what = MountAttr { set: step.rec_attr_set, clear: step.rec_attr_clear, propagation: 0 };
        sys::mount_setattr(mount, c"", true, what)?;
    }
    if !step.superblock.is_empty() {
        let file_system = sys::fspick(mount).map_err(not_a_mount)?;
        for (key, value) in &step.superblock {
            sys::fsconfig_set(file_system.as_fd(), key, value.as_deref())?;
        }
        sys::fsconfig_reconfigure(file_system.as_fd())?;
    }
    for &Propagation { kind, recursive } in &step.propagation {
        propagate(mount, kind, recursive)?;
    }
    Ok(())
}

/// pivot_root(2) onto itself: the old root lands on top of the new one, is made a slave so that its unmounting does not
/// reach the host, and goes. No directory is needed for it.
pub(crate) fn pivot(context: &Context<'_>) -> Result<(), Failure> {
    let root = context.root()?;
    let old = sys::openat(sys::CWD, c"/", libc::O_PATH | libc::O_DIRECTORY, 0)?;
    sys::fchdir(root.as_fd())?;
    sys::pivot_root(c".", c".")?;
    sys::fchdir(old.as_fd())?;
    sys::mount(None, c".", None, libc::MS_SLAVE | libc::MS_REC, None)?;
    sys::umount(c".", libc::MNT_DETACH)?;
    Ok(sys::chdir(c"/")?)
}

/// MS_MOVE over `/`. The host's other mounts stay reachable in this namespace for who could find them, so /proc and /sys,
/// which would show them in full, are unmounted first where the kernel lets us.
pub(crate) fn move_root(context: &Context<'_>) -> Result<(), Failure> {
    let root = context.root()?;
    for path in [c"/proc", c"/sys"] {
        let _ = sys::mount(None, path, None, libc::MS_SLAVE | libc::MS_REC, None);
        let _ = sys::umount(path, libc::MNT_DETACH);
    }
    sys::fchdir(root.as_fd())?;
    sys::move_mount_at(root.as_fd(), sys::CWD, c"/")?;
    sys::chroot(c".")?;
    Ok(sys::chdir(c"/")?)
}

pub(crate) fn change_root(context: &Context<'_>) -> Result<(), Failure> {
    let root = context.root()?;
    sys::fchdir(root.as_fd())?;
    sys::chroot(c".")?;
    Ok(sys::chdir(c"/")?)
}

pub(crate) fn readonly_root() -> Result<(), Failure> {
    Ok(sys::mount_setattr(sys::CWD, c"/", false, MountAttr { set: attr::RDONLY, ..MountAttr::default() })?)
}

pub(crate) fn root_propagation(kind: PropagationKind) -> Result<(), Failure> {
    Ok(sys::mount(None, c"/", None, ms(kind), None)?)
}

/// A path that does not exist needs no protection.
pub(crate) fn readonly_path(context: &Context<'_>, path: &CStr) -> Result<(), Failure> {
    let root = context.root()?;
    let target = match in_root::open(root.as_fd(), path, 0) {
        Ok(target) => target,
        Err(Errno(libc::ENOENT | libc::ENOTDIR)) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let copy = sys::open_tree_clone(target.as_fd(), c"", true)?;
    sys::mount_setattr(copy.as_fd(), c"", true, MountAttr { set: attr::RDONLY, ..MountAttr::default() })?;
    Ok(sys::move_mount(copy.as_fd(), target.as_fd())?)
}

/// Files get the container's /dev/null, which must be the real one (CVE-2025-31133, CVE-2025-62161: checked by descriptor,
/// and a missing one is an error); directories share one empty read-only tmpfs.
pub(crate) fn mask_paths(
    context: &Context<'_>,
    paths: &[std::ffi::CString],
    label: Option<&CStr>,
) -> Result<(), Failure> {
    let root = context.root()?;
    let mut empty: Option<OwnedFd> = None;
    let mut null: Option<OwnedFd> = None;
    for (index, path) in paths.iter().enumerate() {
        mask(root.as_fd(), path, label, &mut empty, &mut null).map_err(|failure| failure.at(index))?;
    }
    Ok(())
}

fn mask(
    root: BorrowedFd<'_>,
    path: &CStr,
    label: Option<&CStr>,
    empty: &mut Option<OwnedFd>,
    null: &mut Option<OwnedFd>,
) -> Result<(), Failure> {
    let target = match in_root::open(root, path, 0) {
        Ok(target) => target,
        Err(Errno(libc::ENOENT | libc::ENOTDIR)) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let is_directory = is_directory(target.as_fd())?;
    let first = if is_directory { &mut *empty } else { &mut *null };
    let cover = match first {
        // An attached mount of our own namespace can be copied; a detached one only from kernel 6.15 on.
        Some(mount) => sys::open_tree_clone(mount.as_fd(), c"", false)?,
        None if is_directory => empty_directory(label)?,
        None => null_device(root)?,
    };
    sys::move_mount(cover.as_fd(), target.as_fd())?;
    first.get_or_insert(cover);
    Ok(())
}

fn empty_directory(label: Option<&CStr>) -> Result<OwnedFd, Failure> {
    let context = sys::fsopen(c"tmpfs")?;
    sys::fsconfig_set(context.as_fd(), c"source", Some(c"tmpfs"))?;
    sys::fsconfig_set(context.as_fd(), c"nr_blocks", Some(c"1"))?;
    sys::fsconfig_set(context.as_fd(), c"nr_inodes", Some(c"1"))?;
    sys::fsconfig_set(context.as_fd(), c"mode", Some(c"755"))?;
    if label.is_some() {
        sys::fsconfig_set(context.as_fd(), c"context", label)?;
    }
    sys::fsconfig_create(context.as_fd())?;
    Ok(sys::fsmount(context.as_fd(), attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC)?)
}

fn null_device(root: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    let bad = |errno| Failure::new(errno, BAD_NULL);
    let null = in_root::open(root, c"/dev/null", libc::O_NOFOLLOW).map_err(bad)?;
    let stat = sys::fstat(null.as_fd())?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFCHR || stat.st_rdev != libc::makedev(1, 3) {
        return Err(bad(Errno(libc::ENODEV)));
    }
    sys::open_tree_clone(null.as_fd(), c"", false).map_err(bad)
}
