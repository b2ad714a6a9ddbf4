//! Namespaces: new, inherited, joined.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{bind, case, has, path, userns};
use crate::ctx::{
    Bundle, Ctx, Cut, Live, Out, Outcome, Patch, Stop, args, contains, ensure, eq, facts_of, namespace, push, skip,
};
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
    ]);
    all
}

/// ip(8).
fn ip(x: &Ctx, words: &str) -> Result<Out, Stop> {
    let program = ["/usr/sbin/ip", "/sbin/ip"].iter().map(Path::new).find(|p| p.exists());
    match program {
        Some(program) => x.program(program, words.split(' ')).go(),
        None => skip("no ip(8) to make a device with"),
    }
}

/// A device with addresses of every kind, up. Which kinds of devices there are depends on the kernel.
pub(crate) fn device(x: &Ctx, name: &str) -> Outcome {
    let dummy = ip(x, &format!("link add name {name} type dummy"))?;
    if dummy.status != 0 {
        // The other end of a pair that ended with a container's namespace goes in the kernel's own time.
        ip(x, &format!("link delete dev peer-{name}"))?;
        let veth = ip(x, &format!("link add name {name} type veth peer name peer-{name}"))?;
        if veth.status != 0 {
            return skip(format!("no virtual device: {}", veth.stderr.trim()));
        }
        ip(x, &format!("link set peer-{name} up"))?.ok()?;
    }
    for words in [
        format!("link set {name} mtu 1400 address 02:00:00:00:00:07 up"),
        format!("address add 192.0.2.7/24 broadcast 192.0.2.255 dev {name} label {name}:one"),
        format!("address add 198.51.100.7 peer 198.51.100.8/32 dev {name}"),
        format!("address add 203.0.113.7/24 scope link dev {name}"),
        format!("address add 192.0.2.99/24 valid_lft 1000 preferred_lft 1000 dev {name}"),
        format!("address add 2001:db8::7/64 nodad dev {name}"),
    ] {
        ip(x, &words)?.ok()?;
    }
    Ok(())
}

/// Whether there is a device of this name.
pub(crate) fn is_here(x: &Ctx, name: &str) -> Result<bool, Stop> {
    Ok(ip(x, &format!("link show dev {name}"))?.status == 0)
}

/// The addresses of a device that do not end by themselves and are of global scope.
fn kept(name: &str) -> Vec<String> {
    vec![
        format!("192.0.2.7/24 broadcast 192.0.2.255 label {name}:one"),
        format!("198.51.100.7/32 address 198.51.100.8 label {name}"),
        "2001:db8::7/64".to_owned(),
    ]
}

/// The device is here, up, and has the addresses that it was given: those of other scopes do not come back.
pub(crate) fn as_made(x: &Ctx, name: &str) -> Outcome {
    let json = ip(x, &format!("-json address show dev {name}"))?.ok()?.stdout;
    let here = &serde_json::from_str::<Value>(&json)?[0];
    ensure(has(&here["flags"], "UP"), "the device is not up any more")?;
    let there = addresses(here);
    let missing: Vec<_> = kept(name).into_iter().filter(|one| !there.contains(one)).collect();
    ensure(missing.is_empty(), format_args!("the device has lost {missing:?}"))
}

/// What there is of a device in the container's network namespace, as ip(8) of the host sees it.
fn device_of(x: &Ctx, live: &Live, name: &str) -> Result<Value, Stop> {
    let nsenter = Path::new("/usr/bin/nsenter");
    if !nsenter.exists() {
        return skip("no nsenter(1)");
    }
    let net = format!("--net=/proc/{}/ns/net", live.pid);
    let out = x.program(nsenter, [net.as_str(), "ip", "-json", "address", "show", "dev", name]).go()?.ok()?;
    Ok(serde_json::from_str::<Value>(&out.stdout)?[0].take())
}

