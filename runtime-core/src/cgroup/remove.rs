//! Removing a container's cgroup.

use std::path::Path;
use std::time::{Duration, Instant};

use super::processes::{children, pids_below};
use super::{Driver, Record, files, systemd};
use crate::sys::Errno;
use crate::{Error, ErrorKind, Result};

/// How long killed processes may take to leave.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long systemd may take to see by itself that a unit has no processes any more.
const NOTICE: Duration = Duration::from_secs(1);

impl Record {
    /// Has systemd stop the unit, where it made the cgroup, before its directories are removed. The processes have been
    /// killed: it has nothing to wait for.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when systemd does not answer. What is on disk can be removed all the same, and a unit
    /// without processes ends by itself as soon as systemd looks.
    pub fn stop(&self) -> Result<()> {
        match &self.driver {
            Driver::Fs => Ok(()),
            Driver::Systemd(unit) => systemd::stop(unit).inspect_err(|_| self.let_systemd_look()),
        }
    }

    /// Gives systemd the time to remove the cgroup. By its file of events the kernel tells that it is empty, some
    /// milliseconds late; were the file gone before, the unit would stay for ever.
    fn let_systemd_look(&self) {
        let deadline = Instant::now() + NOTICE;
        while self.unified().is_some_and(|dir| dir.path.exists()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Removes the directories with all groups that the container made in them, then the parents that were made for it
    /// and that nobody else uses now. Normally nothing is waited for; processes that are about to end are waited for
    /// until a deadline. What does not exist any more is no error.
    pub fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let mut result = Ok(());
        for dir in &self.dirs {
            // A hierarchy that can't be cleaned must not keep the others from being so.
            let removed = remove_tree(&dir.path, dir.is_unified(), deadline);
            result = result.and(removed);
        }
        for parent in self.parents.iter().rev() {
            // Not empty, or removed by somebody else: both are as they should be.
            let _ = files::rmdir(parent);
        }
        result
    }
}

pub(super) fn remove_tree(path: &Path, unified: bool, deadline: Instant) -> Result<()> {
    let mut pause = Duration::from_micros(100);
    loop {
        match files::rmdir(path) {
            Ok(()) | Err(Errno(libc::ENOENT)) => return Ok(()),
            Err(Errno(libc::EBUSY)) => {}
            Err(errno) => return Err(Error::system(format_args!("remove cgroup {}", path.display()), errno)),
        }
        for child in children(path) {
            remove_tree(&child, unified, deadline)?;
        }
        match files::rmdir(path) {
            Ok(()) | Err(Errno(libc::ENOENT)) => return Ok(()),
            Err(_) => {}
        }
        let pids = pids_below(path)?;
        if Instant::now() >= deadline {
            return Err(busy(path, pids.last()));
        }
        match pids.last() {
            Some(_) if unified => {
                // An error is that of a group that vanished: the next turn sees it.
                let _ = files::wait_for_event(&path.join("cgroup.events"), "populated", 0, deadline);
            }
            // 0: a process of a pid namespace that is not visible from here.
            Some(pid) if *pid > 0 => {
                files::wait_for_exit(*pid, deadline)
                    .map_err(|errno| Error::system(format_args!("wait for process {pid}"), errno))?;
            }
            _ => {}
        }
        // A process that has ended may keep its group for another moment. There is nothing to wait on.
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn busy(path: &Path, pid: Option<&i32>) -> Error {
    let errno = Errno(libc::EBUSY);
    let holder = match pid {
        // Of v1, which does not list them.
        None => ", no process of this pid namespace is in it".to_owned(),
        Some(0) => ", a process of another pid namespace is still in it".to_owned(),
        Some(pid) => format!(", process {pid} is still in it"),
    };
    let what = format!("remove cgroup {}: {errno} after {DEADLINE:?}{holder}", path.display());
    Error::new(ErrorKind::Timeout, what).with_errno(errno)
}
