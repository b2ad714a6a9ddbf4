//! What runtimes were broken by: every known class of escape as a black-box case, named by its CVE, and hardening that has none.
//!
//! After every case the canary, a directory of the host's, the runtime's executable and the host's devices must be as they were;
//! that no mount, process, cgroup or state is left is checked by the frame. What each row means is in
//! `docs/threat-model.md`.

mod hardening;
mod paths;
mod processes;
mod procfs;

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::ctx::{Bundle, Ctx, Out, Outcome, Stop, ensure, eq, fail};
use crate::frame::Case;

pub(crate) fn cases() -> Vec<Case> {
    let mut all = paths::cases();
    all.extend(procfs::cases());
    all.extend(processes::cases());
    all.extend(hardening::cases());
    all
}

/// A case with the checks that follow every one of this suite.
fn case(name: &str, checks: &'static str, run: impl Fn(&Ctx) -> Outcome + Send + Sync + 'static) -> Case {
    Case::new("security", name, checks, move |x| {
        let canary = canary(x);
        fs::create_dir(&canary)?;
        x.keep(&canary);
        fs::write(canary.join("keep"), "mine")?;
        let before = Host::of(x)?;
        let outcome = run(x);
        match (before.unchanged(x), outcome) {
            // What was broken is the worse news of the two.
            (Err(Stop::Fail(breach)), Err(Stop::Fail(why))) if breach != why => fail(format!("{breach}; {why}")),
            (unchanged, outcome) => unchanged.and(outcome),
        }
    })
}

/// A race, which takes longer.
fn race(name: &str, checks: &'static str, run: impl Fn(&Ctx) -> Outcome + Send + Sync + 'static) -> Case {
    Case { timeout: Duration::from_secs(300), ..case(name, checks, run) }
}

/// The directory of the host's that no container has any business with. It holds the file `keep`.
fn canary(x: &Ctx) -> PathBuf {
    x.job.dir.join("canary")
}

/// What of the host's must not change.
#[derive(PartialEq, Eq, Debug)]
struct Host {
    canary: Vec<(String, u32, u32, String)>,
    runtime: u64,
    null: (u32, u32, u64, u32, u32),
    core_pattern: String,
}

impl Host {
    fn of(x: &Ctx) -> Result<Host, Stop> {
        let mut canary_now = Vec::new();
        for e in fs::read_dir(canary(x))?.flatten() {
            let m = fs::symlink_metadata(e.path())?;
            let text = fs::read_to_string(e.path()).unwrap_or_default();
            canary_now.push((e.file_name().to_string_lossy().into_owned(), m.mode(), m.uid(), text));
        }
        canary_now.sort();
        let mut hash = DefaultHasher::new();
        fs::read(&x.job.runtime)?.hash(&mut hash);
        let null = fs::symlink_metadata("/dev/null")?;
        Ok(Host {
            canary: canary_now,
            runtime: hash.finish(),
            null: (null.uid(), null.gid(), null.rdev(), null.mode(), null.nlink() as u32),
            core_pattern: fs::read_to_string("/proc/sys/kernel/core_pattern")?,
        })
    }

    fn unchanged(&self, x: &Ctx) -> Outcome {
        let now = Host::of(x)?;
        eq("BREACH: the canary directory", &now.canary, &self.canary)?;
        ensure(now.runtime == self.runtime, "BREACH: the runtime's executable was changed")?;
        eq("BREACH: the host's /dev/null", now.null, self.null)?;
        eq("BREACH: the host's core_pattern", &now.core_pattern, &self.core_pattern)
    }
}

/// A link out of the root, if links were resolved on the host.
fn outward(x: &Ctx, name: &str) -> String {
    format!("/../../../../../../../..{}/{name}", canary(x).display())
}

/// Runs `f` while another thread exchanges two names as fast as it can; they are as before, or exchanged, afterwards. Where
/// there are two processors the thread has the last one to itself, and the runtime begins on another.
fn exchanging<T>(a: &Path, b: &Path, f: impl FnOnce() -> Result<T, Stop>) -> Result<T, Stop> {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    let this_thread = nix::unistd::Pid::from_raw(0);
    let all = sched_getaffinity(this_thread)?;
    let (mut attackers, mut others) = (all, all);
    let mut numbers = (0..CpuSet::count()).filter(|&n| all.is_set(n).unwrap_or(false));
    if let (Some(_), Some(last)) = (numbers.next(), numbers.next_back()) {
        attackers = CpuSet::new();
        attackers.set(last)?;
        others.unset(last)?;
    }
    let stop = AtomicBool::new(false);
    let turning = AtomicBool::new(false);
    let result = std::thread::scope(|s| {
        s.spawn(|| {
            let _ = sched_setaffinity(this_thread, &attackers);
            while !stop.load(Ordering::Relaxed) {
                let cwd = rustix::fs::CWD;
                let _ = rustix::fs::renameat_with(cwd, a, cwd, b, rustix::fs::RenameFlags::EXCHANGE);
                turning.store(true, Ordering::Relaxed);
            }
        });
        while !turning.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let result = sched_setaffinity(this_thread, &others).map_err(Stop::from).and_then(|()| f());
        stop.store(true, Ordering::Relaxed);
        result
    });
    sched_setaffinity(this_thread, &all)?;
    result
}

/// Creates the bundle's container.
fn create(x: &Ctx, b: &Bundle) -> Result<Out, Stop> {
    x.rt(["create", "--bundle", b.dir(), "--pid-file", &b.path("pid"), &b.id])
}

/// Deletes it if it is there.
fn delete(x: &Ctx, b: &Bundle) -> Outcome {
    if x.state_root().join(&b.id).exists() {
        x.rt(["delete", "--force", &b.id])?.ok()?;
    }
    Ok(())
}

/// The pid of the created container.
fn pid(b: &Bundle) -> Result<i32, Stop> {
    Ok(fs::read_to_string(b.path("pid"))?.trim().parse()?)
}

/// The mounts of the created container, as the host sees them.
fn mounts(b: &Bundle) -> Result<Vec<Value>, Stop> {
    Ok(crate::probe::mounts(&fs::read_to_string(format!("/proc/{}/mountinfo", pid(b)?))?))
}

/// Creates, checks and deletes the bundle's container `rounds` times while two names are exchanged. A create that fails
/// is as good as one whose container is as it should be; without the exchange it must succeed.
fn rounds(
    x: &Ctx,
    b: &Bundle,
    names: (&Path, &Path),
    check: impl Fn() -> Outcome,
    reset: impl Fn() -> Outcome,
) -> Outcome {
    create(x, b)?.ok()?;
    check()?;
    delete(x, b)?;
    reset()?;
    let before = Host::of(x)?;
    for round in 1..=x.job.rounds {
        let out = exchanging(names.0, names.1, || create(x, b))?;
        let held = before.unchanged(x).and_then(|()| if out.status == 0 { check() } else { Ok(()) });
        if let Err(Stop::Fail(why)) = held {
            return fail(format!("round {round}: {why}"));
        }
        ensure(out.status == 0 || !out.stderr.trim().is_empty(), "no message")?;
        delete(x, b)?;
        reset()?;
    }
    Ok(())
}
