//! Much at once, and for long. With `--full` as long as a machine that is in use all day: 10,000 runs, and ten minutes of
//! each of the others; otherwise some seconds of each.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Census, case, prefixed};
use crate::ctx::{Ctx, Outcome, Running, Stop, any_ended, args, ensure, patience};
use crate::frame::Case;

/// What one loop does next, and what must have come of it.
type Turn<'a> = Box<dyn Fn(usize) -> Vec<&'a str> + 'a>;
type Judge = fn(&[&str], i32, &mut Running) -> Outcome;

/// What all loops together did.
struct Tally {
    commands: usize,
    slowest: Duration,
    time: Duration,
}

impl Tally {
    fn text(&self) -> String {
        format!("{} commands in {:.1?}, the slowest {:.1?}", self.commands, self.time, self.slowest)
    }
}

/// Keeps one command of each loop running, until `more` is false of their number and the time, and judges each. None may
/// take longer than five seconds.
fn keep_going(x: &Ctx, loops: &[(Turn<'_>, Judge)], more: impl Fn(usize, Duration) -> bool) -> Result<Tally, Stop> {
    let begin = Instant::now();
    let mut turns = vec![0; loops.len()];
    let mut tally = Tally { commands: 0, slowest: Duration::ZERO, time: Duration::ZERO };
    let mut running = Vec::new();
    let mut start = |at: usize| -> Result<_, Stop> {
        let words = loops[at].0(turns[at]);
        turns[at] += 1;
        let since = Instant::now();
        Ok((at, x.cmd(&words).spawn()?, words, since))
    };
    for at in 0..loops.len() {
        running.push(start(at)?);
    }
    while !running.is_empty() {
        let pids: Vec<u32> = running.iter().map(|(_, command, ..)| command.child.id()).collect();
        let (at, mut command, words, since) = running.swap_remove(any_ended(&pids)?);
        let (status, took) = (command.wait()?, since.elapsed());
        loops[at].1(&words, status, &mut command).map_err(|stop| prefixed(words.join(" "), stop))?;
        let limit = patience(Duration::from_secs(5));
        ensure(took <= limit, format_args!("{} took {took:?}", words.join(" ")))?;
        command.forget_stderr();
        tally.slowest = tally.slowest.max(took);
        tally.commands += 1;
        if more(tally.commands + running.len(), begin.elapsed()) {
            running.push(start(at)?);
        }
    }
    tally.time = begin.elapsed();
    Ok(tally)
}

/// What a runtime could use up that no census of the case's own shows. The machine is others' as well: told, not judged.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.split([':', ' ']).next() == Some(name));
        line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or("?").to_owned()
    };
    let memory = read("/proc/meminfo");
    let dying = ["/sys/fs/cgroup/cgroup.stat", "/sys/fs/cgroup/unified/cgroup.stat"].map(read).concat();
    format!(
        "available {} KiB, unreclaimable slab {} KiB, open files {}, dying cgroups of v2 {}",
        field(&memory, "MemAvailable"),
        field(&memory, "SUnreclaim"),
        read("/proc/sys/fs/file-nr").split_whitespace().next().unwrap_or("?"),
        field(&dying, "nr_dying_descendants"),
    )
}

/// Does it between two censuses, which must be equal.
fn between(x: &Ctx, wanted: &[i32], work: impl FnOnce() -> Result<Tally, Stop>) -> Result<Tally, Stop> {
    let before = Census::take(x, wanted)?;
    x.measure(format!("before: {}; {}", before.counts(), machine()));
    let tally = work()?;
    let after = Census::take(x, wanted)?;
    x.measure(tally.text());
    x.measure(format!("after: {}; {}", after.counts(), machine()));
    after.same(&before)?;
    Ok(tally)
}

fn succeeded(_: &[&str], status: i32, command: &mut Running) -> Outcome {
    ensure(status == 0, format_args!("status {status}: {}", command.stderr()))
}

/// `list` always has an answer; `state` may come too early or too late.
fn answered(words: &[&str], status: i32, command: &mut Running) -> Outcome {
    if words[0] == "state" && status != 0 {
        let stderr = command.stderr();
        return ensure(stderr.contains("does not exist"), format_args!("status {status}: {stderr}"));
    }
    succeeded(words, status, command)?;
    let text = command.rest()?;
    ensure(serde_json::from_str::<Value>(&text).is_ok(), format_args!("not JSON: {text}"))
}

/// Ten minutes, or ten seconds.
fn span(x: &Ctx) -> Duration {
    Duration::from_secs(if x.job.full { 600 } else { 10 })
}

pub(crate) fn cases() -> Vec<Case> {
    let all = [
        case("load/runs", "reliability: 10,000 x `run true`, 8 at a time, none longer than 5 s", |x| {
            let bundles = (0..8).map(|_| x.bundle(|c| args(c, "exit 0"))).collect::<Result<Vec<_>, _>>()?;
            let loops: Vec<(Turn<'_>, Judge)> = bundles
                .iter()
                .map(|b| (Box::new(move |_| vec!["run", "--bundle", b.dir(), &b.id]) as Turn<'_>, succeeded as Judge))
                .collect();
            let runs = if x.job.full { 10_000 } else { 400 };
            between(x, &[], || keep_going(x, &loops, |commands, _| commands < runs)).map(drop)
        }),
        case("load/lists", "runc#4231, #4735: 4 loops of create and delete beside 4 of list and state", |x| {
            let bundles = (0..4).map(|_| x.bundle(|c| args(c, "sleep"))).collect::<Result<Vec<_>, _>>()?;
            let mut loops: Vec<(Turn<'_>, Judge)> = Vec::new();
            for b in &bundles {
                let life = move |turn: usize| match turn % 2 {
                    0 => vec!["create", "--bundle", b.dir(), &b.id],
                    _ => vec!["delete", "--force", &b.id],
                };
                let look = move |turn: usize| match turn % 2 {
                    0 => vec!["list", "--format", "json"],
                    _ => vec!["state", &b.id],
                };
                loops.extend([(Box::new(life) as Turn<'_>, succeeded as Judge), (Box::new(look), answered)]);
            }
            let limit = span(x);
            between(x, &[], || {
                let tally = keep_going(x, &loops, |_, time| time < limit)?;
                // Those whose last turn was a create.
                bundles.iter().try_for_each(|b| x.rt(["delete", "--force", &b.id])?.ok().map(drop))?;
                Ok(tally)
            })
            .map(drop)
        }),
        case("load/execs", "reliability: at least 500 execs a minute into one container", |x| {
            let live = x.live(|_| {})?;
            let exec = |_| vec!["exec", live.id.as_str(), "/probe", "exit", "0"];
            let loops: [(Turn<'_>, Judge); 1] = [(Box::new(exec), succeeded)];
            let limit = span(x);
            let tally = between(x, &[live.pid], || keep_going(x, &loops, |_, time| time < limit))?;
            let wanted = limit.as_secs() as usize * 500 / 60 / x.job.slow as usize;
            ensure(tally.commands >= wanted, format_args!("{} execs, not {wanted}", tally.commands))
        }),
    ];
    // What --full takes.
    all.map(|case| Case { timeout: Duration::from_secs(1500), ..case }).into()
}
