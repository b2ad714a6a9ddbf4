//! A container, decided: what is opened, which processes there are, and what each of them does, in order.
//!
//! Pure: the same specification, the same facts and the same options give the same plan, without any I/O. `script` is
//! the one place where the order of things is decided: read it first.

mod script;
mod step;
mod topology;

use std::fmt;
use std::path::PathBuf;

pub use script::{CgroupEntry, CreateOptions, ExecTarget, create, exec};
pub(crate) use script::{listener, state_document};
pub use step::{FdIndex, Idmap, Open, Signal, Step};
pub use topology::{Topology, topology};

use crate::cgroup::{Cgroup, Value};
use crate::error::OneLine;
use crate::intel_rdt::Rdt;
use crate::spec::{Hook, NetDevice, Rlimit};
use crate::user_mapping::IdMaps;

/// Everything that is going to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What the parent opens before the clone; a [`FdIndex`] points here.
    pub open: Vec<Open>,
    /// The processes.
    pub topology: Topology,
    /// The cgroup, made before the clone. `None`: the process joins one that exists.
    pub cgroup: Option<Cgroup>,
    /// What is made in resctrl before the clone, where the configuration asks for it.
    pub rdt: Option<Rdt>,
    /// What the hop does before it clones init, when there is one.
    pub hop: Vec<Step>,
    /// What init does.
    pub init: Vec<Step>,
    /// What the parent does for the new process when it exists and has done nothing yet.
    pub at_birth: Vec<ParentStep>,
    /// What the parent does when the root filesystem is ready.
    pub at_root_ready: Vec<ParentStep>,
    /// What the parent does when the process is all that `created` means.
    pub at_ready: Vec<ParentStep>,
    /// Who gets the listener of the system call filter.
    pub listener: Option<Listener>,
    /// The container's root filesystem among the opened descriptors. `None`: the process is in the container already.
    pub root: Option<FdIndex>,
    /// The state document that the parent's hooks get, before and after the pid.
    pub hook_state: (String, String),
    /// What was left out, and why: for the log, when the command succeeds.
    pub warnings: Vec<String>,
}

/// What the parent does from outside, while the process waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParentStep {
    /// Write the id maps of the new user namespace.
    IdMaps(IdMaps),
    /// Put the process into its cgroups where only systemd may do so: in the unit of a user's own systemd.
    PlaceInCgroups,
    /// Have systemd make the cgroup, which takes a process; then limit it, and put the process into the others.
    StartUnit(String),
    /// Put the process into its groups of resctrl.
    PlaceInResctrl,
    /// Move network devices into the container.
    NetDevices {
        /// Which, in order.
        devices: Vec<NetDevice>,
        /// The network namespace that the container joins. `None`: the new process is in a new one.
        namespace: Option<FdIndex>,
    },
    /// Write oom_score_adj.
    OomScoreAdj {
        /// -1000 to 1000.
        value: i32,
        /// Lowering it takes a capability that a user namespace can't give: then it stays, as runc does.
        optional: bool,
    },
    /// prlimit(2): a user namespace takes the power to raise hard limits.
    Rlimit(Rlimit),
    /// Run hooks in the runtime's namespaces.
    Hooks {
        /// `prestart` or `createRuntime`.
        point: &'static str,
        /// In their order.
        hooks: Vec<Hook>,
    },
}

/// The agent of a system call filter that notifies (`config-linux.md`, *The Container Process State*).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// `listenerPath`.
    pub socket: PathBuf,
    /// `listenerMetadata`.
    pub metadata: String,
    /// `ociVersion`.
    pub oci_version: String,
    /// The container's state document, before and after the pid.
    pub state: (String, String),
    /// The container's first process, whose pid the state has. `None`: it is the process of this plan.
    pub init: Option<i32>,
}

/// The descriptors to open, collected while the script is written.
#[derive(Debug, Default)]
pub(crate) struct Opens(Vec<Open>);

impl Opens {
    /// Where the descriptor will be. What is asked for twice is opened once.
    pub(crate) fn add(&mut self, open: Open) -> FdIndex {
        let known = self.0.iter().position(|o| *o == open && !matches!(o, Open::Tree { .. } | Open::Filesystem { .. }));
        FdIndex(known.unwrap_or_else(|| {
            self.0.push(open);
            self.0.len() - 1
        }))
    }
}

