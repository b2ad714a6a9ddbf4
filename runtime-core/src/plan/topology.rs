//! Which processes there are: what the clone makes new, and who joins what, when.
//!
//! Most containers need one process besides the runtime: clone3(2) makes the new namespaces, init joins the others
//! itself. Four wishes can't be met that way, because they concern a process's children and not itself; then a *hop*
//! stands between for an instant, and init is the runtime's child all the same (CLONE_PARENT):
//! - offsets of a new time namespace are written before its first process exists;
//! - a joined namespace must be joined before a new user namespace takes the power to do so;
//! - new namespaces shall belong to a joined user namespace;
//! - a pid namespace is joined by a runtime in a user namespace, or by an ordinary user's (rootless).
//!
//! A joined pid namespace also concerns children only, but it is a property of the thread that clones: normally the
//! parent's thread joins it for the one call, and joins its own again. In a user namespace it could not come back: its
//! own pid namespace may belong to the user namespace above, and setns(2) asks for power over that.
//!
//! Who has power over the host joins a user namespace last, because that takes it. An ordinary user has none, and gets
//! all that he can have by joining it: first.

use crate::namespace::{JOIN_ORDER, Kind};
use crate::spec::{Linux, Namespace};

/// The processes of a plan and how they come to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    /// What clone3(2) makes for init.
    pub new: Vec<Kind>,
    /// What the parent's thread joins around the clone: the pid namespace.
    pub around_clone: Option<Kind>,
    /// What the hop joins, in this order, when there is one.
    pub hop_joins: Option<Vec<Kind>>,
    /// What the hop unshares.
    pub hop_unshares: Vec<Kind>,
    /// What init joins, in this order.
    pub init_joins: Vec<Kind>,
    /// What init unshares when it is in its cgroup: a cgroup namespace's root is the cgroup of who makes it.
    pub init_unshares: Vec<Kind>,
}

/// Decides. A pure table. `in_user_namespace`: the runtime is not in the initial one. `unprivileged`: it has no power
/// over the one that it is in.
#[must_use]
pub fn topology(linux: &Linux, in_user_namespace: bool, unprivileged: bool) -> Topology {
    let namespaces = &linux.namespaces;
    let is_new = |kind: Kind| *kind.of(namespaces) == Namespace::New;
    let is_joined = |kind: Kind| matches!(kind.of(namespaces), Namespace::Path(_));

    let mut joined: Vec<_> = JOIN_ORDER.into_iter().filter(|&kind| is_joined(kind)).collect();
    let offsets = is_new(Kind::Time) && !linux.time_offsets.is_empty();
    let joins_first = is_new(Kind::User) && joined.iter().any(|&kind| kind != Kind::Pid);
    let owned_by_joined = is_joined(Kind::User) && JOIN_ORDER.into_iter().any(is_new);
    let no_return = is_joined(Kind::Pid) && (in_user_namespace || unprivileged);
    let hop = offsets || joins_first || owned_by_joined || no_return;

    if unprivileged {
        joined.sort_by_key(|&kind| kind != Kind::User);
    }
    let mut topology = Topology::default();
    for kind in JOIN_ORDER.into_iter().filter(|&kind| is_new(kind)) {
        match kind {
            Kind::Cgroup => topology.init_unshares.push(kind),
            Kind::Time if offsets => topology.hop_unshares.push(kind),
            kind => topology.new.push(kind),
        }
    }
    if hop {
        topology.hop_joins = Some(joined);
    } else {
        topology.around_clone = joined.contains(&Kind::Pid).then_some(Kind::Pid);
        topology.init_joins = joined.into_iter().filter(|&kind| kind != Kind::Pid).collect();
    }
    topology
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Namespaces, TimeOffset};

    fn path() -> Namespace {
        Namespace::Path("/proc/1/ns/x".into())
    }

    #[test]
    fn who_makes_and_who_joins() {
        use Kind::*;
        let new = || Namespace::New;
        let linux = |namespaces| Linux { namespaces, ..Linux::default() };
        let check = |linux: Linux, expect: Topology| assert_eq!(topology(&linux, false, false), expect, "{linux:?}");

        check(Linux::default(), Topology::default());
        check(
            linux(Namespaces { mount: new(), pid: new(), cgroup: new(), network: path(), ..Namespaces::default() }),
            Topology {
                new: vec![Pid, Mount],
                init_joins: vec![Network],
                init_unshares: vec![Cgroup],
                ..Topology::default()
            },
        );
        check(
            linux(Namespaces { mount: new(), pid: path(), user: new(), ..Namespaces::default() }),
            Topology { new: vec![Mount, User], around_clone: Some(Pid), ..Topology::default() },
        );
        check(
            linux(Namespaces { mount: new(), network: path(), user: new(), ..Namespaces::default() }),
            Topology { new: vec![Mount, User], hop_joins: Some(vec![Network]), ..Topology::default() },
        );
        check(
            linux(Namespaces { mount: new(), user: path(), ..Namespaces::default() }),
            Topology { new: vec![Mount], hop_joins: Some(vec![User]), ..Topology::default() },
        );
        let offsets = vec![TimeOffset { boottime: true, secs: 1, nanosecs: 0 }];
        check(
            Linux { time_offsets: offsets, ..linux(Namespaces { time: new(), pid: path(), ..Namespaces::default() }) },
            Topology { hop_joins: Some(vec![Pid]), hop_unshares: vec![Time], ..Topology::default() },
        );
        let rootless = linux(Namespaces { pid: path(), network: path(), mount: new(), ..Namespaces::default() });
        let joins = JOIN_ORDER.into_iter().filter(|kind| matches!(kind, Pid | Network)).collect();
        assert_eq!(
            topology(&rootless, true, false),
            Topology { new: vec![Mount], hop_joins: Some(joins), ..Topology::default() }
        );
        let pod = |pid| linux(Namespaces { pid, network: path(), user: path(), ..Namespaces::default() });
        assert_eq!(topology(&pod(Namespace::Host), false, false).init_joins, [Network, User]);
        assert_eq!(topology(&pod(Namespace::Host), false, true).init_joins, [User, Network]);
        assert_eq!(topology(&pod(path()), false, true).hop_joins, Some(vec![User, Network, Pid]));
        assert_eq!(topology(&pod(new()), false, true).hop_joins, Some(vec![User, Network]));
    }
}
