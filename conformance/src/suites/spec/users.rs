//! User namespaces and id mappings.

use std::fs;

use serde_json::{Value, json};

use super::facts::USER;
use super::{case, has, mounted, path, userns};
use crate::ctx::{Bundle, Ctx, Outcome, Patch, Stop, args, contains, ensure, eq, facts_of, namespace, push};
use crate::frame::Case;

pub(super) fn users() -> Vec<Case> {
    const MAPS: &str = "config-linux.md User namespace mappings";
    let own = |b: &Bundle| -> Outcome {
        for d in ["", "proc", "sys", "dev", "tmp", "etc", "dir"] {
            std::os::unix::fs::chown(b.rootfs.join(d), Some(100_000), Some(200_000))?;
        }
        Ok(())
    };
    let inside = move |x: &Ctx, patch: Patch| -> Result<Value, Stop> {
        let b = x.bundle(|c| {
            userns(c);
            patch(c);
        })?;
        own(&b)?;
        facts_of(&x.run(&b)?.ok()?)
    };
    let mut all = vec![
        case("userns/maps", MAPS, move |x| {
            let f = inside(x, |_| ())?;
            let map = |name: &str| {
                f[name].as_str().unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
            };
            eq("uid_map", map("uid_map"), vec!["0", "100000", "1000"])?;
            eq("gid_map", map("gid_map"), vec!["0", "200000", "1000"])?;
            eq("uid", &f["uid"][0], &json!(0))?;
            let host = fs::read_link("/proc/self/ns/user")?;
            ensure(f["ns"]["user"].as_str() != host.to_str(), "the user namespace is the host's")
        }),
        case("userns/host-ids", MAPS, move |x| {
            let b = x.bundle(|c| {
                userns(c);
                c["process"]["user"] = json!({"uid": 5, "gid": 6});
                args(c, "wait");
            })?;
            own(&b)?;
            let live = x.live_bundle(b)?;
            let status = fs::read_to_string(format!("/proc/{}/status", live.pid))?;
            contains("status", &status, &["Uid:\t100005\t100005", "Gid:\t200006\t200006"])
        }),
        case("userns/files", "config-linux.md User namespace mappings: ids of files", move |x| {
            let b = x.bundle(|c| {
                userns(c);
                args(c, "write /mark x");
            })?;
            own(&b)?;
            x.run(&b)?.ok()?;
            let m = fs::metadata(b.rootfs.join("mark"))?;
            eq("uid", std::os::unix::fs::MetadataExt::uid(&m), 100_000)
        }),
        case("userns/devices", "config-linux.md Default Devices: in a user namespace too", move |x| {
            let f = inside(x, |c| args(c, "report /dev/null /dev/zero"))?;
            for (name, rdev) in [("null", "1:3"), ("zero", "1:5"), ("full", "1:7"), ("tty", "5:0")] {
                eq(name, f["dev"][name]["rdev"].as_str(), Some(rdev))?;
            }
            eq("write /dev/null", path(&f, "/dev/null")["write"].as_str(), Some("ok"))
        }),
        case("userns/mounts", "config.md Mounts: in a user namespace too", move |x| {
            let f = inside(x, |c| c["root"]["readonly"] = json!(true))?;
            eq("/proc", mounted(&f, "/proc")?["type"].as_str(), Some("proc"))?;
            eq("/sys", mounted(&f, "/sys")?["type"].as_str(), Some("sysfs"))?;
            ensure(has(&mounted(&f, "/")?["options"], "ro"), "the root is not read-only")
        }),
        case("userns/caps", "config.md Linux Process: capabilities in the user namespace", move |x| {
            let f = inside(x, |_| ())?;
            eq("effective", &f["caps"]["effective"], &json!(["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"]))
        }),
        case("userns/additional-gids", USER, move |x| {
            let f = inside(x, |c| c["process"]["user"] = json!({"uid": 1, "gid": 2, "additionalGids": [3]}))?;
            eq("groups", &f["groups"], &json!([3]))
        }),
        case("userns/unmapped-id", "config-linux.md User namespace mappings: an id outside is an error", move |x| {
            let b = x.bundle(|c| {
                userns(c);
                c["process"]["user"] = json!({"uid": 5000, "gid": 0});
            })?;
            own(&b)?;
            let out = x.run(&b)?.errs()?;
            ensure(!out.stderr.trim().is_empty(), "no message")
        }),
        case("userns/exec", "config-linux.md User namespace mappings: exec", move |x| {
            let b = x.bundle(|c| {
                userns(c);
                args(c, "wait");
            })?;
            own(&b)?;
            let live = x.live_bundle(b)?;
            let f = facts_of(&x.rt(["exec", "--user", "7:8", &live.id, "/probe", "report"])?.ok()?)?;
            eq("uid", &f["uid"], &json!([7, 7, 7, 7]))?;
            eq(
                "user namespace",
                f["ns"]["user"].as_str(),
                fs::read_link(format!("/proc/{}/ns/user", live.pid))?.to_str(),
            )
        }),
        case("userns/many-mappings", "user_namespaces(7): 340 lines in a map, which have room in a page", move |x| {
            let map = |first: u32| {
                json!(
                    (0..340).map(|i| json!({"containerID": i, "hostID": first + 2 * i, "size": 1})).collect::<Vec<_>>()
                )
            };
            let bundle = |first: u32| {
                x.bundle(|c| {
                    userns(c);
                    for ids in ["uidMappings", "gidMappings"] {
                        c["linux"][ids] = map(first);
                    }
                    c["process"]["user"] = json!({"uid": 339, "gid": 339});
                })
            };
            let f = facts_of(&x.run(&bundle(1000)?)?.ok()?)?;
            for name in ["uid_map", "gid_map"] {
                eq(name, f[name].as_str().unwrap_or_default().lines().count(), 340)?;
            }
            x.run(&bundle(100_000)?)?.exits(1).map(drop)
        }),
        case("userns/no-root-inside", "user_namespaces(7): a namespace needs no root", move |x| {
            let f = inside(x, |c| {
                for ids in ["uidMappings", "gidMappings"] {
                    c["linux"][ids][0]["containerID"] = json!(7);
                }
                c["process"]["user"] = json!({"uid": 8, "gid": 9});
            })?;
            eq("uid", &f["uid"][0], &json!(8))
        }),
        case("userns/joined", "config-linux.md Namespaces: user with a path", move |x| {
            let b = x.bundle(|c| {
                userns(c);
                args(c, "wait");
            })?;
            own(&b)?;
            let first = x.live_bundle(b)?;
            let there = format!("/proc/{}/ns/user", first.pid);
            let b = x.bundle(|c| {
                userns(c);
                namespace(c, "user", Some(json!({"type": "user", "path": there})));
                if let Some(l) = c["linux"].as_object_mut() {
                    l.remove("uidMappings");
                    l.remove("gidMappings");
                }
            })?;
            own(&b)?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            eq("user namespace", f["ns"]["user"].as_str(), fs::read_link(&there)?.to_str())
        }),
    ];
    for (kind, name) in [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup")] {
        // A namespace of the host's with a new user namespace, and one of a container's with its user namespace.
        for (what, joined_user) in [("new-and-joined", false), ("joined-and-joined", true)] {
            all.push(case(&format!("userns/{what}-{kind}"), "config-linux.md Namespaces: user and another one", move |x| {
                let b = x.bundle(|c| {
                    if joined_user {
                        userns(c);
                    }
                    namespace(c, kind, Some(json!({"type": kind})));
                    args(c, "wait");
                })?;
                if joined_user {
                    own(&b)?;
                }
                let first = x.live_bundle(b)?;
                let there = |name: &str| format!("/proc/{}/ns/{name}", first.pid);
                let b = x.bundle(|c| {
                    userns(c);
                    if joined_user {
                        namespace(c, "user", Some(json!({"type": "user", "path": there("user")})));
                        for ids in ["uidMappings", "gidMappings"] {
                            c["linux"][ids] = json!(null);
                        }
                    }
                    namespace(c, kind, Some(json!({"type": kind, "path": there(name)})));
                    // These are for who has power over the namespace that they show.
                    if let Some(mounts) = c["mounts"].as_array_mut() {
                        mounts.retain(|m| !(m["type"] == "sysfs" && kind == "network"));
                        mounts.retain(|m| !(m["type"] == "proc" && kind == "pid"));
                        mounts.retain(|m| !(m["type"] == "mqueue" && kind == "ipc"));
                    }
                    if kind == "uts" && let Some(c) = c.as_object_mut() {
                        c.remove("hostname");
                    }
                    if kind == "pid" {
                        c["linux"]["maskedPaths"] = json!([]);
                        c["linux"]["readonlyPaths"] = json!([]);
                        let bind = json!({"destination": "/proc", "type": "none", "source": "/proc", "options": ["rbind"]});
                        push(&mut c["mounts"], bind);
                    }
                })?;
                own(&b)?;
                let f = facts_of(&x.run(&b)?.ok()?)?;
                eq(kind, f["ns"][name].as_str(), fs::read_link(there(name))?.to_str())
            }));
        }
    }
    all
}