/// Its addresses, in the order of their texts.
fn addresses(device: &Value) -> Vec<String> {
    let text = |a: &Value| {
        let part = |key: &str| a[key].as_str().map(|value| format!(" {key} {value}")).unwrap_or_default();
        let local = a["local"].as_str().unwrap_or_default();
        format!("{local}/{}{}{}{}", a["prefixlen"], part("address"), part("broadcast"), part("label"))
    };
    // The kernel itself makes the link-local one.
    let all = device["addr_info"].as_array().into_iter().flatten();
    let mut all: Vec<_> =
        all.filter(|a| a["local"].as_str().is_some_and(|l| !l.starts_with("fe80"))).map(text).collect();
    all.sort();
    all
}

pub(super) fn net_devices() -> Vec<Case> {
    const DEVICES: &str = "config-linux.md Network Devices";
    let refused = |name: &'static str, checks: &'static str, patch: Patch, words: &'static [&'static str]| {
        case(&format!("net-device/refused-{name}"), checks, move |x| {
            device(x, "dev7")?;
            let b = x.bundle(patch)?;
            let out = x.run(&b)?;
            ensure(out.status != 0, "it was accepted")?;
            contains("the message", &out.stderr, words)?;
            // It is still here, as it was.
            let json = ip(x, "-json address show dev dev7")?.ok()?.stdout;
            let here = &serde_json::from_str::<Value>(&json)?[0];
            ensure(has(&here["flags"], "UP"), "it is not up any more")?;
            ensure(addresses(here).len() >= 3, format_args!("its addresses are {:?}", addresses(here)))
        })
    };
    let mut all = vec![
        case("net-device/moved", DEVICES, |x| {
            device(x, "dev7")?;
            let f = x.facts(|c| {
                c["linux"]["netDevices"] = json!({"dev7": {"name": "inside0"}});
                args(c, "report /sys/class/net /sys/class/net/inside0/flags /proc/net/fib_trie /proc/net/if_inet6");
            })?;
            let list = &path(&f, "/sys/class/net")["list"];
            ensure(has(list, "inside0"), format_args!("devices: {list}"))?;
            let flags = path(&f, "/sys/class/net/inside0/flags")["text"].as_str().unwrap_or_default();
            let n = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0);
            ensure(n & 1 == 1, "the device is not up")?;
            let text = |p: &str| path(&f, p)["text"].as_str().unwrap_or_default().to_owned();
            ensure(text("/proc/net/fib_trie").contains("192.0.2.7"), "the address was not kept")?;
            ensure(
                text("/proc/net/if_inet6").contains("20010db8000000000000000000000007"),
                "the address was not kept",
            )?;
            ensure(ip(x, "link show dev dev7")?.status != 0, "it is still in the runtime's namespace")
        }),
        case(
            "net-device/attributes-kept",
            "config-linux.md Network Devices: existing attributes are preserved",
            move |x| {
                device(x, "dev7")?;
                let live = x.live(|c| c["linux"]["netDevices"] = json!({"dev7": {"name": "inside0"}}))?;
                let inside = device_of(x, &live, "inside0")?;
                eq("mtu", &inside["mtu"], &json!(1400))?;
                eq("address", inside["address"].as_str(), Some("02:00:00:00:00:07"))?;
                // Neither the one of link scope nor the one that ends.
                eq("addresses", addresses(&inside), kept("inside0"))
            },
        ),
        case("net-device/same-name", "config-linux.md Network Devices: without a name the host's", |x| {
            device(x, "dev7")?;
            let f = x.facts(|c| {
                c["linux"]["netDevices"] = json!({"dev7": {}});
                args(c, "report /sys/class/net");
            })?;
            ensure(has(&path(&f, "/sys/class/net")["list"], "dev7"), "it is not there")
        }),
        case("net-device/template", "config-linux.md Network Devices: %d in the name", |x| {
            device(x, "dev7")?;
            device(x, "dev8")?;
            let f = x.facts(|c| {
                c["linux"]["netDevices"] = json!({"dev7": {"name": "net%d"}, "dev8": {"name": "net%d"}});
                args(c, "report /sys/class/net");
            })?;
            let list = &path(&f, "/sys/class/net")["list"];
            ensure(has(list, "net0") && has(list, "net1"), format_args!("devices: {list}"))
        }),
        case("net-device/joined-namespace", "config-linux.md Network Devices: the namespace that is joined", |x| {
            device(x, "dev7")?;
            let first = x.live(|_| ())?;
            let there = format!("/proc/{}/ns/net", first.pid);
            let f = x.facts(|c| {
                namespace(c, "network", Some(json!({"type": "network", "path": there})));
                c["linux"]["netDevices"] = json!({"dev7": {"name": "inside0"}});
                args(c, "report /sys/class/net");
            })?;
            ensure(has(&path(&f, "/sys/class/net")["list"], "inside0"), "it is not there")?;
            // The namespace is not this container's: what came into it stays.
            eq("name", device_of(x, &first, "inside0")?["ifname"].as_str(), Some("inside0"))
        }),
        case("net-device/user-namespace", "config-linux.md Network Devices: with a user namespace", |x| {
            device(x, "dev7")?;
            let b = x.bundle(|c| {
                userns(c);
                c["linux"]["netDevices"] = json!({"dev7": {"name": "inside0"}});
                args(c, "report /sys/class/net");
            })?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            ensure(has(&path(&f, "/sys/class/net")["list"], "inside0"), "it is not there")
        }),
        case("net-device/sysctl", "config-linux.md Sysctl: of a device that was moved", |x| {
            device(x, "dev7")?;
            let file = "/proc/sys/net/ipv4/conf/inside0/rp_filter";
            let f = x.facts(|c| {
                c["linux"]["netDevices"] = json!({"dev7": {"name": "inside0"}});
                c["linux"]["sysctl"] = json!({"net.ipv4.conf.inside0.rp_filter": "2"});
                args(c, &format!("report {file}"));
            })?;
            eq("rp_filter", path(&f, file)["text"].as_str(), Some("2\n"))
        }),
        case("net-device/given-back", "runtime.md Errors: as if never attempted", move |x| {
            device(x, "dev7")?;
            let b = x.bundle(|c| {
                c["linux"]["netDevices"] = json!({"dev7": {"name": "inside0"}});
                push(&mut c["mounts"], bind("/nonexistent", "/m", &["bind"]));
            })?;
            ensure(x.run(&b)?.status != 0, "it was accepted")?;
            let json = ip(x, "-json address show dev dev7")?.ok()?.stdout;
            let here = &serde_json::from_str::<Value>(&json)?[0];
            ensure(has(&here["flags"], "UP"), "it is not up any more")?;
            eq("addresses", addresses(here), kept("dev7"))
        }),
        case(
            "net-device/killed",
            "reliability: after SIGKILL to create at any instant `delete --force` gives it back",
            move |x| {
                device(x, "dev7")?;
                let b = x.bundle(|c| c["linux"]["netDevices"] = json!({"dev7": {"name": "inside0"}}))?;
                let (mut at, mut away) = (1, 0);
                loop {
                    let cut = x.cmd(["create", "--bundle", b.dir(), &b.id]).cut(at)?;
                    let created = x.rt(["state", &b.id])?.stdout.contains("\"status\": \"created\"");
                    ensure(created || matches!(cut, Cut::Killed(_)), "create fails without being killed")?;
                    away += u32::from(ip(x, "link show dev dev7")?.status != 0);
                    x.rt(["delete", "--force", &b.id])?.ok()?;
                    if created {
                        // From here on the device is the container's, and ends with it.
                        x.measure(format!("created after {at} system calls; {away} times the device was away"));
                        return ensure(away > 1, "it was never killed while the device was away");
                    }
                    as_made(x, "dev7").map_err(|stop| match stop {
                        Stop::Fail(text) => Stop::Fail(format!("killed at its system call {at}: {text}")),
                        skip => skip,
                    })?;
                    at += if x.job.full { 1 } else { 3 };
                }
            },
        ),
    ];
    all.extend([
        refused(
            "missing",
            "config-linux.md Network Devices: moving it must be possible",
            |c| c["linux"]["netDevices"] = json!({"dev7": {}, "made-up": {}}),
            &["made-up"],
        ),
        refused(
            "name-taken",
            "config-linux.md Network Devices: an error if the name exists",
            |c| c["linux"]["netDevices"] = json!({"dev7": {"name": "lo"}}),
            &["dev7", "lo"],
        ),
        refused(
            "same-name-twice",
            "config-linux.md Network Devices: an error if the name exists",
            |c| c["linux"]["netDevices"] = json!({"dev7": {"name": "x"}, "lo": {"name": "x"}}),
            &["x"],
        ),
        refused(
            "immovable",
            "config-linux.md Network Devices: moving it must be possible",
            |c| c["linux"]["netDevices"] = json!({"dev7": {"name": "x"}, "lo": {"name": "y"}}),
            &["lo"],
        ),
        refused(
            "name",
            "config-linux.md Network Devices: a name that the kernel does not take",
            |c| c["linux"]["netDevices"] = json!({"dev7": {"name": "../x"}}),
            &["dev7"],
        ),
        refused(
            "without-namespace",
            "config-linux.md Network Devices: they need a network namespace",
            |c| {
                namespace(c, "network", None);
                c["linux"]["netDevices"] = json!({"dev7": {}});
            },
            &["network devices"],
        ),
        refused(
            "own-namespace",
            "config-linux.md Network Devices: they need another network namespace",
            |c| {
                namespace(c, "network", Some(json!({"type": "network", "path": "/proc/self/ns/net"})));
                c["linux"]["netDevices"] = json!({"dev7": {}});
            },
            &["netDevices"],
        ),
    ]);
    all
}

