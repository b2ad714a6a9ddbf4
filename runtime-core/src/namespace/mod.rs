//! The namespaces of a container, namespaces(7): which are new, which are joined, which stay the host's.

pub(crate) mod apply;
pub(crate) mod net_devices;
mod netlink;

use std::fmt;

#[cfg(any(test, fuzzing))]
pub(crate) use netlink::any_answer;

use crate::spec::{Namespace, Namespaces};

/// A kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    User,
    Cgroup,
    Ipc,
    Uts,
    Network,
    Pid,
    Mount,
    Time,
}

/// All kinds, in the order in which they are joined: a mount namespace after those that are found by their path; the
/// user namespace last, because a process that has entered it has lost its power over the host's.
pub const JOIN_ORDER: [Kind; 8] =
    [Kind::Cgroup, Kind::Ipc, Kind::Uts, Kind::Network, Kind::Pid, Kind::Time, Kind::Mount, Kind::User];

impl Kind {
    /// Its `CLONE_NEW*`.
    #[must_use]
    pub fn flag(self) -> u64 {
        match self {
            Kind::User => libc::CLONE_NEWUSER as u64,
            Kind::Cgroup => libc::CLONE_NEWCGROUP as u64,
            Kind::Ipc => libc::CLONE_NEWIPC as u64,
            Kind::Uts => libc::CLONE_NEWUTS as u64,
            Kind::Network => libc::CLONE_NEWNET as u64,
            Kind::Pid => libc::CLONE_NEWPID as u64,
            Kind::Mount => libc::CLONE_NEWNS as u64,
            Kind::Time => 0x80,
        }
    }

    /// Its name in `config.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Cgroup => "cgroup",
            Kind::Ipc => "ipc",
            Kind::Uts => "uts",
            Kind::Network => "network",
            Kind::Pid => "pid",
            Kind::Mount => "mount",
            Kind::Time => "time",
        }
    }

    /// Whose namespace of this kind a container uses.
    #[must_use]
    pub fn of(self, namespaces: &Namespaces) -> &Namespace {
        match self {
            Kind::User => &namespaces.user,
            Kind::Cgroup => &namespaces.cgroup,
            Kind::Ipc => &namespaces.ipc,
            Kind::Uts => &namespaces.uts,
            Kind::Network => &namespaces.network,
            Kind::Pid => &namespaces.pid,
            Kind::Mount => &namespaces.mount,
            Kind::Time => &namespaces.time,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
