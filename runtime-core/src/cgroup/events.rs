//! What happens to a container while it runs: the kernel ends a process because its memory is used up.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{Record, files};
use crate::sys::{self, Errno};
use crate::{Error, Result};

/// Tells that the container ran out of memory. The kernel wakes who polls [`OutOfMemory::fd`]; nothing is asked in between.
#[derive(Debug)]
pub struct OutOfMemory(Source);

#[derive(Debug)]
enum Source {
    /// v1: an eventfd that was announced in `cgroup.event_control`, cgroup-v1/memory.rst section 10. The kernel also
    /// signals it when the cgroup is removed. The second is `memory.oom_control`: the kernel forgets about the eventfd
    /// when that is closed.
    Control { events: EventFd, _control: OwnedFd, path: PathBuf },
    /// v2: `memory.events`, which polls with POLLPRI after every change, and how many processes were killed at the last look.
    Counter { file: OwnedFd, killed: u64 },
}

impl Record {
    /// Begins to listen. `None`: no memory controller counts here.
    ///
    /// # Errors
    /// [`crate::ErrorKind::System`] when the kernel refuses to tell.
    pub fn out_of_memory(&self) -> Result<Option<OutOfMemory>> {
        if let Some(dir) = self.v1("memory") {
            let path = dir.path.join("cgroup.event_control");
            let failed = |errno| Error::system(format_args!("ask for events in {}", path.display()), errno);
            let control =
                files::open(files::CWD, &dir.path.join("memory.oom_control"), libc::O_RDONLY).map_err(failed)?;
            let events = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(|errno| failed(Errno(errno as i32)))?;
            files::write(&path, &format!("{} {}", events.as_fd().as_raw_fd(), control.as_raw_fd())).map_err(failed)?;
            return Ok(Some(OutOfMemory(Source::Control { events, _control: control, path })));
        }
        let [dir] = self.dirs.as_slice() else { return Ok(None) };
        let path = dir.path.join("memory.events");
        let failed = |errno| Error::system(format_args!("read {}", path.display()), errno);
        match files::open(files::CWD, &path, libc::O_RDONLY) {
            Ok(file) => {
                let killed = killed(&file).map_err(failed)?;
                Ok(Some(OutOfMemory(Source::Counter { file, killed })))
            }
            Err(Errno(libc::ENOENT)) => Ok(None),
            Err(errno) => Err(failed(errno)),
        }
    }
}

impl OutOfMemory {
    /// What to poll, and for which events.
    #[must_use]
    pub fn fd(&self) -> (BorrowedFd<'_>, i16) {
        match &self.0 {
            Source::Control { events, .. } => (events.as_fd(), libc::POLLIN),
            Source::Counter { file, .. } => (file.as_fd(), libc::POLLPRI),
        }
    }

    /// Whether it happened since the last call. It also ends what made the descriptor ready.
    #[must_use]
    pub fn happened(&mut self) -> bool {
        match &mut self.0 {
            Source::Control { events, path, .. } => events.read().is_ok() && path.exists(),
            Source::Counter { file, killed: before } => {
                // ENODEV: the cgroup was removed.
                let now = killed(file).unwrap_or(*before);
                std::mem::replace(before, now) < now
            }
        }
    }
}

/// How many processes the kernel has killed here and below (`oom_kill`, kernel 4.13).
fn killed(file: &OwnedFd) -> sys::Result<u64> {
    sys::rewind(file.as_fd())?;
    Ok(files::value_of(&files::read_fd(file.as_fd())?, "oom_kill").unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::{Dir, Driver};

    #[test]
    fn a_counter_is_told_once() {
        let path = std::env::temp_dir().join(format!("orlop-events-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let dir = Dir { hierarchy: String::new(), mount: path.clone(), path: path.clone() };
        let record = Record { driver: Driver::Fs, dirs: vec![dir], parents: Vec::new() };
        assert!(record.out_of_memory().unwrap().is_none());
        let write = |killed| std::fs::write(path.join("memory.events"), format!("oom {killed}\noom_kill {killed}\n"));
        write(3).unwrap();
        let mut out_of_memory = record.out_of_memory().unwrap().unwrap();
        assert!(!out_of_memory.happened());
        write(5).unwrap();
        assert!(out_of_memory.happened());
        assert!(!out_of_memory.happened());
        std::fs::remove_dir_all(&path).unwrap();
    }
}
