//! The process: what is not a plain fact.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::case;
use crate::ctx::{Ctx, Outcome, args, contains, ensure, eq, facts_of, skip};
use crate::frame::Case;

pub(super) fn process() -> Vec<Case> {
    vec![
        case("process/oom-score-adj-unset", "config.md: oom_score_adj is not changed", |x| {
            let b = x.bundle(|_| ())?;
            let out = x.cmd(["run", "--bundle", b.dir(), &b.id]).with(["oom=321"]).go()?.ok()?;
            eq("oom_score_adj", &facts_of(&out)?["oom_score_adj"], &json!(321))
        }),
        case("process/umask-of-caller", "config.md umask: the file modes of a container with umask 0", |x| {
            let b = x.bundle(|c| {
                c["process"]["user"]["umask"] = json!(0);
                args(c, "mkdir-mode /made , stat /made");
            })?;
            let out = x.cmd(["run", "--bundle", b.dir(), &b.id]).with(["umask=077"]).go()?.ok()?;
            eq("mode", out.results()[1]["mode"].as_str(), Some("0777"))
        }),
        case("process/scheduler-fifo", "config.md Linux Process: scheduler", |x| {
            // With CONFIG_RT_GROUP_SCHED a new group has no real-time budget, so no process of it may be real-time.
            if !x.job.v2 && Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
                return skip("a v1 cpu group has no real-time budget");
            }
            let f = x.facts(|c| c["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 5}))?;
            eq("policy", &f["policy"], &json!(1))?;
            eq("priority", &f["rt_priority"], &json!(5))
        }),
        case("process/scheduler-rr", "config.md Linux Process: scheduler", |x| {
            real_time(x, json!({"policy": "SCHED_RR", "priority": 7}), &["SCHED_RR", "priority: 7"])
        }),
        case("process/scheduler-reset-on-fork", "config.md Linux Process: scheduler flags", |x| {
            let flags = ["SCHED_FLAG_RESET_ON_FORK"];
            chrt(x, json!({"policy": "SCHED_BATCH", "flags": flags}), &["SCHED_BATCH|SCHED_RESET_ON_FORK"])
        }),
        case("process/scheduler-two-flags", "config.md Linux Process: scheduler flags", |x| {
            let flags = ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM"];
            chrt(x, json!({"policy": "SCHED_IDLE", "flags": flags}), &["SCHED_IDLE|SCHED_RESET_ON_FORK"])
        }),
        case("process/scheduler-deadline", "config.md Linux Process: scheduler, SCHED_DEADLINE", |x| {
            let times =
                json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 9_000_000, "period": 10_000_000});
            real_time(x, times, &["SCHED_DEADLINE", "1000000/9000000/10000000"])
        }),
        case("process/scheduler-for-exec", "config.md Linux Process: scheduler of a process document", |x| {
            let live = x.live(|_| ())?;
            let document = x.fresh("process.json");
            let config: Value = serde_json::from_slice(&fs::read(live.bundle.dir.join("config.json"))?)?;
            let mut process = config["process"].clone();
            process["args"] = json!(["/probe", "report"]);
            process["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 9});
            fs::write(&document, process.to_string())?;
            let f = facts_of(&x.rt(["exec", "--process", &document.to_string_lossy(), &live.id])?.ok()?)?;
            eq("policy", &f["policy"], &json!(3))?;
            eq("nice", &f["nice"], &json!(9))
        }),
        io_priority("rt", "IOPRIO_CLASS_RT", 3, "realtime: prio 3"),
        io_priority("be", "IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
        io_priority("idle", "IOPRIO_CLASS_IDLE", 0, "idle"),
        case("process/console-size", "config.md Process: consoleSize", |x| {
            let b = x.bundle(|c| {
                c["process"]["terminal"] = json!(true);
                c["process"]["consoleSize"] = json!({"height": 33, "width": 77});
            })?;
            let console = x.console()?;
            let _out =
                x.cmd(["run", "--detach", "--bundle", b.dir(), "--console-socket", &console.path, &b.id]).go()?.ok()?;
            let text = console.accept()?.read_all();
            let facts: Value = serde_json::from_str(text.lines().next().unwrap_or_default().trim())?;
            eq("size", &facts["tty"]["0"]["size"], &json!([33, 77]))
        }),
        case("process/home", "runc: HOME from the container's /etc/passwd", |x| {
            for (uid, want) in [(1000, "/home/of-1000"), (0, "/root-of-it"), (7, "/")] {
                let b = x.bundle(|c| c["process"]["user"] = json!({"uid": uid, "gid": 1}))?;
                let users = "root:x:0:0:root:/root-of-it:/bin/sh\nother:x:1000:1000::/home/of-1000:/bin/sh\n";
                fs::write(b.rootfs.join("etc/passwd"), users)?;
                let f = facts_of(&x.run(&b)?.ok()?)?;
                eq(format_args!("HOME of {uid}"), f["env"]["HOME"].as_str(), Some(want))?;
            }
            Ok(())
        }),
        case("process/home-given", "config.md Process: env as it is", |x| {
            let b = x.bundle(|c| c["process"]["env"] = json!(["HOME=/given"]))?;
            fs::write(b.rootfs.join("etc/passwd"), "root:x:0:0:root:/root-of-it:/bin/sh\n")?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            eq("HOME", f["env"]["HOME"].as_str(), Some("/given"))
        }),
        case("rdt/without-resctrl", "config-linux.md IntelRdt: an error where no resctrl is mounted", |x| {
            if fs::read_to_string("/proc/mounts")?.contains(" resctrl ") {
                return skip("a resctrl is mounted");
            }
            let b = x.bundle(|c| c["linux"]["intelRdt"] = json!({"closID": "gold", "l3CacheSchema": "L3:0=f"}))?;
            let out = x.run(&b)?;
            ensure(out.status != 0, "it was accepted where there is no resctrl")?;
            contains("the message", &out.stderr.to_lowercase(), &["rdt"])
        }),
        case("process/every-rlimit", "config.md POSIX process: rlimits", |x| {
            // Below what the caller has, which may not raise its own.
            let kinds = [
                "AS",
                "CORE",
                "CPU",
                "DATA",
                "FSIZE",
                "LOCKS",
                "MEMLOCK",
                "MSGQUEUE",
                "NICE",
                "NOFILE",
                "NPROC",
                "RSS",
                "RTPRIO",
                "RTTIME",
                "SIGPENDING",
                "STACK",
            ];
            let own = fs::read_to_string("/proc/self/limits")?;
            let hard = |word: &str| {
                let line = own.lines().find(|l| l.starts_with(word)).unwrap_or_default();
                line[26..].split_whitespace().nth(1).and_then(|v| v.parse::<u64>().ok()).unwrap_or(u64::MAX)
            };
            let value = |kind: &str| match kind {
                "AS" | "DATA" | "RSS" | "FSIZE" => 1 << 40,
                "STACK" => 4 << 20,
                "MEMLOCK" => hard("Max locked memory").min(64 << 10),
                "NICE" => hard("Max nice").min(5),
                "RTPRIO" => hard("Max realtime priority").min(6),
                "NOFILE" => 200,
                "MSGQUEUE" => 8192,
                _ => 1000,
            };
            let f = x.facts(|c| {
                let limit = |k: &&str| json!({"type": format!("RLIMIT_{k}"), "soft": value(k), "hard": value(k)});
                c["process"]["rlimits"] = kinds.iter().map(limit).collect();
                args(c, "report /proc/self/limits");
            })?;
            for kind in kinds.iter().filter(|k| !f["rlimits"][format!("RLIMIT_{k}")].is_null()) {
                let name = format!("RLIMIT_{kind}");
                eq(&name, &f["rlimits"][&name], &json!([value(kind), value(kind)]))?;
            }
            Ok(())
        }),
        case(
            "process/no-new-privileges-false-with-seccomp",
            "config.md: noNewPrivileges and config-linux.md: seccomp",
            |x| {
                let f = x.facts(|c| {
                    c["process"]["noNewPrivileges"] = json!(false);
                    c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
                    c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                    {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]});
                })?;
                eq("no_new_privs", &f["no_new_privs"], &json!(0))?;
                eq("seccomp", &f["seccomp"], &json!(2))?;
                // The capability that loads the filter is gone with it.
                eq("effective", &f["caps"]["effective"], &json!([]))
            },
        ),
        case("process/affinity-initial", "config.md Linux Process: execCPUAffinity, initial alone", |x| {
            if std::thread::available_parallelism()?.get() < 2 {
                return skip("one processor");
            }
            let live = x.live(|c| c["process"]["execCPUAffinity"] = json!({"initial": "1"}))?;
            let f = facts_of(&x.rt(["exec", &live.id, "/probe", "report"])?.ok()?)?;
            // On v1 the entry into the cpuset sets it anew.
            ensure(f["cpus"] == "1" || !x.job.v2, format_args!("Cpus_allowed_list of exec: {}", f["cpus"]))
        }),
        case("process/exec-cpu-affinity", "config.md Linux Process: execCPUAffinity", |x| {
            if std::thread::available_parallelism()?.get() < 2 {
                return skip("one processor");
            }
            let live = x.live(|c| c["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "1"}))?;
            let f = facts_of(&x.rt(["exec", &live.id, "/probe", "report"])?.ok()?)?;
            eq("Cpus_allowed_list of exec", f["cpus"].as_str(), Some("1"))?;
            let init = fs::read_to_string(format!("/proc/{}/status", live.pid))?;
            ensure(!init.contains("Cpus_allowed_list:\t1\n"), "it was applied to init")
        }),
        case(
            "process/affinity-of-caller",
            "engine contract: containers are not bound to the caller's processors",
            |x| {
                if std::thread::available_parallelism()?.get() < 2 {
                    return skip("one processor");
                }
                let free = x.facts(|_| ())?;
                let b = x.bundle(|_| ())?;
                let f = facts_of(&x.cmd(["run", "--bundle", b.dir(), &b.id]).with(["cpu=1"]).go()?.ok()?)?;
                eq("Cpus_allowed_list of init", &f["cpus"], &free["cpus"])?;
                let live = x.live(|_| ())?;
                let f = facts_of(&x.cmd(["exec", &live.id, "/probe", "report"]).with(["cpu=1"]).go()?.ok()?)?;
                eq("Cpus_allowed_list of exec", &f["cpus"], &free["cpus"])
            },
        ),
        case("process/only-three-descriptors", "runtime-linux.md File descriptors", |x| {
            let f = x.facts(|_| ())?;
            let fds: Vec<_> = f["fds"].as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
            eq("descriptors", fds, vec!["0", "1", "2"])
        }),
        case("process/rlimit-lowered-for-exec", "config.md rlimits: they hold for exec too", |x| {
            let live = x.live(|c| {
                c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}]);
            })?;
            let f = facts_of(&x.rt(["exec", &live.id, "/probe", "report"])?.ok()?)?;
            eq("RLIMIT_NOFILE", &f["rlimits"]["RLIMIT_NOFILE"], &json!([64, 128]))
        }),
        case("process/nofile-default", "config.md rlimits: without an entry the caller's", |x| {
            let f = x.facts(|_| ())?;
            let (soft, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
            eq("RLIMIT_NOFILE", &f["rlimits"]["RLIMIT_NOFILE"], &json!([soft, hard]))
        }),
    ]
}

