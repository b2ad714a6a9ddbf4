//! `create`: everything but the program's execution.

use runtime_core::{Console, Result};

use super::{
    BUNDLE, CONSOLE_SOCKET, CONTAINER_ID, Call, Command, NO_NEW_KEYRING, NO_PIVOT, ONE_ID, PID_FILE, PIDFD_SOCKET,
    PRESERVE_FDS, Started,
};
use crate::args::Order;

pub(super) const COMMAND: Command = Command {
    name: "create",
    summary: "create a container",
    usage: CONTAINER_ID,
    flags: &[BUNDLE, CONSOLE_SOCKET, PIDFD_SOCKET, PID_FILE, NO_PIVOT, NO_NEW_KEYRING, PRESERVE_FDS],
    order: Order::Anywhere,
    count: ONE_ID,
    run,
};

fn run(call: &Call<'_>) -> Result<u8> {
    call.prepare_to_enter()?;
    let container = call.create(call.args.path("console-socket").map_or(Console::Nobody, Console::Socket))?;
    if let Err(error) = Started::init(&container).and_then(|init| call.announce(init, "standard")) {
        // Nobody knows of it: a container that its engine can't find would stay for ever.
        let _ = container.delete(true);
        return Err(error);
    }
    call.warn(container.warnings(), true);
    Ok(0)
}
