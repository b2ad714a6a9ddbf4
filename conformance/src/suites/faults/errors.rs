//! Each system call of each command fails once: the command gets by without it and has done all the same, or it says what
//! failed, in one line, and leaves nothing.

use std::fs;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use serde_json::{Value, json};

use super::scene::{Extra, Scene};
use super::sweep::{CREATE, DELETE, KILL, PAUSE, RESUME, RUN, START, Step, UPDATE};
use super::{case, prefixed};
use crate::ctx::{Bundle, Ctx, Fault, Outcome, Stop, Traced, ensure, eq, skip};
use crate::frame::Case;

/// A command, and what brings a container to where it is given.
struct Command {
    name: &'static str,
    before: &'static [Step],
    words: Step,
    /// What tells that it has done what it says.
    effect: fn(&Ctx, &Bundle, &Traced) -> Result<Value, Stop>,
    /// What it is swept with, beside nothing and a user namespace.
    with: &'static [Extra],
}

const COMMANDS: &[Command] = &[
    Command {
        name: "create",
        before: &[],
        words: CREATE,
        effect: |x, b, _| container(x, b),
        with: &[Extra::Hop, Extra::Hooks, Extra::Terminal, Extra::NetDevice],
    },
    Command {
        name: "start",
        before: &[CREATE],
        words: START,
        effect: |x, b, _| container(x, b),
        with: &[Extra::Hooks, Extra::Terminal],
    },
    Command { name: "run", before: &[], words: RUN, effect: |x, b, _| container(x, b), with: &[] },
    Command {
        name: "exec",
        before: &[RUN],
        words: |b| vec!["exec", &b.id, "/probe", "cat", "/proc/self/status"],
        effect: |_, _, t| Ok(json!(credentials(t.out.results().first().map_or("", |v| v.as_str().unwrap_or(""))))),
        with: &[Extra::Hop],
    },
    Command { name: "kill", before: &[RUN], words: KILL, effect: |x, b, _| ended(x, b), with: &[] },
    Command { name: "update", before: &[RUN], words: UPDATE, effect: |x, b, _| container(x, b), with: &[] },
    Command { name: "pause", before: &[RUN], words: PAUSE, effect: |x, b, _| status(x, b), with: &[] },
    Command { name: "resume", before: &[RUN, PAUSE], words: RESUME, effect: |x, b, _| status(x, b), with: &[] },
    Command {
        name: "delete",
        before: &[RUN],
        words: DELETE,
        effect: |_, _, _| Ok(json!(0)),
        with: &[Extra::Hooks, Extra::NetDevice],
    },
    Command { name: "state", before: &[RUN], words: |b| vec!["state", &b.id], effect: |_, _, t| shown(t), with: &[] },
    Command {
        name: "list",
        before: &[RUN],
        words: |_| vec!["list", "--format", "json"],
        effect: |_, _, t| shown(t),
        with: &[],
    },
    Command {
        name: "ps",
        before: &[RUN],
        words: |b| vec!["ps", "--format", "json", &b.id],
        effect: |_, _, t| shown(t),
        with: &[],
    },
    Command {
        name: "events",
        before: &[RUN],
        words: |b| vec!["events", "--stats", &b.id],
        effect: |_, _, t| Ok(skeleton(&t.out.json()?)),
        with: &[],
    },
];

/// What a system call may plausibly fail with, whichever it is.
const ERRORS: [Errno; 8] =
    [Errno::ENOSYS, Errno::EPERM, Errno::EINTR, Errno::EAGAIN, Errno::ENOMEM, Errno::ENOSPC, Errno::EMFILE, Errno::EIO];

/// Calls that are left alone, and why.
const SPARED: &[(libc::c_long, &str)] = &[
    (libc::SYS_exit, "does not return"),
    (libc::SYS_exit_group, "does not return"),
    (libc::SYS_rt_sigreturn, "does not return"),
    (libc::SYS_close, "gives the descriptor back in any case, since Linux 2.6"),
    (libc::SYS_munmap, "of one's own mapping: can't fail"),
    (libc::SYS_mmap, "ENOMEM ends a program of Rust at once, as SIGKILL does: the kill sweep"),
    (libc::SYS_mremap, "as mmap"),
    (libc::SYS_brk, "as mmap"),
    (libc::SYS_rseq, "as mmap: glibc ends a program whose new thread has none though the first one has"),
    (libc::SYS_madvise, "advice"),
    (libc::SYS_mprotect, "of the stack's guard, before main"),
    (libc::SYS_arch_prctl, "before main: where thread-local variables are"),
    (libc::SYS_set_tid_address, "has no errors"),
    (libc::SYS_sigaltstack, "before main"),
    (libc::SYS_rt_sigaction, "fails for wrong arguments alone"),
    (libc::SYS_rt_sigprocmask, "fails for wrong arguments alone"),
    (libc::SYS_futex, "of the C library: a wake fails for wrong arguments alone, and a thread's end is awaited by it"),
    (libc::SYS_getrandom, "fails when the machine has just been started alone; the standard library panics"),
    (libc::SYS_getpid, "has no errors"),
    (libc::SYS_getppid, "has no errors"),
    (libc::SYS_getuid, "has no errors"),
    (libc::SYS_geteuid, "has no errors"),
    (libc::SYS_getgid, "has no errors"),
    (libc::SYS_getegid, "has no errors"),
    (libc::SYS_gettid, "has no errors"),
    (libc::SYS_umask, "has no errors"),
];

