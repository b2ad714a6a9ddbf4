//! What a process of the container may reach and is given: descriptors, the runtime's executable, privileges.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use serde_json::{Value, json};

use super::{case, create, race};
use crate::ctx::{Ctx, Live, Outcome, args, contains, ensure, eq, facts_of, namespace, push};
use crate::frame::Case;

/// Ends the container's spy and judges what it found.
fn caught(x: &Ctx, live: Live) -> Outcome {
    caught_but(x, live, "nothing")
}

/// The same, where this is no breach.
fn caught_but(x: &Ctx, mut live: Live, allowed: &str) -> Outcome {
    fs::write(live.bundle.rootfs.join("stop"), "")?;
    let line = live.out.line()?;
    let found: Value = serde_json::from_str(&line)?;
    let found = &found["result"];
    let breaches = found["breaches"].as_array().cloned().unwrap_or_default();
    let breaches: Vec<_> = breaches.iter().filter(|b| !b.as_str().is_some_and(|b| b.starts_with(allowed))).collect();
    eq(format_args!("what the container could do ({line})"), breaches, Vec::<&Value>::new())?;
    ensure(found["seen"].as_u64() > Some(0), "it saw no process come in")?;
    x.gone(live.pid)
}

fn executables() -> Vec<Case> {
    const OWN: &str = "CVE-2019-5736: the runtime's executable cannot be written to from inside";
    vec![
        case("CVE-2019-5736/program", OWN, |x| {
            let b = x.bundle(|c| c["process"]["args"] = json!(["/proc/self/exe"]))?;
            x.run(&b).map(drop)
        }),
        case("CVE-2019-5736/program-is-link", OWN, |x| {
            let b = x.bundle(|c| c["process"]["args"] = json!(["/bin"]))?;
            symlink("/proc/self/exe", b.rootfs.join("bin"))?;
            x.run(&b).map(drop)
        }),
        race("CVE-2019-5736/interpreter", OWN, |x| {
            let live = x.live(|c| args(c, "spy"))?;
            let script = live.bundle.rootfs.join("script");
            fs::write(&script, "#!/proc/self/exe\n")?;
            fs::set_permissions(&script, PermissionsExt::from_mode(0o755))?;
            for _ in 0..x.job.rounds {
                x.rt(["exec", &live.id, "/script"])?;
            }
            // As the script's interpreter the executable is a program of the container like any other, and may be traced.
            caught_but(x, live, "traced")
        }),
        race("CVE-2016-9962/exec-from-inside", "CVE-2016-9962: what exec brings in is not for the container", |x| {
            let live = x.live(|c| args(c, "spy"))?;
            for _ in 0..x.job.rounds {
                let words = ["exec", "--cwd", "/", &live.id, "/probe", "exit", "0"];
                x.cmd(words).with(["open=/", "open=/etc"]).go()?.ok()?;
            }
            caught(x, live)
        }),
        race("CVE-2016-9962/shared-pids", "CVE-2016-9962: the same, where pids are the host's", |x| {
            // The host's processes are to be seen here, the harness among them: nothing but the executable is judged.
            let live = x.live(|c| args(c, "spy"))?;
            let pids = format!("/proc/{}/ns/pid", live.pid);
            for _ in 0..x.job.rounds.min(20) {
                let b = x.bundle(|c| {
                    namespace(c, "pid", Some(json!({"type": "pid", "path": pids})));
                    args(c, "exit 0");
                })?;
                // Its root is another, and is none of the host's.
                fs::hard_link(&x.job.probe, b.rootfs.join("probe2"))?;
                x.run(&b)?.ok()?;
            }
            fs::write(live.bundle.rootfs.join("stop"), "")?;
            let mut live = live;
            let found: Value = serde_json::from_str(&live.out.line()?)?;
            let bad = |b: &&Value| b.as_str().is_some_and(|b| b.contains("written") || b.contains("traced"));
            let found = found.pointer("/result/breaches").and_then(Value::as_array).cloned().unwrap_or_default();
            eq("what the container could do", found.iter().filter(bad).collect::<Vec<_>>(), Vec::<&Value>::new())?;
            x.gone(live.pid)
        }),
    ]
}

