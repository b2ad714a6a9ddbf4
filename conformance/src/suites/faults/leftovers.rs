//! Many lives and many failures: afterwards all is as before.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Census, case, prefixed};
use crate::ctx::{Bundle, Outcome, args, ensure, eq, namespace, push};
use crate::frame::Case;

/// A create that can't succeed: its name, the change of the configuration, further flags.
type Failure = (&'static str, fn(&mut Value), &'static [&'static str]);

fn hook(c: &mut Value, kind: &str) {
    c["hooks"][kind] = json!([{"path": "/bin/false"}]);
}

fn bind(c: &mut Value, source: &str, destination: &str) {
    push(&mut c["mounts"], json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind"]}));
}

const FAILURES: &[Failure] = &[
    ("program missing", |c| c["process"]["args"] = json!(["/nowhere"]), &[]),
    ("program a directory", |c| c["process"]["args"] = json!(["/dir"]), &[]),
    ("mount source missing", |c| bind(c, "/nowhere/at/all", "/mnt"), &[]),
    (
        "file system unknown",
        |c| push(&mut c["mounts"], json!({"destination": "/mnt", "type": "nofs", "source": "x"})),
        &[],
    ),
    (
        "mount data wrong",
        |c| push(&mut c["mounts"], json!({"destination": "/m", "type": "tmpfs", "source": "t", "options": ["size=x"]})),
        &[],
    ),
    ("mount over a file's child", |c| bind(c, "/etc", "/probe/below"), &[]),
    ("limit unknown", |c| c["linux"]["resources"]["unified"] = json!({"nothing.max": "1"}), &[]),
    (
        "huge page size unknown",
        |c| c["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "3MB", "limit": 1}]),
        &[],
    ),
    ("cwd below a file", |c| c["process"]["cwd"] = json!("/probe/below"), &[]),
    ("prestart hook", |c| hook(c, "prestart"), &[]),
    ("createRuntime hook", |c| hook(c, "createRuntime"), &[]),
    (
        "createContainer hook",
        |c| {
            hook(c, "createContainer");
            hook(c, "poststop");
        },
        &[],
    ),
    ("startContainer hook missing", |c| c["hooks"]["startContainer"] = json!([{"path": "/nowhere"}]), &[]),
    ("seccomp action unknown", |c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_NOTHING"}), &[]),
    (
        "seccomp listener missing",
        |c| {
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nowhere.sock",
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
        },
        &[],
    ),
    ("namespace path missing", |c| namespace(c, "network", Some(json!({"type": "network", "path": "/nowhere"}))), &[]),
    (
        "namespace of another type",
        |c| namespace(c, "network", Some(json!({"type": "network", "path": "/proc/self/ns/uts"}))),
        &[],
    ),
    ("sysctl unknown", |c| c["linux"]["sysctl"] = json!({"net.ipv4.nothing": "1"}), &[]),
    ("sysctl value", |c| c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "many"}), &[]),
    ("console socket missing", |c| c["process"]["terminal"] = json!(true), &["--console-socket", "/nowhere.sock"]),
    ("pid file unwritable", |_| {}, &["--pid-file", "/nowhere/pid"]),
    (
        "user not mapped",
        |c| {
            push(&mut c["linux"]["namespaces"], json!({"type": "user"}));
            for ids in ["uidMappings", "gidMappings"] {
                c["linux"][ids] = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
            }
            c["process"]["user"] = json!({"uid": 11, "gid": 11});
        },
        &[],
    ),
    ("rootfs missing", |c| c["root"]["path"] = json!("nowhere"), &[]),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut all = vec![
        case("leftovers/lives", "reliability: nothing grows in 1000 create/start/kill/delete", |x| {
            let b = x.bundle(|c| args(c, "sleep"))?;
            let life = || -> Outcome {
                for words in [
                    &["create", "--bundle", b.dir(), &b.id][..],
                    &["start", &b.id],
                    &["kill", &b.id, "KILL"],
                    &["delete", "--force", &b.id],
                ] {
                    x.rt(words)?.ok()?;
                }
                Ok(())
            };
            life()?;
            let cycles = if x.job.full { 1000 } else { 100 };
            let before = Census::take(x, &[])?;
            let start = Instant::now();
            (0..cycles).try_for_each(|_| life())?;
            let time = start.elapsed() / cycles;
            let after = Census::take(x, &[])?;
            x.measure(format!("before {cycles} lives: {}", before.counts()));
            x.measure(format!("after, {} us each: {}", time.as_micros(), after.counts()));
            after.same(&before)
        }),
        case("leftovers/failures", "reliability: nothing is left of 100 creates that fail", |x| {
            let rounds = if x.job.full { 5 } else { 1 };
            let before = Census::take(x, &[])?;
            let mut failed = 0;
            for (name, patch, flags) in std::iter::repeat_n(FAILURES, rounds).flatten() {
                let b = x.bundle(patch)?;
                let mut words = vec!["create", "--bundle", b.dir()];
                words.extend(*flags);
                words.push(&b.id);
                if x.rt(words)?.status == 0 {
                    ensure(x.rt(["start", &b.id])?.status != 0, format_args!("{name}: create and start succeeded"))?;
                    x.rt(["delete", "--force", &b.id])?.ok()?;
                }
                failed += 1;
                Census::take(x, &[])?.same(&before).map_err(|e| prefixed(name, e))?;
                fs::remove_dir_all(&b.dir)?;
            }
            x.measure(format!("before and after {failed} failures: {}", before.counts()));
            Ok(())
        }),
        case(
            "leftovers/cgroup-parents",
            "reliability: parents made for a container go with it when nobody else is below",
            |x| {
                x.needs_cgroupfs()?;
                let before = Census::take(x, &[])?;
                let parent = format!("/{}a/b/c", x.job.tag);
                let nested = |patch: fn(&mut Value)| -> Result<Bundle, _> {
                    let id = x.id();
                    let path = format!("{parent}/{id}");
                    x.bundle(|c| {
                        c["linux"]["cgroupsPath"] = json!(path);
                        args(c, "sleep");
                        patch(c);
                    })
                };
                let failing = nested(|c| c["process"]["args"] = json!(["/nowhere"]))?;
                ensure(x.rt(["run", "--bundle", failing.dir(), &failing.id])?.status != 0, "it ran")?;
                Census::take(x, &[])?.same(&before).map_err(|e| prefixed("a failed create", e))?;
                // The one for which they were made goes last, or first.
                for maker_first in [false, true] {
                    let (one, two) = (nested(|_| {})?, nested(|_| {})?);
                    for b in [&one, &two] {
                        x.rt(["run", "--detach", "--bundle", b.dir(), &b.id])?.ok()?;
                    }
                    let failing = nested(|c| hook(c, "createRuntime"))?;
                    x.rt(["create", "--bundle", failing.dir(), &failing.id])?.exits(1)?;
                    let (first, last) = if maker_first { (&one, &two) } else { (&two, &one) };
                    x.rt(["delete", "--force", &first.id])?.ok()?;
                    x.status(&last.id, "running")?;
                    x.rt(["delete", "--force", &last.id])?.ok()?;
                    Census::take(x, &[])?.same(&before).map_err(|e| prefixed("the last delete", e))?;
                }
                Ok(())
            },
        ),
        case("leftovers/cgroup-parents-of-others", "reliability: a parent that was there stays", |x| {
            x.needs_cgroupfs()?;
            let name = format!("{}mine", x.job.tag);
            let dirs: Vec<_> = if x.job.v2 {
                vec![format!("/sys/fs/cgroup/{name}")]
            } else {
                ["freezer", "pids", "devices"]
                    .iter()
                    .map(|c| format!("/sys/fs/cgroup/{c}"))
                    .filter(|d| std::path::Path::new(d).is_dir())
                    .map(|d| format!("{d}/{name}"))
                    .collect()
            };
            for dir in &dirs {
                fs::create_dir(dir)?;
            }
            let b = x.bundle(|c| {
                c["linux"]["cgroupsPath"] = json!(format!("/{name}/below"));
                args(c, "exit 0");
            })?;
            x.run(&b)?.ok()?;
            for dir in &dirs {
                ensure(std::path::Path::new(dir).is_dir(), format_args!("{dir} was removed"))?;
                eq("groups below", fs::read_dir(dir)?.flatten().filter(|e| e.path().is_dir()).count(), 0)?;
                fs::remove_dir(dir)?;
            }
            crate::frame::remove_cgroups(&x.job.tag);
            Ok(())
        }),
    ];
    for c in &mut all {
        c.timeout = Duration::from_secs(120);
    }
    all
}
