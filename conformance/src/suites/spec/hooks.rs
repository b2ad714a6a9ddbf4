//! Hooks: order, state, failures.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::case;
use crate::ctx::{Bundle, Ctx, Outcome, Stop, args, contains, ensure, eq};
use crate::frame::Case;

/// The kinds of hooks in the order of the lifecycle.
const HOOKS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that notes what it sees in `log`.
fn note(x: &Ctx, kind: &str, log: &str, tag: &str) -> Value {
    let program =
        if kind == "startContainer" { "/probe".to_owned() } else { x.job.probe.to_string_lossy().into_owned() };
    json!({"path": program, "args": ["probe", "hook", log, tag], "env": [format!("TAG={tag}"), "FIXED=yes"]})
}

/// Notes that a command of the runtime returned.
fn append(log: &Path, command: &str) -> Outcome {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME)?;
    let time = (now.tv_sec() as u64) * 1_000_000_000 + now.tv_nsec() as u64;
    let mut f = fs::OpenOptions::new().append(true).create(true).open(log)?;
    std::io::Write::write_all(&mut f, format!("{}\n", json!({"tag": command, "time": time})).as_bytes())?;
    Ok(())
}

/// The hooks' notes, in the order of time.
fn notes(logs: &[&Path]) -> Result<Vec<Value>, Stop> {
    let mut all: Vec<Value> = Vec::new();
    for log in logs {
        for line in fs::read_to_string(log).unwrap_or_default().lines() {
            all.push(serde_json::from_str(line)?);
        }
    }
    all.sort_by_key(|n| n["time"].as_u64());
    Ok(all)
}

fn tags(notes: &[Value]) -> Vec<String> {
    notes.iter().filter_map(|n| n["tag"].as_str().map(str::to_owned)).collect()
}

