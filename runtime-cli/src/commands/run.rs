//! `run`: create, start and, in the foreground, wait and delete.

use std::os::fd::AsFd;
use std::thread::JoinHandle;

use runtime_core::console::relay::Signals;
use runtime_core::sys::Errno;
use runtime_core::{Console, Container, Error, ErrorKind, Result};

use super::{
    BUNDLE, CONSOLE_SOCKET, CONTAINER_ID, Call, Command, DETACH, NO_NEW_KEYRING, NO_PIVOT, NO_SUBREAPER, ONE_ID,
    PID_FILE, PIDFD_SOCKET, PRESERVE_FDS, Started,
};
use crate::args::{Order, Takes, flag};
use crate::log::Log;
use crate::notify::Proxy;
use crate::{foreground, texts};

pub(super) const COMMAND: Command = Command {
    name: "run",
    summary: "create a container, start it, and wait for its end",
    usage: CONTAINER_ID,
    flags: &[
        BUNDLE,
        CONSOLE_SOCKET,
        DETACH,
        flag(&["keep"], Takes::Nothing, "do not delete the container when it has ended"),
        PIDFD_SOCKET,
        PID_FILE,
        NO_SUBREAPER,
        NO_PIVOT,
        NO_NEW_KEYRING,
        PRESERVE_FDS,
    ],
    order: Order::Anywhere,
    count: ONE_ID,
    run,
};

fn run(call: &Call<'_>) -> Result<u8> {
    call.prepare_to_enter()?;
    let detach = call.args.is("detach");
    let console = match call.args.path("console-socket") {
        Some(socket) if detach => Console::Socket(socket),
        Some(_) => return Err(Error::new(ErrorKind::InvalidSpec, texts::SOCKET_UNUSED)),
        None if detach => Console::Nobody,
        None => Console::Caller,
    };
    let signals = if detach { None } else { Some(foreground::begin(!call.args.is("no-subreaper"))?) };
    let mut container = call.create(console)?;
    let code = start_and_wait(call, &mut container, signals.as_ref());
    if code.is_err() || (!detach && !call.args.is("keep")) {
        // Whatever the container left running goes with it.
        match container.delete(true) {
            Ok(warnings) if code.is_ok() => call.warn(&warnings, !detach),
            Err(error) if code.is_ok() => call.log.error(&texts::message("delete", &error)),
            // The first error is the one that is told.
            _ => {}
        }
    }
    if code.is_ok() {
        call.warn(container.warnings(), true);
    }
    code
}

fn start_and_wait(call: &Call<'_>, container: &mut Container, signals: Option<&Signals>) -> Result<u8> {
    // Before the program can write: its terminal's modes are set now.
    let terminal = container.take_master().map(foreground::connect).transpose()?;
    let proxy = Proxy::bind(container)?;
    container.start()?;
    let init = Started::init(container)?;
    call.announce(init, "standard")?;
    let Some(signals) = signals else {
        // The supervisor's main process is the container's; this one may end when it knows.
        told(call.log, proxy.map_or(Ok(()), |proxy| proxy.pass_on(init.pidfd, init.pid)));
        return Ok(0);
    };
    let watcher = proxy.map(|proxy| watch(proxy, init)).transpose()?;
    let code = foreground::wait(call, init, !call.args.is("no-subreaper"), signals, terminal);
    // One that still waits for the supervisor ends with this process.
    if let Some(Ok(result)) = watcher.filter(JoinHandle::is_finished).map(JoinHandle::join) {
        told(call.log, result);
    }
    code
}

/// In the foreground the main process stays this one, which passes signals on while the program gets ready.
fn watch(proxy: Proxy, init: Started<'_>) -> Result<JoinHandle<Result<()>>> {
    let failed = |what, error: std::io::Error| Error::system(what, Errno::from(error));
    let init = init.pidfd.try_clone_to_owned().map_err(|error| failed("copy a pidfd", error))?;
    let pass_on = move || proxy.pass_on(init.as_fd(), std::process::id() as i32);
    std::thread::Builder::new().spawn(pass_on).map_err(|error| failed("start a thread", error))
}

/// A supervisor that can't be told is no reason to end the container.
fn told(log: &Log, result: Result<()>) {
    if let Err(error) = result {
        log.warning(&error.to_string());
    }
}
