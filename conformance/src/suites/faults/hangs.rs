//! Circumstances in which runtimes were seen to hang, to spin, or to hit the wrong process. The limit of a case is the
//! limit of its commands.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

use super::{Census, case};
use crate::ctx::{Ctx, Live, Outcome, Stop, args, ensure, eq};
use crate::frame::Case;

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    all.extend(hooks());
    all.extend(streams());
    all.extend(state_directory());
    all.extend(strange_states());
    all.extend([
        case("hangs/seccomp-kills-everything", "reliability: a filter that allows nothing ends the start", |x| {
            for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_ERRNO", "SCMP_ACT_TRAP"] {
                for no_new_privileges in [true, false] {
                    let b = x.bundle(|c| {
                        c["process"]["noNewPrivileges"] = json!(no_new_privileges);
                        c["linux"]["seccomp"] = json!({"defaultAction": action});
                    })?;
                    let out = x.rt(["run", "--bundle", b.dir(), &b.id])?;
                    ensure(out.status != 0, format_args!("{action}: it ran"))?;
                    x.rt(["delete", "--force", &b.id])?.ok()?;
                }
            }
            Ok(())
        }),
        case(
            "hangs/foreign-frozen-group",
            "reliability: delete of a container that somebody else froze is bounded",
            |x| {
                x.needs("freezer").or_else(|e| if x.job.v2 { Ok(()) } else { Err(e) })?;
                let live = x.live(|_| {})?;
                let base = if x.job.v2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/freezer" };
                let group = PathBuf::from(format!("{base}/{}ice", x.job.tag));
                fs::create_dir(&group)?;
                fs::write(group.join("cgroup.procs"), live.pid.to_string())?;
                let (file, frozen, thawed) =
                    if x.job.v2 { ("cgroup.freeze", "1", "0") } else { ("freezer.state", "FROZEN", "THAWED") };
                fs::write(group.join(file), frozen)?;
                let start = Instant::now();
                let killed = x.rt(["kill", &live.id, "KILL"])?;
                let deleted = x.rt(["delete", "--force", &live.id])?;
                x.measure(format!(
                    "frozen: kill {}, delete {} in {:?}",
                    killed.status,
                    deleted.status,
                    start.elapsed()
                ));
                fs::write(group.join(file), thawed)?;
                x.gone(live.pid)?;
                x.rt(["delete", "--force", &live.id])?.ok()?;
                fs::remove_dir(&group)?;
                Ok(())
            },
        ),
        case(
            "hangs/frozen-group-below",
            "reliability: a container that froze a group of its own can be deleted",
            |x| {
                x.needs("freezer").or_else(|e| if x.job.v2 { Ok(()) } else { Err(e) })?;
                let live = x.live(|_| {})?;
                let group = x.cgroup(&live.id, "freezer").join("below");
                fs::create_dir(&group)?;
                fs::write(group.join("cgroup.procs"), live.pid.to_string())?;
                let (file, frozen) = if x.job.v2 { ("cgroup.freeze", "1") } else { ("freezer.state", "FROZEN") };
                fs::write(group.join(file), frozen)?;
                x.rt(["delete", "--force", &live.id])?.ok()?;
                ensure(!group.exists(), "the group is left")
            },
        ),
    ]);
    for c in &mut all {
        c.timeout = c.timeout.max(Duration::from_secs(60));
    }
    all
}

fn hooks() -> Vec<Case> {
    let mut all = Vec::new();
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        all.push(case(
            format!("hangs/hook-does-not-read-{kind}"),
            "config.md POSIX-platform Hooks: the state is offered on standard input",
            move |x| {
                let b = x.bundle(|c| {
                    // More than a pipe holds.
                    c["annotations"] = json!({"org.example.long": "x".repeat(200_000)});
                    let program =
                        if kind == "startContainer" { "/probe".into() } else { x.job.probe.to_string_lossy() };
                    c["hooks"][kind] = json!([{"path": program, "args": ["probe", "exit", "0"]}]);
                    args(c, "exit 0");
                })?;
                eq("stderr", x.run(&b)?.ok()?.stderr, "")
            },
        ));
        all.push(case(
            format!("hangs/hook-sleeps-unread-{kind}"),
            "config.md POSIX-platform Hooks: timeout, also while the state is written",
            move |x| {
                let b = x.bundle(|c| {
                    c["annotations"] = json!({"org.example.long": "x".repeat(200_000)});
                    let program =
                        if kind == "startContainer" { "/probe".into() } else { x.job.probe.to_string_lossy() };
                    c["hooks"][kind] = json!([{"path": program, "args": ["probe", "sleep"], "timeout": 1}]);
                    args(c, "exit 0");
                })?;
                let status = x.run(&b)?.status;
                // Only a poststop hook may fail without consequence.
                ensure(kind == "poststop" || status != 0, "the failure was not noticed")
            },
        ));
    }
    all.push(case("hangs/poststop-fails", "runtime.md Lifecycle step 13: a warning, and the delete goes on", |x| {
        let b = x.bundle(|c| {
            c["hooks"]["poststop"] = json!([{"path": "/nowhere/hook"}, {"path": "/bin/false"}]);
            args(c, "wait");
        })?;
        let live = x.live_bundle(b)?;
        x.kill(&live)?;
        let out = x.rt(["delete", &live.id])?.ok()?;
        ensure(!out.stderr.is_empty(), "no warning")?;
        ensure(!x.state_root().join(&live.id).exists(), "the container is left")
    }));
    all
}