fn descriptors() -> Vec<Case> {
    const LEAK: &str = "CVE-2024-21626: no directory of the host's by an inherited descriptor";
    /// Ran outside of the container's root, or not at all.
    fn refused(what: &str, out: &crate::ctx::Out) -> Outcome {
        ensure(out.status != 0, format_args!("{what} succeeded: {}", out.stdout))?;
        ensure(!out.stderr.trim().is_empty(), "no message")
    }
    let inherited = ["open=/", "open=/etc", "open=/"];
    vec![
        case("CVE-2024-21626/run", LEAK, move |x| {
            for n in 3..24 {
                let cwd = format!("/proc/self/fd/{n}");
                let b = x.bundle(|c| {
                    c["process"]["cwd"] = json!(cwd);
                    args(c, "getcwd");
                })?;
                let out = x.cmd(["run", "--bundle", b.dir(), &b.id]).with(inherited).go()?;
                refused(&cwd, &out)?;
            }
            Ok(())
        }),
        case("CVE-2024-21626/run-below", LEAK, move |x| {
            for n in 3..16 {
                let cwd = format!("/proc/self/fd/{n}/../etc");
                let b = x.bundle(|c| {
                    c["process"]["cwd"] = json!(cwd);
                    args(c, "getcwd");
                })?;
                refused(&cwd, &x.cmd(["run", "--bundle", b.dir(), &b.id]).with(inherited).go()?)?;
            }
            Ok(())
        }),
        case("CVE-2024-21626/run-through-link", LEAK, move |x| {
            for n in 3..16 {
                let b = x.bundle(|c| {
                    c["process"]["cwd"] = json!("/x");
                    args(c, "getcwd");
                })?;
                symlink(format!("/proc/self/fd/{n}"), b.rootfs.join("x"))?;
                refused(&format!("/x to {n}"), &x.cmd(["run", "--bundle", b.dir(), &b.id]).with(inherited).go()?)?;
            }
            Ok(())
        }),
        case("CVE-2024-21626/exec", LEAK, move |x| {
            let live = x.live(|_| ())?;
            for n in 3..24 {
                let cwd = format!("/proc/self/fd/{n}");
                let out = x.cmd(["exec", "--cwd", &cwd, &live.id, "/probe", "getcwd"]).with(inherited).go()?;
                refused(&cwd, &out)?;
            }
            Ok(())
        }),
        case("CVE-2024-21626/exec-through-link", LEAK, move |x| {
            let live = x.live(|_| ())?;
            let link = live.bundle.rootfs.join("x");
            for n in 3..24 {
                let _ = fs::remove_file(&link);
                symlink(format!("/proc/self/fd/{n}"), &link)?;
                let out = x.cmd(["exec", "--cwd", "/x", &live.id, "/probe", "getcwd"]).with(inherited).go()?;
                refused(&format!("/x to {n}"), &out)?;
            }
            Ok(())
        }),
        case("CVE-2024-21626/program", LEAK, move |x| {
            let live = x.live(|_| ())?;
            for n in 3..24 {
                let program = format!("/proc/self/fd/{n}/bin/true");
                let out = x.cmd(["exec", &live.id, &program]).with(inherited).go()?;
                refused(&program, &out)?;
            }
            Ok(())
        }),
        case("CVE-2024-21626/inherited", LEAK, move |x| {
            let b = x.bundle(|_| ())?;
            let f = facts_of(&x.cmd(["run", "--bundle", b.dir(), &b.id]).with(inherited).go()?.ok()?)?;
            let fds: Vec<_> = f["fds"].as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
            eq("descriptors", fds, vec!["0", "1", "2"])
        }),
        case("CVE-2024-21626/created", LEAK, move |x| {
            let b = x.bundle(|_| ())?;
            x.cmd(["create", "--bundle", b.dir(), "--pid-file", &b.path("pid"), &b.id]).with(inherited).go()?.ok()?;
            let proc = format!("/proc/{}", super::pid(&b)?);
            let own = fs::metadata(format!("{proc}/root"))?;
            for e in fs::read_dir(format!("{proc}/fd"))?.flatten() {
                let Ok(file) = fs::metadata(e.path()) else { continue };
                // Its own root and procfs lead nowhere that it could not go by itself: runc 1.3 waits with the latter.
                let inside = (file.dev(), file.ino()) == (own.dev(), own.ino())
                    || nix::sys::statfs::statfs(&e.path())?.filesystem_type() == nix::sys::statfs::PROC_SUPER_MAGIC;
                let link = fs::read_link(e.path())?;
                ensure(!file.is_dir() || inside, format_args!("{:?} is a directory: {link:?}", e.file_name()))?;
            }
            Ok(())
        }),
    ]
}

