//! What must hold when something goes wrong: nothing is left behind, nothing hangs, and whatever a killed runtime left can
//! be deleted. Here too are the configurations that engines wrote, from create to delete.

mod errors;
mod fixtures;
mod hangs;
mod leftovers;
mod load;
mod scarce;
mod scene;
mod sweep;
mod unforeseen;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::ctx::{Ctx, Driver, Outcome, Stop, ensure, patience, processes};
use crate::frame::Case;

fn case(name: impl Into<String>, checks: &'static str, run: impl Fn(&Ctx) -> Outcome + Send + Sync + 'static) -> Case {
    Case::new("faults", name, checks, run)
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = leftovers::cases();
    all.extend(fixtures::cases());
    all.extend(sweep::cases());
    all.extend(errors::cases());
    all.extend(hangs::cases());
    all.extend(load::cases());
    all.extend(scarce::cases());
    all.extend(unforeseen::cases());
    all
}

/// The same end with what it was about.
fn prefixed(what: impl Display, stop: Stop) -> Stop {
    match stop {
        Stop::Fail(text) => Stop::Fail(format!("{what}: {text}")),
        Stop::Skip(text) => Stop::Skip(text),
    }
}

/// What there is, as far as a container could add to it.
#[derive(PartialEq, Eq)]
struct Census {
    /// Lines of /proc/self/mountinfo: the case's mount namespace is the runtime's host.
    mounts: BTreeSet<String>,
    /// Directories in every hierarchy whose path is this case's.
    cgroups: BTreeSet<String>,
    /// Names below `--root`.
    states: BTreeSet<String>,
    /// Names of systemd's units.
    units: BTreeSet<String>,
    /// Pids and names, but for the case itself.
    processes: BTreeSet<(i32, String)>,
    /// Descriptors of the caller.
    fds: usize,
}

impl Census {
    /// Waits first until no other processes than `wanted` are left: killed is not yet ended.
    fn take(x: &Ctx, wanted: &[i32]) -> Result<Census, Stop> {
        x.alone_with(wanted)?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mut cgroups = BTreeSet::new();
        for line in mounts.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            if let (true, Some(point)) = (right.starts_with("cgroup"), left.split(' ').nth(4)) {
                directories(Path::new(point), &x.job.tag, &mut cgroups);
            }
        }
        let states: BTreeSet<String> = match fs::read_dir(x.state_root()) {
            Ok(entries) => entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect(),
            Err(_) => BTreeSet::new(),
        };
        let units = if x.job.driver == Driver::Systemd { units(x, &states)? } else { BTreeSet::new() };
        Ok(Census {
            mounts: mounts.lines().map(str::to_owned).collect(),
            cgroups,
            states,
            units,
            processes: processes().into_iter().collect(),
            fds: fs::read_dir("/proc/self/fd")?.count(),
        })
    }

    /// The numbers, for the evidence.
    fn counts(&self) -> String {
        format!(
            "mounts {}, cgroups {}, containers {}, units {}, processes {}, descriptors {}",
            self.mounts.len(),
            self.cgroups.len(),
            self.states.len(),
            self.units.len(),
            self.processes.len(),
            self.fds
        )
    }

    /// Fails unless all is as it was.
    fn same(&self, before: &Census) -> Outcome {
        fn differ<T: Ord + std::fmt::Debug>(what: &str, now: &BTreeSet<T>, before: &BTreeSet<T>) -> Outcome {
            let new: Vec<_> = now.difference(before).take(5).collect();
            let gone: Vec<_> = before.difference(now).take(5).collect();
            ensure(now == before, format_args!("{what}: left behind {new:?}, missing {gone:?}"))
        }
        differ("mounts", &self.mounts, &before.mounts)?;
        differ("cgroups", &self.cgroups, &before.cgroups)?;
        differ("state directory", &self.states, &before.states)?;
        differ("units", &self.units, &before.units)?;
        differ("processes", &self.processes, &before.processes)?;
        ensure(self.fds == before.fds, format_args!("descriptors: {} before, {} now", before.fds, self.fds))
    }
}

/// The units of the case's containers. systemd collects those that have ended in its own time; one that stays when its container is
/// gone was left behind.
fn units(x: &Ctx, containers: &BTreeSet<String>) -> Result<BTreeSet<String>, Stop> {
    let end = Instant::now() + patience(Duration::from_secs(3));
    loop {
        let lines = x.manager().units(&x.job.tag)?;
        let units: BTreeSet<_> =
            lines.iter().filter_map(|l| l.split(' ').find(|word| word.contains(&x.job.tag))).collect();
        let wanted = |unit: &&str| containers.iter().any(|id| unit.ends_with(&format!("{id}.scope")));
        if units.iter().all(wanted) || Instant::now() > end {
            return Ok(units.into_iter().map(str::to_owned).collect());
        }
    }
}

fn directories(dir: &Path, tag: &str, found: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for e in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        let path = e.path();
        if path.to_string_lossy().contains(tag) {
            found.insert(path.to_string_lossy().into_owned());
        }
        directories(&path, tag, found);
    }
}
