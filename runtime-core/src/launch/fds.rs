//! What the parent opens before the clone.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::child;
use crate::chroot::apply::{PROC_SUPER_MAGIC, new_filesystem};
use crate::error::{Error, ErrorKind, Result};
use crate::namespace::Kind;
use crate::plan::{Idmap, Open};
use crate::spec::IdMapping;
use crate::sys::{self, Errno};
use crate::trace;
use crate::user_mapping::map_text;

/// Opens all, in order. What was opened is closed when one fails.
pub(super) fn open(list: &[Open]) -> Result<Vec<OwnedFd>> {
    let mut fds = Vec::with_capacity(list.len());
    for what in list {
        let _span = trace::span(|| what.to_string());
        let fd = one(what, &fds).map_err(|errno| failed(what, errno))?;
        fds.push(fd);
    }
    Ok(fds)
}

fn failed(what: &Open, errno: Errno) -> Error {
    match (what, errno) {
        (Open::Namespace { path, kind }, Errno(libc::EINVAL)) => {
            Error::new(ErrorKind::InvalidSpec, format!("{} is not a {kind} namespace", path.to_string_lossy()))
        }
        (Open::Tree { idmap: Some(_), .. } | Open::Filesystem { .. }, Errno(libc::EINVAL)) => {
            Error::system(what, errno).context("the file system may not take an idmapping")
        }
        _ => Error::system(what, errno),
    }
}

fn one(what: &Open, before: &[OwnedFd]) -> sys::Result<OwnedFd> {
    match what {
        Open::Tree { path, recursive, follow, idmap } => {
            let clone = if *follow { sys::open_tree_clone } else { sys::open_tree_clone_nofollow };
            idmapped(clone(sys::CWD, path, *recursive)?, *idmap, before)
        }
        Open::Filesystem { new, attributes } => idmapped(new_filesystem(new, *attributes, None)?, new.idmap, before),
        Open::Place { path, follow } => {
            let flags = if *follow { libc::O_PATH } else { libc::O_PATH | libc::O_NOFOLLOW };
            sys::openat(sys::CWD, path, flags, 0)
        }
        Open::UserNamespace { uids, gids } => user_namespace(uids, gids),
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
        Open::Socket(path) => Ok(connect(Path::new(OsStr::from_bytes(path.as_bytes())))?.into()),
    }
}

fn idmapped(mount: OwnedFd, idmap: Option<Idmap>, before: &[OwnedFd]) -> sys::Result<OwnedFd> {
    if let Some(idmap) = idmap {
        let namespace = before.get(idmap.namespace.0).ok_or(Errno(libc::EBADF))?;
        sys::idmap_mount(mount.as_fd(), idmap.recursive, namespace.as_fd())?;
    }
    Ok(mount)
}

/// The namespace's file keeps it when the process that it was made for is gone.
fn user_namespace(uids: &[IdMapping], gids: &[IdMapping]) -> sys::Result<OwnedFd> {
    // No handler of this program may run in the other process.
    let mask = sys::set_signal_mask(u64::MAX)?;
    let held = child::hold(Kind::User.flag());
    sys::set_signal_mask(mask)?;
    let (pid, pidfd) = held?;
    let made = write_maps(pid, uids, gids).and_then(|()| {
        let path = CString::new(format!("/proc/{pid}/ns/user")).unwrap_or_default();
        namespace(&path, Kind::User)
    });
    sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL)?;
    sys::wait_exit(pidfd.as_fd())?;
    made
}

fn write_maps(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> sys::Result<()> {
    for (file, maps) in [("uid_map", uids), ("gid_map", gids)] {
        std::fs::write(format!("/proc/{pid}/{file}"), map_text(maps))?;
    }
    Ok(())
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
pub(super) fn connect(path: &Path) -> sys::Result<UnixStream> {
    if path.as_os_str().len() < 108 {
        return Ok(UnixStream::connect(path)?);
    }
    let directory = std::fs::File::open(path.parent().unwrap_or(path))?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string());
    Ok(UnixStream::connect(short.join(path.file_name().unwrap_or_default()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::FdIndex;

    #[test]
    fn an_idmapped_tree_shows_other_owners() {
        if sys::geteuid() != 0 {
            println!("SKIP an_idmapped_tree_shows_other_owners: takes root");
            return;
        }
        let directory = std::env::temp_dir().join(format!("orlop-idmap-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        std::os::unix::fs::chown(&directory, Some(1), Some(2)).unwrap();
        let map = |outside| vec![IdMapping { inside: 0, outside, size: 100 }];
        let idmap = Idmap { namespace: FdIndex(0), recursive: true };
        let opened = open(&[
            Open::UserNamespace { uids: map(5000), gids: map(6000) },
            Open::Tree {
                path: CString::new(directory.as_os_str().as_bytes()).unwrap(),
                recursive: true,
                follow: true,
                idmap: Some(idmap),
            },
        ]);
        let refused = open(&[Open::UserNamespace { uids: [map(1), map(1)].concat(), gids: map(1) }]);
        std::fs::remove_dir_all(&directory).ok();
        let text = refused.unwrap_err().to_string();
        assert_eq!(text, "make user namespace with uids 0:1:100 0:1:100 gids 0:1:100: invalid argument");
        match opened {
            Err(error) if error.errno() == Some(Errno(libc::EINVAL)) => {
                println!("SKIP an_idmapped_tree_shows_other_owners: {error}");
            }
            opened => {
                let fds = opened.unwrap();
                // The directory is gone, and its tree is here.
                let root = sys::fstat(fds[1].as_fd()).unwrap();
                assert_eq!((root.st_uid, root.st_gid), (5001, 6002));
            }
        }
    }
}
