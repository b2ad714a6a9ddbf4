//! The processes in a cgroup: who they are, signals to all of them, what the kernel tells of them.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Record, files};
use crate::sys::{self, Errno};
use crate::{Error, Result};

/// The groups right below a group.
pub(super) fn children(path: &Path) -> Vec<PathBuf> {
    // A directory has a link from each of its children, from its parent and from itself; so most groups are known to
    // have no children without reading a directory of a hundred files.
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.nlink() <= 2) {
        return Vec::new();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Visits a group and all below it, the outer ones first. Groups that vanish meanwhile are left out.
pub(super) fn walk(path: &Path, visit: &mut dyn FnMut(&Path)) {
    visit(path);
    for child in children(path) {
        walk(&child, visit);
    }
}

/// The processes in one group, without those below it.
fn pids_in(path: &Path) -> Result<Vec<i32>, Errno> {
    let text = match files::read(&path.join("cgroup.procs")) {
        // A threaded cgroup does not tell its processes; a thread's id will do for a signal.
        Err(Errno(libc::EOPNOTSUPP)) => files::read(&path.join("cgroup.threads")),
        other => other,
    };
    match text {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(Errno(libc::ENOENT | libc::ENODEV)) => Ok(Vec::new()),
        Err(errno) => Err(errno),
    }
}

/// The processes in a group and below it, each once.
pub(super) fn pids_below(path: &Path) -> Result<BTreeSet<i32>> {
    let mut pids = BTreeSet::new();
    let mut error = None;
    walk(path, &mut |path| match pids_in(path) {
        Ok(found) => pids.extend(found),
        Err(errno) => {
            error.get_or_insert_with(|| {
                Error::system(format_args!("read {}", path.join("cgroup.procs").display()), errno)
            });
        }
    });
    error.map_or(Ok(pids), Err)
}

impl Record {
    /// All processes of the container, sorted. A process of another pid namespace is there with number 0.
    pub fn pids(&self) -> Result<Vec<i32>> {
        match self.membership() {
            Some(dir) => Ok(pids_below(&dir.path)?.into_iter().collect()),
            None => Ok(Vec::new()),
        }
    }

    /// Sends a signal to all processes of the container. None escapes by forking: the kernel does it (SIGKILL on v2,
    /// kernel 5.14), or they are frozen meanwhile. A container that was frozen before stays so, except for SIGKILL,
    /// of which nobody dies in a v1 freezer.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        if signal == libc::SIGKILL && self.kill_by_kernel()? {
            self.thaw_v1_tree();
            return Ok(());
        }
        let froze = !self.is_frozen()? && self.freeze().is_ok();
        let result = self.signal_each(signal);
        if signal == libc::SIGKILL {
            self.thaw_v1_tree();
        }
        if froze {
            self.thaw()?;
        }
        result
    }

    /// Writes `cgroup.kill`. False: no v2 cgroup, or too old a kernel.
    fn kill_by_kernel(&self) -> Result<bool> {
        let Some(dir) = self.unified() else { return Ok(false) };
        let file = dir.path.join("cgroup.kill");
        match files::write(&file, "1") {
            Ok(()) => Ok(true),
            // EOPNOTSUPP: a threaded cgroup.
            Err(Errno(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP)) => Ok(false),
            Err(errno) => Err(Error::system(format_args!("write \"1\" to {}", file.display()), errno)),
        }
    }

    /// Signals everybody, and again those who came in the meantime (where there is no freezer).
    fn signal_each(&self, signal: i32) -> Result<()> {
        let mut signalled = BTreeSet::new();
        for _ in 0..32 {
            let new: Vec<_> = self.pids()?.into_iter().filter(|pid| *pid > 0 && !signalled.contains(pid)).collect();
            if new.is_empty() {
                break;
            }
            for pid in new {
                let sent = sys::pidfd_open(pid).and_then(|pidfd| sys::pidfd_send_signal(pidfd.as_fd(), signal));
                match sent {
                    // EINVAL: the id of a thread, in a threaded cgroup; its process is in a cgroup above.
                    Ok(()) | Err(Errno(libc::ESRCH | libc::EINVAL)) => {}
                    Err(errno) => return Err(Error::system(format_args!("kill process {pid}"), errno)),
                }
                signalled.insert(pid);
            }
        }
        Ok(())
    }

    /// How many processes the OOM killer killed in this cgroup: for the message that tells why a container did not
    /// start. 0 where the memory controller is not there.
    pub fn oom_kill_count(&self) -> Result<u64> {
        let (dir, file) = match (self.v1("memory"), self.dirs.as_slice()) {
            (Some(dir), _) => (dir, "memory.oom_control"),
            (None, [dir]) if dir.is_unified() => (dir, "memory.events"),
            _ => return Ok(0),
        };
        let file = dir.path.join(file);
        match files::read(&file) {
            Ok(text) => Ok(files::value_of(&text, "oom_kill").unwrap_or(0)),
            Err(Errno(libc::ENOENT | libc::ENODEV)) => Ok(0),
            Err(errno) => Err(Error::system(format_args!("read {}", file.display()), errno)),
        }
    }
}