/// The kinds that any container may have new, joined or from the runtime, and their names below /proc/PID/ns.
const KINDS: [(&str, &str); 6] =
    [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup"), ("time", "time")];

/// Whose namespace of a kind.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Whose {
    Own,
    Joined,
    Runtime,
}

/// Containers with combinations of namespaces that a fixed generator picks, among them each kind in each way; what they
/// are in is read off /proc.
fn combinations(x: &Ctx, user: Whose) -> Outcome {
    let bare = |c: &mut Value| {
        // Without what takes power over a namespace that may be another's: sysfs, mqueue, in a user namespace procfs.
        let kept = |m: &Value| m["type"] == "tmpfs" || m["type"] == "proc" && user == Whose::Runtime;
        c["mounts"].as_array_mut().into_iter().for_each(|m| m.retain(kept));
        c["hostname"] = json!("");
    };
    let own = |b: &Bundle| -> Outcome {
        for d in ["", "proc", "sys", "dev", "tmp", "etc", "dir"] {
            std::os::unix::fs::chown(b.rootfs.join(d), Some(100_000), Some(200_000))?;
        }
        Ok(())
    };
    let live = |patch: &dyn Fn(&mut Value)| -> Result<Live, Stop> {
        let b = x.bundle(|c| {
            args(c, "wait");
            bare(c);
            patch(c);
        })?;
        own(&b)?;
        x.live_bundle(b)
    };
    let donor = live(&|c| {
        KINDS.iter().for_each(|(kind, _)| namespace(c, kind, Some(json!({"type": kind}))));
        if user == Whose::Joined {
            userns(c);
        }
    })?;
    let ns = |pid: &str, name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}"));
    let mut state = 12_345u32;
    for round in 0..24 {
        let choice: Vec<Whose> = (0..KINDS.len())
            .map(|at| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // The first rounds make sure that each kind is there in each way, alone.
                let picked =
                    if round < 12 { if at == round / 2 { 1 + round as u32 % 2 } else { 0 } } else { state >> 16 };
                [Whose::Own, Whose::Joined, Whose::Runtime][picked as usize % 3]
            })
            .collect();
        let one = live(&|c| {
            for ((kind, name), whose) in KINDS.iter().zip(&choice) {
                let path = format!("/proc/{}/ns/{name}", donor.pid);
                namespace(
                    c,
                    kind,
                    match whose {
                        Whose::Own => Some(json!({"type": kind})),
                        Whose::Joined => Some(json!({"type": kind, "path": path})),
                        Whose::Runtime => None,
                    },
                );
            }
            match user {
                Whose::Own => userns(c),
                Whose::Joined => {
                    let path = format!("/proc/{}/ns/user", donor.pid);
                    namespace(c, "user", Some(json!({"type": "user", "path": path})));
                }
                Whose::Runtime => {}
            }
        })?;
        let own_pid = std::process::id().to_string();
        for ((kind, name), whose) in KINDS.iter().zip(&choice).chain([(&("user", "user"), &user)]) {
            let (it, theirs, ours) =
                (ns(&one.pid.to_string(), name)?, ns(&donor.pid.to_string(), name)?, ns(&own_pid, name)?);
            let right = match whose {
                Whose::Own => it != theirs && it != ours,
                Whose::Joined => it == theirs,
                Whose::Runtime => it == ours,
            };
            ensure(right, format_args!("{kind} of {choice:?} (user {user:?}) is {it:?}, the runtime's is {ours:?}"))?;
        }
        x.rt(["delete", "--force", &one.id])?.ok()?;
        ensure(Path::new(&format!("/proc/{}", donor.pid)).exists(), "the other container has ended")?;
    }
    Ok(())
}

