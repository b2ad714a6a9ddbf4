//! `--trace FILE`: where the command's time went, as Chrome trace events, which Perfetto (ui.perfetto.dev),
//! `chrome://tracing` and speedscope show as a time line.
//!
//! A JSON array with an event a line: the runtime, its hop and the container's process are a process each. Times are
//! CLOCK_MONOTONIC in microseconds, as in the kernel's own traces. A program that executes itself again
//! (`own_binary.rs`) leaves the array open and goes on behind it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use runtime_core::sys;
use runtime_core::trace::{self, By, Span};
use serde_json::{Value, json};

/// The file of one invocation, or none.
#[derive(Debug, Default)]
pub(crate) struct TraceFile(Option<File>);

impl TraceFile {
    /// Begins the trace. `second`: this program has executed itself, and the file is begun.
    pub(crate) fn open(path: Option<&Path>, second: bool) -> Result<Self, String> {
        let Some(path) = path else { return Ok(TraceFile(None)) };
        let mut options = File::options();
        let options = if second { options.append(true) } else { options.write(true).create(true).truncate(true) };
        let failed = |error| format!("open {}: {}", path.display(), sys::Errno::from(error));
        let mut file = options.open(path).map_err(failed)?;
        if !second {
            file.write_all(b"[\n").map_err(failed)?;
        }
        trace::begin();
        // Nobody tells when the kernel began to execute the program; the processor time that went by since is known.
        let (now, spent) = (sys::now(), sys::processor_time());
        let name = if second { "execute itself again, until main" } else { "start of the process, until main" };
        // The second time this was all one process, which has already told of the first part.
        let begin = if second { None } else { Some(now.saturating_sub(spent)) };
        if let Some(begin) = begin {
            trace::add(Span { name: name.to_owned(), by: By::Runtime, pid: sys::getpid(), begin, end: now });
        }
        Ok(TraceFile(Some(file)))
    }

    /// Writes what was seen. `last`: there is nothing to come. A trace that can't be written does not fail the command.
    pub(crate) fn write(&self, last: bool) {
        let Some(mut file) = self.0.as_ref() else { return };
        let spans = trace::take();
        let offset = sys::now() as i64 - sys::uptime() as i64;
        let names: BTreeSet<_> = spans.iter().map(|span| (span.pid, name(span.by))).collect();
        let names = names.into_iter().map(
            |(pid, name)| json!({"name": "process_name", "ph": "M", "pid": pid, "tid": pid, "args": {"name": name}}),
        );
        let events: Vec<_> = names.chain(spans.iter().map(|span| event(span, offset))).map(|e| e.to_string()).collect();
        let end = if last { "\n]\n" } else { ",\n" };
        let _ = file.write_all((events.join(",\n") + end).as_bytes());
    }
}

fn name(by: By) -> &'static str {
    match by {
        By::Runtime => env!("CARGO_BIN_NAME"),
        By::Hop => "hop",
        By::Init => "init",
    }
}

/// A complete event. `offset`: CLOCK_REALTIME less CLOCK_MONOTONIC, nanoseconds.
fn event(span: &Span, offset: i64) -> Value {
    let microseconds = |nanoseconds: i64| nanoseconds as f64 / 1e3;
    json!({
        "name": span.name,
        "cat": name(span.by),
        "ph": "X",
        "ts": microseconds(span.begin as i64 - offset),
        "dur": microseconds(span.end.saturating_sub(span.begin) as i64),
        "pid": span.pid,
        "tid": span.pid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_chrome_s() {
        let span =
            Span { name: "mount \"x\"".to_owned(), by: By::Init, pid: 7, begin: 5_000_001_500, end: 5_000_003_000 };
        let expect =
            json!({"name": "mount \"x\"", "cat": "init", "ph": "X", "ts": 1.5, "dur": 1.5, "pid": 7, "tid": 7});
        assert_eq!(event(&span, 5_000_000_000), expect);
    }
}