pub(super) fn hooks() -> Vec<Case> {
    const ORDER: &str = "runtime.md Lifecycle: steps 3 to 13";
    // A container whose every kind of hook, twice, takes notes; then what was noted.
    let life = |x: &Ctx| -> Result<(Bundle, Vec<Value>), Stop> {
        let log = x.job.dir.join("hooks.log");
        let b = x.bundle(|c| {
            c["annotations"] = json!({"org.example.note": "kept"});
            for kind in HOOKS {
                let file = if kind == "startContainer" { "/hooks.log".into() } else { log.to_string_lossy() };
                c["hooks"][kind] = [1, 2].iter().map(|n| note(x, kind, &file, &format!("{kind}-{n}"))).collect();
            }
            args(c, "wait");
        })?;
        let inside = b.rootfs.join("hooks.log");
        let mut out = x.create(&b)?;
        append(&log, "create")?;
        let pid = x.state(&b.id)?["pid"].as_i64().unwrap_or(0) as i32;
        x.rt(["start", &b.id])?.ok()?;
        out.expect("ready")?;
        append(&log, "start")?;
        x.rt(["kill", &b.id, "KILL"])?.ok()?;
        x.gone(pid)?;
        x.rt(["delete", &b.id])?.ok()?;
        Ok((b, notes(&[&log, &inside])?))
    };
    let mut all = vec![
        case("hooks/order", ORDER, move |x| {
            let want = [&HOOKS[..3], &["create"], &HOOKS[3..5], &["start"], &HOOKS[5..]].concat();
            let want: Vec<_> = want
                .iter()
                .flat_map(|k| {
                    if HOOKS.contains(k) { vec![format!("{k}-1"), format!("{k}-2")] } else { vec![(*k).to_owned()] }
                })
                .collect();
            eq("hooks, and the commands' returns", tags(&life(x)?.1), want)
        }),
        case("hooks/order-in-a-kind", "config.md Hooks: called in the listed order", move |x| {
            let all = tags(&life(x)?.1);
            for kind in HOOKS {
                let of: Vec<_> = all.iter().filter(|t| t.starts_with(kind)).cloned().collect();
                eq(kind, of, vec![format!("{kind}-1"), format!("{kind}-2")])?;
            }
            Ok(())
        }),
        case("hooks/args-and-env", "config.md Hooks: args and env are exactly those given", move |x| {
            for n in life(x)?.1.into_iter().filter(|n| n["pid"].is_u64()) {
                let tag = n["tag"].as_str().unwrap_or_default().to_owned();
                eq(&tag, &n["env"], &json!({"TAG": tag, "FIXED": "yes"}))?;
                eq(&tag, &n["args"][0], &json!("probe"))?;
            }
            Ok(())
        }),
        case("hooks/state", "config.md Hooks: the state is passed over stdin", move |x| {
            let (b, notes) = life(x)?;
            for n in notes.into_iter().filter(|n| n["pid"].is_u64()) {
                let tag = n["tag"].as_str().unwrap_or_default().to_owned();
                let s = &n["state"];
                eq(format_args!("id for {tag}"), s["id"].as_str(), Some(b.id.as_str()))?;
                eq(format_args!("bundle for {tag}"), s["bundle"].as_str(), Some(b.dir()))?;
                eq(
                    format_args!("annotation for {tag}"),
                    s.pointer("/annotations/org.example.note"),
                    Some(&json!("kept")),
                )?;
                ensure(s["ociVersion"].is_string(), format_args!("no ociVersion for {tag}"))?;
            }
            Ok(())
        }),
        case("hooks/state-status", "runtime.md State: status in each hook", move |x| {
            for n in life(x)?.1.into_iter().filter(|n| n["pid"].is_u64()) {
                let tag = n["tag"].as_str().unwrap_or_default().to_owned();
                let want: &[&str] = match tag.split('-').next().unwrap_or_default() {
                    "prestart" | "createRuntime" | "createContainer" => &["creating", "created"],
                    "startContainer" => &["created"],
                    "poststart" => &["running"],
                    _ => &["stopped"],
                };
                let got = n["state"]["status"].as_str().unwrap_or_default();
                ensure(want.contains(&got), format_args!("{tag}: expected one of {want:?}, got {got:?}"))?;
            }
            Ok(())
        }),
        case("hooks/state-pid", "runtime.md State: pid as the runtime or the container sees it", move |x| {
            for n in life(x)?.1.into_iter().filter(|n| n["pid"].is_u64()) {
                let tag = n["tag"].as_str().unwrap_or_default().to_owned();
                let pid = n["state"]["pid"].as_i64().unwrap_or(0);
                match tag.split('-').next().unwrap_or_default() {
                    "startContainer" => eq(&tag, pid, 1)?,
                    "poststop" => (),
                    "createContainer" => ensure(pid > 0, format_args!("{tag}: pid {pid}"))?,
                    _ => ensure(pid > 1, format_args!("{tag}: pid {pid}"))?,
                }
            }
            Ok(())
        }),
        case("hooks/namespaces", "config.md Hooks: in the runtime's or the container's namespace", move |x| {
            let host = fs::read_link("/proc/self/ns/mnt")?;
            for n in life(x)?.1.into_iter().filter(|n| n["pid"].is_u64()) {
                let tag = n["tag"].as_str().unwrap_or_default().to_owned();
                let inside = tag.starts_with("createContainer") || tag.starts_with("startContainer");
                let same = n["ns"]["mnt"].as_str() == host.to_str();
                ensure(same != inside, format_args!("{tag} ran in the wrong mount namespace"))?;
                let at_root = n["root_probe"] == true;
                eq(format_args!("{tag} sees the container's root as /"), at_root, tag.starts_with("startContainer"))?;
            }
            Ok(())
        }),
        case(
            "hooks/stdin-not-read",
            "config.md Hooks: the state is passed over stdin; who reads it is the hook's affair",
            |x| {
                // More than a pipe holds: the writer waits until the hook has ended, and gets EPIPE.
                let long = "x".repeat(100_000);
                let live = x.live(|c| {
                    c["annotations"] = json!({"org.example.long": long});
                    for kind in ["createRuntime", "poststart", "poststop"] {
                        c["hooks"][kind] = json!([{"path": x.job.probe, "args": ["probe", "exit", "0"]}]);
                    }
                })?;
                x.kill(&live)?;
                x.rt(["delete", &live.id])?.ok()?;
                x.rt(["state", &live.id])?.errs().map(drop)
            },
        ),
        case("hooks/state-of-a-short-program", "runtime.md State: pid REQUIRED when running", |x| {
            // It may have ended before the poststart hook is called, which hears that it runs.
            let log = x.job.dir.join("hooks.log");
            for _ in 0..8 {
                let b = x.bundle(|c| {
                    c["hooks"]["poststart"] = json!([note(x, "poststart", &log.to_string_lossy(), "p")]);
                    args(c, "exit 0");
                })?;
                x.run(&b)?.ok()?;
            }
            let notes = notes(&[&log])?;
            eq("hooks", notes.len(), 8)?;
            for n in notes {
                eq("status", n["state"]["status"].as_str(), Some("running"))?;
                ensure(n["state"]["pid"].as_i64() > Some(1), format_args!("running, with pid {}", n["state"]["pid"]))?;
            }
            Ok(())
        }),
        case("hooks/poststop-failure", "runtime.md Lifecycle: step 13, a warning, and the rest runs", |x| {
            let log = x.job.dir.join("hooks.log");
            let live = x.live(|c| {
                c["hooks"]["poststop"] = json!([
                    {"path": x.job.probe, "args": ["probe", "exit", "1"]},
                    note(x, "poststop", &log.to_string_lossy(), "after")
                ]);
            })?;
            x.kill(&live)?;
            x.rt(["delete", &live.id])?;
            x.rt(["state", &live.id])?.errs()?;
            eq("hooks", tags(&notes(&[&log])?), vec!["after"])
        }),
        case("hooks/timeout", "config.md Hooks: timeout", |x| {
            let b = x.bundle(|c| {
                c["hooks"]["createRuntime"] = json!([{"path": x.job.probe, "args": ["probe", "sleep"], "timeout": 1}]);
            })?;
            contains("stderr", &x.run(&b)?.errs()?.stderr, &["hook"])?;
            x.rt(["state", &b.id])?.errs().map(drop)
        }),
        case("hooks/failed-create-is-undone", "runtime.md Lifecycle: continue at step 12", |x| {
            let b = x.bundle(|c| {
                c["hooks"]["createRuntime"] = json!([{"path": x.job.probe, "args": ["probe", "exit", "1"]}]);
            })?;
            let out = x.rt(["create", "--bundle", b.dir(), &b.id])?.errs()?;
            contains("stderr", &out.stderr, &["hook"])?;
            x.rt(["state", &b.id])?.errs().map(drop)
        }),
        case("hooks/prestart-configures", "config.md Prestart: before pivot_root, after the namespaces", |x| {
            // The hook's view of the container's process: its network namespace is new already.
            let log = x.job.dir.join("hooks.log");
            let b = x.bundle(|c| {
                c["hooks"]["prestart"] = json!([note(x, "prestart", &log.to_string_lossy(), "p")]);
            })?;
            x.run(&b)?.ok()?;
            eq("hooks", tags(&notes(&[&log])?), vec!["p"])
        }),
    ];
    all.extend(manners());
    for kind in &HOOKS[..5] {
        all.push(case(
            &format!("hooks/failure-{kind}"),
            "runtime.md Lifecycle: a failing hook stops the container",
            move |x| {
                let log = x.job.dir.join("hooks.log");
                let b = x.bundle(|c| {
                let program = if *kind == "startContainer" { json!("/probe") } else { json!(x.job.probe) };
                let file = if *kind == "startContainer" { "/hooks.log".into() } else { log.to_string_lossy() };
                c["hooks"][*kind] =
                    json!([{"path": program, "args": ["probe", "exit", "3"]}, note(x, kind, &file, "must not run")]);
                args(c, "wait");
            })?;
                let out = x.run(&b)?;
                ensure(out.status != 0, "it succeeded")?;
                if *kind != "poststart" {
                    ensure(!out.stdout.contains("ready"), "the program ran")?;
                }
                let after = notes(&[&log, &b.rootfs.join("hooks.log")])?;
                ensure(after.is_empty(), "the hook after the failed one ran")?;
                x.rt(["delete", "--force", &b.id])?.ok()?;
                x.alone()
            },
        ));
    }
    all
}

