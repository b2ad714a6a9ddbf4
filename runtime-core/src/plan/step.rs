//! The vocabulary: everything that a process between its clone and its execve may be told to do.
//!
//! A step is one line that a reader of the script would recognise. It has inputs and no outputs: what must be open is
//! opened before the clone ([`Open`]) or used within the step. Its `Display` is what `orlop plan` prints and what an
//! error names, so each says operation and operand.

use std::ffi::CString;
use std::fmt;

use crate::chroot::{DeviceNode, MountStep, NewFilesystem, RemountStep};
use crate::console::ConsoleStep;
use crate::hook::HookStep;
use crate::namespace::Kind;
use crate::process::{Account, Privileges, Program};
use crate::spec::{IdMapping, MemoryPolicy, PropagationKind, Rlimit, Scheduler};

/// A place in [`super::Plan::open`]: a descriptor that the child inherits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FdIndex(pub usize);

/// An idmapping of a mount, mount_setattr(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idmap {
    /// The user namespace.
    pub namespace: FdIndex,
    /// For all mounts of the tree.
    pub recursive: bool,
}

/// What the parent opens before the clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Open {
    /// A detached copy of the mount that holds a path, with all below it when `recursive`.
    Tree {
        /// In the runtime's mount namespace.
        path: CString,
        /// With what is mounted below.
        recursive: bool,
        /// What a symbolic link at the path refers to, and not the link itself.
        follow: bool,
        /// Shown with the ids of a user namespace: a child in a user namespace lacks the power for it.
        idmap: Option<Idmap>,
    },
    /// A detached mount of a new file system, shown with the ids of a user namespace: a child in a user namespace of its own
    /// has no power over that one.
    Filesystem {
        /// What is mounted, and how its ids are shown.
        new: NewFilesystem,
        /// `MOUNT_ATTR_*`.
        attributes: u64,
    },
    /// A path of the runtime's mount namespace, by which a copy of its mount will be found: an ordinary user may make that
    /// only in the container's namespaces.
    Place {
        /// The path.
        path: CString,
        /// Whether a symbolic link at its end is followed.
        follow: bool,
    },
    /// A new user namespace, for idmapped mounts: no process is in it.
    UserNamespace {
        /// uid_map.
        uids: Vec<IdMapping>,
        /// gid_map.
        gids: Vec<IdMapping>,
    },
    /// A namespace's file, of which the kernel must say that it is of this kind.
    Namespace {
        /// For example `/proc/1/ns/net`.
        path: CString,
        /// The expected kind.
        kind: Kind,
    },
    /// A handle of a process.
    Process {
        /// In the runtime's pid namespace.
        pid: i32,
    },
    /// The runtime's own /proc: sysctls and labels are written through it, never through a path of the container's.
    Proc,
    /// A FIFO below the state directory, made by the parent, at which init waits for `start`.
    StartFifo(CString),
    /// A FIFO below the state directory, on which init tells `start` why the program could not be executed.
    VerdictFifo(CString),
    /// A connection to a UNIX socket, of any path length.
    Socket(CString),
}

