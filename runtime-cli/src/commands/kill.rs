//! `kill`: a signal to a container's first process, or to all.

use runtime_core::Result;

use super::{Call, Command};
use crate::args::{Count, Order, Parsed, Takes, flag};
use crate::signals;

pub(super) const COMMAND: Command = Command {
    name: "kill",
    summary: "send a signal (default: SIGTERM) to a container",
    usage: "<container-id> [signal]",
    flags: &[flag(&["all", "a"], Takes::Nothing, "send it to all processes of the container")],
    // `kill ID -9` must not read the signal as flags.
    order: Order::First,
    count: Count { min: 1, max: 2 },
    run,
};

fn run(call: &Call<'_>) -> Result<u8> {
    let container = call.container()?;
    container.kill(signal(&call.args)?, call.args.is("all"))?;
    Ok(0)
}

pub(super) fn signal(args: &Parsed) -> Result<i32> {
    signals::number(&args.argument(1).map_or("SIGTERM".into(), |signal| signal.to_string_lossy()))
}
