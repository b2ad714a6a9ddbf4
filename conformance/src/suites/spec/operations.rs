//! What `state`, `create`, `start`, `kill` and `delete` may be asked, and what they must refuse.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::case;
use crate::ctx::{Ctx, Outcome, args, ensure, eq, push};
use crate::frame::Case;

/// Fails unless the command is an error with a message.
fn is_error(x: &Ctx, words: &[&str]) -> Outcome {
    x.rt(words)?.errs().map(drop)
}

pub(super) fn operations() -> Vec<Case> {
    vec![
        case("operation/state", "runtime.md Query State", |x| {
            is_error(x, &["state"])?;
            is_error(x, &["state", &x.id()])?;
            let b = x.bundle(|_| ())?;
            x.create(&b)?;
            let state = x.state(&b.id)?;
            eq("id", state["id"].as_str(), Some(b.id.as_str()))?;
            eq("status", state["status"].as_str(), Some("created"))?;
            eq("bundle", state["bundle"].as_str(), Some(b.dir()))?;
            let pid = state["pid"].as_i64().unwrap_or(0);
            ensure(Path::new(&format!("/proc/{pid}")).exists(), format_args!("pid {pid} is no process"))
        }),
        case("operation/create", "runtime.md Create: an ID, and one that nobody has", |x| {
            let b = x.bundle(|c| args(c, "wait"))?;
            is_error(x, &["create", "--bundle", b.dir()])?;
            let mut out = x.create(&b)?;
            let before = x.state(&b.id)?;
            is_error(x, &["create", "--bundle", b.dir(), &b.id])?;
            eq("the first container", x.state(&b.id)?, before)?;
            x.rt(["start", &b.id])?.ok()?;
            out.expect("ready")
        }),
        case("operation/start", "runtime.md Start: a created container, and nothing else", |x| {
            is_error(x, &["start"])?;
            is_error(x, &["start", &x.id()])?;
            let b = x.bundle(|c| args(c, "write /tmp/ran once"))?;
            let mut out = x.create(&b)?;
            let ran = b.rootfs.join("tmp/ran");
            fs::write(&ran, "")?;
            let pid = x.state(&b.id)?["pid"].as_i64().unwrap_or(0) as i32;
            eq("before start", fs::read_to_string(&ran)?, "")?;
            x.rt(["start", &b.id])?.ok()?;
            out.rest()?;
            x.gone(pid)?;
            eq("after start", fs::read_to_string(&ran)?, "once")?;
            fs::write(&ran, "")?;
            is_error(x, &["start", &b.id])?;
            eq("after a second start", fs::read_to_string(&ran)?, "")?;
            x.status(&b.id, "stopped")?;
            let live = x.live(|_| ())?;
            is_error(x, &["start", &live.id])?;
            x.status(&live.id, "running")
        }),
        case("operation/kill", "runtime.md Kill: a created or running container, and nothing else", |x| {
            is_error(x, &["kill"])?;
            is_error(x, &["kill", &x.id(), "KILL"])?;
            let b = x.bundle(|c| args(c, "wait"))?;
            let mut out = x.create(&b)?;
            let pid = x.state(&b.id)?["pid"].as_i64().unwrap_or(0) as i32;
            x.rt(["kill", &b.id, "KILL"])?.ok()?;
            eq("output of a container that was killed before start", out.rest()?.as_str(), "")?;
            x.gone(pid)?;
            let before = x.state(&b.id)?;
            eq("status", before["status"].as_str(), Some("stopped"))?;
            is_error(x, &["kill", &b.id, "KILL"])?;
            eq("state", x.state(&b.id)?, before)
        }),
        case("operation/delete", "runtime.md Delete: a stopped container", |x| {
            is_error(x, &["delete"])?;
            is_error(x, &["delete", &x.id()])?;
            let mut live = x.live(|_| ())?;
            is_error(x, &["delete", &live.id])?;
            x.status(&live.id, "running")?;
            x.rt(["kill", &live.id, "USR1"])?.ok()?;
            live.out.expect("signal SIGUSR1")?;
            x.kill(&live)?;
            x.rt(["delete", &live.id])?.ok()?;
            is_error(x, &["state", &live.id])?;
            // The ID is free again.
            x.live_bundle(live.bundle).map(drop)
        }),
        case("operation/delete-created", "runtime.md Delete: not stopped is an error without effect", |x| {
            let b = x.bundle(|_| ())?;
            x.create(&b)?;
            is_error(x, &["delete", &b.id])?;
            x.status(&b.id, "created")
        }),
        case("operation/delete-only-its-own", "runtime.md Delete: not what the runtime did not create", |x| {
            if !x.job.v2 {
                x.needs_v1("pids")?;
            }
            let foreign = x.cgroup(&format!("{}foreign", x.job.tag), "pids");
            fs::create_dir_all(&foreign)?;
            let volume = x.job.dir.join("volume");
            fs::create_dir(&volume)?;
            fs::write(volume.join("file"), "kept")?;
            let mut live = x.live(|c| {
                let mount = json!({"destination": "/dir", "source": volume, "options": ["rbind"]});
                push(&mut c["mounts"], mount);
            })?;
            fs::write(foreign.join("cgroup.procs"), live.pid.to_string())?;
            x.rt(["kill", &live.id, "KILL"])?.ok()?;
            live.out.rest()?;
            x.gone(live.pid)?;
            x.rt(["delete", &live.id])?.ok()?;
            ensure(foreign.is_dir(), "a cgroup that the container only was in is gone")?;
            fs::remove_dir(&foreign)?;
            eq("file of a volume", fs::read_to_string(volume.join("file"))?, "kept")?;
            ensure(live.bundle.rootfs.join("probe").exists(), "the root filesystem is gone")?;
            ensure(live.bundle.dir.join("config.json").exists(), "the bundle is gone")
        }),
    ]
}
