//! The commands, one file each: its flags, its arguments, what it does.

mod create;
mod delete;
mod events;
mod exec;
mod features;
mod generate;
mod kill;
mod list;
mod pause;
mod plan;
mod ps;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use runtime_core::sys::Errno;
use runtime_core::{Bundle, Console, Container, Containers, CreateOptions, Error, ErrorKind, Process, Result, UserBus};

use crate::args::{Count, Flag, Order, Parsed, Takes, flag};
use crate::log::Log;
use crate::trace_file::TraceFile;
use crate::{notify, own_binary, pid_file, socket};

/// One command.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// One line of help.
    pub(crate) summary: &'static str,
    /// The arguments, for the help.
    pub(crate) usage: &'static str,
    pub(crate) flags: &'static [Flag],
    pub(crate) order: Order,
    pub(crate) count: Count,
    /// Does it; returns the exit code.
    pub(crate) run: fn(&Call<'_>) -> Result<u8>,
}

/// In the order of the help.
pub(crate) const COMMANDS: &[&Command] = &[
    &create::COMMAND,
    &delete::COMMAND,
    &events::COMMAND,
    &exec::COMMAND,
    &features::COMMAND,
    &generate::COMMAND,
    &kill::COMMAND,
    &list::COMMAND,
    &pause::COMMAND,
    &plan::COMMAND,
    &ps::COMMAND,
    &resume::COMMAND,
    &run::COMMAND,
    &spec::COMMAND,
    &start::COMMAND,
    &state::COMMAND,
    &update::COMMAND,
];

/// What a command reads from its values before it does anything.
#[cfg(fuzzing)]
pub(crate) fn read(command: &Command, args: &Parsed) -> Result<()> {
    match command.name {
        "events" => events::interval(args).map(|_| ()),
        "exec" => exec::read(args),
        "kill" => kill::signal(args).map(drop),
        "update" => update::from_flags(args).map(drop),
        _ => Ok(()),
    }
}

/// Commands of runc's that this runtime does not have yet.
pub(crate) const UNSUPPORTED: &[&str] = &["checkpoint", "restore"];

/// The arguments of a command for one container.
const ONE_ID: Count = Count { min: 1, max: 1 };

const CONTAINER_ID: &str = "<container-id>";

// What `create` and `run` have in common, and `exec` in part.
const BUNDLE: Flag = flag(&["bundle", "b"], Takes::Value, "the bundle's directory (default: the current one)");
const CONSOLE_SOCKET: Flag =
    flag(&["console-socket"], Takes::Value, "unix socket that receives the master of the console's pseudo-terminal");
const PIDFD_SOCKET: Flag = flag(&["pidfd-socket"], Takes::Value, "unix socket that receives a pidfd of the process");
const PID_FILE: Flag = flag(&["pid-file"], Takes::Value, "write the process id to this file");
const NO_PIVOT: Flag =
    flag(&["no-pivot"], Takes::Nothing, "move the root instead of pivot_root, for a root on a ramdisk");
const NO_NEW_KEYRING: Flag = flag(&["no-new-keyring"], Takes::Nothing, "keep the caller's session keyring");
const PRESERVE_FDS: Flag =
    flag(&["preserve-fds"], Takes::Number, "pass this many descriptors on, after stdio and $LISTEN_FDS");
const DETACH: Flag = flag(&["detach", "d"], Takes::Nothing, "leave the process running in the background");
const NO_SUBREAPER: Flag = flag(&["no-subreaper"], Takes::Nothing, "do not reap processes that lost their parent");

/// What a command works with.
pub(crate) struct Call<'a> {
    /// The flags before the command.
    pub(crate) global: Parsed,
    /// The command's own flags and arguments.
    pub(crate) args: Parsed,
    /// The directory of the containers' state.
    pub(crate) root: PathBuf,
    /// It is the machine's, for want of another: no `--root`, no `$XDG_RUNTIME_DIR`.
    pub(crate) in_run: bool,
    /// The whole command line.
    pub(crate) argv: &'a [std::ffi::OsString],
    pub(crate) log: &'a Log,
    pub(crate) trace: &'a TraceFile,
}

