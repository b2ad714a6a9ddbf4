//! `ps`: the processes of a container.

use std::process::Command as Program;

use runtime_core::sys::Errno;
use runtime_core::{Error, ErrorKind, Result};

use super::{Call, Command, json, print};
use crate::args::{Count, Order, Takes, flag};
use crate::texts;

pub(super) const COMMAND: Command = Command {
    name: "ps",
    summary: "list the processes of a container",
    usage: "<container-id> [ps options]",
    flags: &[flag(&["format", "f"], Takes::Value, "table or json (default: table)")],
    // What follows the id is for ps(1).
    order: Order::First,
    count: Count { min: 1, max: usize::MAX },
    run,
};

fn run(call: &Call<'_>) -> Result<u8> {
    let pids = call.container()?.pids()?;
    match call.args.text("format").as_deref() {
        None | Some("table") => {}
        Some("json") => return print(&(json(&pids, false)? + "\n")),
        Some(_) => return Err(Error::new(ErrorKind::InvalidSpec, texts::INVALID_FORMAT)),
    }
    let options = &call.args.arguments[1..];
    let mut program = Program::new("ps");
    if options.is_empty() {
        program.arg("-ef")
    } else {
        program.args(options)
    };
    let output = program.output().map_err(|error| Error::system("execute ps", Errno::from(error)))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().chain(text.lines()).find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(Error::new(ErrorKind::System, format!("ps: {}: {}", output.status, said.trim())));
    }
    let table =
        filter(&text, &pids).ok_or_else(|| Error::new(ErrorKind::System, "couldn't find PID field in ps output"))?;
    print(&table)
}

/// The header of a table by ps(1), and the lines of those processes. `None`: no column is headed `PID`.
fn filter(table: &str, pids: &[i32]) -> Option<String> {
    let (header, lines) = table.split_once('\n').unwrap_or((table, ""));
    let column = header.split_whitespace().position(|title| title == "PID")?;
    let is_one = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    };
    let lines = lines.lines().filter(is_one);
    Some([header].into_iter().chain(lines).map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_lines() {
        let check = |table, pids: &[i32], expect: Option<&str>| assert_eq!(filter(table, pids).as_deref(), expect);
        let table = "UID        PID  PPID CMD\nroot      12     1 sleep\nroot      13     1 ps 12\n";
        check(table, &[12], Some("UID        PID  PPID CMD\nroot      12     1 sleep\n"));
        check(table, &[1], Some("UID        PID  PPID CMD\n"));
        check("COMMAND\nsleep\n", &[12], None);
        check("", &[12], None);
    }
}