/// What one process between clone and execve does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    // --- with the parent
    /// Die when the thread that made this process ends: until the state on disk says `created`, nobody else would
    /// know of it.
    DieWithParent,
    /// Outlive the parent, and tell it that only the execution is left: it sees by the channel's end that it was done.
    Outlive,
    /// Wait for the parent's word, after telling it how far this process is.
    Rendezvous(Signal),
    /// Outlive the parent. From here on failures are told to whoever calls `start`.
    Detach {
        /// Where failures go.
        verdict: FdIndex,
    },
    /// Wait for `start`.
    AwaitStart {
        /// Where its word arrives.
        fifo: FdIndex,
    },

    /// Have the descriptors that the caller gave as 0, 1 and 2.
    StandardStreams,
    /// Enter the cgroups in which it could not be born: those of v1.
    EnterCgroups,

    // --- namespaces
    /// Join an existing namespace.
    Join {
        /// Its file.
        namespace: FdIndex,
        /// Its kind.
        kind: Kind,
    },
    /// Join namespaces of a process.
    JoinProcess {
        /// Its handle.
        process: FdIndex,
        /// Which.
        kinds: Vec<Kind>,
    },
    /// Become root of the user namespace, or whom it has: the ids after the clone are the parent's, mostly unmapped.
    BecomeNamespaceRoot {
        /// In the namespace.
        uid: u32,
        /// In the namespace.
        gid: u32,
    },
    /// New namespaces that must be made here and not by the clone.
    Unshare(Vec<Kind>),
    /// Write the offsets of the time namespace that this process's children will be in.
    TimeOffsets {
        /// /proc.
        proc: FdIndex,
        /// Lines of timens_offsets, time_namespaces(7).
        lines: CString,
    },
    /// Write oom_score_adj, as far as it may be.
    OomScoreAdj {
        /// /proc.
        proc: FdIndex,
        /// -1000 to 1000.
        value: CString,
        /// Lowering it takes a capability that an ordinary user does not have: then it stays, as runc does.
        optional: bool,
    },
    /// Set the loopback device up.
    LoopbackUp,
    /// sethostname(2).
    Hostname(CString),
    /// setdomainname(2).
    Domainname(CString),
    /// Write one kernel parameter.
    Sysctl {
        /// /proc.
        proc: FdIndex,
        /// Below /proc, for example `sys/net/ipv4/ip_forward`.
        path: CString,
        /// What is written.
        value: CString,
    },

    // --- the root
    /// Propagation of the whole mount namespace: what the container mounts shall not reach the host.
    MountPropagation(PropagationKind),
    /// Make the mount below the root private: pivot_root(2) refuses a shared one.
    PrivateParent {
        /// The root filesystem.
        path: CString,
    },
    /// Copy the mount that holds a path, and put the detached copy in the place of the path's descriptor.
    CopyTree {
        /// Where the path is, and where its copy will be.
        tree: FdIndex,
        /// In the runtime's mount namespace, of which this process's is a copy.
        path: CString,
        /// With what is mounted below.
        recursive: bool,
        /// Whether a symbolic link at its end is followed.
        follow: bool,
    },
    /// Attach the root filesystem's copy at its own path, so that it is a mount.
    AttachRoot {
        /// The detached copy.
        tree: FdIndex,
        /// The root filesystem.
        path: CString,
        /// Its propagation.
        propagation: PropagationKind,
    },
    /// One mount.
    Mount(MountStep),
    /// A step that the kernel refuses in known situations, and what to do then.
    Attempt {
        /// What is tried.
        step: Box<Step>,
        /// The errors that mean "refused here".
        on: &'static [i32],
        /// What is done instead.
        otherwise: Box<Step>,
    },
    /// A device node.
    Device(DeviceNode),
    /// A symbolic link, where nothing stands yet.
    Symlink {
        /// In the container.
        path: CString,
        /// What it says.
        target: CString,
        /// Put it in place of what is there.
        replace: bool,
    },
    /// A directory, with those above it, where nothing stands yet.
    Directory {
        /// In the container.
        path: CString,
    },
    /// Change the mount at a path: as the configuration says, or because it had to be writable while others were mounted
    /// below it.
    Remount(RemountStep),
    /// The root filesystem becomes `/`, and the old `/` is gone.
    PivotRoot,
    /// The root filesystem is moved over `/` (`--no-pivot`: a root on ramfs can't be pivoted away from).
    MoveRoot,
    /// chroot(2) alone: there is no mount namespace of the container's.
    Chroot,
    /// Make `/` read-only.
    ReadonlyRoot,
    /// The propagation of `/`, as `linux.rootfsPropagation` says.
    RootPropagation(PropagationKind),
    /// Make a path read-only, where it exists.
    ReadonlyPath(CString),
    /// Hide paths, where they exist: files behind /dev/null, directories behind one empty read-only tmpfs.
    MaskPaths {
        /// In the container.
        paths: Vec<CString>,
        /// `linux.mountLabel`, for the tmpfs.
        label: Option<CString>,
    },

    // --- the process
    /// Default actions for all signals, none blocked.
    ResetSignals,
    /// setsid(2).
    NewSession,
    /// A session keyring of the container's own.
    SessionKeyring(CString),
    /// Nobody may trace this process or look at its descriptors while it is privileged (CVE-2016-9962, CVE-2019-5736).
    Undumpable,
    /// The user who runs the runtime may look at this process and join its namespaces: as a dumpable one it belongs to him,
    /// as an undumpable one to the machine's root.
    Dumpable,
    /// A pseudo-terminal of the container's devpts becomes the controlling terminal and the standard streams.
    Console(ConsoleStep),
    /// The standard streams belong to the user, where they are no devices of the host's.
    OwnStdio {
        /// Inside the container.
        uid: u32,
    },
    /// setrlimit(2).
    Rlimit(Rlimit),
    /// sched_setattr(2).
    Scheduler(Scheduler),
    /// ioprio_set(2).
    IoPriority(u16),
    /// sched_setaffinity(2).
    CpuAffinity(Vec<u64>),
    /// Every processor that the cpuset allows, whatever the caller was bound to. A kernel that refuses is not asked again.
    AllCpus,
    /// personality(2).
    Personality(u32),
    /// set_mempolicy(2).
    MemoryPolicy(MemoryPolicy),
    /// Tell a security module under which label the program shall run.
    Label {
        /// /proc.
        proc: FdIndex,
        /// Below /proc, for example `thread-self/attr/exec`.
        file: CString,
        /// The label.
        value: CString,
    },
    /// umask(2).
    Umask(u32),
    /// Drop what is not in this set from the bounding set.
    BoundingSet {
        /// What stays.
        keep: u64,
        /// The highest capability that the kernel knows.
        last: u32,
    },
    /// Become the user, in the working directory.
    Account(Account),
    /// The capability sets.
    Privileges(Privileges),
    /// PR_SET_NO_NEW_PRIVS.
    NoNewPrivileges,
    /// `HOME` of the user from the container's /etc/passwd, `/` where it has none.
    Home {
        /// Whose.
        uid: u32,
    },
    /// Look for the program, so that `create` and not `start` tells that it is missing.
    FindProgram(Program),
    /// Close every descriptor but the standard streams, those that the program keeps, and what the rest of the script
    /// needs (CVE-2024-21626: none of the host's may be found in a container, not even one that waits for `start`).
    CloseFds {
        /// How many from 3 on the program keeps.
        preserve: u32,
        /// What the script still needs, besides the channel; all of it closes at execve.
        needed: Vec<FdIndex>,
    },
    /// Run a hook in the container's namespaces.
    Hook(HookStep),
    /// Install the system call filter.
    Seccomp(crate::seccomp::Program),
    /// Install a system call filter that asks an agent, and have the parent hand its listener to the agent.
    SeccompListener(crate::seccomp::Program),
    /// Execute the program.
    Execute(Program),
}

