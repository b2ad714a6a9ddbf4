//! Namespaces: new, inherited, joined.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{case, has, path};
use crate::ctx::{args, ensure, eq, facts_of, namespace, skip};
use crate::frame::Case;

pub(super) fn namespaces() -> Vec<Case> {
    const NS: &str = "config-linux.md Namespaces";
    let link = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).map(|l| l.to_string_lossy().into_owned());
    let kinds = [
        ("pid", "pid"),
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("mount", "mnt"),
        ("cgroup", "cgroup"),
        ("time", "time"),
    ];
    let mut all = Vec::new();
    for (kind, name) in kinds {
        all.push(case(&format!("namespace/new-{kind}"), NS, move |x| {
            let f = x.facts(|c| namespace(c, kind, Some(json!({"type": kind}))))?;
            ensure(f["ns"][name].as_str() != Some(&link(name)?), "it is the runtime's")
        }));
        if kind == "mount" {
            continue;
        }
        all.push(case(
            &format!("namespace/inherited-{kind}"),
            "config-linux.md Namespaces: not listed, inherited",
            move |x| {
                let f = x.facts(|c| {
                    namespace(c, kind, None);
                    if kind == "uts" {
                        c["hostname"] = json!("");
                    }
                })?;
                eq(kind, f["ns"][name].as_str(), Some(link(name)?.as_str()))
            },
        ));
        all.push(case(&format!("namespace/joined-{kind}"), "config-linux.md Namespaces: path", move |x| {
            let first = x.live(|c| namespace(c, kind, Some(json!({"type": kind}))))?;
            let there = format!("/proc/{}/ns/{name}", first.pid);
            let f = x.facts(|c| namespace(c, kind, Some(json!({"type": kind, "path": there}))))?;
            eq(kind, f["ns"][name].as_str(), fs::read_link(&there)?.to_str())
        }));
    }
    all.extend([
        case("namespace/pid-isolated", "config-linux.md Namespaces: pid", |x| {
            let f = x.facts(|c| args(c, "report /proc"))?;
            let pids = path(&f, "/proc")["list"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let others: Vec<_> = pids.filter(|n| n.parse::<u32>().is_ok_and(|p| p > 1)).collect();
            ensure(others.is_empty(), format_args!("it sees the processes {others:?}"))
        }),
        case("namespace/hostname-is-private", "config-linux.md Namespaces: uts", |x| {
            let before = nix::unistd::gethostname()?;
            x.facts(|c| c["hostname"] = json!("other"))?;
            eq("hostname of the host", nix::unistd::gethostname()?, before)
        }),
        case("namespace/loopback", "runc: the loopback device of a new network namespace is up", |x| {
            let b = x.bundle(|c| args(c, "report /sys/class/net/lo/flags"))?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            let flags = path(&f, "/sys/class/net/lo/flags")["text"].as_str().unwrap_or_default().to_owned();
            let n = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0);
            ensure(n & 1 == 1, format_args!("flags {flags}"))
        }),
        case("namespace/time-offsets", "config-linux.md Offset for Time Namespace", |x| {
            let f = x.facts(|c| {
                namespace(c, "time", Some(json!({"type": "time"})));
                c["linux"]["timeOffsets"] =
                    json!({"monotonic": {"secs": 172_800, "nanosecs": 5}, "boottime": {"secs": 604_800}});
            })?;
            let text = f["timens_offsets"].as_str().unwrap_or_default();
            let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
            eq("offsets", lines, vec![vec!["monotonic", "172800", "5"], vec!["boottime", "604800", "0"]])
        }),
        case("namespace/net-devices", "config-linux.md Network Devices", |x| {
            let ip = Path::new("/usr/sbin/ip");
            let ip = if ip.exists() { ip } else { Path::new("/sbin/ip") };
            if !ip.exists() {
                return skip("no ip(8) to make a device with");
            }
            // Which kinds there are depends on the kernel.
            let made = ["dummy", "bridge", "veth", "ifb"]
                .iter()
                .map(|kind| x.program(ip, ["link", "add", "name", "dummy7", "type", kind]).go())
                .collect::<Result<Vec<_>, _>>()?;
            if made.iter().all(|m| m.status != 0) {
                return skip(format!("no virtual device: {}", made[0].stderr.trim()));
            }
            x.program(ip, ["address", "add", "192.0.2.7/24", "dev", "dummy7"]).go()?.ok()?;
            let f = x.facts(|c| {
                c["linux"]["netDevices"] = json!({"dummy7": {"name": "inside0"}});
                args(c, "report /sys/class/net /sys/class/net/inside0/flags /proc/net/fib_trie");
            })?;
            let list = &path(&f, "/sys/class/net")["list"];
            ensure(has(list, "inside0"), format_args!("devices: {list}"))?;
            let flags = path(&f, "/sys/class/net/inside0/flags")["text"].as_str().unwrap_or_default();
            let n = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0);
            ensure(n & 1 == 1, "the device is not up")?;
            let routes = path(&f, "/proc/net/fib_trie")["text"].as_str().unwrap_or_default();
            ensure(routes.contains("192.0.2.7"), "the address was not kept")
        }),
    ]);
    all
}
