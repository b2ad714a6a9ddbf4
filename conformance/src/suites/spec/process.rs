//! The process: what is not a plain fact.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::case;
use crate::ctx::{args, contains, ensure, eq, facts_of, skip};
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
        case("process/io-priority", "config.md Linux Process: ioPriority", |x| {
            let live = x.live(|c| c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0}))?;
            let ionice = Path::new("/usr/bin/ionice");
            if !ionice.exists() {
                return skip("no ionice");
            }
            let out = x.program(ionice, ["-p", &live.pid.to_string()]).go()?.ok()?;
            contains("ionice", &out.stdout, &["idle"])
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
