//! `list`: the containers below `--root`.

use runtime_core::{Error, ErrorKind, Result, State};

use super::{Call, Command, json, print};
use crate::args::{Count, Order, Takes, flag};
use crate::texts;

pub(super) const COMMAND: Command = Command {
    name: "list",
    summary: "list the containers",
    usage: "",
    flags: &[
        flag(&["format", "f"], Takes::Value, "table or json (default: table)"),
        flag(&["quiet", "q"], Takes::Nothing, "print the ids only"),
    ],
    order: Order::Anywhere,
    count: Count { min: 0, max: 0 },
    run,
};

fn run(call: &Call<'_>) -> Result<u8> {
    let mut states = Vec::new();
    for (id, state) in call.containers()?.states()? {
        match state {
            Ok(state) => states.push(state),
            Err(error) => call.log.warning(&format!("state of {id}: {error}")),
        }
    }
    if call.args.is("quiet") {
        return print(&states.iter().map(|state| format!("{}\n", state.id)).collect::<String>());
    }
    match call.args.text("format").as_deref() {
        None | Some("table") => {
            let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from);
            print(&table(&[header].into_iter().chain(states.iter().map(row)).collect::<Vec<_>>()))
        }
        // As runc has it: no container is no array.
        Some("json") if states.is_empty() => print("null\n"),
        Some("json") => print(&(json(&states, false)? + "\n")),
        Some(_) => Err(Error::new(ErrorKind::InvalidSpec, texts::INVALID_FORMAT)),
    }
}

fn row(state: &State) -> [String; 6] {
    let bundle = state.bundle.display().to_string();
    let (id, created, owner) = (state.id.clone(), state.created.clone(), state.owner.clone());
    [id, state.pid.to_string(), state.status.to_string(), bundle, created, owner]
}

/// A table whose columns are as wide as Go's tabwriter makes them for runc: what is in them and three spaces, twelve at
/// least; the last one is as wide as it happens to be.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count() + 3).max().unwrap_or(0).max(12);
    let widths: [usize; N] = std::array::from_fn(width);
    let cell = |(column, text): (usize, &String)| match widths[column] {
        _ if column + 1 == N => text.clone(),
        width => format!("{text:width$}"),
    };
    rows.iter().map(|row| row.iter().enumerate().map(cell).collect::<String>() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables() {
        let row = |cells: [&str; 3]| cells.map(String::from);
        assert_eq!(table(&[row(["ID", "BUNDLE", "OWNER"])]), "ID          BUNDLE      OWNER\n");
        assert_eq!(
            table(&[row(["ID", "BUNDLE", "OWNER"]), row(["x1", "/tmp/cli/b", "root"])]),
            "ID          BUNDLE       OWNER\nx1          /tmp/cli/b   root\n"
        );
    }
}
