//! `delete`: what a container holds is given back.

use runtime_core::{ErrorKind, Result};

use super::{CONTAINER_ID, Call, Command, ONE_ID};
use crate::args::{Order, Takes, flag};

pub(super) const COMMAND: Command = Command {
    name: "delete",
    summary: "remove all that a stopped container holds",
    usage: CONTAINER_ID,
    flags: &[flag(&["force", "f"], Takes::Nothing, "kill what still runs; a container that does not exist is fine")],
    order: Order::Anywhere,
    count: ONE_ID,
    run,
};

fn run(call: &Call<'_>) -> Result<u8> {
    let force = call.args.is("force");
    match call.container() {
        Ok(container) => call.warn(&container.delete(force)?, false),
        // Engines force a deletion to clean up, whatever is there: also a directory that a killed `create` left behind.
        Err(error) if force && error.kind() != ErrorKind::InvalidId => {
            match call.containers()?.delete_remains(&call.id()?, &super::user_bus()) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => result?,
            }
        }
        Err(error) => return Err(error),
    }
    Ok(0)
}