fn streams() -> Vec<Case> {
    let mut all = Vec::new();
    for closed in [&[0][..], &[1], &[2], &[0, 1], &[0, 1, 2]] {
        let name = closed.iter().map(ToString::to_string).collect::<Vec<_>>().join("-");
        all.push(case(
            format!("hangs/closed-streams-{name}"),
            "contract: a runtime works without its standard streams",
            move |x| {
                let without: Vec<_> = closed.iter().map(|n| format!("close={n}")).collect();
                let b = x.bundle(|c| args(c, "exit 7"))?;
                x.cmd(["run", "--bundle", b.dir(), &b.id]).with(without.clone()).go()?.exits(7)?;
                let b = x.bundle(|c| args(c, "sleep"))?;
                x.cmd(["create", "--bundle", b.dir(), &b.id]).with(without.clone()).go()?.ok()?;
                x.cmd(["start", &b.id]).with(without.clone()).go()?.ok()?;
                x.cmd(["exec", &b.id, "/probe", "exit", "7"]).with(without.clone()).go()?.exits(7)?;
                x.cmd(["list"]).with(without.clone()).go()?;
                x.cmd(["kill", &b.id, "KILL"]).with(without.clone()).go()?.ok()?;
                x.cmd(["delete", "--force", &b.id]).with(without).go()?.ok().map(drop)
            },
        ));
    }
    all.extend([
        case("hangs/closed-pipe", "reliability: 200 x `run true` with nobody behind standard output", |x| {
            let rounds = if x.job.full { 200 } else { 40 };
            let b = x.bundle(|c| args(c, "exit 3"))?;
            let before = Census::take(x, &[])?;
            for round in 0..rounds {
                let mut out = x.cmd(["run", "--bundle", b.dir(), &b.id]).without_reader()?;
                eq(format_args!("status, round {round}"), out.wait()?, 3)?;
            }
            Census::take(x, &[])?.same(&before)
        }),
        case("hangs/terminal-unread-detached", "reliability: a terminal with nobody reading can be killed", |x| {
            let b = x.bundle(|c| {
                args(c, "bytes 1000000");
                c["process"]["terminal"] = json!(true);
            })?;
            let console = x.console()?;
            x.rt(["run", "--detach", "--bundle", b.dir(), "--console-socket", &console.path, &b.id])?.ok()?;
            let pty = console.accept()?;
            let pid = x.state(&b.id)?["pid"].as_i64().unwrap_or_default() as i32;
            x.rt(["kill", &b.id, "KILL"])?.ok()?;
            x.gone(pid)?;
            x.rt(["delete", &b.id])?.ok()?;
            drop(pty);
            Ok(())
        }),
        case("hangs/terminal-unread-foreground", "reliability: a full terminal that is closed ends the run", |x| {
            let b = x.bundle(|c| {
                args(c, "bytes 1000000");
                c["process"]["terminal"] = json!(true);
            })?;
            let terminal = x.cmd(["run", "--bundle", b.dir(), &b.id]).on_terminal(24, 80)?;
            until("the container runs", || Ok(x.rt(["state", &b.id])?.stdout.contains("\"running\"")))?;
            x.rt(["kill", &b.id, "KILL"])?.ok()?;
            // Nobody will ever read: as for any program, that shows when the terminal is hung up.
            terminal.hang_up().map(drop)
        }),
    ]);
    all
}

/// Asks until it holds, for ten seconds. For what no descriptor tells.
fn until(what: &str, mut holds: impl FnMut() -> Result<bool, Stop>) -> Outcome {
    let end = Instant::now() + crate::ctx::patience(Duration::from_secs(10));
    while !holds()? {
        ensure(Instant::now() < end, format_args!("not within 10 s: {what}"))?;
    }
    Ok(())
}

