//! What happens behind a runtime's back: to the clock, to its files, to its processes; and signals.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

use super::{Census, case};
use crate::ctx::{Ctx, Live, Outcome, Stop, args, ensure, eq, skip};
use crate::frame::Case;

pub(crate) fn cases() -> Vec<Case> {
    let mut all = vec![
        case("unforeseen/clock", "reliability: the wall clock was set back, or far ahead", |x| {
            for then in ["2999-12-31T23:59:59.999999999Z", "1970-01-01T00:00:00Z"] {
                let live = x.live(|_| {})?;
                let file = x.state_root().join(&live.id).join("state.json");
                let created = x.state(&live.id)?["created"].clone();
                let text = fs::read_to_string(&file)?;
                ensure(text.contains(&created.to_string()), "the state does not hold the time that it tells")?;
                fs::write(&file, text.replace(&created.to_string(), &format!("{then:?}")))?;
                eq("created", x.state(&live.id)?["created"].as_str(), Some(then))?;
                ensure(x.rt(["list"])?.ok()?.stdout.contains(&live.id), "list does not show it")?;
                ensure(x.rt(["list", "--format", "json"])?.ok()?.stdout.contains(then), "list shows another time")?;
                x.rt(["exec", &live.id, "/probe", "exit", "0"])?.ok()?;
                x.kill(&live)?;
                x.status(&live.id, "stopped")?;
                x.rt(["delete", &live.id])?.ok()?;
            }
            Ok(())
        }),
        case("unforeseen/state-vanishes", "reliability: the container's directory is gone before start", |x| {
            let other = x.live(|_| {})?;
            let b = x.bundle(|c| args(c, "sleep"))?;
            let created = x.create(&b)?;
            let pid = pid_of(x, &b.id)?;
            fs::remove_dir_all(x.state_root().join(&b.id))?;
            for words in [&["start", &b.id][..], &["state", &b.id], &["kill", &b.id, "KILL"], &["delete", &b.id]] {
                let out = x.rt(words)?.errs()?;
                eq(format_args!("lines of {words:?}"), out.stderr.lines().count(), 1)?;
            }
            ensure(!x.rt(["list"])?.ok()?.stdout.contains(&b.id), "list shows it")?;
            x.rt(["delete", "--force", &b.id])?.ok()?;
            x.status(&other.id, "running")?;
            // Nobody has a name for what is left but its pid.
            kill(Pid::from_raw(pid), Signal::SIGKILL)?;
            x.gone(pid)?;
            drop(created);
            // Its empty cgroup does not keep the next one of this name from running.
            x.rt(["run", "--detach", "--bundle", b.dir(), &b.id])?.ok()?;
            x.status(&b.id, "running")
        }),
        case("unforeseen/root-vanishes", "reliability: all of --root is gone", |x| {
            let live = x.live(|_| {})?;
            let aside = x.fresh("aside");
            fs::rename(x.state_root(), &aside)?;
            ensure(!x.rt(["list"])?.ok()?.stdout.contains(&live.id), "list shows it")?;
            x.rt(["state", &live.id])?.errs()?;
            let _ = fs::remove_dir(x.state_root());
            fs::rename(&aside, x.state_root())?;
            x.status(&live.id, "running")
        }),
        case(
            "unforeseen/list-while-vanishing",
            "reliability: `list` and `state` beside directories that come and go",
            |x| {
                let live = x.live(|_| {})?;
                let gone = x.live(|_| {})?;
                let (mine, aside) = (x.state_root().join(&gone.id), x.fresh("aside"));
                let rounds = if x.job.full { 500 } else { 50 };
                let over = AtomicBool::new(false);
                let result = std::thread::scope(|s| {
                    s.spawn(|| {
                        while !over.load(Ordering::Relaxed) {
                            let _ = fs::rename(&mine, &aside).and_then(|()| fs::rename(&aside, &mine));
                        }
                    });
                    let result = (0..rounds).try_for_each(|round| {
                        let out = x.rt(["list", "--format", "json"])?.ok()?;
                        ensure(
                            out.stdout.contains(&live.id),
                            format_args!("round {round}: list does not show the other"),
                        )?;
                        let out = x.rt(["state", &gone.id])?;
                        let told = out.stderr.contains("does not exist") || out.stderr.contains("no such file");
                        ensure(out.status == 0 || told, format_args!("round {round}: {}", out.stderr.trim_end()))
                    });
                    over.store(true, Ordering::Relaxed);
                    result
                });
                result.and_then(|()| x.status(&gone.id, "running"))
            },
        ),
        case("unforeseen/signal-storm", "reliability: signals that mean nothing, thousands of them", |x| {
            let before = Census::take(x, &[])?;
            let rounds = if x.job.full { 200 } else { 10 };
            let mut sent = 0;
            for round in 0..rounds {
                let b = x.bundle(|c| args(c, "exit 7"))?;
                let mut storm = |words: &[&str], status| -> Outcome {
                    let (got, said, signals) = in_a_storm(x, words)?;
                    sent += signals;
                    eq(format_args!("status of {}, round {round} ({})", words[0], said.trim_end()), got, status)
                };
                storm(&["run", "--bundle", b.dir(), &b.id], 7)?;
                let b = x.bundle(|c| args(c, "sleep"))?;
                storm(&["create", "--bundle", b.dir(), &b.id], 0)?;
                storm(&["start", &b.id], 0)?;
                storm(&["exec", &b.id, "/probe", "exit", "5"], 5)?;
                storm(&["pause", &b.id], 0)?;
                storm(&["resume", &b.id], 0)?;
                storm(&["list"], 0)?;
                storm(&["kill", &b.id, "KILL"], 0)?;
                storm(&["delete", "--force", &b.id], 0)?;
                fs::remove_dir_all(&b.dir)?;
            }
            x.measure(format!("{sent} signals in {} commands", 9 * rounds));
            ensure(sent > 50 * rounds, format_args!("only {sent} signals were sent"))?;
            Census::take(x, &[])?.same(&before)
        }),
    ];
    for created in [false, true] {
        let name = if created { "unforeseen/init-died-created" } else { "unforeseen/init-died-running" };
        all.push(case(
            name,
            "reliability: init ended while no runtime ran, and its pid is another process's",
            move |x| init_died(x, created),
        ));
    }
    for c in &mut all {
        c.timeout = Duration::from_secs(120);
    }
    all
}

