//! The texts and exit codes that engines match on: the one place that decides them.
//!
//! | text | who matches it |
//! |---|---|
//! | `does not exist`, `container not running`, `process already finished`, `no such process` | containerd and CRI-O: the container is gone, which is what they wanted |
//! | `executable file not found in $PATH`, `no such file or directory` | moby, docker, podman, nerdctl: exit code 127 |
//! | `permission denied` | moby, docker, podman: exit code 126 |
//! | `flag needs an argument` | podman: is an option known? |
//!
//! They match parts of the whole, in lower case or not; so the library's texts for a missing program or a wrong status
//! go through unchanged, and this table says only what stands before them.

use runtime_core::{Error, ErrorKind};

/// How the runtime names itself in messages. Engines and the people who search for a message know `runc create
/// failed:`; under whichever name the program was started, this is the word.
pub(crate) const RUNTIME: &str = "runc";

/// What becomes of an error of one kind.
enum Text {
    /// The canonical text instead of the library's.
    Instead(&'static str),
    /// The library's text, with words put before it.
    After(&'static str),
}
use Text::{After, Instead};

/// For a kind of error, the text of any command.
fn text(kind: ErrorKind) -> Text {
    match kind {
        ErrorKind::NotFound => Instead("container does not exist"),
        ErrorKind::Exists => Instead("container with given ID already exists"),
        ErrorKind::InvalidId => Instead("invalid container ID format"),
        _ => After(""),
    }
}

/// For a kind of error, the text of a command that starts processes in a container.
fn text_of_a_start(kind: ErrorKind) -> Text {
    match kind {
        ErrorKind::Program => After("unable to start container process: error during container init: "),
        ErrorKind::System | ErrorKind::Hook | ErrorKind::Timeout => After("unable to start container process: "),
        _ => text(kind),
    }
}

/// The message of a command that failed.
pub(crate) fn message(command: &str, error: &Error) -> String {
    let (before, text) = match command {
        "create" => (format!("{RUNTIME} create failed: "), text_of_a_start(error.kind())),
        "run" => (format!("{RUNTIME} run failed: "), text_of_a_start(error.kind())),
        "exec" if error.kind() == ErrorKind::Program => {
            // No init runs here that could have failed.
            ("exec failed: ".to_owned(), After("unable to start container process: "))
        }
        "exec" => ("exec failed: ".to_owned(), text_of_a_start(error.kind())),
        _ => (String::new(), text(error.kind())),
    };
    match text {
        Instead(text) => format!("{before}{text}"),
        After(words) => format!("{before}{words}{error}"),
    }
}

/// The exit code of a command that failed at its work. A command line that is wrong is always 1.
pub(crate) fn exit_code(command: &str) -> u8 {
    if command == "exec" { 255 } else { 1 }
}

/// No such command; this one has an exit code of its own.
pub(crate) fn unknown_command(name: &str) -> (String, u8) {
    (format!("No help topic for '{name}'"), 3)
}

/// A command that runc has and this runtime does not. In one line and never with 0, not even for `--help`:
/// podman takes the exit code of `checkpoint --help` for the answer to whether it can checkpoint.
pub(crate) fn unsupported_command(name: &str) -> String {
    format!("{name} is not supported yet")
}

/// `--root` leads to the root directory: `delete` would tear at the system.
pub(crate) const ROOT_IS_SLASH: &str = "Option --root argument should not be set to /";

/// `--console-socket` where nobody would receive the console's master.
pub(crate) const SOCKET_UNUSED: &str = "cannot use console socket if runc will not detach or allocate tty";

/// A terminal without anybody who could use it.
pub(crate) const SOCKET_MISSING: &str = "cannot allocate tty if runc will detach without setting console socket";

/// `spec` where there is a configuration.
pub(crate) const CONFIG_EXISTS: &str = "File config.json exists. Remove it first";

/// `--format` is neither `table` nor `json`.
pub(crate) const INVALID_FORMAT: &str = "invalid format option";

#[cfg(test)]
mod tests {
    use super::*;
    use runtime_core::sys::Errno;

    #[test]
    fn messages() {
        let check = |command, error: Error, expect| assert_eq!(message(command, &error), expect);
        let program = || Error::new(ErrorKind::Program, "exec: \"foo\": executable file not found in $PATH");
        let missing = || Error::new(ErrorKind::NotFound, "/run/orlop/x: no container");
        check(
            "create",
            program(),
            "runc create failed: unable to start container process: error during container init: exec: \"foo\": \
             executable file not found in $PATH",
        );
        check(
            "run",
            program(),
            "runc run failed: unable to start container process: error during container init: exec: \"foo\": executable \
             file not found in $PATH",
        );
        check(
            "exec",
            program(),
            "exec failed: unable to start container process: exec: \"foo\": executable file not found in $PATH",
        );
        check("start", program(), "exec: \"foo\": executable file not found in $PATH");
        check(
            "create",
            Error::system("mount proc on /proc", Errno(libc::EPERM)),
            "runc create failed: unable to start container process: mount proc on /proc: operation not permitted",
        );
        check(
            "create",
            Error::refused("/mounts/3/options/1", "unknown option"),
            "runc create failed: /mounts/3/options/1: unknown option",
        );
        check(
            "create",
            Error::new(ErrorKind::Exists, "x"),
            "runc create failed: container with given ID already exists",
        );
        check("state", missing(), "container does not exist");
        check("delete", missing(), "container does not exist");
        check("exec", missing(), "exec failed: container does not exist");
        check("kill", Error::new(ErrorKind::NotRunning, "container not running"), "container not running");
        check("state", Error::new(ErrorKind::InvalidId, "a/b"), "invalid container ID format");
        check(
            "exec",
            Error::new(ErrorKind::WrongStatus, "cannot exec in a stopped container"),
            "exec failed: cannot exec in a stopped container",
        );
    }

    #[test]
    fn exit_codes() {
        assert_eq!(["create", "run", "exec", "kill", "state"].map(exit_code), [1, 1, 255, 1, 1]);
    }
}
