//! `resume`: thaws all processes of a container.

use runtime_core::Result;

use super::{CONTAINER_ID, Call, Command, ONE_ID};
use crate::args::Order;

pub(super) const COMMAND: Command = Command {
    name: "resume",
    summary: "thaw all processes of a paused container",
    usage: CONTAINER_ID,
    flags: &[],
    order: Order::Anywhere,
    count: ONE_ID,
    run,
};

fn run(call: &Call<'_>) -> Result<u8> {
    call.container()?.resume()?;
    Ok(0)
}