fn privileges() -> Vec<Case> {
    vec![
        case("CVE-2022-29162/exec-cap", "CVE-2022-29162, CVE-2022-27650: nothing inheritable, nothing ambient", |x| {
            let live = x.live(|c| c["process"]["noNewPrivileges"] = json!(false))?;
            let f = facts_of(&x.rt(["exec", "--cap", "CAP_NET_RAW", &live.id, "/probe", "report"])?.ok()?)?;
            eq("inheritable", &f["caps"]["inheritable"], &json!([]))?;
            eq("ambient", &f["caps"]["ambient"], &json!([]))?;
            ensure(f["caps"]["effective"].to_string().contains("CAP_NET_RAW"), "it was not given")
        }),
        case("CVE-2025-27612/exec", "CVE-2025-27612: exec has what the container has", |x| {
            for caps in [json!({}), json!({"bounding": ["CAP_KILL"]})] {
                let live = x.live(|c| c["process"]["capabilities"] = caps)?;
                let status = fs::read_to_string(format!("/proc/{}/status", live.pid))?;
                let init: Vec<_> = status.lines().filter(|l| l.starts_with("Cap")).map(str::to_owned).collect();
                let out = x.rt(["exec", &live.id, "/probe", "cat", "/proc/self/status"])?.ok()?;
                let text = out.results().first().and_then(Value::as_str).unwrap_or_default().to_owned();
                let exec: Vec<_> = text.lines().filter(|l| l.starts_with("Cap")).map(str::to_owned).collect();
                eq("capabilities", exec, init)?;
            }
            let live = x.live(|c| c["process"]["capabilities"] = json!({}))?;
            let f = facts_of(&x.rt(["exec", "--cap", "CAP_KILL", &live.id, "/probe", "report"])?.ok()?)?;
            for (set, want) in [
                ("inheritable", json!([])),
                ("ambient", json!([])),
                ("bounding", json!(["CAP_KILL"])),
                ("permitted", json!(["CAP_KILL"])),
            ] {
                eq(format_args!("{set} with --cap"), &f["caps"][set], &want)?;
            }
            Ok(())
        }),
        case("GHSA-g54h-m393-cpwq/no-rules", "GHSA-g54h-m393-cpwq: without device rules, the default ones hold", |x| {
            let b = x.bundle(|c| {
                if let Some(linux) = c["linux"].as_object_mut() {
                    linux.remove("resources");
                }
                for set in ["bounding", "effective", "permitted"] {
                    push(&mut c["process"]["capabilities"][set], json!("CAP_MKNOD"));
                }
                args(
                    c,
                    "mknod /b b 8 0 , open /b r , mknod /c c 10 144 , open /c r , open /dev/null rw , open /dev/zero rw \
                     , open /dev/full rw , open /dev/random r , open /dev/urandom r , open /dev/ptmx rw",
                );
            })?;
            let want = ["ok", "EPERM", "ok", "EPERM", "ok", "ok", "ok", "ok", "ok", "ok"];
            eq("verbs", x.run(&b)?.ok()?.results(), want.map(Value::from).to_vec())
        }),
        case("CVE-2026-30892/exec-user", "CVE-2026-30892: -u is what it says, or an error", |x| {
            let live = x.live(|_| ())?;
            for (user, uid, gid) in [("1", 1, 0), ("1:2", 1, 2), ("0", 0, 0), ("65534:3", 65534, 3)] {
                let f = facts_of(&x.rt(["exec", "-u", user, &live.id, "/probe", "report"])?.ok()?)?;
                eq(format_args!("uid of {user}"), &f["uid"], &json!([uid, uid, uid, uid]))?;
                eq(format_args!("gid of {user}"), &f["gid"], &json!([gid, gid, gid, gid]))?;
            }
            Ok(())
        }),
        case("CVE-2026-30892/exec-minus-one", "security 1.3: setresuid(-1) changes nothing", |x| {
            let live = x.live(|_| ())?;
            for user in ["4294967295", "1:4294967295", "4294967297", "0x1", "1 ", "+1"] {
                let out = x.rt(["exec", &format!("--user={user}"), &live.id, "/probe", "write", "/mark", "x"])?;
                ensure(out.status != 0, format_args!("-u {user:?} succeeded"))?;
                ensure(!live.bundle.rootfs.join("mark").exists(), format_args!("-u {user:?}: the program ran"))?;
            }
            Ok(())
        }),
        case("CVE-2026-30892/process-minus-one", "containerd CVE-2024-40635: an id that changes nothing", |x| {
            for field in ["uid", "gid"] {
                let b = x.bundle(|c| c["process"]["user"][field] = json!(4_294_967_295_u32))?;
                ensure(create(x, &b)?.status != 0, format_args!("{field} -1 was accepted"))?;
            }
            Ok(())
        }),
    ]
}