/// Of how many calls one is tried, with one error, unless all are with all; a prime, so that no pattern of calls is missed for ever.
const STRIDE: usize = 13;

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for command in COMMANDS {
        for extra in Extra::of(command.with) {
            let name = format!("error-sweep/{}{}", command.name, extra.suffix());
            let mut c = case(name, "reliability: a call that fails is got by without, or told on one line", move |x| {
                sweep(x, command, extra)
            });
            c.timeout = Duration::from_secs(1800);
            all.push(c);
        }
    }
    all
}

fn sweep(x: &Ctx, command: &Command, extra: Extra) -> Outcome {
    if !cfg!(target_arch = "x86_64") {
        return skip("the tracer knows the registers of x86-64 alone");
    }
    if command.name == "update" {
        x.needs("pids")?;
    }
    let scene = Scene::new(x, extra, demand)?;
    let b = &scene.bundle;
    let before = scene.census()?;
    let nothing_is_left = || -> Outcome {
        scene.given_back()?;
        scene.census()?.same(&before)
    };
    let clear = || -> Outcome {
        x.rt(["delete", "--force", &b.id])?.ok()?;
        scene.close_terminals()?;
        scene.census()?.same(&before)
    };
    let run = |fault| -> Result<Traced, Stop> {
        scene.set(command.before)?;
        x.cmd(scene.words(command.words)).faulty(fault)
    };
    let usual = run(None)?;
    eq("status without a fault", usual.out.status, 0)?;
    let effect = (command.effect)(x, b, &usual)?;
    clear()?;
    let (mut seen, mut tried, mut told, mut found) = (0, 0, 0, Vec::new());
    for (process, calls) in usual.calls.iter().enumerate() {
        for (call, number) in calls.iter().enumerate() {
            if SPARED.iter().any(|(spared, _)| u64::try_from(*spared) == Ok(*number)) {
                continue;
            }
            // The parent's last word to init, before that of `start`: create has ended by then. A read of what is there does
            // not fail.
            let read = |at: usize| calls.get(at).is_none_or(|n| u64::try_from(libc::SYS_read) == Ok(*n));
            if process > 0 && ["create", "run"].contains(&command.name) && read(call) && read(call + 2) {
                continue;
            }
            seen += 1;
            let errors = if x.job.full {
                &ERRORS[..]
            } else if seen % STRIDE == 0 {
                let which = seen / STRIDE % ERRORS.len();
                &ERRORS[which..=which]
            } else {
                continue;
            };
            for &errno in errors {
                let judged = run(Some(Fault { process, call, number: *number, errno })).and_then(|traced| {
                    tried += usize::from(traced.faulted);
                    told += usize::from(traced.out.status != 0);
                    judge(x, command, b, &traced, *number, &effect, nothing_is_left)
                });
                // Whatever was found, the next one begins afresh.
                for end in [judged, clear()] {
                    if let Err(stop) = end {
                        found.push(prefixed(
                            format_args!("process {process}, call {call} (number {number}), {errno}"),
                            stop,
                        ));
                    }
                }
            }
        }
    }
    x.measure(format!("{seen} system calls in {} processes; {tried} faults, {told} of them told", usual.calls.len()));
    x.status(&scene.other.id, "running")?;
    let texts: Vec<_> = found.iter().map(|(Stop::Fail(text) | Stop::Skip(text))| text.as_str()).collect();
    ensure(texts.is_empty(), format_args!("{} wrong: {}", texts.len(), texts.join("; ")))
}

/// One line, or what would have been without the fault.
fn judge(
    x: &Ctx,
    command: &Command,
    b: &Bundle,
    traced: &Traced,
    number: u64,
    effect: &Value,
    nothing_is_left: impl Fn() -> Outcome,
) -> Outcome {
    let said = traced.out.stderr.trim_end();
    ensure(!said.contains("panicked"), format_args!("{said}"))?;
    // It tells of the others all the same.
    if command.name == "list" && traced.out.status == 0 && said.contains("state of ") && said.lines().count() == 1 {
        return Ok(());
    }
    if traced.out.status == 0 {
        // execve(2) closes what is close-on-exec, by which `start` sees that it was done, before it commits the new credentials.
        let begin = Instant::now();
        loop {
            match same(&(command.effect)(x, b, traced)?, effect) {
                Err(_) if begin.elapsed() < Duration::from_secs(1) => std::thread::yield_now(),
                end => return end,
            }
        }
    }
    // The standard library's, before main: it ends the program, and there is nobody yet to say anything.
    if traced.out.status == 128 + libc::SIGABRT && u64::try_from(libc::SYS_poll) == Ok(number) {
        return Ok(());
    }
    ensure(!said.is_empty(), format_args!("status {} without a word", traced.out.status))?;
    ensure(said.lines().count() == 1, format_args!("more than one line: {said:?}"))?;
    if command.before.is_empty() { nothing_is_left() } else { Ok(()) }
}

