//! `run`: create, start and, in the foreground, wait and delete.

use runtime_core::console::relay::Signals;
use runtime_core::{Console, Container, Error, ErrorKind, Result};

use super::{
    BUNDLE, CONSOLE_SOCKET, CONTAINER_ID, Call, Command, DETACH, NO_NEW_KEYRING, NO_PIVOT, NO_SUBREAPER, ONE_ID,
    PID_FILE, PIDFD_SOCKET, PRESERVE_FDS, Started,
};
use crate::args::{Order, Takes, flag};
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
    container.start()?;
    let init = Started::init(container)?;
    call.announce(init, "standard")?;
    match signals {
        Some(signals) => foreground::wait(call, init, !call.args.is("no-subreaper"), signals, terminal),
        None => Ok(0),
    }
}