impl fmt::Display for ParentStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParentStep::IdMaps(maps) => maps.fmt(f),
            ParentStep::PlaceInCgroups => write!(f, "place the process in its cgroups"),
            ParentStep::StartUnit(name) => write!(f, "start unit {name} with the process, and limit its cgroup"),
            ParentStep::PlaceInResctrl => write!(f, "place the process in its resctrl groups"),
            ParentStep::NetDevices { devices, .. } => {
                write!(f, "move network devices")?;
                devices.iter().try_for_each(|d| write!(f, " {} as {}", d.name, d.inside))
            }
            ParentStep::OomScoreAdj { value, .. } => write!(f, "set oom_score_adj {value}"),
            ParentStep::Rlimit(limit) => write!(f, "set {}", crate::process::rlimit_text(limit)),
            ParentStep::Hooks { point, hooks } => {
                write!(f, "run {point} hooks")?;
                hooks.iter().try_for_each(|hook| write!(f, " {}", hook.path.to_string_lossy()))
            }
        }
    }
}

fn cgroup_lines(f: &mut fmt::Formatter<'_>, cgroup: &Cgroup) -> fmt::Result {
    if let Some(unit) = &cgroup.unit {
        writeln!(f, "  plan unit {}", OneLine(&unit.unit.name))?;
        unit.properties.iter().try_for_each(|p| writeln!(f, "    {}={}", OneLine(&p.name), OneLine(&p.value)))?;
    }
    cgroup.dirs.iter().try_for_each(|dir| writeln!(f, "  make cgroup {}", OneLine(dir.path.display())))?;
    for write in &cgroup.writes {
        let path = cgroup.dirs.get(write.dir).map(|dir| dir.path.join(&write.file)).unwrap_or_default();
        match &write.value {
            Value::Text(value) => writeln!(f, "  write {value:?} to {}", OneLine(path.display()))?,
            Value::Parent => writeln!(f, "  copy the parent's value to {}", OneLine(path.display()))?,
        }
    }
    match &cgroup.devices {
        Some(program) => writeln!(f, "  attach device program ({} instructions)", program.len()),
        None => Ok(()),
    }
}

impl fmt::Display for Plan {
    /// One line a step, in the order of execution, under the process that takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "runtime:")?;
        self.open.iter().try_for_each(|open| writeln!(f, "  {}", OneLine(open)))?;
        if let Some(cgroup) = &self.cgroup {
            cgroup_lines(f, cgroup)?;
        }
        if let Some(rdt) = &self.rdt {
            rdt.make.iter().try_for_each(|path| writeln!(f, "  make resctrl group {}", OneLine(path.display())))?;
            rdt.writes.iter().try_for_each(|(path, text)| {
                writeln!(f, "  write {:?} to {}", text.trim_end(), OneLine(path.display()))
            })?;
        }
        if let Some(kind) = self.topology.around_clone {
            writeln!(f, "  join {kind} namespace for the clone")?;
        }
        if self.topology.hop_joins.is_some() {
            writeln!(f, "  clone hop")?;
            writeln!(f, "hop:")?;
            self.hop.iter().try_for_each(|step| writeln!(f, "  {}", OneLine(step)))?;
        }
        write!(f, "  clone init")?;
        if !self.topology.new.is_empty() {
            write!(f, " with new namespaces:")?;
            self.topology.new.iter().try_for_each(|kind| write!(f, " {kind}"))?;
        }
        writeln!(f)?;
        writeln!(f, "init:")?;
        for step in &self.init {
            writeln!(f, "  {}", OneLine(step))?;
            let parent = match step {
                Step::Rendezvous(Signal::Born) => &self.at_birth,
                Step::Rendezvous(Signal::RootReady) => &self.at_root_ready,
                Step::Rendezvous(Signal::Ready) => &self.at_ready,
                _ => continue,
            };
            parent.iter().try_for_each(|step| writeln!(f, "    runtime: {}", OneLine(step)))?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}
