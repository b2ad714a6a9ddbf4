//! `features`: what this runtime supports.

use runtime_core::Result;

use super::{Call, Command, json, print};
use crate::args::{Count, Order};

pub(super) const COMMAND: Command = Command {
    name: "features",
    summary: "print what this runtime supports",
    usage: "",
    flags: &[],
    order: Order::Anywhere,
    count: Count { min: 0, max: 0 },
    run,
};

fn run(_: &Call<'_>) -> Result<u8> {
    // Nothing else on either stream: CRI-O reads both as one document.
    print(&(json(&runtime_core::features(), true)? + "\n"))
}