/// A tmpfs on the state directory, unmounted at the end.
struct SmallRoot(PathBuf);

impl SmallRoot {
    fn new(x: &Ctx) -> Result<SmallRoot, Stop> {
        let root = x.state_root();
        fs::create_dir_all(&root)?;
        mount(Some("tmpfs"), &root, Some("tmpfs"), MsFlags::empty(), Some("size=64k,mode=700"))?;
        Ok(SmallRoot(root))
    }

    fn remount(&self, flags: MsFlags) -> Outcome {
        let none: Option<&str> = None;
        mount(none, &self.0, none, MsFlags::MS_REMOUNT | flags, Some("size=64k,mode=700"))?;
        Ok(())
    }

    /// Leaves no byte.
    fn fill(&self) -> Result<PathBuf, Stop> {
        let path = self.0.join(".filler");
        let mut file = fs::File::create(&path)?;
        while file.write_all(&[0; 512]).is_ok() {}
        Ok(path)
    }
}

impl Drop for SmallRoot {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn state_directory() -> Vec<Case> {
    let ends = |x: &Ctx, live: &Live| -> Outcome {
        x.kill(live)?;
        x.rt(["delete", &live.id])?.ok().map(drop)
    };
    vec![
        case("hangs/state-directory-full", "reliability: ENOSPC below --root", move |x| {
            let root = SmallRoot::new(x)?;
            let live = x.live(|_| {})?;
            let waiting = x.bundle(|c| args(c, "sleep"))?;
            x.rt(["create", "--bundle", waiting.dir(), &waiting.id])?.ok()?;
            let filler = root.fill()?;
            let wanted: Vec<_> = crate::ctx::processes().into_iter().map(|(pid, _)| pid).collect();
            let before = Census::take(x, &wanted)?;
            for _ in 0..3 {
                let b = x.bundle(|_| {})?;
                let out = x.rt(["create", "--bundle", b.dir(), &b.id])?;
                ensure(out.status != 0, "created without space")?;
                Census::take(x, &wanted)?.same(&before)?;
            }
            x.rt(["list"])?.ok()?;
            x.status(&live.id, "running")?;
            x.rt(["start", &waiting.id])?.ok()?;
            x.rt(["exec", &live.id, "/probe", "exit", "0"])?.ok()?;
            x.rt(["delete", "--force", &waiting.id])?.ok()?;
            ends(x, &live)?;
            fs::remove_file(filler)?;
            let b = x.bundle(|c| args(c, "exit 0"))?;
            x.run(&b)?.ok().map(drop)
        }),
        case("hangs/state-directory-read-only", "reliability: EROFS below --root", move |x| {
            let root = SmallRoot::new(x)?;
            let live = x.live(|_| {})?;
            root.remount(MsFlags::MS_RDONLY)?;
            let b = x.bundle(|_| {})?;
            ensure(x.rt(["create", "--bundle", b.dir(), &b.id])?.status != 0, "created")?;
            x.rt(["list"])?.ok()?;
            x.status(&live.id, "running")?;
            x.rt(["exec", &live.id, "/probe", "exit", "0"])?.ok()?;
            x.kill(&live)?;
            x.status(&live.id, "stopped")?;
            ensure(x.rt(["delete", "--force", &live.id])?.status != 0, "deleted what can't be removed")?;
            root.remount(MsFlags::empty())?;
            x.rt(["delete", "--force", &live.id])?.ok().map(drop)
        }),
    ]
}

/// Makes a text of the state.json that was there.
type Change = fn(&str) -> String;

/// What may be found in the place of a state.json.
const STATES: &[(&str, Change)] = &[
    ("empty", |_| String::new()),
    ("half", |s| s[..s.len() / 2].to_owned()),
    ("object", |_| "{}".to_owned()),
    ("array", |_| "[1]".to_owned()),
    ("null", |_| "null".to_owned()),
    ("text", |_| "\u{0}\u{1}garbage".to_owned()),
    ("foreign", |_| {
        json!({"id": "x", "init_process_pid": 1, "init_process_start": 1, "created": "2020-01-01T00:00:00Z",
        "config": {"rootfs": "/", "cgroups": {"path": "/"}, "namespaces": []}, "rootless": false, "cgroup_paths": {}})
        .to_string()
    }),
];

fn strange_states() -> Vec<Case> {
    let mut all = Vec::new();
    for (name, change) in STATES {
        all.push(case(
            format!("hangs/state-json-{name}"),
            "reliability: `list` tolerates it, `delete --force` removes it",
            move |x| {
                let other = x.live(|_| {})?;
                let live = x.live(|_| {})?;
                x.kill(&live)?;
                let file = x.state_root().join(&live.id).join("state.json");
                fs::write(&file, change(&fs::read_to_string(&file)?))?;
                let out = x.rt(["list"])?.ok()?;
                ensure(out.stdout.contains(&other.id), "list does not show the others")?;
                ensure(x.rt(["state", &live.id])?.status != 0, "state of what is none")?;
                x.rt(["delete", "--force", &live.id])?.ok()?;
                ensure(!x.state_root().join(&live.id).exists(), "the state directory is left")?;
                ensure(!x.cgroup(&live.id, "freezer").exists(), "the cgroup is left")?;
                x.status(&other.id, "running")
            },
        ));
    }
    all.extend([
        case("hangs/state-json-half-of-running", "reliability: `delete --force` also ends what still runs", |x| {
            let live = x.live(|_| {})?;
            let file = x.state_root().join(&live.id).join("state.json");
            let text = fs::read_to_string(&file)?;
            fs::write(&file, &text[..text.len() / 2])?;
            x.rt(["delete", "--force", &live.id])?.ok()?;
            ensure(!Path::new(&format!("/proc/{}", live.pid)).exists() || x.gone(live.pid).is_ok(), "the process runs")
        }),
        case("hangs/not-a-directory", "reliability: a file below --root is no container", |x| {
            let live = x.live(|_| {})?;
            fs::write(x.state_root().join("a-file"), "x")?;
            fs::create_dir(x.state_root().join("a-directory"))?;
            x.rt(["list"])?.ok()?;
            x.rt(["delete", "--force", "a-directory"])?.ok()?;
            ensure(!x.state_root().join("a-directory").exists(), "the directory is left")?;
            fs::remove_file(x.state_root().join("a-file"))?;
            x.status(&live.id, "running")
        }),
        case("hangs/pid-reuse", "reliability: a pid with another start time is another process", |x| {
            let live = x.live(|_| {})?;
            let pid = live.pid;
            let start = start_tick(pid)?;
            x.kill(&live)?;
            // The bystander is what now has the pid. The kernel counts starts in ticks: it must be of a later one.
            let spawn = || std::process::Command::new("/proc/self/exe").args(["probe", "sleep"]).spawn();
            let mut bystander = spawn()?;
            while start_tick(bystander.id() as i32)? == start {
                bystander.kill()?;
                bystander.wait()?;
                bystander = spawn()?;
            }
            let file = x.state_root().join(&live.id).join("state.json");
            let mut state: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
            let changed = replace(&mut state, &json!(pid), &json!(bystander.id()));
            ensure(changed > 0, format_args!("no pid {pid} in state.json"))?;
            fs::write(&file, state.to_string())?;
            x.status(&live.id, "stopped")?;
            for signal in ["0", "TERM", "KILL"] {
                ensure(x.rt(["kill", &live.id, signal])?.status != 0, format_args!("kill {signal} succeeded"))?;
            }
            ensure(x.rt(["exec", &live.id, "/probe", "exit", "0"])?.status != 0, "exec succeeded")?;
            x.rt(["kill", "--all", &live.id, "KILL"])?;
            x.rt(["delete", "--force", &live.id])?.ok()?;
            let pid = bystander.id() as i32;
            let alive = crate::ctx::processes().iter().any(|(p, _)| *p == pid);
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).ok();
            x.gone(pid)?;
            ensure(alive, "the bystander was killed")
        }),
        case("hangs/delete-what-is-not-there", "contract: delete --force of nothing is no error", |x| {
            x.rt(["delete", "--force", &x.id()])?.ok().map(drop)
        }),
    ]);
    all
}

/// When a process started, proc_pid_stat(5) field 22.
fn start_tick(pid: i32) -> Result<String, Stop> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    Ok(fields.split_whitespace().nth(19).unwrap_or_default().to_owned())
}

/// Replaces a value wherever it is; how often.
fn replace(tree: &mut Value, old: &Value, new: &Value) -> usize {
    match tree {
        Value::Array(list) => list.iter_mut().map(|v| replace(v, old, new)).sum(),
        Value::Object(map) => map.values_mut().map(|v| replace(v, old, new)).sum(),
        leaf if leaf == old => {
            *leaf = new.clone();
            1
        }
        _ => 0,
    }
}
