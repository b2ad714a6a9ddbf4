//! `plan`: what `create` would do with a bundle, step by step, without doing it.

use runtime_core::{Console, Result};

use super::{BUNDLE, Call, Command, NO_NEW_KEYRING, NO_PIVOT, print};
use crate::args::{Count, Order};

pub(super) const COMMAND: Command = Command {
    name: "plan",
    summary: "print what create would do, step by step, without doing it",
    usage: "[container-id]",
    flags: &[BUNDLE, NO_PIVOT, NO_NEW_KEYRING],
    order: Order::Anywhere,
    count: Count { min: 0, max: 1 },
    run,
};

fn run(call: &Call<'_>) -> Result<u8> {
    let id = if call.args.arguments.is_empty() { "container".to_owned() } else { call.id()? };
    let plan = runtime_core::plan_bundle(&call.root, &id, &call.bundle()?, &call.create_options(Console::Caller))?;
    print(&plan.to_string())
}
