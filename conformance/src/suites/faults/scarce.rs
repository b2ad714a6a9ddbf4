//! Little of something, and callers in a strange condition.

use std::fs;

use serde_json::json;

use super::{Census, case, prefixed};
use crate::ctx::{Cmd, Ctx, Outcome, args, ensure, eq, facts_of, push};
use crate::frame::Case;

/// A command of the runtime, which a shell executes after `first`.
fn after<'a>(x: &'a Ctx, first: &str, words: &[&str]) -> Cmd<'a> {
    let (root, runtime) = (x.state_root(), x.job.runtime.clone());
    let script = format!("{first} \"$@\"");
    let mut all = vec!["-c".into(), script.into(), "sh".into(), runtime.into_os_string()];
    all.extend(x.job.flags.iter().map(Into::into));
    all.extend(["--root".into(), root.into_os_string()]);
    all.extend(words.iter().map(Into::into));
    x.program("/bin/sh".as_ref(), all)
}

/// Runs a program that ends with 0 under each limit: it does, or it doesn't and a message says why; nothing is left.
fn tight(x: &Ctx, limits: &[serde_json::Value], words: &[&str]) -> Outcome {
    let before = Census::take(x, &[])?;
    for limit in limits {
        let b = x.bundle(|c| {
            c["linux"]["resources"] = limit.clone();
            args(c, "exit 0");
        })?;
        let out = x.rt(["run", "--bundle", b.dir(), &b.id])?;
        x.measure(format!("{limit}: {} {}", out.status, out.stderr.trim_end()));
        if out.status != 0 {
            let told = words.iter().any(|word| out.stderr.contains(word));
            ensure(told, format_args!("{limit}: status {}, and standard error {:?}", out.status, out.stderr))?;
        }
        x.rt(["delete", "--force", &b.id])?.ok()?;
        Census::take(x, &[])?.same(&before).map_err(|stop| prefixed(limit, stop))?;
    }
    Ok(())
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("scarce/descriptors", "runc 1.2 #4417: 1000 binds with 256 descriptors", |x| {
            let source = x.fresh("source");
            fs::create_dir(&source)?;
            let b = x.bundle(|c| {
                for n in 0..1000 {
                    let at = format!("/m/{n}");
                    push(&mut c["mounts"], json!({"destination": at, "source": source, "options": ["bind"]}));
                }
                args(c, "exit 7");
            })?;
            after(x, "ulimit -n 256 && exec", &["run", "--bundle", b.dir(), &b.id]).go()?.exits(7).map(drop)
        }),
        case("scarce/memory", "runc#4427, moby#41164: a limit too low for a start is an error that says so", |x| {
            x.needs("memory")?;
            let limits = [256, 512, 1024, 2048, 4096].map(|kib| json!({"memory": {"limit": kib << 10}}));
            tight(x, &limits, &["memory", "OOM", "killed"])
        }),
        case("scarce/processes", "moby#40835: a limit too low for a start is an error that names the call", |x| {
            x.needs("pids")?;
            let limits = [1, 2, 3].map(|n| json!({"pids": {"limit": n}}));
            tight(x, &limits, &["resource temporarily unavailable", "Resource temporarily unavailable"])
        }),
        case("scarce/caller", "threat model: nothing of its caller's condition is the container's", |x| {
            let b = x.bundle(|c| args(c, "report"))?;
            let run = ["run", "--bundle", b.dir(), &b.id];
            let plain = facts_of(&x.rt(run)?.ok()?)?;
            let first = "trap '' HUP USR1 USR2 TERM && umask 0777 && ulimit -c 0 && exec setpriv --groups 4242,4243";
            let strange = [
                ("PATH", "/usr/sbin:/usr/bin"),
                ("TMPDIR", "/nowhere"),
                ("XDG_RUNTIME_DIR", "/nowhere"),
                ("LISTEN_FDS", "3"),
            ];
            let out = after(x, first, &run).env(&strange).go()?.ok()?;
            let got = facts_of(&out)?;
            for what in ["groups", "umask", "env", "sig_blocked", "sig_ignored", "cwd"] {
                eq(what, &got[what], &plain[what])?;
            }
            eq("descriptors", got["fds"].as_object().map(serde_json::Map::len), Some(3))
        }),
    ]
}
