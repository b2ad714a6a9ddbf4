//! The sentences of the OCI runtime specification, seen from outside.

mod cgroup_mounts;
mod cgroups;
mod devices;
mod facts;
mod filesystems;
mod hooks;
mod idmaps;
mod labels;
mod lifecycle;
mod links;
mod mount_options;
mod mounts;
mod namespaces;
mod operations;
mod process;
mod refused;
mod rootless;
mod seccomp;
mod users;

pub(crate) use labels::{has_apparmor, with_profile};
pub(crate) use namespaces::{as_made, device, is_here};
use serde_json::{Value, json};

use crate::ctx::{Ctx, Outcome, Patch, Stop, ensure, eq, namespace};
use crate::frame::Case;

fn case(name: &str, checks: &'static str, run: impl Fn(&Ctx) -> Outcome + Send + Sync + 'static) -> Case {
    Case::new("spec", name, checks, run)
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = facts::FACTS
        .iter()
        .map(|Row(name, checks, patch, expect)| case(name, checks, move |x| compare(&x.facts(patch)?, &expect())))
        .collect();
    all.extend(refused::REFUSED.iter().map(|(name, checks, patch)| {
        case(name, checks, move |x| {
            let b = x.bundle(patch)?;
            let out = x.run(&b)?;
            ensure(out.status != 0, "it was accepted")?;
            ensure(!out.stdout.contains("\"uid\""), "the program ran")?;
            ensure(!out.stderr.trim().is_empty(), "no message")?;
            ensure(!out.stderr.contains("panic"), "it panicked")?;
            x.rt(["state", &b.id])?.errs().map(drop)
        })
    }));
    all.extend(process::process());
    all.extend(mounts::root_and_mounts());
    all.extend(mount_options::mount_options());
    all.extend(idmaps::idmaps());
    all.extend(links::links());
    all.extend(filesystems::filesystems());
    all.extend(cgroup_mounts::cgroup_mounts());
    all.extend(namespaces::namespaces());
    all.extend(namespaces::more_namespaces());
    all.extend(namespaces::net_devices());
    all.extend(users::users());
    all.extend(rootless::rootless());
    all.extend(devices::devices());
    all.extend(devices::masks());
    all.extend(seccomp::seccomp());
    all.extend(cgroups::cgroups());
    all.extend(hooks::hooks());
    all.extend(lifecycle::lifecycle());
    all.extend(operations::operations());
    all.extend(labels::labels());
    all
}

/// Facts that a row expects, as JSON pointers into the probe's report.
type Expect = fn() -> Vec<(&'static str, Value)>;

/// A container is run with a change, and its facts are compared.
struct Row(&'static str, &'static str, Patch, Expect);

/// Compares facts with what a row expects.
pub(crate) fn compare(facts: &Value, expect: &[(&str, Value)]) -> Outcome {
    for (pointer, want) in expect {
        eq(pointer, facts.pointer(pointer).unwrap_or(&Value::Null), want)?;
    }
    Ok(())
}

/// The facts about a path that `report PATH` looked at.
fn path<'a>(f: &'a Value, p: &str) -> &'a Value {
    &f["paths"][p]
}

/// The uppermost mount at this point.
fn mounted<'a>(f: &'a Value, point: &str) -> Result<&'a Value, Stop> {
    let found = f["mounts"].as_array().into_iter().flatten().rfind(|m| m["point"] == point);
    found.ok_or_else(|| Stop::Fail(format!("nothing is mounted on {point}")))
}

fn has(list: &Value, word: &str) -> bool {
    list.as_array().is_some_and(|l| l.iter().any(|w| w == word))
}

fn bind(source: &str, destination: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

fn tmpfs(destination: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "tmpfs", "source": "t", "options": options})
}

/// A user namespace of 1000 ids from 100000 on.
fn userns(c: &mut Value) {
    namespace(c, "user", Some(json!({"type": "user"})));
    c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    c["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
}
