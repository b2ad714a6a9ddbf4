//! `events`: what a container uses and what happens to it, a line of JSON for each, in runc's shape.

use std::io::{ErrorKind as IoErrorKind, Write};
use std::ops::ControlFlow;
use std::time::Duration;

use runtime_core::cgroup::Stats;
use runtime_core::sys::Errno;
use runtime_core::{Error, ErrorKind, Event, Result};
use serde::Serialize;

use super::{CONTAINER_ID, Call, Command, ONE_ID, json};
use crate::args::{Order, Parsed, Takes, flag};
use crate::size;

pub(super) const COMMAND: Command = Command {
    name: "events",
    summary: "print what a container uses, and when it runs out of memory",
    usage: CONTAINER_ID,
    flags: &[
        flag(&["interval"], Takes::Value, "time between two reports, as 500ms or 1m30s (default: 5s)"),
        flag(&["stats"], Takes::Nothing, "print one report now, and nothing more"),
    ],
    order: Order::Anywhere,
    count: ONE_ID,
    run,
};

/// runc's types.Event.
#[derive(Serialize)]
struct Line<'a> {
    r#type: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Stats>,
}

fn run(call: &Call<'_>) -> Result<u8> {
    let interval = interval(&call.args)?;
    let container = call.container()?;
    let mut tell = |event: Event| {
        let line = match &event {
            Event::OutOfMemory => Line { r#type: "oom", id: container.id(), data: None },
            Event::Stats(stats) => Line { r#type: "stats", id: container.id(), data: Some(stats) },
            // There is no other one yet.
            _ => return Ok(ControlFlow::Continue(())),
        };
        // One write a line: a reader never sees a part of it.
        match std::io::stdout().write_all((json(&line, false)? + "\n").as_bytes()) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            // Whoever reads has seen enough.
            Err(error) if error.kind() == IoErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(Error::system("write to standard output", Errno::from(error))),
        }
    };
    if call.args.is("stats") {
        let _ = tell(Event::Stats(Box::new(container.stats()?)))?;
    } else {
        container.watch(interval, &mut tell)?;
    }
    Ok(0)
}

pub(super) fn interval(args: &Parsed) -> Result<Duration> {
    let text = args.text("interval").unwrap_or_else(|| "5s".to_owned());
    match size::duration(&text) {
        Some(Duration::ZERO) => Err(Error::new(ErrorKind::InvalidSpec, "duration interval must be greater than 0")),
        Some(interval) => Ok(interval),
        None => {
            let text = format!("invalid value {text:?} for flag -interval: parse error");
            Err(Error::new(ErrorKind::InvalidSpec, text))
        }
    }
}
