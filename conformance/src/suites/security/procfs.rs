//! Writes to /proc that a fake or covered file would swallow, or lead elsewhere.

use std::fs;

use serde_json::{Value, json};

use super::{canary, case, create, pid};
use crate::ctx::{Ctx, Outcome, args, ensure, eq, namespace, push, skip};
use crate::frame::Case;
use crate::suites::spec::{has_apparmor, with_profile};

/// An entry of `mounts`.
type Entry = fn(&Ctx) -> Value;

fn fake() -> Vec<Case> {
    const FAKE: &str = "CVE-2019-16884: nothing but a procfs on /proc, nothing inside it";
    let entries: [(&str, Entry); 5] = [
        ("bind-on-proc", |x| json!({"destination": "/proc", "source": x.job.dir.join("fake"), "options": ["bind"]})),
        ("tmpfs-on-proc", |_| json!({"destination": "/proc", "type": "tmpfs", "source": "tmpfs"})),
        (
            "bind-on-attr",
            |x| json!({"destination": "/proc/self/attr", "source": x.job.dir.join("fake/self/attr"), "options": ["bind"]}),
        ),
        (
            "bind-through-link",
            |x| json!({"destination": "/dir/link/attr", "source": x.job.dir.join("fake/self/attr"), "options": ["bind"]}),
        ),
        ("tmpfs-on-sys", |_| json!({"destination": "/proc/sys", "type": "tmpfs", "source": "tmpfs"})),
    ];
    entries
        .into_iter()
        .map(|(name, entry)| {
            case(&format!("CVE-2019-16884/{name}"), FAKE, move |x| {
                let attr = x.job.dir.join("fake/self/attr");
                fs::create_dir_all(attr.join("apparmor"))?;
                for file in ["current", "exec", "apparmor/exec"] {
                    fs::write(attr.join(file), "")?;
                }
                let b = x.bundle(|c| push(&mut c["mounts"], entry(x)))?;
                std::os::unix::fs::symlink("/proc/self", b.rootfs.join("dir/link"))?;
                let out = x.run(&b)?;
                ensure(out.status != 0, "it ran")?;
                ensure(out.stderr.contains("/proc"), format_args!("the message does not say why: {}", out.stderr))
            })
        })
        .collect()
}

/// A hook in the container's mount namespace stands in for the other container that wins the race: it covers what
/// the runtime is about to write to.
fn covered() -> Vec<Case> {
    const COVERED: &str =
        "CVE-2025-52881, CVE-2025-62596: what covers a file of /proc does not get what was meant for it";
    let mut all = Vec::new();
    for (name, verb) in [("file", "bind"), ("directory", "mount")] {
        all.push(case(&format!("CVE-2025-52881/sysctl-under-a-{name}"), COVERED, move |x| {
            let b = x.bundle(|c| {
                c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
                // Later than the sysctls, and not what is tested.
                c["linux"]["readonlyPaths"] = json!([]);
                let rootfs = x.job.dir.join(format!("{}0/rootfs/proc/sys/net", x.job.tag));
                let words = match verb {
                    "bind" => json!(["probe", "bind", canary(x).join("keep"), rootfs.join("ipv4/ip_forward")]),
                    _ => json!(["probe", "mount", "tmpfs", rootfs, "tmpfs"]),
                };
                c["hooks"]["createContainer"] = json!([{"path": x.job.probe, "args": words}]);
            })?;
            let out = create(x, &b)?;
            if out.status != 0 {
                return ensure(!out.stderr.trim().is_empty(), "no message");
            }
            // Another container in its network namespace sees the real file.
            let net = format!("/proc/{}/ns/net", pid(&b)?);
            let other = x.bundle(|c| {
                namespace(c, "network", Some(json!({"type": "network", "path": net})));
                args(c, "cat /proc/sys/net/ipv4/ip_forward");
            })?;
            eq("net.ipv4.ip_forward", x.run(&other)?.ok()?.results(), vec![json!("1\n")])
        }));
    }
    // Over the file by which a process asks for its profile, and over the directory that holds it.
    for (name, over, verb) in [("file", "proc/1/attr/apparmor/exec", "bind"), ("directory", "proc/1/attr", "mount")] {
        all.push(case(&format!("CVE-2025-52881/label-{name}"), COVERED, move |x| {
            if !has_apparmor() {
                return skip("needs AppArmor");
            }
            with_profile(x, |profile| {
                let b = x.bundle(|c| {
                    c["process"]["apparmorProfile"] = json!(profile);
                    args(c, "wait");
                    let target = x.job.dir.join(format!("{}0/rootfs/{over}", x.job.tag));
                    let words = match verb {
                        "bind" => json!(["probe", "bind", canary(x).join("keep"), target]),
                        _ => json!(["probe", "mount", "tmpfs", target, "tmpfs"]),
                    };
                    c["hooks"]["createContainer"] = json!([{"path": x.job.probe, "args": words}]);
                })?;
                let out = create(x, &b)?;
                if out.status != 0 {
                    return ensure(!out.stderr.trim().is_empty(), "no message");
                }
                x.rt(["start", &b.id])?.ok()?;
                let current = fs::read_to_string(format!("/proc/{}/attr/apparmor/current", pid(&b)?))?;
                eq("profile", current.trim(), format!("{profile} (enforce)").as_str())
            })
        }));
    }
    all.push(case("CVE-2025-52881/nested", "runc#4968: a runtime inside an LXC container with AppArmor", |_| {
        skip("needs AppArmor")
    }));
    all
}