impl Call<'_> {
    /// The containers below `--root`.
    fn containers(&self) -> Result<Containers> {
        let root = nix::unistd::geteuid().is_root();
        let is_new = !root && !self.root.exists();
        let containers = Containers::open(&self.root)
            .map_err(|error| if self.in_run && !root { error.context("$XDG_RUNTIME_DIR is not set") } else { error })?;
        if is_new {
            // Files in $XDG_RUNTIME_DIR that nobody touched for six hours may be cleaned away, unless the sticky bit is
            // set (XDG base directory specification).
            let _ = std::fs::set_permissions(&self.root, std::fs::Permissions::from_mode(0o1700));
        }
        Ok(containers)
    }

    /// The container's id, as it was given. One that is not text is not an id either.
    fn id(&self) -> Result<String> {
        match self.args.argument(0).unwrap_or_default().to_string_lossy() {
            id if id.is_empty() => Err(Error::new(ErrorKind::InvalidSpec, "container id cannot be empty")),
            id => Ok(id.into_owned()),
        }
    }

    /// The container that the first argument names.
    fn container(&self) -> Result<Container> {
        self.containers()?.get(&self.id()?)
    }

    /// What every command does that enters a container.
    fn prepare_to_enter(&self) -> Result<()> {
        own_binary::protect(self.argv, self.trace)
    }

    /// What the flags say of the container's creation.
    fn create_options(&self, console: Console) -> CreateOptions {
        let mut options = CreateOptions::default();
        options.console = console;
        options.no_pivot = self.args.is("no-pivot");
        options.no_new_keyring = self.args.is("no-new-keyring");
        options.preserve_fds = self.args.number("preserve-fds");
        // `auto` is no boolean.
        options.rootless = self.global.boolean("rootless");
        options.listen_fds = listen_fds();
        options.notify = notify::is_wanted();
        // Commands that come later know it from the state, and ignore the flag.
        options.systemd_cgroup = self.global.is("systemd-cgroup").then(user_bus);
        options
    }

    /// The bundle that `--bundle` names; the current directory without it.
    fn bundle(&self) -> Result<Bundle> {
        Bundle::load(self.args.path("bundle").unwrap_or_else(|| ".".into()))
    }

    /// Creates the container that the arguments describe.
    fn create(&self, console: Console) -> Result<Container> {
        let id = self.id()?;
        let container = self.containers()?.create(&id, &self.bundle()?, self.create_options(console))?;
        self.log.debug(&format!("created container {}", container.id()));
        Ok(container)
    }

    /// Tells the caller which process it got: `--pidfd-socket` and `--pid-file`. `kind` is the pidfd's name.
    fn announce(&self, process: Started<'_>, kind: &str) -> Result<()> {
        if let Some(path) = self.args.path("pidfd-socket") {
            socket::send_fd(&path, kind, process.pidfd)?;
        }
        self.args.path("pid-file").map_or(Ok(()), |path| pid_file::write(&path, process.pid))
    }

    /// Warns of what did not keep the command from succeeding. `quiet`: a log file is told, standard error only with
    /// `--debug`: in the foreground it is the program's, and whoever runs `create` by hand has asked for nothing.
    fn warn(&self, warnings: &[String], quiet: bool) {
        if !quiet || self.log.is_file() || self.log.is_debug() {
            warnings.iter().for_each(|warning| self.log.warning(warning));
        }
    }
}

/// A process that this command has made.
#[derive(Clone, Copy)]
pub(crate) struct Started<'a> {
    /// In this process's pid namespace.
    pub(crate) pid: i32,
    /// It is a child of this process.
    pub(crate) pidfd: BorrowedFd<'a>,
}

impl<'a> Started<'a> {
    /// The first process of a container that this command has made.
    fn init(container: &'a Container) -> Result<Self> {
        let init = container.init().ok_or_else(|| Error::new(ErrorKind::NotRunning, "container not running"))?;
        Ok(Started::from(init))
    }
}

impl<'a> From<&'a Process> for Started<'a> {
    fn from(process: &'a Process) -> Self {
        Started { pid: process.pid(), pidfd: process.as_fd() }
    }
}

/// Where a user's own systemd is. Of use only to who has no more rights than whoever set the environment: root's is the machine's.
pub(crate) fn user_bus() -> UserBus {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let runtime_directory = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    UserBus { address: variable("DBUS_SESSION_BUS_ADDRESS"), runtime_directory }
}

/// How many sockets systemd passed to this process, sd_listen_fds(3).
fn listen_fds() -> u32 {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") == Some(std::process::id()) { number("LISTEN_FDS").unwrap_or(0) } else { 0 }
}

/// A value as JSON: indented, or on one line.
fn json(value: &impl serde::Serialize, indented: bool) -> Result<String> {
    let text = if indented { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    text.map_err(|error| Error::new(ErrorKind::System, format!("write JSON: {error}")))
}

/// Prints what was asked for. A reader that went away is no failure.
fn print(text: &str) -> Result<u8> {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::system("write to standard output", Errno::from(error)))
        }
        _ => Ok(0),
    }
}