fn pid_of(x: &Ctx, id: &str) -> Result<i32, Stop> {
    Ok(x.state(id)?["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default())
}

/// Its init is killed by somebody, and the next process has its pid.
fn init_died(x: &Ctx, created: bool) -> Outcome {
    if std::process::id() != 1 {
        return skip("pids can be chosen in a pid namespace of one's own alone");
    }
    let b = x.bundle(|c| args(c, "wait"))?;
    let Live { id, pid, .. } = if created {
        let out = x.create(&b)?;
        Live { id: b.id.clone(), pid: pid_of(x, &b.id)?, bundle: b, out }
    } else {
        x.live_bundle(b)?
    };
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    x.gone(pid)?;
    // Two processes that start in the same hundredth of a second have the same start time, proc_pid_stat(5).
    let now = || {
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
            .map(|t| t.tv_sec() * 100 + t.tv_nsec() / 10_000_000)
    };
    let begin = now()?;
    while now()? <= begin + 1 {
        std::thread::yield_now();
    }
    fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())?;
    let bystander = std::process::Command::new("/proc/self/exe").args(["probe", "sleep"]).spawn()?;
    eq("the bystander's pid", bystander.id().cast_signed(), pid)?;
    x.status(&id, "stopped")?;
    for words in [&["start", &id][..], &["exec", &id, "/probe", "exit", "0"], &["kill", &id, "KILL"]] {
        x.rt(words)?.errs()?;
    }
    x.rt(["delete", &id])?.ok()?;
    let alive = Path::new(&format!("/proc/{pid}/exe")).exists();
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    x.gone(pid)?;
    ensure(alive, "the bystander was killed")
}

/// Its status, its standard error, and how many signals it was sent until it ended: such as it ignores or hands on, and stops and continuations,
/// by which some system calls are interrupted without a handler, signal(7).
fn in_a_storm(x: &Ctx, words: &[&str]) -> Result<(i32, String, usize), Stop> {
    let mut command = x.cmd(words).spawn()?;
    let Some(pid) = rustix::process::Pid::from_raw(command.child.id().cast_signed()) else {
        return Err(Stop::Fail("the command has no pid".into()));
    };
    let fd = pidfd_open(pid, PidfdFlags::empty())?;
    std::thread::scope(|s| {
        let storm = s.spawn(|| {
            use rustix::process::Signal;
            let mut sent = 0;
            let signals = [Signal::CHILD, Signal::WINCH, Signal::URG, Signal::STOP, Signal::CONT];
            // ESRCH: it was waited for.
            while signals.iter().all(|signal| pidfd_send_signal(&fd, *signal).is_ok()) {
                sent += signals.len();
            }
            sent
        });
        let status = command.wait()?;
        let said = command.stderr();
        command.forget_stderr();
        Ok((status, said, storm.join().unwrap_or_default()))
    })
}