fn cgroups() -> Vec<Case> {
    const READONLY: &str = "CVE-2023-25809: without a cgroup namespace, /sys/fs/cgroup is read-only or not there";
    let mut all = Vec::new();
    for (name, user, bound) in [("root", false, false), ("userns", true, false), ("userns-sys-bound", true, true)] {
        all.push(case(&format!("CVE-2023-25809/{name}"), READONLY, move |x| {
            let b = x.bundle(|c| {
                namespace(c, "cgroup", None);
                // An ordinary user's container has one.
                if user && x.job.user.is_none() {
                    namespace(c, "user", Some(json!({"type": "user"})));
                    for ids in ["uidMappings", "gidMappings"] {
                        c["linux"][ids] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
                    }
                }
                if bound && let Some(list) = c["mounts"].as_array_mut() {
                    list.retain(|m| m["destination"] != "/sys");
                    list.push(
                        json!({"destination": "/sys", "source": "/sys", "type": "none", "options": ["rbind", "ro"]}),
                    );
                }
                let options = json!(["nosuid", "noexec", "nodev", "relatime", "ro"]);
                let entry =
                    json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options});
                push(&mut c["mounts"], entry);
                args(c, "report");
            })?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            let points: Vec<String> = f["mounts"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|m| m["type"].as_str().is_some_and(|t| t.starts_with("cgroup")))
                .filter_map(|m| Some(m["point"].as_str()?.to_owned()))
                .collect();
            ensure(!points.is_empty(), "no hierarchy is mounted")?;
            let words: Vec<_> = points.iter().map(|p| format!("mkdir {p}/x")).collect();
            let text = fs::read_to_string(b.dir.join("config.json"))?;
            let mut config: Value = serde_json::from_str(&text)?;
            args(&mut config, &words.join(" , "));
            fs::write(b.dir.join("config.json"), config.to_string())?;
            let results = x.run(&b)?.ok()?.results();
            eq("results", results.len(), points.len())?;
            for (point, result) in points.iter().zip(results) {
                // ENOENT: another mount covers this one.
                let refused = ["EROFS", "EACCES", "EPERM", "ENOENT"].iter().any(|e| result == *e);
                ensure(refused, format_args!("mkdir {point}/x: {result}"))?;
            }
            Ok(())
        }));
    }
    all.push(case(
        "hardening/exec-cgroup",
        "runc exec.bats `bad sub cgroup path`: --cgroup stays below the container's",
        |x| {
            let live = x.live(|_| ())?;
            for path in ["..", "../..", "/..", "x/../..", "/../../../.."] {
                let out = x.rt(["exec", "--cgroup", path, &live.id, "/probe", "exit", "0"])?;
                ensure(out.status != 0, format_args!("--cgroup {path} succeeded"))?;
                contains("stderr", &out.stderr, &["cgroup"])?;
            }
            Ok(())
        },
    ));
    all
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = executables();
    all.extend(descriptors());
    all.extend(privileges());
    all.extend(cgroups());
    all
}
