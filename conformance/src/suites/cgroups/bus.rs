//! The systemd driver where systemd is not to be reached: a bus that accepts and says nothing more, and one that hangs up.
//!
//! A relay is in the place of the sockets of the systemd that makes the cgroups, whether it is the machine's or the user's own.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use rustix::process::{Gid, Uid};
use serde_json::json;

use super::systemd::case;
use super::{Covered, long};
use crate::ctx::{Ctx, Driver, Live, Outcome, Stop, contains, ensure, eq, patience, skip};
use crate::frame::Case;
use crate::systemd::Manager;

pub(crate) fn cases() -> Vec<Case> {
    let mut all = silence();
    all.extend(hangups());
    all
}

/// What the relay does with a client that says a word; everything before is passed on. The empty word is said by connecting.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// It is answered nothing any more.
    Silence(&'static str),
    /// It is hung up on.
    HangUp(&'static str),
    /// What it said is passed on, and it is hung up on when the answer comes.
    HangUpAfter(&'static str),
}

impl Fault {
    fn word(self) -> &'static str {
        let (Fault::Silence(word) | Fault::HangUp(word) | Fault::HangUpAfter(word)) = self;
        word
    }
}

/// Puts relays in the place of the sockets of systemd.
fn cover(x: &Ctx, fault: Fault) -> Result<Covered, Stop> {
    let none: Option<&str> = None;
    let mut covered = Covered(Vec::new());
    for socket in x.manager().sockets().into_iter().filter(|socket| socket.exists()) {
        let (real, relay) = (x.fresh("real"), x.fresh("relay"));
        fs::write(&real, "")?;
        mount(Some(&socket), &real, none, MsFlags::MS_BIND, none)?;
        covered.0.push(real.clone());
        serve(x, &relay, Some(real), fault)?;
        mount(Some(&relay), &socket, none, MsFlags::MS_BIND, none)?;
        covered.0.push(socket);
    }
    Ok(covered)
}

/// Listens on `path`, and passes everything on to `real`, as far as the fault lets it.
fn serve(x: &Ctx, path: &Path, real: Option<PathBuf>, fault: Fault) -> Outcome {
    let listener = UnixListener::bind(path)?;
    x.give(path)?;
    let manager = x.manager();
    std::thread::spawn(move || {
        // A user's bus is for nobody else, not even for root. These are calls of one thread.
        if let Manager::User { uid, gid } = manager {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            let _ = rustix::thread::set_thread_res_gid(gid, gid, gid);
            let _ = rustix::thread::set_thread_res_uid(uid, uid, uid);
        }
        let mut silent = Vec::new();
        for client in listener.incoming().flatten() {
            match (&real, fault) {
                (_, Fault::HangUp("")) => {}
                (Some(real), _) if !fault.word().is_empty() => {
                    if let Ok(real) = UnixStream::connect(real) {
                        relay(client, real, fault);
                    }
                }
                // Open, and never read.
                _ => silent.push(client),
            }
        }
    });
    Ok(())
}

/// Passes on in both directions.
fn relay(client: UnixStream, real: UnixStream, fault: Fault) {
    let (Ok(from), Ok(to)) = (client.try_clone(), real.try_clone()) else { return };
    let word = fault.word().as_bytes();
    let said = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&said);
    std::thread::spawn(move || {
        pass_on(from, to, fault, |bytes| {
            let says = bytes.windows(word.len()).any(|window| window == word);
            let after = matches!(fault, Fault::HangUpAfter(_));
            said.fetch_or(says && after, Ordering::SeqCst);
            !says || after
        });
    });
    std::thread::spawn(move || pass_on(real, client, fault, |_| !over.load(Ordering::SeqCst)));
}

