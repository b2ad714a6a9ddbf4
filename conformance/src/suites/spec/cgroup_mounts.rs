//! Mounts of the cgroup hierarchies.

use std::fs;

use serde_json::{Value, json};

use super::{case, has, mounted};
use crate::ctx::{Ctx, args, ensure, eq, namespace, push, skip};
use crate::frame::Case;

pub(super) fn cgroup_mounts() -> Vec<Case> {
    const CGROUP: &str = "config.md Mounts: type cgroup";
    let facts = |x: &Ctx, own_namespace: bool, options: &'static [&'static str]| {
        x.facts(|c| {
            namespace(c, "cgroup", own_namespace.then(|| json!({"type": "cgroup"})));
            let m = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options});
            push(&mut c["mounts"], m);
            args(c, "report /sys/fs/cgroup , mkdir /sys/fs/cgroup/probe-made");
        })
    };
    // The mounts of the hierarchies; on v1 without the tmpfs that holds them.
    let hierarchies = |f: &Value| -> Vec<Value> {
        let all = f["mounts"].as_array().into_iter().flatten();
        all.filter(|m| m["type"] == "cgroup" || m["type"] == "cgroup2").cloned().collect()
    };
    vec![
        case("cgroup-mount/own-namespace", "config-linux.md Namespaces: cgroup, an isolated view", move |x| {
            let f = facts(x, true, &["ro", "nosuid", "noexec", "nodev"])?;
            let all = hierarchies(&f);
            ensure(!all.is_empty(), "nothing is mounted")?;
            for m in &all {
                eq(format_args!("root of {}", m["point"]), m["root"].as_str(), Some("/"))?;
                ensure(has(&m["options"], "ro") && has(&m["options"], "nosuid"), format_args!("{m}"))?;
            }
            let text = f["cgroup"].as_str().unwrap_or_default().to_owned();
            let outside = text.lines().find(|l| !l.ends_with(":/") && !l.starts_with("0::"));
            ensure(outside.is_none(), format_args!("it sees itself in {outside:?}"))
        }),
        case("cgroup-mount/host's-namespace", CGROUP, move |x| {
            let f = facts(x, false, &["ro"])?;
            let all = hierarchies(&f);
            ensure(!all.is_empty(), "nothing is mounted")?;
            if x.job.v2 {
                // The host's own, as runc has it.
                return eq("type", mounted(&f, "/sys/fs/cgroup")?["type"].as_str(), Some("cgroup2"));
            }
            // Each is the container's own group: what it sees of the hierarchy begins there.
            let own = f["cgroup"].as_str().unwrap_or_default().to_owned();
            for m in &all {
                let root = m["root"].as_str().unwrap_or_default();
                ensure(
                    own.contains(root.trim_end_matches('/')),
                    format_args!("{root} of {} is not in {own}", m["point"]),
                )?;
            }
            Ok(())
        }),
        case("cgroup-mount/writable", CGROUP, move |x| {
            let b = x.bundle(|c| {
                namespace(c, "cgroup", Some(json!({"type": "cgroup"})));
                let m =
                    json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]});
                push(&mut c["mounts"], m);
                let place = if x.job.v2 { "/sys/fs/cgroup/made" } else { "/sys/fs/cgroup/pids/made" };
                args(c, &format!("mkdir {place} , rm {place}"));
            })?;
            let out = x.run(&b)?.ok()?;
            eq("mkdir", out.results()[0].as_str(), Some("ok"))
        }),
        case("cgroup-mount/named-hierarchy", "cgroups(7): v1 hierarchies without a controller", move |x| {
            let own = fs::read_to_string("/proc/self/cgroup")?;
            let name = own.lines().find_map(|l| l.split(':').nth(1)?.strip_prefix("name="));
            let Some(name) = name.filter(|_| !x.job.v2) else {
                return skip("no named hierarchy of cgroup v1");
            };
            for own_namespace in [true, false] {
                let f = facts(x, own_namespace, &["ro"])?;
                let m = mounted(&f, &format!("/sys/fs/cgroup/{name}"))?;
                eq("type", m["type"].as_str(), Some("cgroup"))?;
                ensure(has(&m["super"], &format!("name={name}")), format_args!("{m}"))?;
            }
            Ok(())
        }),
        case("cgroup-mount/every-hierarchy", CGROUP, move |x| {
            let f = facts(x, true, &["ro"])?;
            if x.job.v2 {
                return eq("mounts", hierarchies(&f).len(), 1);
            }
            let own = fs::read_to_string("/proc/self/cgroup")?;
            for controllers in own.lines().filter_map(|l| l.split(':').nth(1)).filter(|c| !c.is_empty()) {
                let found = hierarchies(&f).iter().any(|m| controllers.split(',').all(|c| has(&m["super"], c)));
                ensure(found, format_args!("{controllers} is not mounted"))?;
            }
            Ok(())
        }),
    ]
}
