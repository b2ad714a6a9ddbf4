//! What a caller says beside the configuration.
//!
//! Options are plain values with defaults. More may come with a minor version, so they are `#[non_exhaustive]`: they are made by
//! `default()` or `new()`, and their fields are set.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::cgroup::systemd::UserBus;
use crate::error::{Error, Result};
use crate::spec;
use crate::sys;

/// What [`Containers::create`](super::Containers::create) wants beside the bundle.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct CreateOptions {
    /// Who gets the terminal, when the configuration asks for one.
    pub console: Console,
    /// The standard streams, when it does not.
    pub stdio: Stdio,
    /// Move the root over `/` instead of pivoting: for a host whose root is a ramfs.
    pub no_pivot: bool,
    /// Leave the session keyring as it is.
    pub no_new_keyring: bool,
    /// How many descriptors from 3 on the program keeps. They are open and not close-on-exec.
    pub preserve_fds: u32,
    /// Whether the container must do without cgroups, or without some, where the caller may not make them and the
    /// configuration asks for none (`--rootless`). `None`: found out.
    pub rootless: Option<bool>,
    /// How many more it keeps for socket activation: it gets `LISTEN_FDS` and `LISTEN_PID`, sd_listen_fds(3).
    pub listen_fds: u32,
    /// Whether the container gets `/run/notify` and `NOTIFY_SOCKET`, sd_notify(3): a directory of its own, to be read only, in
    /// which the caller makes a socket before `start` ([`Container::notify_socket`](super::Container::notify_socket)).
    pub notify: bool,
    /// systemd makes the cgroup, as a unit; for an ordinary user his own systemd, reached as this says. Later calls know it
    /// from the state.
    pub systemd_cgroup: Option<UserBus>,
}

/// Who gets the master of a container's terminal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Console {
    /// The caller: [`Process::take_master`](super::Process::take_master). Without a terminal the process has the streams of [`Stdio`].
    #[default]
    Caller,
    /// Nobody could: a process that wants a terminal is refused.
    Nobody,
    /// Whoever listens on this UNIX socket: `--console-socket`.
    Socket(PathBuf),
}

/// The standard streams of a process without a terminal.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Stdio {
    /// Standard input.
    pub stdin: Stream,
    /// Standard output.
    pub stdout: Stream,
    /// Standard error.
    pub stderr: Stream,
}

/// One of them.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Stream {
    /// The caller's own.
    #[default]
    Inherit,
    /// /dev/null.
    Null,
    /// This. The caller's copy is closed when the call returns: who reads the other end of a pipe sees its end.
    Fd(OwnedFd),
}

impl From<OwnedFd> for Stream {
    fn from(fd: OwnedFd) -> Self {
        Stream::Fd(fd)
    }
}

impl Stdio {
    /// All three are /dev/null.
    #[must_use]
    pub fn null() -> Self {
        Stdio { stdin: Stream::Null, stdout: Stream::Null, stderr: Stream::Null }
    }

    /// Whether the process has the caller's.
    pub(crate) fn is_inherited(&self) -> bool {
        [&self.stdin, &self.stdout, &self.stderr].iter().all(|stream| matches!(stream, Stream::Inherit))
    }

    /// Opens /dev/null where it is wanted.
    pub(crate) fn open(self) -> Result<Streams> {
        let open = |stream| match stream {
            Stream::Inherit => Ok(None),
            Stream::Fd(fd) => Ok(Some(fd)),
            Stream::Null => {
                let opened = sys::openat(sys::CWD, c"/dev/null", libc::O_RDWR, 0);
                opened.map(Some).map_err(|errno| Error::system("open /dev/null", errno))
            }
        };
        Ok(Streams([open(self.stdin)?, open(self.stdout)?, open(self.stderr)?]))
    }
}

/// What the process gets as descriptors 0, 1 and 2. `None`: the caller's.
#[derive(Debug, Default)]
pub(crate) struct Streams([Option<OwnedFd>; 3]);

impl Streams {
    pub(crate) fn as_fds(&self) -> [Option<BorrowedFd<'_>>; 3] {
        self.0.each_ref().map(|fd| fd.as_ref().map(OwnedFd::as_fd))
    }
}

/// What [`Container::exec`](super::Container::exec) runs, and how.
#[derive(Debug)]
#[non_exhaustive]
pub struct ExecOptions {
    /// The process.
    pub process: spec::Process,
    /// Who gets the terminal.
    pub console: Console,
    /// The standard streams, where it has no terminal.
    pub stdio: Stdio,
    /// How many descriptors from 3 on the program keeps.
    pub preserve_fds: u32,
    /// Enter a paused container too: the process stands still until the container is resumed.
    pub ignore_paused: bool,
    /// Cgroups below the container's, which must exist: (v1 controller or empty for all hierarchies, path). Empty: the
    /// container's own.
    pub cgroups: Vec<(String, String)>,
}

impl ExecOptions {
    /// This process, with the caller's standard streams. [`Container::process`](super::Container::process) gives one to begin with.
    #[must_use]
    pub fn new(process: spec::Process) -> Self {
        ExecOptions {
            process,
            console: Console::default(),
            stdio: Stdio::default(),
            preserve_fds: 0,
            ignore_paused: false,
            cgroups: Vec::new(),
        }
    }
}
