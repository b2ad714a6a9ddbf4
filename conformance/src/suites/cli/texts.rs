//! Texts that engines and people look for, of failures that take some preparation.

use std::fs;

use serde_json::json;

use super::super::cgroups::has_weights;
use super::case;
use crate::ctx::{Ctx, Driver, Outcome, args, contains, ensure, eq, reap, skip};
use crate::frame::Case;

/// A process that can't end: it stands still in a group of v1 that is frozen, below which the container's is.
fn init_still_running(x: &Ctx) -> Outcome {
    x.needs_cgroupfs()?;
    if x.job.v2 {
        return skip("a process that is frozen by cgroup v2 can be killed");
    }
    x.needs_v1("freezer")?;
    let outer = format!("{}outer", x.job.tag);
    let live = x.live(|c| c["linux"]["cgroupsPath"] = json!(format!("{}/{outer}/in", x.job.cgroup)))?;
    let state = x.cgroup(&outer, "freezer").join("freezer.state");
    fs::write(&state, "FROZEN")?;
    let out = x.rt(["delete", "--force", &live.id]);
    fs::write(&state, "THAWED")?;
    let there = x.state(&live.id);
    x.rt(["delete", "--force", &live.id])?.ok()?;
    for dir in crate::frame::cgroups_named(&outer) {
        fs::remove_dir(dir)?;
    }
    out?.fails(1, &["container init still running"])?;
    there.map(drop)
}

/// Skips where the cgroup goes with its last process, and what it could have told.
fn outlives_its_processes(x: &Ctx) -> Outcome {
    if x.job.driver == Driver::Systemd { skip("a scope ends with its last process") } else { Ok(()) }
}

fn out_of_memory(x: &Ctx) -> Outcome {
    x.needs("memory")?;
    outlives_its_processes(x)?;
    for kib in [4, 16] {
        let b = x.bundle(|c| c["linux"]["resources"]["memory"] = json!({"limit": kib << 10}))?;
        let words = ["create", "--bundle", b.dir(), "--pid-file", &b.path("pid"), &b.id];
        x.rt(words)?.fails(1, &["container init was OOM-killed (memory limit too low?)"])?;
        ensure(!x.state_root().join(&b.id).exists(), "something is left of the container")?;
    }
    Ok(())
}

/// What is missing is no program of the container's, and must not be taken for one.
fn no_control_file(x: &Ctx) -> Outcome {
    x.needs(if x.job.v2 { "io" } else { "blkio" })?;
    if x.job.v2 && has_weights(x) {
        return skip("this kernel has weights of block devices");
    }
    // The file of leaf weights went with CFQ, in Linux 5.0.
    let name = if x.job.v2 { "weight" } else { "leafWeight" };
    let b = x.bundle(|c| c["linux"]["resources"]["blockIO"] = json!({name: 300}))?;
    let out = x.rt(["create", "--bundle", b.dir(), "--pid-file", &b.path("pid"), &b.id])?.exits(1)?;
    ensure(!out.stderr.contains("no such file or directory"), &out.stderr)?;
    contains("stderr", &out.stderr, &["weight"])
}

/// The files that tell of a lack of memory are there until `delete`: a shim asks after it heard of the end.
fn events_after_the_end(x: &Ctx) -> Outcome {
    x.needs("memory")?;
    outlives_its_processes(x)?;
    let b = x.bundle(|c| {
        c["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
        args(c, "eat 67108864");
    })?;
    let output = x.create(&b)?;
    let pid = fs::read_to_string(b.path("pid"))?.parse()?;
    x.rt(["start", &b.id])?.ok()?;
    eq("exit status", reap(pid)?, 137)?;
    drop(output);
    x.status(&b.id, "stopped")?;
    let group = x.cgroup(&b.id, "memory");
    let file = if x.job.v2 { "memory.events" } else { "memory.oom_control" };
    contains(file, &fs::read_to_string(group.join(file))?, &["oom_kill 1\n"])?;
    x.rt(["delete", &b.id])?.ok()?;
    ensure(!group.exists(), "the cgroup is still there")
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = vec![
        case("text/out-of-memory", "contract 5.3: OOM-killed during create", out_of_memory),
        case("text/no-control-file", "contract 5.3: what lacks is not said as of a program", no_control_file),
        case("text/events-after-the-end", "contract 5.8: memory.events can be read until delete", events_after_the_end),
        // Ten seconds, as with runc.
        case("text/init-still-running", "contract 5.3: container init still running", init_still_running),
    ];
    for point in ["createRuntime", "createContainer", "prestart"] {
        all.push(case(&format!("text/hook-{point}"), "contract 5.3: error running POINT hook #1:", move |x| {
            let hook = |status: &str| json!({"path": x.job.probe, "args": ["probe", "exit", status]});
            let b = x.bundle(|c| c["hooks"][point] = json!([hook("0"), hook("3"), hook("0")]))?;
            let out = x.rt(["create", "--bundle", b.dir(), &b.id])?.exits(1)?;
            contains("stderr", &out.stderr, &[&format!("error running {point} hook #1:")])
        }));
    }
    all
}