/// A hook of the kind, and where its program stands for it.
fn hook(x: &Ctx, kind: &str, words: &str) -> Value {
    let program = if kind == "startContainer" { json!("/probe") } else { json!(x.job.probe) };
    let words: Vec<&str> = ["probe"].into_iter().chain(words.split(' ')).collect();
    json!({"path": program, "args": words})
}

/// How hooks may behave, whatever they are for.
fn manners() -> Vec<Case> {
    let mut all = vec![
        case("hooks/without-env", "config.md Hooks: env is the whole environment", |x| {
            let log = x.job.dir.join("hooks.log");
            let b = x.bundle(|c| {
                for kind in HOOKS {
                    let file = if kind == "startContainer" { "/hooks.log".into() } else { log.to_string_lossy() };
                    c["hooks"][kind] = json!([hook(x, kind, &format!("hook {file} {kind}"))]);
                }
            })?;
            x.run(&b)?.ok()?;
            let notes = notes(&[&log, &b.rootfs.join("hooks.log")])?;
            eq("hooks", notes.len(), HOOKS.len())?;
            for n in notes {
                eq(format_args!("environment of {}", n["tag"]), &n["env"], &json!({}))?;
            }
            Ok(())
        }),
        case("hooks/args-default", "config.md Hooks: without args, the path", |x| {
            // Without a verb the probe does nothing, and succeeds.
            let b = x.bundle(|c| {
                for kind in HOOKS {
                    let program = if kind == "startContainer" { json!("/probe") } else { json!(x.job.probe) };
                    c["hooks"][kind] = json!([{"path": program, "args": []}, {"path": program}]);
                }
            })?;
            x.run(&b)?.ok().map(drop)
        }),
        case("hooks/stdin-unread", "reliability: a hook that does not read its input harms nobody", |x| {
            // More than any pipe or socket holds.
            let b = x.bundle(|c| {
                c["annotations"] = json!({"org.example.long": "x".repeat(3 << 20)});
                for kind in HOOKS {
                    c["hooks"][kind] = json!([hook(x, kind, "exit 0"), hook(x, kind, "exit 0")]);
                }
            })?;
            x.run(&b)?.ok().map(drop)
        }),
        case("hooks/output", "reliability: what a failed hook printed is in the error", |x| {
            for kind in &HOOKS[..5] {
                let b = x.bundle(|c| {
                    c["hooks"][*kind] = json!([hook(x, kind, "echo one-reason , err another , exit 3")]);
                    args(c, "wait");
                })?;
                let out = x.run(&b)?;
                ensure(out.status != 0, format_args!("{kind}: it succeeded"))?;
                ensure(!out.stdout.contains("one-reason"), format_args!("{kind}: it is the container's output"))?;
                contains(format_args!("stderr for {kind}"), &out.stderr, &[kind, "hook #0", "3", "another"])?;
                x.rt(["delete", "--force", &b.id])?.ok()?;
            }
            Ok(())
        }),
        case(
            "hooks/output-without-end",
            "security: what a failed hook printed is cut, and can't speak to a terminal",
            |x| {
                // More than any pipe holds. Then what would clear the screen, and would be a line of its own.
                for kind in &HOOKS[..5] {
                    let b = x.bundle(|c| {
                        c["hooks"][*kind] =
                            json!([hook(x, kind, "bytes 3000000 , err \u{1b}[2Jforged\nline , err the-end , exit 3")]);
                        args(c, "wait");
                    })?;
                    let out = x.run(&b)?;
                    ensure(out.status != 0, format_args!("{kind}: it succeeded"))?;
                    let text = out.stderr.trim_end();
                    contains(format_args!("stderr for {kind}"), text, &[kind, "the-end"])?;
                    ensure(text.len() < 4096, format_args!("{kind}: {} bytes", text.len()))?;
                    ensure(!text.contains(char::is_control), format_args!("{kind}: control characters: {text:?}"))?;
                    x.rt(["delete", "--force", &b.id])?.ok()?;
                }
                Ok(())
            },
        ),
        case(
            "hooks/daemon-inside",
            "reliability: a hook in the container may leave a process that holds its pipes",
            |x| {
                let live = x.live(|c| {
                    c["hooks"]["createContainer"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", "sleep 1000 &"],
                    "env": ["PATH=/usr/bin:/bin"]}]);
                    c["hooks"]["startContainer"] = json!([hook(x, "startContainer", "leave")]);
                })?;
                x.kill(&live)?;
                x.rt(["delete", &live.id])?.ok()?;
                x.alone()
            },
        ),
        case(
            "hooks/file-size-limit",
            "config.md Hooks: the state is passed over stdin, whatever limits the process has",
            |x| {
                let b = x.bundle(|c| {
                    c["process"]["rlimits"] = json!([{"type": "RLIMIT_FSIZE", "soft": 0, "hard": 0}]);
                    c["hooks"]["startContainer"] = json!([hook(x, "startContainer", "stdin , echo printed")]);
                })?;
                x.run(&b)?.ok().map(drop)
            },
        ),
        case("hooks/daemon", "reliability: a hook may leave a process that holds its pipes", |x| {
            // It goes on with the hook's input and outputs.
            let file = x.job.dir.join("daemon");
            let script = format!("sleep 1000 & echo $! >>{}", file.display());
            let b = x.bundle(|c| {
                for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
                    c["hooks"][kind] =
                        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
                }
            })?;
            let out = x.run(&b)?;
            let pids = fs::read_to_string(&file)?;
            for pid in pids.lines() {
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.parse()?), nix::sys::signal::Signal::SIGKILL)?;
            }
            x.alone()?;
            out.ok()?;
            eq("hooks that ran", pids.lines().count(), 4)
        }),
        case("hooks/timeout-poststop", "config.md Hooks: timeout; runtime.md Lifecycle: step 13, a warning", |x| {
            let log = x.job.dir.join("hooks.log");
            let live = x.live(|c| {
                let mut slow = hook(x, "poststop", "sleep");
                slow["timeout"] = json!(1);
                c["hooks"]["poststop"] = json!([slow, note(x, "poststop", &log.to_string_lossy(), "after")]);
            })?;
            x.kill(&live)?;
            x.rt(["delete", &live.id])?;
            x.rt(["state", &live.id])?.exits(1)?;
            eq("hooks", tags(&notes(&[&log])?), vec!["after"])?;
            x.alone()
        }),
    ];
    for kind in &HOOKS[..5] {
        all.push(case(
            &format!("hooks/timeout-{kind}"),
            "config.md Hooks: timeout; runtime.md Lifecycle: a failing hook stops the container",
            move |x| {
                let b = x.bundle(|c| {
                    let mut slow = hook(x, kind, "sleep");
                    slow["timeout"] = json!(1);
                    c["hooks"][*kind] = json!([slow]);
                    args(c, "wait");
                })?;
                let out = x.run(&b)?;
                ensure(out.status != 0, "it succeeded")?;
                contains("stderr", &out.stderr, &["hook"])?;
                x.rt(["delete", "--force", &b.id])?.ok()?;
                // Neither the hook nor the container is left.
                x.alone()
            },
        ));
    }
    all
}
