//! `state`: what a container is at the moment.

use runtime_core::Result;

use super::{CONTAINER_ID, Call, Command, ONE_ID, json, print};
use crate::args::Order;

pub(super) const COMMAND: Command = Command {
    name: "state",
    summary: "print the state of a container",
    usage: CONTAINER_ID,
    flags: &[],
    order: Order::Anywhere,
    count: ONE_ID,
    run,
};

fn run(call: &Call<'_>) -> Result<u8> {
    print(&json(&call.container()?.state()?, true)?)
}
