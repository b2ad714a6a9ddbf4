//! The cgroup of a container: v1, hybrid (v1 controls, v2 groups) and v2, made by Orlop itself or by systemd.
//!
//! ```text
//! Layout::probe -> plan -> create -> place | CLONE_INTO_CGROUP
//!   facts          pure    effects
//!                          create -> start (systemd, with the process that waits)
//! ```
//!
//! [`plan()`] is pure and says everything that will be written, and where. [`create()`] makes it so before any process is in
//! the cgroup: no instant of a container is unlimited. What it leaves behind is described by a [`Record`], which
//! belongs in `state.json`: all later operations (freeze, kill, remove, ...) work from the record alone, without looking
//! for the hierarchies again.
//!
//! Everything here is done by the runtime on the host. The container only finds its cgroup mounted, see [`mounts()`].
//!
//! Sources: cgroups(7), Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ of the kernel, `config-linux.md` of
//! the OCI runtime specification 1.3; where these leave a choice, runc's.

mod create;
mod devices;
mod events;
mod files;
mod freezer;
mod layout;
mod mounts;
mod plan;
mod processes;
mod remove;
mod resources;
mod stats;
pub mod systemd;
#[cfg(test)]
mod tests;
mod update;

pub use create::{Created, create, start};
pub use events::OutOfMemory;
pub use layout::{Hierarchy, Layout};
pub use mounts::{MountFacts, mounts};
pub use plan::{Options, owner, plan};
pub use stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, CpusetStats, Empty, HugetlbStats, MemoryEntry, MemoryStats, PidsStats,
    Pressure, PressureLine, Stats, Throttling,
};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::sys::BpfInsn;

/// What a container's cgroup shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// A directory in each hierarchy; the unified one, if there is one, is the last.
    pub dirs: Vec<Dir>,
    /// The controllers that the v2 cgroup is given: all that there are, as engines read their statistics. Empty on v1
    /// and hybrid.
    pub controllers: Vec<String>,
    /// What is written into the directories, in this order.
    pub writes: Vec<Write>,
    /// The device program of the v2 cgroup; `None`: its rules are left alone. On v1 and hybrid the device rules are among the writes.
    pub devices: Option<Vec<BpfInsn>>,
    /// The user on the host to whom the v2 cgroup is delegated.
    pub owner: Option<u32>,
    /// Where the runtime may not make a directory, the container stays in the runtime's cgroup (rootless, and no
    /// `cgroupsPath` was asked for). A limit that could not be set is an error all the same.
    pub best_effort: bool,
    /// Whether device rules, and the delegation, may be left out where the runtime may not make them: an ordinary user's
    /// container has no more devices than he has anyway. As runc does.
    pub rootless: bool,
    /// What was asked for and can't have an effect here: JSON pointer, reason. runc ignores the same.
    pub ignored: Vec<(String, String)>,
    /// The unit by which systemd makes the cgroup. `None`: Orlop makes it.
    pub unit: Option<systemd::TransientUnit>,
}

/// A container's directory in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dir {
    /// v1: what is bound to the hierarchy (`cpu,cpuacct`, `name=systemd`); v2: empty. As in `/proc/PID/cgroup`.
    pub hierarchy: String,
    /// Where the hierarchy is mounted.
    pub mount: PathBuf,
    /// The directory, below `mount`.
    pub path: PathBuf,
}

impl Dir {
    /// Whether it is a directory of the v2 hierarchy.
    #[must_use]
    pub fn is_unified(&self) -> bool {
        self.hierarchy.is_empty()
    }

    /// Whether this v1 controller, or `name=...`, is bound to the hierarchy.
    #[must_use]
    pub fn has(&self, controller: &str) -> bool {
        self.hierarchy.split(',').any(|name| name == controller)
    }
}

/// One write into a control file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Index into [`Cgroup::dirs`].
    pub dir: usize,
    /// Name of the file.
    pub file: String,
    /// What is written.
    pub value: Value,
    /// JSON pointer of what asked for it; empty where nobody did.
    pub pointer: String,
    /// What is done when the kernel refuses.
    pub on_failure: OnFailure,
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// This.
    Text(String),
    /// What the same file of the parent holds, unless the file holds something already. A v1 cpuset starts empty, and
    /// no process can join it then.
    Parent,
}

/// What is done when the kernel refuses a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnFailure {
    /// It is an error.
    Fail,
    /// No such file: nothing.
    Skip,
    /// Not permitted: nothing.
    SkipRefused,
    /// Invalid argument: it is tried again after all others. Some pairs of values are checked against each other on every
    /// write, so which one must come first depends on the old values.
    Later,
    /// No such file: another one is written.
    Instead {
        /// Name of the file.
        file: String,
        /// What is written.
        value: String,
    },
}

/// What exists of a container's cgroup: enough for everything that is done with it after its creation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Who made the directories, and must be asked to remove them.
    pub driver: Driver,
    /// As in [`Cgroup::dirs`].
    pub dirs: Vec<Dir>,
    /// Directories above them that were made for this container, the outer ones first.
    #[serde(default)]
    pub parents: Vec<PathBuf>,
}

/// Who manages the cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// Orlop itself, through the file system.
    Fs,
    /// systemd: the directories belong to this unit.
    Systemd(systemd::Unit),
}

impl From<&Cgroup> for Record {
    /// The record before the creation: what a cleaner must remove whatever became of it.
    fn from(cgroup: &Cgroup) -> Self {
        let driver = cgroup.unit.as_ref().map_or(Driver::Fs, |unit| Driver::Systemd(unit.unit.clone()));
        Record { driver, dirs: cgroup.dirs.clone(), parents: Vec::new() }
    }
}

impl Record {
    /// Whether a user's own systemd made it.
    pub(crate) fn is_users_unit(&self) -> bool {
        matches!(&self.driver, Driver::Systemd(unit) if unit.user)
    }

    /// The v2 directory, if there is one.
    fn unified(&self) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.is_unified())
    }

    /// The directory with this v1 controller.
    fn v1(&self, controller: &str) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.has(controller))
    }

    /// Whether there is any cgroup of the container's own. Rootless, where the runtime may make none, there is not.
    #[must_use]
    pub fn tells_processes(&self) -> bool {
        self.membership().is_some()
    }

    /// The directory that tells which processes belong to the container.
    fn membership(&self) -> Option<&Dir> {
        self.v1("devices").or_else(|| self.unified()).or(self.dirs.first())
    }
}