/// A container with this scheduler, as chrt(1) of the host sees its first process.
#[expect(clippy::needless_pass_by_value, reason = "callers pass a literal")]
fn chrt(x: &Ctx, scheduler: Value, words: &[&str]) -> Outcome {
    let program = Path::new("/usr/bin/chrt");
    if !program.exists() {
        return skip("no chrt(1)");
    }
    let live = x.live(|c| c["process"]["scheduler"] = scheduler.clone())?;
    let out = x.program(program, ["-p", &live.pid.to_string()]).go()?.ok()?;
    contains("chrt", &out.stdout, words)
}

/// The same for a policy that needs a budget.
fn real_time(x: &Ctx, scheduler: Value, words: &[&str]) -> Outcome {
    // With CONFIG_RT_GROUP_SCHED a new group has no real-time budget, so no process of it may be real-time.
    if !x.job.v2 && Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        return skip("a v1 cpu group has no real-time budget");
    }
    chrt(x, scheduler, words)
}

/// A container with this I/O priority, as ionice(1) of the host sees its first process.
fn io_priority(name: &str, class: &'static str, priority: u32, word: &'static str) -> Case {
    case(&format!("process/io-priority-{name}"), "config.md Linux Process: ioPriority", move |x| {
        let ionice = Path::new("/usr/bin/ionice");
        if !ionice.exists() {
            return skip("no ionice");
        }
        let live = x.live(|c| c["process"]["ioPriority"] = json!({"class": class, "priority": priority}))?;
        let out = x.program(ionice, ["-p", &live.pid.to_string()]).go()?.ok()?;
        contains("ionice", &out.stdout, &[word])
    })
}