/// A point at which a process waits for its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// It exists: id maps, cgroups and the like can be set from outside.
    Born,
    /// Its root filesystem is ready, and `/` is still the host's.
    RootReady,
    /// It is all that `created` means.
    Ready,
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Open::Tree { path, recursive, follow: _, idmap } => {
                write!(f, "open {} {}", if *recursive { "mount tree" } else { "mount" }, path.to_string_lossy())?;
                idmap.map_or(Ok(()), |idmap| write!(f, " ({idmap})"))
            }
            Open::Filesystem { new, attributes } => new.describe(f, "make", *attributes),
            Open::Place { path, .. } => write!(f, "open {}", path.to_string_lossy()),
            Open::UserNamespace { uids, gids } => {
                write!(f, "make user namespace with uids{} gids{}", maps(uids), maps(gids))
            }
            Open::Namespace { path, kind } => write!(f, "open {kind} namespace {}", path.to_string_lossy()),
            Open::Process { pid } => write!(f, "open process {pid}"),
            Open::Proc => write!(f, "open /proc"),
            Open::StartFifo(path) | Open::VerdictFifo(path) => write!(f, "make fifo {}", path.to_string_lossy()),
            Open::Socket(path) => write!(f, "connect to socket {}", path.to_string_lossy()),
        }
    }
}

impl fmt::Display for Idmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.recursive { "ridmap" } else { "idmap" })
    }
}

/// ` 0:1000:1`, inside, outside and size, for each.
fn maps(maps: &[IdMapping]) -> String {
    maps.iter().map(|m| format!(" {}:{}:{}", m.inside, m.outside, m.size)).collect()
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signal::Born => "born",
            Signal::RootReady => "root ready",
            Signal::Ready => "ready",
        })
    }
}

