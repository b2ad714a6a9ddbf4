//! The processes of a container that has no cgroup: rootless, without permission for cgroups.
//!
//! With a pid namespace of its own it is whoever is in that, and whoever descends from these (in a namespace below). Else
//! it is init and its descendants: one that was orphaned is not known any more.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::state::{Init, parent_of};
use crate::sys::{self, Errno};

/// How often new ones are looked for, while all are signalled.
const ROUNDS: usize = 32;

/// Their pids in the runtime's pid namespace, sorted. Empty when init has ended.
pub(crate) fn list(init: &Init, own_namespace: bool) -> Result<Vec<i32>> {
    if !init.is_alive()? {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir("/proc").map_err(|e| Error::system("read /proc", e.into()))?;
    let pids: Vec<i32> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    // Of others' processes the link can't be read: they are not the container's, but for one that has other ids there,
    // and that one descends from init.
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = if own_namespace && is_first(init.pid) { namespace(init.pid) } else { None };
    let is_in = |own: &PathBuf, pid: i32| namespace(pid).is_some_and(|other| other == *own);
    let seeds = pids.iter().copied().filter(|&pid| pid == init.pid || own.as_ref().is_some_and(|own| is_in(own, pid)));
    let parents: BTreeMap<i32, i32> = pids.iter().filter_map(|&pid| Some((pid, parent_of(pid)?))).collect();
    Ok(with_descendants(seeds.collect(), &parents).into_iter().collect())
}

/// Whether it is the first process of its pid namespace: of a joined one it is not.
fn is_first(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let own = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    own.split_ascii_whitespace().next_back() == Some("1")
}

/// Signals each once, and again those who came in the meantime.
pub(crate) fn signal(init: &Init, own_namespace: bool, signal: i32) -> Result<()> {
    let mut signalled = BTreeSet::new();
    for _ in 0..ROUNDS {
        // Those first who could not be found any more when init has ended.
        let mut new: Vec<_> = list(init, own_namespace)?.into_iter().filter(|pid| !signalled.contains(pid)).collect();
        if new.is_empty() {
            break;
        }
        new.sort_by_key(|&pid| pid == init.pid);
        for pid in new {
            match sys::pidfd_open(pid).and_then(|pidfd| sys::pidfd_send_signal(pidfd.as_fd(), signal)) {
                Ok(()) | Err(Errno(libc::ESRCH)) => {}
                Err(errno) => return Err(Error::system(format!("kill process {pid}"), errno)),
            }
            signalled.insert(pid);
        }
    }
    Ok(())
}

fn with_descendants(mut found: BTreeSet<i32>, parents: &BTreeMap<i32, i32>) -> BTreeSet<i32> {
    loop {
        let more: Vec<i32> = parents
            .iter()
            .filter(|(pid, parent)| found.contains(parent) && !found.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found() {
        let parents = BTreeMap::from([(1, 0), (5, 1), (6, 5), (4, 6), (9, 1)]);
        assert_eq!(with_descendants(BTreeSet::from([5]), &parents), BTreeSet::from([4, 5, 6]));
        assert_eq!(with_descendants(BTreeSet::new(), &parents), BTreeSet::new());
    }

    #[test]
    fn own_children_are_found() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let own = Init::of(std::process::id() as i32).unwrap();
        let found = list(&own, false);
        child.kill().unwrap();
        child.wait().unwrap();
        let found = found.unwrap();
        assert!(found.contains(&own.pid) && found.contains(&(child.id() as i32)), "{found:?}");
    }
}
