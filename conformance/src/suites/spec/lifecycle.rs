//! The operations and the states between them.

use std::fs;

use serde_json::json;

use super::case;
use crate::ctx::{Stop, args, ensure, eq, fail, push};
use crate::frame::Case;

pub(super) fn lifecycle() -> Vec<Case> {
    vec![
        case("lifecycle/annotations", "config.md Annotations", |x| {
            let b = x.bundle(|c| c["annotations"] = json!({"com.example.a": "1", "com.example.empty": ""}))?;
            x.create(&b)?;
            let a = &x.state(&b.id)?["annotations"];
            eq("a", a["com.example.a"].as_str(), Some("1"))?;
            eq("empty", a["com.example.empty"].as_str(), Some(""))
        }),
        case("lifecycle/state-version", "runtime.md State: ociVersion", |x| {
            let b = x.bundle(|_| ())?;
            x.create(&b)?;
            let v = x.state(&b.id)?["ociVersion"].as_str().unwrap_or_default().to_owned();
            ensure(v.split('.').count() >= 3 && v.starts_with("1."), v)
        }),
        case("lifecycle/exits-by-itself", "runtime.md Lifecycle: step 10", |x| {
            let b = x.bundle(|c| args(c, "exit 0"))?;
            let mut out = x.create(&b)?;
            let pid = x.state(&b.id)?["pid"].as_i64().unwrap_or(0) as i32;
            x.rt(["start", &b.id])?.ok()?;
            out.rest()?;
            x.gone(pid)?;
            x.status(&b.id, "stopped")?;
            x.rt(["delete", &b.id])?.ok().map(drop)
        }),
        case("lifecycle/zombie-is-stopped", "runtime.md State: stopped once the process has exited", |x| {
            let live = x.live(|_| ())?;
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(live.pid), nix::sys::signal::Signal::SIGKILL)?;
            // Not reaped: its parent, the harness, does not wait for it before the question.
            let p = rustix::process::Pid::from_raw(live.pid).ok_or_else(|| Stop::Fail("no pid".into()))?;
            let fd = rustix::process::pidfd_open(p, rustix::process::PidfdFlags::empty())?;
            crate::ctx::wait_fd(&fd, std::time::Duration::from_secs(5))?;
            x.status(&live.id, "stopped")
        }),
        case("lifecycle/several-containers", "runtime.md: containers do not disturb each other", |x| {
            let lives = (0..4).map(|_| x.live(|_| ())).collect::<Result<Vec<_>, _>>()?;
            x.rt(["delete", "--force", &lives[1].id])?.ok()?;
            for i in [0, 2, 3] {
                x.status(&lives[i].id, "running")?;
            }
            Ok(())
        }),
        case("lifecycle/failed-create-leaves-nothing", "runtime.md Errors: as if never attempted", |x| {
            let before = fs::read_to_string("/proc/self/mountinfo")?;
            let b =
                x.bundle(|c| push(&mut c["mounts"], json!({"destination": "/m", "type": "made-up", "source": "x"})))?;
            let out = x.rt(["create", "--bundle", b.dir(), &b.id])?.errs()?;
            let text = out.stderr.to_lowercase();
            ensure(
                text.contains("no such device") || text.contains("made-up"),
                format_args!("another failure: {text}"),
            )?;
            eq("mounts", fs::read_to_string("/proc/self/mountinfo")?, before)?;
            x.alone()?;
            if x.state_root().join(&b.id).exists() {
                return fail("the state directory is still there");
            }
            Ok(())
        }),
    ]
}
