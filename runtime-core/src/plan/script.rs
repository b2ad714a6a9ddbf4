//! READ THIS FIRST: the life of a container's process between its clone and its execve, a line a step.
//!
//! This file alone decides what comes before what. Where an order is not obvious, the reason stands beside it.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::Path;

use super::topology::topology;
use super::{FdIndex, Listener, Open, Opens, ParentStep, Plan, Signal, Step};
use crate::cgroup::Cgroup;
use crate::console::ConsoleStep;
use crate::error::{Error, Result};
use crate::hook::HookStep;
use crate::host::Host;
use crate::intel_rdt::Rdt;
use crate::namespace::{JOIN_ORDER, Kind};
use crate::process::{self, Account, Privileges, Program, clean};
use crate::seccomp;
use crate::spec::{
    Hook, IdMapping, MemoryPolicy, Namespace, Process, PropagationKind, Spec, TimeOffset, User, sysctl_path,
};
use crate::sys::Winsize;
use crate::user_mapping::{IdMaps, Known, check_user, new_maps, outside};

/// What a command says besides the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateOptions {
    /// The container's id.
    pub id: String,
    /// The bundle's directory, absolute.
    pub bundle: String,
    /// The container's directory below the state directory, absolute.
    pub state_directory: CString,
    /// `--console-socket`, absolute.
    pub console_socket: Option<CString>,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--preserve-fds`, with those of LISTEN_FDS: how many descriptors from 3 on the program keeps.
    pub preserve_fds: u32,
    /// The caller has given standard streams, which are not its own.
    pub own_streams: bool,
}

/// The process that `create` makes: the container's first.
///
/// # Errors
/// Where the configuration asks for what this machine does not have.
pub fn create(spec: &Spec, host: &Host, cgroup: Cgroup, rdt: Option<Rdt>, options: &CreateOptions) -> Result<Plan> {
    let linux = &spec.linux;
    let new_user_namespace = linux.namespaces.user == Namespace::New;
    if linux.mount_label.is_some() && !host.selinux {
        return Err(Error::unsupported("/linux/mountLabel", "selinux is not enabled on this machine"));
    }
    let mut warnings = Vec::new();
    let mut open = Opens::default();
    let unprivileged = host.is_unprivileged();
    if unprivileged {
        check_unprivileged(spec)?;
    }
    let topology = topology(linux, host.in_user_namespace, unprivileged);

    let root_path = path(&spec.root.path);
    let root = open.add(Open::Tree { path: root_path.clone(), recursive: true, follow: true, idmap: None });
    let start = open.add(Open::StartFifo(below(&options.state_directory, "start")));
    let verdict = open.add(Open::VerdictFifo(below(&options.state_directory, "verdict")));

    if let (Some(kind), Namespace::Path(file)) = (topology.around_clone, &linux.namespaces.pid) {
        open.add(Open::Namespace { path: path(file), kind });
    }
    let mut hop = vec![Step::DieWithParent];
    if topology.hop_joins.iter().flatten().any(|&kind| kind == Kind::Pid) {
        // Init inherits it: those in the pid namespace see it from its first instant.
        hop.extend(spec.process.as_ref().and_then(|p| own_oom_score_adj(p, host, &mut open)));
        hop.push(Step::Undumpable);
    }
    for &kind in topology.hop_joins.iter().flatten() {
        hop.push(join(&mut open, spec, kind));
    }
    if !topology.hop_unshares.is_empty() {
        hop.push(Step::Unshare(topology.hop_unshares.clone()));
        hop.push(Step::TimeOffsets { proc: open.add(Open::Proc), lines: offsets(&linux.time_offsets) });
    }

    let mut init = vec![Step::DieWithParent, Step::ResetSignals, Step::Umask(0)];
    init.extend(options.own_streams.then_some(Step::StandardStreams));

    // What is done from outside comes before all else: no instruction of the container runs outside of its limits.
    let maps = if new_user_namespace { Some(new_maps(linux, host)?) } else { None };
    let groups = groups(spec, host, maps.as_ref(), &mut warnings)?;
    let user_namespace = linux.namespaces.user != Namespace::Host;
    let by_itself = process_oom_score_adj(spec.process.as_ref(), host, user_namespace, &mut open);
    init.extend(enters(&cgroup).then_some(Step::EnterCgroups));
    let at_birth = at_birth(spec, host, &cgroup, maps, rdt.is_some(), &mut open);
    // Also behind a hop, so that init's first message can't overtake the hop's, which tells who init is.
    if !at_birth.is_empty() || topology.hop_joins.is_some() {
        init.push(Step::Rendezvous(Signal::Born));
    }
    // Within the cpuset now. An engine that systemd has bound to some processors would bind all its containers: the kernel
    // remembers who was bound by hand also when his cpuset changes, since 6.2 (runc#4041, as runc since 1.3.1).
    init.push(Step::AllCpus);
    // What an ordinary user may read, the ids of his namespace may not: while the ids are still his.
    let mut copies_at = init.len();
    if new_user_namespace || matches!(linux.namespaces.user, Namespace::Path(_)) && topology.hop_joins.is_some() {
        init.push(become_namespace_root(spec));
    }
    init.extend(by_itself);
    // After the maps: the files in /proc of an undumpable process belong to root alone. So an ordinary user could neither
    // exec into a container that waits for `start` nor set its network up from a hook. His is undumpable only where
    // others are in its pid namespace: elsewhere nobody sees it who is not of this user's processes on the host.
    let stay_dumpable = unprivileged && !matches!(linux.namespaces.pid, Namespace::Path(_));
    init.push(if stay_dumpable { Step::Dumpable } else { Step::Undumpable });
    for &kind in &topology.init_joins {
        init.push(join(&mut open, spec, kind));
        if kind == Kind::User {
            init.push(become_namespace_root(spec));
            init.extend(stay_dumpable.then_some(Step::Dumpable));
        }
    }
    if topology.init_joins.contains(&Kind::Mount) {
        copies_at = init.len();
    }
    // The root of a cgroup namespace is the cgroup in which it is made.
    if !topology.init_unshares.is_empty() {
        init.push(Step::Unshare(topology.init_unshares.clone()));
    }
    init.push(Step::NewSession);
    if !options.no_new_keyring {
        init.push(Step::SessionKeyring(CString::new(format!("_ses.{}", options.id)).unwrap_or_default()));
    }
    if linux.namespaces.network == Namespace::New {
        init.push(Step::LoopbackUp);
    }

    // --- the root filesystem, while / is still the host's
    let own_mounts = linux.namespaces.mount != Namespace::Host;
    if own_mounts {
        let propagation = linux.rootfs_propagation.unwrap_or(PropagationKind::Slave);
        // What is unbindable could not be copied any more.
        let all = if propagation == PropagationKind::Unbindable { PropagationKind::Private } else { propagation };
        init.push(Step::MountPropagation(all));
        if propagation == PropagationKind::Shared {
            init.push(Step::PrivateParent { path: root_path.clone() });
        }
        init.push(Step::AttachRoot { tree: root, path: root_path, propagation: all });
    }
    init.extend(crate::chroot::mounts(spec, &cgroup, &mut open)?);
    init.extend(crate::chroot::devices(spec, host));
    if let Some(process) = &spec.process {
        // runc makes a missing working directory, and images rely on it.
        init.push(Step::Directory { path: clean(&process.cwd) });
    }

    // --- hooks that see both the host's files and the container's
    let mut at_root_ready = Vec::new();
    for (point, hooks) in [("prestart", &spec.hooks.prestart), ("createRuntime", &spec.hooks.create_runtime)] {
        if !hooks.is_empty() {
            at_root_ready.push(ParentStep::Hooks { point, hooks: hooks.clone() });
        }
    }
    if !at_root_ready.is_empty() {
        init.push(Step::Rendezvous(Signal::RootReady));
    }
    init.extend(hooks("createContainer", &spec.hooks.create_container, &state(spec, options, "creating")));

    // The terminal is bound onto /dev/console before /dev can become read-only.
    if let Some(process) = spec.process.as_ref().filter(|p| p.terminal) {
        init.push(console(process, options.console_socket.as_ref(), &mut open, own_mounts));
    }
    init.extend(crate::chroot::seals(spec));

    // --- the change of root
    init.push(match (own_mounts, options.no_pivot) {
        (false, _) => Step::Chroot,
        (true, true) => Step::MoveRoot,
        (true, false) => Step::PivotRoot,
    });
    if let Some(kind) = linux.rootfs_propagation.filter(|_| own_mounts) {
        init.push(Step::RootPropagation(kind));
    }
    init.extend(spec.hostname.clone().map(Step::Hostname));
    init.extend(spec.domainname.clone().map(Step::Domainname));
    for (key, value) in &linux.sysctl {
        init.push(sysctl(&mut open, key, value));
    }
    if spec.root.readonly && own_mounts {
        init.push(Step::ReadonlyRoot);
    }
    init.extend(linux.readonly_paths.iter().cloned().map(Step::ReadonlyPath));
    if !linux.masked_paths.is_empty() {
        let (paths, label) = (linux.masked_paths.clone(), linux.mount_label.clone());
        init.push(Step::MaskPaths { paths, label });
    }

    // --- the process
    let mut at_ready = Vec::new();
    let mut tail = Tail::default();
    if let Some(process) = &spec.process {
        let context = ProcessContext {
            host,
            full_capabilities: linux.namespaces.user != Namespace::Host,
            new_user_namespace,
            seccomp: seccomp_program(spec)?,
            preserve_fds: options.preserve_fds,
            personality: linux.personality,
            memory_policy: linux.memory_policy.clone(),
            groups,
            stay_dumpable,
            needed: vec![start, verdict],
        };
        at_ready = outside_limits(process, new_user_namespace);
        tail = become_process(process, &context, &mut open, &mut warnings)?;
        init.append(&mut tail.before_start);
    } else {
        init.push(Step::CloseFds { preserve: 0, needed: vec![start, verdict] });
    }
    init.push(Step::Rendezvous(Signal::Ready));
    init.push(Step::Detach { verdict });
    init.push(Step::AwaitStart { fifo: start });
    init.extend(hooks("startContainer", &spec.hooks.start_container, &state(spec, options, "created")));
    init.append(&mut tail.after_start);

    if unprivileged {
        let copies = copies(&mut open, own_mounts);
        init.splice(copies_at..copies_at, copies);
    }

    Ok(Plan {
        open: open.0,
        topology,
        cgroup: Some(cgroup),
        rdt,
        listener: listener(spec, state(spec, options, "creating"), None),
        hop,
        init,
        at_birth,
        at_root_ready,
        at_ready,
        root: Some(root),
        hook_state: state(spec, options, "creating"),
        warnings,
    })
}

/// How a process comes into the container's cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupEntry {
    /// It is born there: v2.
    Born,
    /// It writes itself into them: v1.
    ByItself,
    /// The user's systemd moves it: an ordinary user may not move a process from one part of the tree to another.
    ByManager,
}

/// The container that `exec` enters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecTarget {
    /// Its first process.
    pub pid: i32,
    /// The namespaces that it does not share with the host.
    pub namespaces: Vec<Kind>,
    /// What is known of its user namespace, where it has one.
    pub user: Option<Known>,
    /// How it comes into the cgroups in which it can't be born.
    pub cgroups: CgroupEntry,
    /// The container has groups in resctrl.
    pub place_in_resctrl: bool,
    /// The container's filter.
    pub seccomp: Option<seccomp::Program>,
    /// Who gets the filter's listener.
    pub listener: Option<Listener>,
    /// `linux.personality`.
    pub personality: Option<u32>,
    /// `linux.memoryPolicy`.
    pub memory_policy: Option<MemoryPolicy>,
    /// The container's id, for the keyring.
    pub id: String,
    /// `--console-socket`, absolute.
    pub console_socket: Option<CString>,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// `--no-new-keyring` of `create`.
    pub no_new_keyring: bool,
    /// The caller has given standard streams, which are not its own.
    pub own_streams: bool,
}

/// The process that `exec` makes: another one in a container that exists.
///
/// # Errors
/// Where the process document asks for what this machine does not have.
pub fn exec(process: &Process, host: &Host, target: ExecTarget) -> Result<Plan> {
    let mut warnings = Vec::new();
    let mut open = Opens::default();
    let has = |kind: Kind| target.namespaces.contains(&kind);
    let groups = match &target.user {
        Some(known) => check_user("", &process.user, known)?,
        None => groups_of_host(process, host, &mut warnings),
    };
    let handle = open.add(Open::Process { pid: target.pid });

    let mut init = vec![Step::DieWithParent, Step::ResetSignals, Step::Umask(0)];
    init.extend(target.own_streams.then_some(Step::StandardStreams));
    let mut at_birth = Vec::from_iter(oom_score_adj(process, host, has(Kind::User)));
    match target.cgroups {
        CgroupEntry::Born => {}
        CgroupEntry::ByItself => init.push(Step::EnterCgroups),
        CgroupEntry::ByManager => at_birth.insert(0, ParentStep::PlaceInCgroups),
    }
    at_birth.extend(target.place_in_resctrl.then_some(ParentStep::PlaceInResctrl));
    let initial = process.exec_cpu_affinity.as_ref().and_then(|a| a.initial.clone());
    init.extend(initial.map(Step::CpuAffinity));
    // With a user namespace of its own the process loses the power to raise hard limits when it joins.
    at_birth.extend(outside_limits(process, has(Kind::User)));
    let unprivileged = host.is_unprivileged();
    let hops = has(Kind::Pid) && (host.in_user_namespace || unprivileged);
    // The process is undumpable among the container's others, so that only root could take the listener from it.
    if unprivileged && target.seccomp.as_ref().is_some_and(seccomp::Program::notifies) {
        return Err(Error::unsupported(
            "/linux/seccomp",
            "an ordinary user's exec can't hand the filter's listener over",
        ));
    }
    // A pid namespace is joined by who clones. As for create: in a user namespace he could not come back. For an ordinary
    // user the way to all others leads through the user namespace, which he has made.
    let (mut topology, mut hop) = (super::Topology::default(), Vec::new());
    if hops {
        let user = (unprivileged && has(Kind::User)).then_some(Kind::User);
        let kinds: Vec<_> = user.into_iter().chain([Kind::Pid]).collect();
        topology.hop_joins = Some(kinds.clone());
        hop.push(Step::DieWithParent);
        hop.extend(own_oom_score_adj(process, host, &mut open));
        // Init inherits it: the container sees it from its first instant.
        hop.extend([Step::Undumpable, Step::JoinProcess { process: handle, kinds }]);
    } else if has(Kind::Pid) {
        topology.around_clone = Some(Kind::Pid);
    }
    if !at_birth.is_empty() || topology.hop_joins.is_some() {
        init.push(Step::Rendezvous(Signal::Born));
    }
    init.extend(match &process.exec_cpu_affinity {
        None => Some(Step::AllCpus),
        Some(affinity) => affinity.r#final.clone().map(Step::CpuAffinity),
    });
    init.extend(process_oom_score_adj(Some(process), host, has(Kind::User), &mut open));
    init.push(Step::Undumpable);
    // Privileged opening of the console socket and of /proc has been done by the parent: from here on paths are the
    // container's. All at once but the user namespace, which would take the power over the others from who has it.
    let joined = topology.hop_joins.clone().unwrap_or_default();
    let mut kinds: Vec<_> =
        target.namespaces.iter().copied().filter(|k| *k != Kind::Pid && !joined.contains(k)).collect();
    if !unprivileged {
        kinds.retain(|&kind| kind != Kind::User);
    }
    if !kinds.is_empty() {
        init.push(Step::JoinProcess { process: handle, kinds });
    }
    if has(Kind::User) {
        if !unprivileged {
            init.push(Step::JoinProcess { process: handle, kinds: vec![Kind::User] });
        }
        init.push(match &target.user {
            Some(known) => namespace_root(&known.uids, &known.gids, &process.user),
            None => Step::BecomeNamespaceRoot { uid: 0, gid: 0 },
        });
    }
    init.push(Step::NewSession);
    if !target.no_new_keyring {
        init.push(Step::SessionKeyring(CString::new(format!("_ses.{}", target.id)).unwrap_or_default()));
    }
    if process.terminal {
        init.push(console(process, target.console_socket.as_ref(), &mut open, false));
    }
    let context = ProcessContext {
        host,
        full_capabilities: has(Kind::User),
        new_user_namespace: has(Kind::User),
        seccomp: target.seccomp,
        preserve_fds: target.preserve_fds,
        personality: target.personality,
        memory_policy: target.memory_policy,
        groups,
        stay_dumpable: false,
        needed: Vec::new(),
    };
    let mut tail = become_process(process, &context, &mut open, &mut warnings)?;
    init.append(&mut tail.before_start);
    // The parent sees by the end of the channel whether the program was executed.
    init.push(Step::Outlive);
    init.append(&mut tail.after_start);

    Ok(Plan {
        topology,
        open: open.0,
        cgroup: None,
        rdt: None,
        listener: target.listener,
        hop,
        init,
        at_birth,
        at_root_ready: Vec::new(),
        at_ready: Vec::new(),
        root: None,
        hook_state: Default::default(),
        warnings,
    })
}

/// What [`become_process`] must know besides the process.
struct ProcessContext<'a> {
    host: &'a Host,
    /// A user namespace: its first process has all capabilities in it.
    full_capabilities: bool,
    new_user_namespace: bool,
    seccomp: Option<seccomp::Program>,
    preserve_fds: u32,
    personality: Option<u32>,
    memory_policy: Option<MemoryPolicy>,
    /// Supplementary groups. `None`: they can't be set.
    groups: Option<Vec<u32>>,
    /// The user who runs the runtime may look at the process.
    stay_dumpable: bool,
    /// Descriptors that the script needs to its end.
    needed: Vec<FdIndex>,
}

/// The last part of every process's script, on both sides of the wait for `start`.
#[derive(Default)]
struct Tail {
    before_start: Vec<Step>,
    after_start: Vec<Step>,
}

fn become_process(
    process: &Process,
    context: &ProcessContext<'_>,
    open: &mut Opens,
    warnings: &mut Vec<String>,
) -> Result<Tail> {
    let mut steps = Vec::new();
    steps.extend(process.scheduler.map(Step::Scheduler));
    steps.extend(process.io_priority.map(Step::IoPriority));
    steps.extend(context.personality.map(Step::Personality));
    // In the cgroup: the nodes must be among those of its cpuset.
    steps.extend(context.memory_policy.clone().map(Step::MemoryPolicy));
    steps.extend(labels(process, context.host, open)?);
    // After what opens files: the container may have room for none.
    if !context.new_user_namespace {
        steps.extend(process.rlimits.iter().copied().map(Step::Rlimit));
    }
    steps.push(Step::OwnStdio { uid: process.user.uid });
    // Before the working directory is entered: it may be named /proc/self/fd/N.
    steps.push(Step::CloseFds { preserve: context.preserve_fds, needed: context.needed.clone() });

    let sets = granted(process, context, warnings);
    // Dropping from the bounding set takes CAP_SETPCAP, which goes with the user.
    steps.push(Step::BoundingSet { keep: sets.bounding, last: context.host.last_capability });
    steps.push(Step::Account(Account {
        uid: process.user.uid,
        gid: process.user.gid,
        groups: context.groups.clone(),
        cwd: process.cwd.clone(),
    }));
    // A change of ids has made it undumpable.
    steps.extend(context.stay_dumpable.then_some(Step::Dumpable));
    steps.push(Step::Umask(process.user.umask.unwrap_or(0o022)));
    // Loading a filter takes either no_new_privs or CAP_SYS_ADMIN: without the first, the second stays until then, and
    // only execve and this one capset(2) are left to the filter.
    let keep_sys_admin = context.seccomp.is_some() && !process.no_new_privileges;
    steps.push(Step::Privileges(Privileges { sets, keep_sys_admin }));
    if process.no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    }
    if !process.env.iter().any(|v| v.as_bytes().starts_with(b"HOME=")) {
        steps.push(Step::Home { uid: process.user.uid });
    }
    let program = Program::new(process);
    steps.push(Step::FindProgram(program.clone()));

    let mut after_start = Vec::new();
    match &context.seccomp {
        // While there is a parent that can hand the listener over.
        Some(program) if program.notifies() => steps.push(Step::SeccompListener(program.clone())),
        Some(program) => after_start.push(Step::Seccomp(program.clone())),
        None => {}
    }
    if keep_sys_admin {
        after_start.push(Step::Privileges(Privileges { sets, keep_sys_admin: false }));
    }
    after_start.push(Step::Execute(program));
    Ok(Tail { before_start: steps, after_start })
}

/// `config.md`, *Process*: a capability that can't be granted is left out with a warning.
fn granted(process: &Process, context: &ProcessContext<'_>, warnings: &mut Vec<String>) -> crate::spec::Capabilities {
    let mut sets = process.capabilities;
    let known = u64::MAX >> (63 - context.host.last_capability.min(63));
    let available = if context.full_capabilities { known } else { known & context.host.capabilities };
    let wanted = sets.bounding | sets.effective | sets.inheritable | sets.permitted | sets.ambient;
    for number in (0..64).filter(|n| wanted & !available & 1 << n != 0) {
        warnings.push(format!("capability {} can't be granted and is left out", process::capability_name(number)));
    }
    for set in [&mut sets.bounding, &mut sets.effective, &mut sets.inheritable, &mut sets.permitted, &mut sets.ambient]
    {
        *set &= available;
    }
    // What is to be ambient must be permitted and inheritable, capabilities(7); runc leaves out the rest too.
    let ambient = sets.ambient & sets.permitted & sets.inheritable;
    for number in (0..64).filter(|n| sets.ambient & !ambient & 1 << n != 0) {
        let name = process::capability_name(number);
        warnings.push(format!("capability {name} can't be ambient: it is not both permitted and inheritable"));
    }
    sets.ambient = ambient;
    sets
}

/// Only a parent outside of the new user namespace may raise hard limits.
fn outside_limits(process: &Process, new_user_namespace: bool) -> Vec<ParentStep> {
    let limits = process.rlimits.iter().copied().map(ParentStep::Rlimit);
    if new_user_namespace { limits.collect() } else { Vec::new() }
}

/// What an ordinary user can't have. The kernel would say no more than `operation not permitted`.
fn check_unprivileged(spec: &Spec) -> Result<()> {
    let namespaces = &spec.linux.namespaces;
    let refused = |why: &str| Err(Error::unsupported("/linux/namespaces", why));
    if namespaces.user == Namespace::Host {
        return refused("rootless container requires user namespaces");
    }
    let joined = JOIN_ORDER.into_iter().find(|kind| matches!(kind.of(namespaces), Namespace::Path(_)));
    if let (Namespace::New, Some(kind)) = (&namespaces.user, joined) {
        return refused(&format!(
            "rootless container can join a {kind} namespace only together with the user namespace that it belongs to"
        ));
    }
    if namespaces.time == Namespace::New && !spec.linux.time_offsets.is_empty() {
        return Err(Error::unsupported("/linux/timeOffsets", "rootless container can't set them"));
    }
    if !spec.linux.net_devices.is_empty() {
        return Err(Error::unsupported("/linux/netDevices", "rootless container can't have devices of the host"));
    }
    match spec.mounts.iter().position(|mount| mount.idmap.is_some()) {
        Some(index) => {
            Err(Error::unsupported(format_args!("/mounts/{index}"), "rootless container can't have idmapped mounts"))
        }
        None => Ok(()),
    }
}

/// What the parent may not copy before the clone, init copies.
fn copies(open: &mut Opens, own_mounts: bool) -> Vec<Step> {
    let mut copies = Vec::new();
    for (index, what) in open.0.iter_mut().enumerate() {
        if let Open::Tree { path, recursive, follow, idmap: None } = what {
            let (path, recursive, follow) = (std::mem::take(path), *recursive, *follow);
            *what = Open::Place { path: path.clone(), follow };
            copies.push(Step::CopyTree { tree: FdIndex(index), path, recursive, follow });
        }
    }
    // Without a mount namespace of its own there is nothing to copy for: the root is only entered.
    if own_mounts { copies } else { Vec::new() }
}

/// Root where the namespace has one, else who the process will be.
fn namespace_root(uids: &[IdMapping], gids: &[IdMapping], user: &User) -> Step {
    let id = |mappings: &[IdMapping], other: u32| if outside(mappings, 0).is_some() { 0 } else { other };
    Step::BecomeNamespaceRoot { uid: id(uids, user.uid), gid: id(gids, user.gid) }
}

fn become_namespace_root(spec: &Spec) -> Step {
    let linux = &spec.linux;
    match &spec.process {
        // Whether it has a root is not known.
        Some(Process { user, .. }) if linux.namespaces.user != Namespace::New && (user.uid, user.gid) != (0, 0) => {
            Step::Attempt {
                step: Box::new(Step::BecomeNamespaceRoot { uid: 0, gid: 0 }),
                on: &[libc::EINVAL],
                otherwise: Box::new(Step::BecomeNamespaceRoot { uid: user.uid, gid: user.gid }),
            }
        }
        _ if linux.namespaces.user != Namespace::New => Step::BecomeNamespaceRoot { uid: 0, gid: 0 },
        Some(process) => namespace_root(&linux.uid_mappings, &linux.gid_mappings, &process.user),
        None => {
            let first = |mappings: &[IdMapping]| mappings.first().map_or(0, |m| m.inside);
            let (uid, gid) = (first(&linux.uid_mappings), first(&linux.gid_mappings));
            let user = User { uid, gid, ..User::default() };
            namespace_root(&linux.uid_mappings, &linux.gid_mappings, &user)
        }
    }
}

/// The supplementary groups of the container's process, as far as there can be any.
fn groups(spec: &Spec, host: &Host, maps: Option<&IdMaps>, warnings: &mut Vec<String>) -> Result<Option<Vec<u32>>> {
    let Some(process) = &spec.process else { return Ok(None) };
    let groups = groups_of_host(process, host, warnings);
    let Some(maps) = maps else { return Ok(groups) };
    let linux = &spec.linux;
    let known = Known {
        uids: linux.uid_mappings.clone(),
        gids: linux.gid_mappings.clone(),
        // Where the host's namespace forbids it, the groups were dropped with a warning, as runc does.
        setgroups: !maps.deny_setgroups,
    };
    let checked = check_user("/process", &process.user, &known)?;
    Ok(groups.and(checked))
}

/// Where setgroups(2) is not allowed to the runtime itself (a rootless engine with a single id), nobody can have groups,
/// whatever the image says: they are left out, as runc does.
fn groups_of_host(process: &Process, host: &Host, warnings: &mut Vec<String>) -> Option<Vec<u32>> {
    let groups = &process.user.additional_gids;
    if host.setgroups {
        return Some(groups.clone());
    }
    if !groups.is_empty() {
        warnings.push(format!("additional groups {groups:?} are left out: setgroups(2) is not allowed here"));
    }
    None
}

/// Into a v2 cgroup a process is cloned (CLONE_INTO_CGROUP), into those of v1 it goes by itself; a unit's are there later.
fn enters(cgroup: &Cgroup) -> bool {
    cgroup.unit.is_none() && cgroup.dirs.iter().any(|dir| !dir.is_unified())
}

fn at_birth(
    spec: &Spec,
    host: &Host,
    cgroup: &Cgroup,
    maps: Option<IdMaps>,
    rdt: bool,
    open: &mut Opens,
) -> Vec<ParentStep> {
    let mut steps = Vec::from_iter(maps.map(ParentStep::IdMaps));
    if let Some(unit) = &cgroup.unit {
        // A scope is started with a process, so the process comes first.
        steps.push(ParentStep::StartUnit(unit.unit.name.clone()));
    }
    steps.extend(rdt.then_some(ParentStep::PlaceInResctrl));
    // Before sysctls and hooks, which may name them.
    if !spec.linux.net_devices.is_empty() {
        let namespace = match &spec.linux.namespaces.network {
            Namespace::Path(file) => Some(open.add(Open::Namespace { path: path(file), kind: Kind::Network })),
            Namespace::Host | Namespace::New => None,
        };
        steps.push(ParentStep::NetDevices { devices: spec.linux.net_devices.clone(), namespace });
    }
    let user_namespace = spec.linux.namespaces.user != Namespace::Host;
    steps.extend(spec.process.as_ref().and_then(|p| oom_score_adj(p, host, user_namespace)));
    steps
}

/// In a user namespace the process lacks the power to lower it: who has made it does so, while it waits.
fn oom_score_adj(process: &Process, host: &Host, user_namespace: bool) -> Option<ParentStep> {
    let optional = host.in_user_namespace || host.euid != 0;
    let value = process.oom_score_adj.filter(|_| optional || user_namespace);
    value.map(|value| ParentStep::OomScoreAdj { value, optional })
}

/// Otherwise it does so itself, and need not wait for anybody: a meeting costs two changes of the running process.
fn process_oom_score_adj(
    process: Option<&Process>,
    host: &Host,
    user_namespace: bool,
    open: &mut Opens,
) -> Option<Step> {
    let process = process.filter(|process| oom_score_adj(process, host, user_namespace).is_none())?;
    let value = CString::new(process.oom_score_adj?.to_string()).unwrap_or_default();
    Some(Step::OomScoreAdj { proc: open.add(Open::Proc), value, optional: false })
}

/// What the hop of an ordinary user does itself, and hands down to init: that is undumpable, so that the files in /proc
/// belong to root, and the parent is not root.
fn own_oom_score_adj(process: &Process, host: &Host, open: &mut Opens) -> Option<Step> {
    let value = process.oom_score_adj.filter(|_| host.is_unprivileged())?;
    let text = CString::new(value.to_string()).unwrap_or_default();
    Some(Step::OomScoreAdj { proc: open.add(Open::Proc), value: text, optional: true })
}

fn join(open: &mut Opens, spec: &Spec, kind: Kind) -> Step {
    let file = match kind.of(&spec.linux.namespaces) {
        Namespace::Path(file) => path(file),
        Namespace::Host | Namespace::New => CString::default(),
    };
    Step::Join { namespace: open.add(Open::Namespace { path: file, kind }), kind }
}

fn console(process: &Process, socket: Option<&CString>, open: &mut Opens, device: bool) -> Step {
    Step::Console(ConsoleStep {
        socket: socket.map(|path| open.add(Open::Socket(path.clone()))),
        size: process.console_size.map(|size| Winsize { rows: size.height, columns: size.width }),
        uid: process.user.uid,
        device,
    })
}

fn sysctl(open: &mut Opens, key: &str, value: &str) -> Step {
    Step::Sysctl {
        proc: open.add(Open::Proc),
        path: CString::new(format!("sys/{}", sysctl_path(key))).unwrap_or_default(),
        value: CString::new(value).unwrap_or_default(),
    }
}

fn labels(process: &Process, host: &Host, open: &mut Opens) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut label = |file: &str, value: CString| Step::Label {
        proc: open.add(Open::Proc),
        file: CString::new(file).unwrap_or_default(),
        value,
    };
    if let Some(profile) = &process.apparmor_profile {
        if !host.apparmor {
            return Err(Error::unsupported("/process/apparmorProfile", "apparmor is not enabled on this machine"));
        }
        let value = [b"exec ", profile.as_bytes()].concat();
        steps.push(label("thread-self/attr/apparmor/exec", CString::new(value).unwrap_or_default()));
    }
    if let Some(selinux) = &process.selinux_label {
        if !host.selinux {
            return Err(Error::unsupported("/process/selinuxLabel", "selinux is not enabled on this machine"));
        }
        steps.push(label("thread-self/attr/exec", selinux.clone()));
    }
    Ok(steps)
}

fn seccomp_program(spec: &Spec) -> Result<Option<seccomp::Program>> {
    spec.linux.seccomp.as_ref().map(|profile| seccomp::compile(profile, seccomp::NATIVE)).transpose()
}

fn hooks(point: &'static str, hooks: &[Hook], state: &(String, String)) -> Vec<Step> {
    hooks.iter().enumerate().map(|(i, hook)| Step::Hook(HookStep::new(point, i, hook, state))).collect()
}

fn state(spec: &Spec, options: &CreateOptions, status: &str) -> (String, String) {
    state_document(&spec.oci_version, &options.id, status, &options.bundle, &spec.annotations)
}

/// Who gets the listener of the filter, when it has one.
pub(crate) fn listener(spec: &Spec, state: (String, String), init: Option<i32>) -> Option<Listener> {
    let profile = spec.linux.seccomp.as_ref()?;
    let socket = profile.listener_path.clone()?;
    Some(Listener {
        socket,
        metadata: profile.listener_metadata.clone(),
        oci_version: spec.oci_version.clone(),
        state,
        init,
    })
}

/// The state document of `runtime.md` in two halves, with the place of the pid between them.
pub(crate) fn state_document(
    oci_version: &str,
    id: &str,
    status: &str,
    bundle: &str,
    annotations: &BTreeMap<String, String>,
) -> (String, String) {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let (version, id, status, bundle) = (text(oci_version), text(id), text(status), text(bundle));
    let head = format!("{{\"ociVersion\":{version},\"id\":{id},\"status\":{status},\"pid\":");
    if annotations.is_empty() {
        return (head, format!(",\"bundle\":{bundle}}}"));
    }
    let annotations = serde_json::Value::from_iter(annotations.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    (head, format!(",\"bundle\":{bundle},\"annotations\":{annotations}}}"))
}

fn offsets(offsets: &[TimeOffset]) -> CString {
    let line =
        |o: &TimeOffset| format!("{} {} {}\n", if o.boottime { "boottime" } else { "monotonic" }, o.secs, o.nanosecs);
    CString::new(offsets.iter().map(line).collect::<String>()).unwrap_or_default()
}

fn path(path: &Path) -> CString {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

fn below(directory: &CString, name: &str) -> CString {
    CString::new([directory.as_bytes(), b"/", name.as_bytes()].concat()).unwrap_or_default()
}
