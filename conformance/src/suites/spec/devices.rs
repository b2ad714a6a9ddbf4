//! Devices, masked and read-only paths.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{case, has, mounted, path};
use crate::ctx::{Bundle, Outcome, args, ensure, eq, facts_of, push};
use crate::frame::Case;

pub(super) fn devices() -> Vec<Case> {
    const DEVICES: &str = "config-linux.md Devices";
    const ALLOWED: &str = "config-linux.md Allowed Device list";
    let mut all = Vec::new();
    for (name, rdev) in
        [("null", "1:3"), ("zero", "1:5"), ("full", "1:7"), ("random", "1:8"), ("urandom", "1:9"), ("tty", "5:0")]
    {
        all.push(case(&format!("device/default-{name}"), "config-linux.md Default Devices", move |x| {
            let at = format!("/dev/{name}");
            let f = x.facts(|c| args(c, &format!("report {at}")))?;
            let d = path(&f, &at);
            eq("type", d["type"].as_str(), Some("char"))?;
            eq("device", d["rdev"].as_str(), Some(rdev))?;
            eq("mode", d["mode"].as_str(), Some("0666"))?;
            if name != "tty" {
                eq("opened for writing", d["write"].as_str(), Some("ok"))?;
                eq("opened for reading", d["read"].as_str(), Some("ok"))?;
            }
            Ok(())
        }));
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        all.push(case(
            &format!("device/link-{name}"),
            "runtime-linux.md Dev symbolic links; Default Devices: ptmx",
            move |x| {
                let f = x.facts(|_| ())?;
                let d = &f["dev"][name];
                let link = d["link"].as_str().unwrap_or_default();
                ensure(link == target || link == format!("/dev/{target}"), format_args!("{d}"))
            },
        ));
    }
    type Node = (&'static str, fn() -> Value, &'static str, &'static str, &'static str);
    let nodes: [Node; 4] = [
        (
            "char",
            || json!({"path": "/dev/full2", "type": "c", "major": 1, "minor": 7, "fileMode": 0o640, "uid": 3, "gid": 4}),
            "/dev/full2",
            "char",
            "1:7",
        ),
        (
            "block",
            || json!({"path": "/dev/loop77", "type": "b", "major": 7, "minor": 77, "fileMode": 0o640, "uid": 3, "gid": 4}),
            "/dev/loop77",
            "block",
            "7:77",
        ),
        (
            "fifo",
            || json!({"path": "/dev/pipe", "type": "p", "fileMode": 0o640, "uid": 3, "gid": 4}),
            "/dev/pipe",
            "fifo",
            "0:0",
        ),
        (
            "outside-dev",
            || json!({"path": "/srv/made/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 3, "gid": 4}),
            "/srv/made/null",
            "char",
            "1:3",
        ),
    ];
    for (name, node, at, kind, rdev) in nodes {
        all.push(case(&format!("device/node-{name}"), DEVICES, move |x| {
            let f = x.facts(|c| {
                c["linux"]["devices"] = json!([node()]);
                // `stat`, not `report`: opening a FIFO or a loop device is not the point.
                args(c, &format!("stat {at}"));
            })?;
            let d = &f["result"];
            eq("type", d["type"].as_str(), Some(kind))?;
            eq("device", d["rdev"].as_str(), Some(rdev))?;
            eq("mode", d["mode"].as_str(), Some("0640"))?;
            eq("uid", &d["uid"], &json!(3))?;
            eq("gid", &d["gid"], &json!(4))
        }));
    }
    // Nodes that the harness puts into the root, and what opening them must give: /ten is loop control, there on every
    // Linux and harmless to open, /other and /disk need not exist to be refused.
    type Rules = (&'static str, fn() -> Value, &'static str, &'static [&'static str]);
    let rules: [Rules; 8] = [
        (
            "deny-all",
            || json!([{"allow": false, "access": "rwm"}]),
            "open /ten r , open /dev/null rw",
            &["EPERM", "ok"],
        ),
        (
            "defaults-stay",
            || json!([{"allow": false, "access": "rwm"}]),
            "open /dev/zero r , open /dev/full w , open /dev/urandom r",
            &["ok", "ok", "ok"],
        ),
        ("no-list", || json!([]), "open /disk r , open /ten r", &["EPERM", "EPERM"]),
        (
            "allow-read",
            || {
                json!([{"allow": false, "access": "rwm"},
                       {"allow": true, "type": "c", "major": 10, "minor": 237, "access": "rm"}])
            },
            "open /ten r , open /ten w , open /ten rw , open /other r",
            &["ok", "EPERM", "EPERM", "EPERM"],
        ),
        (
            "allow-mknod-only",
            || {
                json!([{"allow": false, "access": "rwm"},
                       {"allow": true, "type": "c", "major": 10, "minor": 237, "access": "m"}])
            },
            "open /ten r",
            &["EPERM"],
        ),
        (
            "wildcard-minor",
            || json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "access": "rwm"}]),
            "open /ten r , open /other r",
            &["ok", "EPERM"],
        ),
        (
            "in-order",
            || {
                json!([
                    {"allow": false, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 10, "minor": 237, "access": "rwm"},
                    {"allow": false, "type": "c", "major": 10, "minor": 237, "access": "w"}
                ])
            },
            "open /ten r , open /ten w",
            &["ok", "EPERM"],
        ),
        ("allow-all", || json!([{"allow": true, "access": "rwm"}]), "open /ten rw", &["ok"]),
    ];
    let nodes = |b: &Bundle| -> Outcome {
        use nix::sys::stat::{Mode, SFlag, makedev, mknod};
        for (name, kind, major, minor) in
            [("ten", SFlag::S_IFCHR, 10, 237), ("other", SFlag::S_IFCHR, 11, 1), ("disk", SFlag::S_IFBLK, 8, 0)]
        {
            mknod(&b.rootfs.join(name), kind, Mode::from_bits_truncate(0o666), makedev(major, minor))?;
        }
        Ok(())
    };
    for (name, list, verbs, want) in rules {
        all.push(case(&format!("device/rules-{name}"), ALLOWED, move |x| {
            let b = x.bundle(|c| {
                c["linux"]["resources"]["devices"] = list();
                args(c, verbs);
            })?;
            nodes(&b)?;
            let got = x.run(&b)?.ok()?.results();
            eq(verbs, got, want.iter().map(|w| json!(w)).collect::<Vec<_>>())
        }));
    }
    all.push(case("device/rules-hold-for-exec", ALLOWED, move |x| {
        let live = x.live(|_| ())?;
        nodes(&live.bundle)?;
        let out = x.rt(["exec", &live.id, "/probe", "open", "/ten", "r"])?.ok()?;
        eq("open", out.results(), vec![json!("EPERM")])
    }));
    all.push(case("device/symlink-of-dev", "security CVE-2026-41579: /dev is a symbolic link", |x| {
        let b = x.bundle(|c| {
            c["mounts"].as_array_mut().into_iter().for_each(|m| m.retain(|m| m["destination"] == "/proc"));
        })?;
        let outside = b.dir.join("outside");
        fs::create_dir(&outside)?;
        fs::write(outside.join("ptmx"), "mine")?;
        fs::remove_dir(b.rootfs.join("dev"))?;
        std::os::unix::fs::symlink("../outside", b.rootfs.join("dev"))?;
        let out = x.run(&b)?;
        if out.status == 0 {
            facts_of(&out)?;
        } else {
            ensure(!out.stderr.trim().is_empty(), "no message")?;
        }
        let names: Vec<_> = fs::read_dir(&outside)?.flatten().map(|e| e.file_name()).collect();
        eq("outside", names, vec!["ptmx"])?;
        eq("outside/ptmx", fs::read_to_string(outside.join("ptmx"))?, "mine")
    }));
    all
}

