//! SIGKILL to the runtime at each of its system calls: what is left can be deleted, and nobody else notices.

use std::fs;
use std::time::{Duration, Instant};

use super::scene::{Extra, Scene};
use super::{case, prefixed};
use crate::ctx::{Bundle, Ctx, Cut, Live, Outcome, ensure, eq};
use crate::frame::Case;

/// A command and what brings a container to where it is given.
struct Victim {
    name: &'static str,
    before: &'static [Step],
    words: Step,
    /// What it is swept with, beside nothing and a user namespace.
    with: &'static [Extra],
}

/// A command that prepares.
pub(super) type Step = fn(&Bundle) -> Vec<&str>;

pub(super) const CREATE: Step = |b| vec!["create", "--bundle", b.dir(), &b.id];
pub(super) const RUN: Step = |b| vec!["run", "--detach", "--bundle", b.dir(), &b.id];
pub(super) const START: Step = |b| vec!["start", &b.id];
const EXEC: Step = |b| vec!["exec", &b.id, "/probe", "exit", "0"];
const EXEC_DETACH: Step = |b| vec!["exec", "--detach", &b.id, "/probe", "sleep"];
pub(super) const DELETE: Step = |b| vec!["delete", "--force", &b.id];
pub(super) const KILL: Step = |b| vec!["kill", &b.id, "KILL"];
pub(super) const PAUSE: Step = |b| vec!["pause", &b.id];
pub(super) const RESUME: Step = |b| vec!["resume", &b.id];
/// Takes the controller pids.
pub(super) const UPDATE: Step = |b| vec!["update", "--pids-limit", "77", &b.id];

const VICTIMS: &[Victim] = &[
    // With a network device: `spec/net-device/killed`.
    Victim { name: "create", before: &[], words: CREATE, with: &[Extra::Hop, Extra::Hooks, Extra::Terminal] },
    Victim { name: "start", before: &[CREATE], words: START, with: &[Extra::Hooks] },
    Victim { name: "run", before: &[], words: RUN, with: &[] },
    Victim { name: "exec", before: &[RUN], words: EXEC, with: &[Extra::Hop] },
    Victim { name: "exec-detach", before: &[RUN], words: EXEC_DETACH, with: &[Extra::Terminal] },
    Victim { name: "kill", before: &[RUN], words: KILL, with: &[] },
    Victim { name: "delete", before: &[RUN, KILL], words: DELETE, with: &[] },
    Victim { name: "delete-running", before: &[RUN], words: DELETE, with: &[Extra::Hooks, Extra::NetDevice] },
    Victim { name: "pause", before: &[RUN], words: PAUSE, with: &[] },
    Victim { name: "resume", before: &[RUN, PAUSE], words: RESUME, with: &[] },
    Victim { name: "update", before: &[RUN], words: UPDATE, with: &[] },
];

/// Of how many system calls one is tried, unless all are; a prime, so that no pattern of calls is missed for ever.
const STRIDE: usize = 7;

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for victim in VICTIMS {
        for extra in Extra::of(victim.with) {
            let name = format!("kill-sweep/{}{}", victim.name, extra.suffix());
            let mut c = case(name, "reliability: after SIGKILL at any instant `delete --force` cleans up", move |x| {
                sweep(x, victim, extra)
            });
            c.timeout = Duration::from_secs(600);
            all.push(c);
        }
    }
    all
}

fn sweep(x: &Ctx, victim: &Victim, extra: Extra) -> Outcome {
    if victim.name == "update" {
        x.needs("pids")?;
    }
    let scene = Scene::new(x, extra, |_| {})?;
    let (b, other) = (&scene.bundle, &scene.other);
    let untouched = stat(other)?;
    let before = scene.census()?;
    let (mut at, mut tried, mut slowest) = (1, 0, Duration::ZERO);
    loop {
        scene.set(victim.before)?;
        let cut = x.cmd(scene.words(victim.words)).cut(at)?;
        let place = match &cut {
            Cut::Killed(call) => format!("killed at its system call {at} (number {call})"),
            Cut::Ended(out, calls) => format!("not killed, status {} after {calls} calls", out.status),
        };
        let about = |e| prefixed(&place, e);
        let start = Instant::now();
        x.rt(["list"])?.ok().map_err(about)?;
        let out = x.rt(["delete", "--force", &b.id])?;
        ensure(out.status == 0, format_args!("{place}: delete --force: {} {}", out.status, out.stderr.trim_end()))?;
        slowest = slowest.max(start.elapsed());
        ensure(
            start.elapsed() < crate::ctx::patience(Duration::from_secs(10)),
            format_args!("{place}: delete took {:?}", start.elapsed()),
        )?;
        scene.close_terminals()?;
        scene.census().and_then(|after| after.same(&before)).map_err(about)?;
        eq("the other container's process", stat(other)?, untouched.as_str()).map_err(about)?;
        if let Cut::Ended(out, calls) = cut {
            eq("status of the command that was not killed", out.status, 0)?;
            x.measure(format!("{tried} of {calls} system calls, slowest delete {} ms", slowest.as_millis()));
            x.measure(format!("before and after: {}", before.counts()));
            break;
        }
        tried += 1;
        at += if x.job.full { 1 } else { STRIDE };
    }
    x.status(&other.id, "running")
}

/// Name and start time, of a process that is neither ended nor stopped.
fn stat(live: &Live) -> Result<String, crate::ctx::Stop> {
    let text = fs::read_to_string(format!("/proc/{}/stat", live.pid))?;
    let words: Vec<_> = text.split(' ').collect();
    let state = if matches!(words[2], "R" | "S" | "D") { "alive" } else { words[2] };
    Ok(format!("{} {state} {}", words[1], words.get(21).unwrap_or(&"")))
}