/// Passes on what comes, as long as it may.
fn pass_on(mut from: UnixStream, mut to: UnixStream, fault: Fault, may: impl Fn(&[u8]) -> bool) {
    let mut buffer = [0; 65536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..length];
        match (may(bytes), fault) {
            (true, _) if to.write_all(bytes).is_ok() => {}
            // The other direction keeps the connection open.
            (false, Fault::Silence(_)) => return,
            _ => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// What a command that meets silence says, and how long it may take: its deadline, and that of the cleaning up.
fn falls_silent(x: &Ctx, args: &[&str], deadlines: u32) -> Outcome {
    let start = Instant::now();
    let out = x.cmd(args.iter().copied()).go()?.exits(if args[0] == "exec" { 255 } else { 1 })?;
    x.measure(format!("{}: {:.1} s", args.last().unwrap_or(&""), start.elapsed().as_secs_f32()));
    contains("the error", &out.stderr, &["no answer on /run/", "within 30 s"])?;
    let limit = patience(Duration::from_secs(30)) * deadlines + patience(Duration::from_secs(10));
    ensure(start.elapsed() < limit, format_args!("it took {:?}", start.elapsed()))
}

/// Skips a runtime that would wait for ever.
fn has_deadline(x: &Ctx) -> Outcome {
    if x.job.version.starts_with("runc version") { skip("it has no deadline and would wait for ever") } else { Ok(()) }
}

/// A container that may have fifty processes.
fn limited(x: &Ctx) -> Result<Live, Stop> {
    x.needs("pids")?;
    x.live(|c| c["linux"]["resources"]["pids"] = json!({"limit": 50}))
}

fn limit(x: &Ctx, live: &Live) -> Result<String, Stop> {
    Ok(fs::read_to_string(x.cgroup(&live.id, "pids").join("pids.max"))?.trim().to_owned())
}

/// Fails if there is anything left of the container.
fn nothing_left(x: &Ctx, id: &str) -> Outcome {
    ensure(!x.state_root().join(id).exists(), "the container's directory is left")?;
    ensure(!x.cgroup(id, "pids").exists(), "its cgroup is left")?;
    ensure(x.rt(["state", id])?.status != 0, "the container is still there")
}

/// A bus that accepts and never answers: every command ends in its deadline, with an error that says so, and leaves nothing.
fn silence() -> Vec<Case> {
    vec![
        long(
            100,
            Case::new("cgroups", "systemd/silence/from-the-start", "issue: a bus that never answers", |x| {
                if x.job.driver == Driver::Systemd {
                    return skip("there need be no systemd");
                }
                from_the_start(x)
            }),
        ),
        long(
            100,
            case("silence/start", "no answer to StartTransientUnit: no container, no unit", |x| {
                has_deadline(x)?;
                let covered = cover(x, Fault::Silence("StartTransientUnit"))?;
                let b = x.bundle(|_| ())?;
                falls_silent(x, &["create", "--bundle", b.dir(), &b.id], 2)?;
                drop(covered);
                nothing_left(x, &b.id)
            }),
        ),
        long(
            100,
            case("silence/update", "no answer to SetUnitProperties: the limits are as before", |x| {
                has_deadline(x)?;
                let live = limited(x)?;
                let covered = cover(x, Fault::Silence("SetUnitProperties"))?;
                falls_silent(x, &["update", "--pids-limit", "60", &live.id], 1)?;
                drop(covered);
                eq("pids.max", limit(x, &live)?, "50")
            }),
        ),
        long(
            100,
            case("silence/delete", "no answer to StopUnit: nothing is left all the same", |x| {
                has_deadline(x)?;
                let live = x.live(|_| ())?;
                let covered = cover(x, Fault::Silence("StopUnit"))?;
                falls_silent(x, &["delete", "--force", &live.id], 1)?;
                drop(covered);
                x.gone(live.pid)?;
                nothing_left(x, &live.id)
            }),
        ),
        long(
            100,
            case("silence/exec", "no answer to AttachProcessesToUnit: no other process", |x| {
                if x.manager() == Manager::System {
                    return skip("root moves processes himself");
                }
                has_deadline(x)?;
                let live = x.live(|_| ())?;
                let covered = cover(x, Fault::Silence("AttachProcessesToUnit"))?;
                falls_silent(x, &["exec", &live.id, "/probe", "wait"], 1)?;
                drop(covered);
                eq("processes", x.rt(["ps", "-f", "json", &live.id])?.ok()?.json()?, json!([live.pid]))
            }),
        ),
        case("silence/not-asked", "systemd is asked to start, change and stop a unit, and for nothing else", |x| {
            let live = x.live(|_| ())?;
            let _covered = cover(x, Fault::Silence(""))?;
            let mut commands = vec![
                vec!["state", &live.id],
                vec!["ps", &live.id],
                vec!["events", "--stats", &live.id],
                vec!["pause", &live.id],
                vec!["resume", &live.id],
                vec!["list"],
                vec!["kill", &live.id, "KILL"],
            ];
            if x.manager() == Manager::System {
                commands.insert(0, vec!["exec", &live.id, "/probe", "exit", "0"]);
            }
            commands.into_iter().try_for_each(|words| x.rt(words)?.ok().map(drop))
        }),
    ]
}

/// A machine that claims to have a systemd. A user's is where the environment says.
fn from_the_start(x: &Ctx) -> Outcome {
    has_deadline(x)?;
    let none: Option<&str> = None;
    let mut covered = Covered(Vec::new());
    for dir in ["/run/systemd", "/run/dbus"] {
        fs::create_dir_all(dir)?;
        mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), none)?;
        covered.0.push(dir.into());
    }
    fs::create_dir("/run/systemd/system")?;
    let environments: Vec<Vec<(&str, String)>> = match x.manager() {
        Manager::System => {
            for socket in Manager::System.sockets() {
                serve(x, &socket, None, Fault::Silence(""))?;
            }
            vec![Vec::new()]
        }
        Manager::User { .. } => {
            let dir = x.fresh("run");
            fs::create_dir(&dir)?;
            serve(x, &dir.join("bus"), None, Fault::Silence(""))?;
            let address = format!("unix:path={}", dir.join("bus").display());
            vec![
                vec![("XDG_RUNTIME_DIR", dir.display().to_string())],
                vec![("XDG_RUNTIME_DIR", "/run/user/nobody".to_owned()), ("DBUS_SESSION_BUS_ADDRESS", address)],
            ]
        }
    };
    let start = Instant::now();
    let mut running = Vec::new();
    for environment in &environments {
        let b = x.bundle(|c| c["linux"]["cgroupsPath"] = json!(":p:n"))?;
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let create = x.cmd(["--systemd-cgroup", "create", "--bundle", b.dir(), &b.id]).env(&environment);
        running.push((b, create.spawn()?));
    }
    for (b, mut create) in running {
        eq("exit status", create.wait()?, 1)?;
        contains("the error", &create.stderr(), &["no answer on ", "within 30 s"])?;
        ensure(!x.state_root().join(&b.id).exists(), "the container's directory is left")?;
    }
    ensure(start.elapsed() < patience(Duration::from_secs(40)), format_args!("it took {:?}", start.elapsed()))
}

