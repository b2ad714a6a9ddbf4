//! The handle of a process in a container, for the program that made it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::OnceLock;

use crate::error::{Error, ErrorKind, Result};
use crate::launch::Launched;
use crate::sys::{self, Errno};

/// A process in a container that this program has made: its child.
///
/// The handle polls as readable when the process has ended ([`AsFd`]: a pidfd, pidfd_open(2)), so an event loop or an async
/// runtime can wait for it beside other things and call [`Process::try_wait`] then. No signal handler is needed, and no other
/// child of the program is touched.
///
/// Who drops the handle of a process that has not ended, or never waits, leaves it to run; when it has ended it is a
/// zombie until this program ends, as with [`std::process::Child`]. A program that reaps children by `waitpid(-1)` takes the
/// status away: then waiting fails with ECHILD.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    pidfd: OwnedFd,
    master: Option<OwnedFd>,
    warnings: Vec<String>,
    status: OnceLock<ExitStatus>,
}

impl Process {
    pub(super) fn new(launched: Launched, warnings: Vec<String>) -> Self {
        let Launched { pid, pidfd, master } = launched;
        Process { pid, pidfd, master, warnings, status: OnceLock::new() }
    }

    /// In the caller's pid namespace.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// What `exec` left out, and why. Those of a container's first process are [`Container::warnings`](super::Container::warnings).
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The master of its terminal, where the caller was to have it ([`Console::Caller`](super::Console::Caller)). Once.
    pub fn take_master(&mut self) -> Option<OwnedFd> {
        self.master.take()
    }

    /// Waits for its end. Every call gives the same answer.
    ///
    /// # Errors
    /// [`ErrorKind::System`]: ECHILD when somebody else in this program has reaped it.
    pub fn wait(&self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.reap(0)? {
                return Ok(status);
            }
        }
    }

    /// How it ended. `None`: it runs.
    ///
    /// # Errors
    /// As [`Process::wait`].
    pub fn try_wait(&self) -> Result<Option<ExitStatus>> {
        self.reap(libc::WNOHANG)
    }

    /// Looks, notes, and only then reaps: of two threads that wait none finds nothing.
    fn reap(&self, flags: i32) -> Result<Option<ExitStatus>> {
        if let Some(status) = self.status.get() {
            return Ok(Some(*status));
        }
        let look = sys::wait_child(self.as_fd(), libc::WNOWAIT | flags);
        match look {
            Ok(None) => Ok(None),
            Ok(Some(status)) => {
                let status = *self.status.get_or_init(|| status);
                let _ = sys::wait_child(self.as_fd(), libc::WNOHANG);
                Ok(Some(status))
            }
            Err(errno) => match self.status.get() {
                Some(status) => Ok(Some(*status)),
                None => Err(Error::system(format!("wait for process {}", self.pid), errno)),
            },
        }
    }

    /// Sends it a signal, never another process that has its pid by now: pidfd_send_signal(2).
    ///
    /// # Errors
    /// [`ErrorKind::NotRunning`] when it has ended; [`ErrorKind::System`].
    pub fn signal(&self, signal: i32) -> Result<()> {
        match sys::pidfd_send_signal(self.as_fd(), signal) {
            Ok(()) => Ok(()),
            Err(Errno(libc::ESRCH)) => Err(Error::new(ErrorKind::NotRunning, "process not running")),
            Err(errno) => Err(Error::system(format!("send signal {signal} to process {}", self.pid), errno)),
        }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
