//! The sentences of the OCI runtime specification, seen from outside.

use serde_json::{Value, json};

use crate::ctx::{Outcome, Patch, eq};
use crate::frame::Case;

/// Facts that a row expects, as JSON pointers into the probe's report.
type Expect = fn() -> Vec<(&'static str, Value)>;

/// A container is run with `patch`, and its facts are compared.
struct Row(&'static str, &'static str, Patch, Expect);

const ROWS: &[Row] = &[
    Row(
        "process/user",
        "config.md POSIX-platform user: uid, gid",
        |c| c["process"]["user"] = json!({"uid": 1000, "gid": 1001}),
        || vec![("/uid", json!([1000, 1000, 1000, 1000])), ("/gid", json!([1001, 1001, 1001, 1001]))],
    ),
    Row(
        "domainname",
        "config.md Domainname",
        |c| c["domainname"] = json!("example.test"),
        || vec![("/domainname", json!("example.test"))],
    ),
];

/// Compares facts with what a row expects.
pub(crate) fn compare(facts: &Value, expect: &[(&str, Value)]) -> Outcome {
    for (pointer, want) in expect {
        eq(pointer, facts.pointer(pointer).unwrap_or(&Value::Null), want)?;
    }
    Ok(())
}

pub(crate) fn cases() -> Vec<Case> {
    ROWS.iter()
        .map(|Row(name, checks, patch, expect)| {
            Case::new("spec", *name, checks, move |x| compare(&x.facts(patch)?, &expect()))
        })
        .collect()
}