pub(super) fn masks() -> Vec<Case> {
    const MASKED: &str = "config-linux.md Masked Paths";
    const READONLY: &str = "config-linux.md Readonly Paths";
    vec![
        case("masked/file", MASKED, |x| {
            let b = x.bundle(|c| {
                c["linux"]["maskedPaths"] = json!(["/etc/secret", "/proc/version"]);
                args(c, "report /etc/secret /proc/version");
            })?;
            fs::write(b.rootfs.join("etc/secret"), "secret")?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            for p in ["/etc/secret", "/proc/version"] {
                let d = path(&f, p);
                ensure(d["text"].as_str().unwrap_or_default().is_empty(), format_args!("{p}: {d}"))?;
                eq(format_args!("{p} is /dev/null"), d["rdev"].as_str(), Some("1:3"))?;
            }
            eq("the file itself", fs::read_to_string(b.rootfs.join("etc/secret"))?, "secret")
        }),
        case("masked/directory", MASKED, |x| {
            let b = x.bundle(|c| {
                c["linux"]["maskedPaths"] = json!(["/dir", "/proc/bus", "/sys/firmware"]);
                args(c, "report /dir");
            })?;
            fs::write(b.rootfs.join("dir/file"), "secret")?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            eq("list", &path(&f, "/dir")["list"], &json!([]))?;
            eq("create", path(&f, "/dir")["create"].as_str(), Some("EROFS"))
        }),
        case("masked/missing", "config-linux.md Masked Paths: a path that is not there", |x| {
            x.facts(|c| c["linux"]["maskedPaths"] = json!(["/no/such", "/proc/no-such"])).map(drop)
        }),
        case("masked/none", MASKED, |x| {
            let f = x.facts(|c| {
                c["linux"]["maskedPaths"] = json!([]);
                args(c, "report /proc/timer_list");
            })?;
            ensure(path(&f, "/proc/timer_list")["rdev"] != "1:3", "it is masked all the same")
        }),
        case("readonly/paths", READONLY, |x| {
            let b = x.bundle(|c| {
                c["linux"]["readonlyPaths"] = json!(["/dir", "/etc/file", "/proc/sys"]);
                args(c, "report /dir /etc/file /proc/sys/kernel/msgmax /etc");
            })?;
            fs::write(b.rootfs.join("etc/file"), "text")?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            eq("create in /dir", path(&f, "/dir")["create"].as_str(), Some("EROFS"))?;
            eq("write /etc/file", path(&f, "/etc/file")["write"].as_str(), Some("EROFS"))?;
            eq("read /etc/file", path(&f, "/etc/file")["text"].as_str(), Some("text"))?;
            eq("write below /proc/sys", path(&f, "/proc/sys/kernel/msgmax")["write"].as_str(), Some("EROFS"))?;
            eq("create in /etc", path(&f, "/etc")["create"].as_str(), Some("ok"))
        }),
        case("readonly/missing", "config-linux.md Readonly Paths: a path that is not there", |x| {
            x.facts(|c| c["linux"]["readonlyPaths"] = json!(["/no/such", "/proc/no-such"])).map(drop)
        }),
        case("readonly/keeps-flags", "config-linux.md Readonly Paths: flags of the mount stay", |x| {
            let f = x.facts(|c| {
                let options = json!(["nosuid", "noexec", "nodev"]);
                push(
                    &mut c["mounts"],
                    json!({"destination": "/m", "type": "tmpfs", "source": "t", "options": options}),
                );
                c["linux"]["readonlyPaths"] = json!(["/m"]);
            })?;
            let o = &mounted(&f, "/m")?["options"];
            for w in ["ro", "nosuid", "noexec", "nodev"] {
                ensure(has(o, w), format_args!("no {w} in {o}"))?;
            }
            Ok(())
        }),
        case("masked/kinds", "config-linux.md Masked Paths: devices and FIFOs", |x| {
            let b = x.bundle(|c| {
                c["linux"]["maskedPaths"] = json!(NODES);
                args(c, "report /char /block /fifo");
            })?;
            make_nodes(&b.rootfs)?;
            let facts = facts_of(&x.run(&b)?.ok()?)?;
            for p in NODES {
                eq(p, facts["paths"][p]["rdev"].as_str(), Some("1:3"))?;
            }
            Ok(())
        }),
        case("readonly/kinds", "config-linux.md Readonly Paths: devices and FIFOs", |x| {
            let b = x.bundle(|c| c["linux"]["readonlyPaths"] = json!(NODES))?;
            make_nodes(&b.rootfs)?;
            let facts = facts_of(&x.run(&b)?.ok()?)?;
            for p in NODES {
                let mount = mounted(&facts, p)?;
                ensure(has(&mount["options"], "ro"), format_args!("{p} is not read-only: {mount}"))?;
            }
            Ok(())
        }),
    ]
}

/// What masked and read-only paths may be besides files and directories.
const NODES: [&str; 3] = ["/char", "/block", "/fifo"];

/// Makes them below the root filesystem.
fn make_nodes(rootfs: &Path) -> Outcome {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    for (name, kind) in NODES.into_iter().zip([SFlag::S_IFCHR, SFlag::S_IFBLK, SFlag::S_IFIFO]) {
        mknod(&rootfs.join(&name[1..]), kind, Mode::from_bits_truncate(0o666), makedev(250, 250))?;
    }
    Ok(())
}
