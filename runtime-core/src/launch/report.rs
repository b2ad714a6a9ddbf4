//! A child's report becomes an error: the step of the plan says what was tried, the record says why it failed.

use crate::child::Failure;
use crate::chroot::apply as chroot;
use crate::console::apply as console;
use crate::error::{Error, ErrorKind};
use crate::hook::{apply as hook, quoted};
use crate::plan::Step;
use crate::process::{Program, apply as process};
use crate::sys::Errno;

/// The steps after the wait for `start`, as `start` will need them to tell of a failure: it has no plan.
pub(crate) fn late_steps(steps: &[Step]) -> Vec<(u32, String)> {
    let waits = steps.iter().position(|s| matches!(s, Step::AwaitStart { .. })).map_or(steps.len(), |at| at + 1);
    steps.iter().enumerate().skip(waits).map(|(i, step)| (i as u32, late_text(step))).collect()
}

fn late_text(step: &Step) -> String {
    match step {
        Step::Execute(program) => format!("exec {}", program.name()),
        Step::Hook(hook) => hook_text(hook),
        step => step.to_string(),
    }
}

fn hook_text(hook: &crate::hook::HookStep) -> String {
    format!("error running {} hook #{}: {}", hook.point, hook.index, hook.path.to_string_lossy())
}

/// What a failed step says; of a hook also what it printed.
pub(crate) fn describe(step: &Step, failure: Failure, printed: &[u8]) -> Error {
    cause(step, failure, printed).with_operation(step.to_string())
}

fn cause(step: &Step, failure: Failure, printed: &[u8]) -> Error {
    let Failure { errno, detail } = failure;
    let plain = || Error::system(step, errno);
    let ours = |why: &str| Error::new(ErrorKind::InvalidSpec, format!("{step}: {why}")).with_errno(errno);
    match (step, detail) {
        (Step::Attempt { step, .. }, _) => cause(step, failure, printed),
        (Step::FindProgram(program) | Step::Execute(program), _) => missing_program(step, program, errno),
        (Step::Account(account), process::CWD_FAILED) => Error::system(
            format!("chdir to cwd ({:?}) set in config.json failed", account.cwd.to_string_lossy()),
            errno,
        ),
        (Step::Account(_), process::CWD_OUTSIDE) => Error::new(
            ErrorKind::InvalidSpec,
            "current working directory is outside of container mount namespace root -- possible container breakout detected",
        ),
        (Step::Account(account), process::SETGROUPS_FAILED) => {
            Error::system(format!("setgroups {:?}", account.groups.as_deref().unwrap_or_default()), errno)
        }
        (Step::Account(account), process::SETGID_FAILED) => Error::system(format!("setgid {}", account.gid), errno),
        (Step::Account(account), process::SETUID_FAILED) => Error::system(format!("setuid {}", account.uid), errno),
        (Step::Mount(mount), chroot::NOT_ORDINARY) => {
            ours(&format!("{} must be mounted on ordinary directory", mount.target.to_string_lossy()))
        }
        (Step::Mount(mount), chroot::NOT_PROC) => {
            ours(&format!("{} cannot be mounted because it is not of type proc", mount.target.to_string_lossy()))
        }
        (Step::Mount(mount), chroot::INSIDE_PROC) => {
            ours(&format!("{} cannot be mounted because it is inside /proc", mount.target.to_string_lossy()))
        }
        (Step::Mount(_), chroot::SOURCE_FAILED) => plain().context("open its source"),
        (Step::Mount(_), chroot::TARGET_FAILED) => plain().context("open its target"),
        (Step::Mount(_), chroot::COPY_UP_FAILED) => plain().context("copy up"),
        (Step::Remount(_), chroot::NOT_A_MOUNT) => ours("nothing is mounted there"),
        (Step::Mount(_), chroot::IDMAP_FAILED) => plain().context("idmap it"),
        (Step::MaskPaths { paths, .. }, detail) => {
            let path = paths.get((detail >> 8) as usize).map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
            match detail & 0xff {
                chroot::BAD_NULL => Error::new(
                    ErrorKind::InvalidSpec,
                    format!("can't mask paths: {path}: /dev/null of the container is not the null device: {errno}"),
                ),
                _ => Error::system(format!("can't mask paths: {path}"), errno),
            }
        }
        (Step::Console(_), console::NO_PTMX) => plain().context("open /dev/pts/ptmx of the container"),
        (Step::Console(_), console::NOT_DEVPTS) => ours("/dev/pts/ptmx of the container is not a devpts's"),
        (Step::Console(_), console::SEND_FAILED) => plain().context("send it to the console socket"),
        (Step::Console(_), console::DEVICE_FAILED) => plain().context("bind it onto /dev/console"),
        (Step::Hook(hook), _) => {
            let why = late_cause(errno, detail, printed);
            Error::new(ErrorKind::Hook, format!("{}: {why}", hook_text(hook)))
        }
        _ => plain(),
    }
}

/// The cause of a failure that was told to `start`, with what a hook printed.
pub(crate) fn late_cause(errno: Errno, detail: u32, printed: &[u8]) -> String {
    let how = match detail {
        hook::TIMED_OUT => "timeout exceeded".to_owned(),
        d if (hook::EXITED..hook::EXITED + 128).contains(&d) => format!("exit status: {}", d - hook::EXITED),
        d if d >= hook::EXITED => format!("signal: {}", d - hook::EXITED - 128),
        _ => return errno.to_string(),
    };
    if printed.is_empty() { how } else { format!("{how}, {}", quoted(printed)) }
}

/// The texts that engines take for "no such program" (127) and "can't be executed" (126).
fn missing_program(step: &Step, program: &Program, errno: Errno) -> Error {
    let name = program.name();
    let text = match (step, errno) {
        (_, Errno(libc::ENOENT | libc::ENOTDIR)) if program.searched => {
            format!("exec: {name:?}: executable file not found in $PATH")
        }
        (Step::FindProgram(_), Errno(libc::ENOENT | libc::ENOTDIR)) => format!("exec: {name:?}: stat {name}: {errno}"),
        // Go says `is a directory` or `permission denied`, by its version; every engine takes the second.
        (_, Errno(libc::EACCES | libc::EISDIR)) => format!("exec: {name:?}: permission denied"),
        (Step::FindProgram(_), _) => format!("exec: {name:?}: {errno}"),
        _ => format!("exec {name}: {errno}"),
    };
    Error::new(ErrorKind::Program, text).with_errno(errno)
}