pub(super) fn more_namespaces() -> Vec<Case> {
    const NS: &str = "config-linux.md Namespaces";
    let mut all = vec![
        case("namespace/any-combination", NS, |x| combinations(x, Whose::Runtime)),
        case("namespace/any-combination-new-user", NS, |x| combinations(x, Whose::Own)),
        case("namespace/any-combination-joined-user", NS, |x| combinations(x, Whose::Joined)),
        case("namespace/shared-pid", "config-linux.md Namespaces: pid of another container", |x| {
            let first = x.live(|_| ())?;
            let there = format!("/proc/{}/ns/pid", first.pid);
            let b = x.bundle(|c| {
                namespace(c, "pid", Some(json!({"type": "pid", "path": there})));
                args(c, "wait");
            })?;
            let second = x.live_bundle(b)?;
            let f = facts_of(&x.rt(["exec", &second.id, "/probe", "report", "/proc"])?.ok()?)?;
            ensure(has(&path(&f, "/proc")["list"], "1"), "the other container's first process is not seen")?;
            ensure(f["pid"] != json!(1), "it is the first process")?;
            // One ends without the other, and not the other way around.
            x.rt(["kill", &second.id, "KILL"])?.ok()?;
            x.gone(second.pid)?;
            x.status(&first.id, "running")?;
            x.rt(["delete", &second.id])?.ok()?;
            let b = x.bundle(|c| {
                namespace(c, "pid", Some(json!({"type": "pid", "path": there})));
                args(c, "wait");
            })?;
            let third = x.live_bundle(b)?;
            x.kill(&first)?;
            x.gone(third.pid)?;
            x.status(&third.id, "stopped")
        }),
        case("namespace/joined-mount", "config-linux.md Namespaces: mount with a path", |x| {
            let unshare = Path::new("/usr/bin/unshare");
            if !unshare.exists() {
                return skip("no unshare(1)");
            }
            let probe = x.job.probe.to_string_lossy().into_owned();
            let mut donor = x.program(unshare, ["--mount", "--propagation", "private", &probe, "wait"]).spawn()?;
            donor.expect("ready")?;
            let there = format!("/proc/{}/ns/mnt", donor.child.id());
            let b = x.bundle(|c| namespace(c, "mount", Some(json!({"type": "mount", "path": there}))))?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            let want = fs::read_link(&there)?;
            // pivot_root(2) takes all with it whose root was the old one: the namespace is the container's from then on.
            let root = format!("/proc/{}/root", donor.child.id());
            let sees = [fs::exists(format!("{root}/probe"))?, fs::exists(format!("{root}{probe}"))?];
            eq("whose root the namespace has: the container's, the host's", sees, [true, false])?;
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(donor.child.id() as i32), nix::sys::signal::SIGKILL)?;
            eq("mnt", f["ns"]["mnt"].as_str(), want.to_str())
        }),
        case("namespace/time-offsets-felt", "config-linux.md Offset for Time Namespace", |x| {
            let offsets = |c: &mut Value| {
                namespace(c, "time", Some(json!({"type": "time"})));
                c["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 864_000}, "boottime": {"secs": 1_728_000}});
            };
            let now = |id| nix::time::clock_gettime(id).map(|t| t.tv_sec());
            let (boot, mono) = (now(nix::time::ClockId::CLOCK_BOOTTIME)?, now(nix::time::ClockId::CLOCK_MONOTONIC)?);
            let live = x.live(offsets)?;
            // Also for those who enter.
            let f = facts_of(&x.rt(["exec", &live.id, "/probe", "report"])?.ok()?)?;
            let felt = |what: &str, before: i64| f[what].as_i64().unwrap_or_default() - before;
            ensure(
                (864_000..864_100).contains(&felt("monotonic", mono)),
                format_args!("monotonic {}", f["monotonic"]),
            )?;
            ensure((1_728_000..1_728_100).contains(&felt("boottime", boot)), format_args!("boottime {}", f["boottime"]))
        }),
        case("namespace/time-offsets-negative", "config-linux.md Offset for Time Namespace", |x| {
            let f = x.facts(|c| {
                namespace(c, "time", Some(json!({"type": "time"})));
                c["linux"]["timeOffsets"] = json!({"boottime": {"secs": -1, "nanosecs": 500_000_000}});
            })?;
            let text = f["timens_offsets"].as_str().unwrap_or_default();
            let line: Vec<&str> = text.lines().nth(1).unwrap_or_default().split_whitespace().collect();
            eq("offsets", line, vec!["boottime", "-1", "500000000"])
        }),
        case("namespace/time-offsets-without", "config-linux.md Offset for Time Namespace: they need a new one", |x| {
            let b = x.bundle(|c| c["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1}}))?;
            let out = x.run(&b)?;
            ensure(out.status != 0, "it was accepted")?;
            contains("the message", &out.stderr, &["time"])
        }),
        case("namespace/duplicate", "config-linux.md Namespaces: an error if a type is listed twice", |x| {
            let b = x.bundle(|c| push(&mut c["linux"]["namespaces"], json!({"type": "uts"})))?;
            let out = x.run(&b)?;
            ensure(out.status != 0, "it was accepted")?;
            contains("the message", &out.stderr, &["uts"])
        }),
    ];
    for (kind, _) in KINDS.into_iter().chain([("mount", "mnt"), ("user", "user")]) {
        all.push(case(
            &format!("namespace/path-of-another-type-{kind}"),
            "config-linux.md Namespaces: path of another type",
            move |x| {
                // A namespace of another kind, a file that is none, and nothing at all.
                let other = if kind == "uts" { "ipc" } else { "uts" };
                for file in [format!("/proc/1/ns/{other}"), "/etc/passwd".to_owned(), "/nonexistent".to_owned()] {
                    let b = x.bundle(|c| {
                        namespace(c, kind, Some(json!({"type": kind, "path": file})));
                        if kind == "user" {
                            c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
                            c["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
                        }
                    })?;
                    let out = x.run(&b)?;
                    ensure(out.status != 0, format_args!("{file} was accepted"))?;
                    ensure(!out.stdout.contains("\"uid\""), "the program ran")?;
                    contains("the message", &out.stderr, &[&file])?;
                }
                Ok(())
            },
        ));
    }
    all
}