/// Where a conversation can break off in which `call` is called.
fn breaks(x: &Ctx, call: &'static str) -> Vec<Fault> {
    let mut all = vec![Fault::HangUp(""), Fault::HangUp("AUTH"), Fault::HangUpAfter("AUTH")];
    // systemd's own socket knows no hello.
    if x.manager().sockets()[0].exists() {
        all.extend([Fault::HangUp("Hello"), Fault::HangUpAfter("Hello")]);
    }
    all.extend([Fault::HangUp(call), Fault::HangUpAfter(call)]);
    all
}

/// What a command that is hung up on says, and that it does so at once.
fn hung_up_on(x: &Ctx, fault: Fault, args: &[&str]) -> Outcome {
    let start = Instant::now();
    let out = x.cmd(args.iter().copied()).go()?;
    // runc says nothing of what keeps a forced delete from stopping the unit.
    if !(out.status == 0 && args.contains(&"--force") && x.job.version.starts_with("runc version")) {
        eq(format_args!("{fault:?}: exit status"), out.status, 1)?;
        ensure(!out.stderr.trim().is_empty(), format_args!("{fault:?}: no message"))?;
    }
    ensure(start.elapsed() < patience(Duration::from_secs(10)), format_args!("{fault:?} took {:?}", start.elapsed()))
}

/// A bus that hangs up, at whichever point: the command fails at once, and leaves nothing.
fn hangups() -> Vec<Case> {
    vec![
        case("hangup/create", "no container, no unit", |x| {
            for fault in breaks(x, "StartTransientUnit") {
                let covered = cover(x, fault)?;
                let b = x.bundle(|_| ())?;
                hung_up_on(x, fault, &["create", "--bundle", b.dir(), &b.id])?;
                drop(covered);
                nothing_left(x, &b.id)?;
            }
            Ok(())
        }),
        case("hangup/update", "the limits are as before, and can be changed again", |x| {
            let live = limited(x)?;
            for fault in breaks(x, "SetUnitProperties") {
                let covered = cover(x, fault)?;
                hung_up_on(x, fault, &["update", "--pids-limit", "60", &live.id])?;
                drop(covered);
                eq(format_args!("{fault:?}: pids.max"), limit(x, &live)?, "50")?;
            }
            x.rt(["update", "--pids-limit", "70", &live.id])?.ok()?;
            eq("pids.max", limit(x, &live)?, "70")
        }),
        case("hangup/delete", "nothing is left all the same", |x| {
            for fault in breaks(x, "StopUnit") {
                let live = x.live(|_| ())?;
                let covered = cover(x, fault)?;
                hung_up_on(x, fault, &["delete", "--force", &live.id])?;
                drop(covered);
                x.gone(live.pid)?;
                nothing_left(x, &live.id)?;
            }
            Ok(())
        }),
    ]
}