/// Names in a row: `mount, pid`.
fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |s: &CString| s.to_string_lossy().into_owned();
        match self {
            Step::DieWithParent => write!(f, "die with the parent"),
            Step::Outlive => write!(f, "outlive the parent"),
            Step::Rendezvous(signal) => write!(f, "wait for the parent ({signal})"),
            Step::Detach { .. } => write!(f, "leave the parent"),
            Step::AwaitStart { .. } => write!(f, "wait for start"),
            Step::StandardStreams => write!(f, "take the given standard streams"),
            Step::EnterCgroups => write!(f, "enter its cgroups"),
            Step::Join { kind, .. } => write!(f, "join {kind} namespace"),
            Step::JoinProcess { kinds, .. } => write!(f, "join the container's namespaces ({})", list(kinds)),
            Step::BecomeNamespaceRoot { uid: 0, gid: 0 } => write!(f, "become root of the user namespace"),
            Step::BecomeNamespaceRoot { uid, gid } => write!(f, "become uid {uid} gid {gid} of the user namespace"),
            Step::Unshare(kinds) => write!(f, "unshare {}", list(kinds)),
            Step::TimeOffsets { lines, .. } => write!(f, "set time offsets {:?}", lines.to_string_lossy()),
            Step::OomScoreAdj { value, .. } => write!(f, "set oom_score_adj {}", text(value)),
            Step::LoopbackUp => write!(f, "set loopback device up"),
            Step::Hostname(name) => write!(f, "set hostname {}", text(name)),
            Step::Domainname(name) => write!(f, "set domainname {}", text(name)),
            Step::Sysctl { path, value, .. } => write!(f, "write sysctl {} {:?}", text(path), value.to_string_lossy()),
            Step::MountPropagation(kind) => write!(f, "make all mounts {kind}"),
            Step::PrivateParent { path } => write!(f, "make the mount below {} private", text(path)),
            Step::CopyTree { path, recursive, .. } => {
                write!(f, "copy {} {}", if *recursive { "mount tree" } else { "mount" }, text(path))
            }
            Step::AttachRoot { path, propagation, .. } => write!(f, "attach root {} ({propagation})", text(path)),
            Step::Mount(mount) => mount.fmt(f),
            Step::Attempt { step, .. } => step.fmt(f),
            Step::Device(device) => device.fmt(f),
            Step::Symlink { path, target, .. } => write!(f, "link {} to {}", text(path), text(target)),
            Step::Directory { path } => write!(f, "make directory {}", text(path)),
            Step::Remount(remount) => remount.fmt(f),
            Step::PivotRoot => write!(f, "pivot root"),
            Step::MoveRoot => write!(f, "move root to /"),
            Step::Chroot => write!(f, "chroot"),
            Step::ReadonlyRoot => write!(f, "make / read-only"),
            Step::RootPropagation(kind) => write!(f, "make / {kind}"),
            Step::ReadonlyPath(path) => write!(f, "make {} read-only", text(path)),
            Step::MaskPaths { paths, .. } => {
                write!(f, "mask {}", list(&paths.iter().map(text).collect::<Vec<_>>()))
            }
            Step::ResetSignals => write!(f, "reset signals"),
            Step::NewSession => write!(f, "start a session"),
            Step::SessionKeyring(name) => write!(f, "join session keyring {}", text(name)),
            Step::Undumpable => write!(f, "become undumpable"),
            Step::Dumpable => write!(f, "become dumpable"),
            Step::Console(console) => console.fmt(f),
            Step::OwnStdio { uid } => write!(f, "give the standard streams to uid {uid}"),
            Step::Rlimit(limit) => write!(f, "set {}", crate::process::rlimit_text(limit)),
            Step::Scheduler(s) => {
                write!(
                    f,
                    "set scheduler (policy {}, nice {}, priority {}, flags {})",
                    s.policy, s.nice, s.priority, s.flags
                )
            }
            Step::IoPriority(value) => write!(f, "set io priority (class {}, level {})", value >> 13, value & 0x1fff),
            Step::CpuAffinity(cpus) => write!(f, "set cpu affinity {cpus:x?}"),
            Step::AllCpus => write!(f, "set cpu affinity to all of the cpuset"),
            Step::Personality(value) => write!(f, "set personality {value:#x}"),
            Step::MemoryPolicy(p) => write!(f, "set memory policy {:#x} (nodes {:x?})", p.mode, p.nodes),
            Step::Label { file, value, .. } => {
                write!(f, "write label `/proc/{}` {:?}", text(file), value.to_string_lossy())
            }
            Step::Umask(mask) => write!(f, "set umask {mask:04o}"),
            Step::BoundingSet { keep, last } => {
                write!(f, "limit the bounding set to {}", crate::process::capability_names(*keep, *last))
            }
            Step::Account(account) => account.fmt(f),
            Step::Privileges(privileges) => privileges.fmt(f),
            Step::NoNewPrivileges => write!(f, "set no_new_privs"),
            Step::Home { uid } => write!(f, "find the home of uid {uid}"),
            Step::FindProgram(program) => write!(f, "find {}", program.name()),
            Step::CloseFds { preserve: 0, .. } => write!(f, "close descriptors from 3 on"),
            Step::CloseFds { preserve, .. } => write!(f, "keep descriptors 3 to {0}, close those above", preserve + 2),
            Step::Hook(hook) => hook.fmt(f),
            Step::Seccomp(program) => write!(f, "load seccomp filter ({} instructions)", program.filter.len()),
            Step::SeccompListener(program) => {
                write!(f, "load seccomp filter ({} instructions) and hand over its listener", program.filter.len())
            }
            Step::Execute(program) => write!(f, "execute {}", program.name()),
        }
    }
}