/// Messages to the kernel, or to a helper, whose lengths have 16 bits.
fn overlong() -> Vec<Case> {
    const LONG: &str = "CVE-2021-43784: a field that is too long is an error, or it is taken whole";
    fn judged(x: &Ctx, patch: impl FnOnce(&mut Value)) -> Outcome {
        let b = x.bundle(patch)?;
        let out = create(x, &b)?;
        if out.status != 0 {
            return ensure(!out.stderr.trim().is_empty(), "no message");
        }
        for kind in ["ipc", "mnt", "net", "pid", "uts"] {
            let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}"));
            ensure(of(&pid(&b)?.to_string())? != of("self")?, format_args!("the {kind} namespace is the host's"))?;
        }
        Ok(())
    }
    vec![
        case("CVE-2021-43784/mappings", LONG, |x| {
            judged(x, |c| {
                namespace(c, "user", Some(json!({"type": "user"})));
                let lines: Vec<_> = (0..3000_u32)
                    .map(|n| json!({"containerID": n * 2, "hostID": 1_000_000_000 + n * 2, "size": 1}))
                    .collect();
                c["linux"]["uidMappings"] = json!(lines);
                c["linux"]["gidMappings"] = json!(lines);
            })
        }),
        case("CVE-2021-43784/namespace-path", LONG, |x| {
            judged(x, |c| {
                let path = format!("/{}", "x/".repeat(35 * 1024));
                namespace(c, "network", Some(json!({"type": "network", "path": path})));
            })
        }),
        case("CVE-2021-43784/namespace-path-that-is-one", LONG, |x| {
            // 65536 bytes and a few: cut to 16 bits, it would be the host's.
            let path = format!("{}proc/1/ns/net", "/".repeat(65536));
            let b = x.bundle(|c| namespace(c, "network", Some(json!({"type": "network", "path": path}))))?;
            ensure(create(x, &b)?.status != 0, "it was created")
        }),
        case("CVE-2021-43784/mount-sources", LONG, |x| {
            let source = x.job.dir.join(format!("{0}/{0}/{0}/{0}", "s".repeat(250)));
            fs::create_dir_all(&source)?;
            judged(x, |c| {
                for n in 0..500 {
                    let at = format!("/m/{n}");
                    push(&mut c["mounts"], json!({"destination": at, "source": source, "options": ["bind"]}));
                }
            })
        }),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = fake();
    all.extend(covered());
    all.extend(overlong());
    all
}