/// Names what differs alone.
fn same(now: &Value, usual: &Value) -> Outcome {
    if let (Value::Object(now), Value::Object(usual)) = (now, usual) {
        for (key, value) in usual {
            eq(key, now.get(key), Some(value))?;
        }
    }
    eq("what it did", now, usual)
}

/// Something of every kind to be set.
fn demand(c: &mut Value) {
    c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}]);
    c["process"]["oomScoreAdj"] = json!(100);
    c["process"]["user"] = json!({"uid": 7, "gid": 8, "additionalGids": [9], "umask": 0o27});
    c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO"}]});
    c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    c["root"]["readonly"] = json!(true);
}

/// The lines of /proc/PID/status that tell what a process may.
fn credentials(status: &str) -> Vec<String> {
    let told = ["Umask", "Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp", "SigBlk"];
    status
        .lines()
        .filter(|l| told.iter().any(|t| l.starts_with(t)))
        .map(|l| l.replace('\t', " ").trim_end().to_owned())
        .collect()
}

/// All that a container was given, as the kernel tells it; it is started for that where it waits.
fn container(x: &Ctx, b: &Bundle) -> Result<Value, Stop> {
    let state = x.state(&b.id)?;
    if state["status"] == "created" {
        x.rt(["start", &b.id])?.ok()?;
    }
    let proc = format!("/proc/{}", state["pid"]);
    let text = |name: &str| fs::read_to_string(format!("{proc}/{name}"));
    let mounts: Vec<String> = text("mountinfo")?
        .lines()
        .map(|l| {
            // Without the mounts' and the devices' numbers, and those of peer groups.
            let words: Vec<_> =
                l.split(' ').skip(3).filter(|w| !w.contains("master:") && !w.contains("shared:")).collect();
            words.join(" ")
        })
        .collect();
    let mut cgroups: Vec<String> = text("cgroup")?.lines().map(str::to_owned).collect();
    cgroups.sort();
    let limits: Vec<_> =
        ["pids.max", "devices.list", "cpu.shares", "cpu.weight", "memory.max", "memory.limit_in_bytes"]
            .iter()
            .flat_map(|file| {
                ["pids", "devices", "cpu", "memory"].map(|controller| x.cgroup(&b.id, controller).join(file))
            })
            .filter_map(|path| Some(format!("{}: {}", path.display(), fs::read_to_string(&path).ok()?.trim_end())))
            .collect();
    Ok(json!({
        "status": x.state(&b.id)?["status"], "credentials": credentials(&text("status")?), "limits": text("limits")?,
        "oom": text("oom_score_adj")?, "environment": text("environ")?, "command": text("cmdline")?, "name": text("comm")?,
        "mounts": mounts, "cgroups": cgroups, "cgroup limits": limits,
        "network": network(&text("net/dev")?, &text("net/fib_trie")?),
        "root": fs::read_link(format!("{proc}/root"))?, "cwd": fs::read_link(format!("{proc}/cwd"))?,
    }))
}

/// Names of devices, and addresses.
fn network(devices: &str, routes: &str) -> Value {
    let names: Vec<_> = devices.lines().filter_map(|l| l.split_once(':')).map(|(name, _)| name.trim()).collect();
    let addresses: Vec<_> = routes.lines().filter(|l| l.contains("|--")).map(str::trim).collect();
    json!([names, addresses])
}

fn status(x: &Ctx, b: &Bundle) -> Result<Value, Stop> {
    Ok(x.state(&b.id)?["status"].clone())
}

fn ended(x: &Ctx, b: &Bundle) -> Result<Value, Stop> {
    if let Some(pid) = x.state(&b.id)?["pid"].as_i64().filter(|pid| *pid > 0) {
        x.gone(pid as i32)?;
    }
    status(x, b)
}

/// What was printed, without the numbers that are others each time.
fn shown(traced: &Traced) -> Result<Value, Stop> {
    fn settle(value: &mut Value) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(settle),
            Value::Object(map) => map.iter_mut().for_each(|(key, v)| match key.as_str() {
                "created" => *v = json!("then"),
                // By number, where /etc/passwd can't be read.
                "owner" => *v = json!("somebody"),
                _ => settle(v),
            }),
            Value::Number(_) => *value = json!("a number"),
            _ => {}
        }
    }
    let mut all = traced.out.json()?;
    settle(&mut all);
    Ok(all)
}

/// The names of what was told.
fn skeleton(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.first().map_or(json!([]), |v| json!([skeleton(v)])),
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), skeleton(v))).collect(),
        _ => json!("a value"),
    }
}
