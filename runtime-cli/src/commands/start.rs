//! `start`: executes the program of a created container.

use std::os::fd::AsFd;

use runtime_core::sys;
use runtime_core::{Error, Result};

use super::{CONTAINER_ID, Call, Command, ONE_ID};
use crate::args::Order;
use crate::notify::Proxy;

pub(super) const COMMAND: Command = Command {
    name: "start",
    summary: "execute the program of a created container",
    usage: CONTAINER_ID,
    flags: &[],
    order: Order::Anywhere,
    count: ONE_ID,
    run,
};

fn run(call: &Call<'_>) -> Result<u8> {
    let container = call.container()?;
    let Some(proxy) = Proxy::bind(&container)? else {
        container.start()?;
        return Ok(0);
    };
    // Before: it may be ready and gone when `start` returns.
    let pid = container.state()?.pid;
    let init = sys::pidfd_open(pid).map_err(|errno| Error::system("open a pidfd of init", errno));
    container.start()?;
    proxy.pass_on(init?.as_fd(), pid)?;
    Ok(0)
}
