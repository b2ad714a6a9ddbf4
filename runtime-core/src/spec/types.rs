//! The vocabulary of [`Spec`]. Plain data: no methods that decide anything, no I/O.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::PathBuf;

/// A whole configuration (`config.md`), ready to be planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// `ociVersion`, as written.
    pub oci_version: String,
    /// `root`: the container's root filesystem.
    pub root: Root,
    /// `process`. Absent: `create` works (`config.md`, *Process*: required only when `start` is called), `start` refuses.
    pub process: Option<Process>,
    /// `hostname`, at most 64 bytes.
    pub hostname: Option<CString>,
    /// `domainname`, at most 64 bytes.
    pub domainname: Option<CString>,
    /// `mounts`, in their order.
    pub mounts: Vec<Mount>,
    /// `hooks`.
    pub hooks: Hooks,
    /// `annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `linux`. An absent `linux` object is the same as an empty one.
    pub linux: Linux,
}

/// `root`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Absolute: a relative `root.path` is taken from the bundle's directory.
    pub path: PathBuf,
    /// `root.readonly`.
    pub readonly: bool,
}

/// `process`: what is executed, and as whom. Also the document of `exec --process`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// `terminal`.
    pub terminal: bool,
    /// `consoleSize`, only with `terminal`.
    pub console_size: Option<ConsoleSize>,
    /// `user`.
    pub user: User,
    /// `args`: at least one, the first not empty.
    pub args: Vec<CString>,
    /// `env`: each `NAME=value`. Of a name that occurs twice only the last is kept, as runc does.
    pub env: Vec<CString>,
    /// `cwd`: absolute.
    pub cwd: CString,
    /// `capabilities`. Absent: no capability in any set, as runc does.
    pub capabilities: Capabilities,
    /// `rlimits`, each resource once.
    pub rlimits: Vec<Rlimit>,
    /// `noNewPrivileges`.
    pub no_new_privileges: bool,
    /// `oomScoreAdj`, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// `scheduler`.
    pub scheduler: Option<Scheduler>,
    /// `ioPriority`, as the kernel's ioprio value (class << 13 | priority).
    pub io_priority: Option<u16>,
    /// `execCPUAffinity`: only `exec` looks at it.
    pub exec_cpu_affinity: Option<ExecCpuAffinity>,
    /// `apparmorProfile`, not empty.
    pub apparmor_profile: Option<CString>,
    /// `selinuxLabel`, not empty.
    pub selinux_label: Option<CString>,
}

/// `consoleSize`, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsoleSize {
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// `process.user`. Ids are those inside the container; 2^32-1 never occurs (setresuid(2) takes it for "unchanged").
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// `uid`.
    pub uid: u32,
    /// `gid`.
    pub gid: u32,
    /// `umask`. Absent: 0022, as runc does.
    pub umask: Option<u32>,
    /// `additionalGids`.
    pub additional_gids: Vec<u32>,
}

/// The five sets of capabilities(7), bit N for capability number N. Names that this build does not know were dropped
/// with a warning, as `config.md` says; what the machine can't grant is dropped by the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Capabilities {
    pub bounding: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub permitted: u64,
    pub ambient: u64,
}

/// One of `rlimits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// The kernel's number, `RLIMIT_*`.
    pub resource: u32,
    /// Soft limit, in the resource's unit.
    pub soft: u64,
    /// Hard limit, in the resource's unit.
    pub hard: u64,
}

/// `scheduler`, as sched_setattr(2) takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scheduler {
    /// The kernel's number, `SCHED_*`.
    pub policy: u32,
    /// Nice value, -20 to 19.
    pub nice: i32,
    /// Static priority, 1 to 99 for real-time policies.
    pub priority: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// Nanoseconds, SCHED_DEADLINE only.
    pub runtime: u64,
    /// Nanoseconds, SCHED_DEADLINE only.
    pub deadline: u64,
    /// Nanoseconds, SCHED_DEADLINE only.
    pub period: u64,
}

/// `execCPUAffinity`: bit sets of CPU numbers, 64 in a word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecCpuAffinity {
    /// While the runtime enters the container, before the process is in its cgroup.
    pub initial: Option<Vec<u64>>,
    /// When the process is in its cgroup.
    pub r#final: Option<Vec<u64>>,
}

/// One of `mounts`, with its options sorted by what acts on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `destination`, as written; a relative one is taken from `/`, as runc does. It is an allegation: only the
    /// child resolves it, inside the root, at the moment of use.
    pub destination: CString,
    /// What is mounted there.
    pub kind: MountKind,
    /// Per-mount attributes to set, `MOUNT_ATTR_*` of mount_setattr(2).
    pub attr_set: u64,
    /// Per-mount attributes to clear (`rw`, `suid`, `dev`, `exec`, `relatime` and the like, as far as they were written);
    /// with a choice of an access time policy the whole `MOUNT_ATTR__ATIME`, as mount_setattr(2) wants it. Clear first,
    /// then set.
    pub attr_clear: u64,
    /// Attributes to set on the mount and on all below it (`rro`, `rnosuid`, ...).
    pub rec_attr_set: u64,
    /// Attributes to clear on the mount and on all below it (`rrw`, `rsuid`, ...).
    pub rec_attr_clear: u64,
    /// Propagation changes, in the order in which they were written.
    pub propagation: Vec<Propagation>,
    /// `idmap`, `ridmap`, `uidMappings`, `gidMappings`.
    pub idmap: Option<MountIdmap>,
    /// What a symbolic link as the source of a bind means.
    pub source_link: SourceLink,
    /// `dest-nofollow`: a symbolic link as the destination is not followed, but hidden by the mount.
    pub over_link: bool,
}

/// What becomes of a bind's source that is a symbolic link. crun's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SourceLink {
    /// What it refers to is mounted.
    #[default]
    Follow,
    /// `src-nofollow`: the link itself is mounted.
    Mount,
    /// `copy-symlink`: an equal link is made in the container.
    Copy,
}

/// How ids on a mount's file system are shown, mount_setattr(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountIdmap {
    /// Whose mappings.
    pub ids: MountIds,
    /// `ridmap`: also for the mounts below.
    pub recursive: bool,
}

/// The user namespace of an idmapped mount.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MountIds {
    /// A new one for the mount, with the mount's own mappings or those of the container's new user namespace: an id on the
    /// file system is taken for the one inside and shown as the one outside.
    Mappings { uids: Vec<IdMapping>, gids: Vec<IdMapping> },
    /// The existing one that the container joins.
    Namespace(PathBuf),
}

/// What a mount is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// An existing file or directory of the host.
    Bind {
        /// Absolute: a relative source is taken from the bundle's directory.
        source: CString,
        /// `rbind`: with all that is mounted below it.
        recursive: bool,
    },
    /// A new instance of a file system, or another view of one.
    Filesystem {
        /// `type`.
        fstype: CString,
        /// `source`, may be empty.
        source: CString,
        /// What is left of the options: the file system's own (`mode=755`, `size=64k`), in their order.
        data: Vec<CString>,
        /// Superblock flags (`ro`, `sync`, `dirsync`, `mand`, `lazytime`, `iversion`), `MS_*` of mount(2).
        sb_flags: u64,
        /// `tmpcopyup`: a tmpfs starts with a copy of what it hides.
        copy_up: bool,
    },
    /// `remount`: the mount that an earlier entry or the root brings changes.
    Remount {
        /// Without `bind`, its file system changes too, for all its mounts.
        bind: bool,
        /// The file system's own options.
        data: Vec<CString>,
        /// Superblock flags to set, `MS_*` of mount(2).
        sb_set: u64,
        /// Superblock flags to clear.
        sb_clear: u64,
    },
    /// The cgroup hierarchies, whatever the host has (`cgroup` or `cgroup2`).
    Cgroup,
}

/// A propagation type, mount_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// Which.
    pub kind: PropagationKind,
    /// With all mounts below.
    pub recursive: bool,
}

/// The four propagation types of mount_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PropagationKind {
    Private,
    Shared,
    Slave,
    Unbindable,
}

/// `hooks`, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

/// One hook: a program, executed with the container's state on its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// `path`, absolute.
    pub path: CString,
    /// `args`; absent: the path alone.
    pub args: Vec<CString>,
    /// `env`, nothing else is in the hook's environment.
    pub env: Vec<CString>,
    /// `timeout` in seconds, more than 0.
    pub timeout: Option<u32>,
}

/// `linux`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Linux {
    /// `namespaces`.
    pub namespaces: Namespaces,
    /// `uidMappings`. Never empty for a new user namespace (and id 0 is mapped), always empty without one. Beside the path
    /// of an existing one engines may write what they believe its mappings to be: to be compared with the real ones.
    pub uid_mappings: Vec<IdMapping>,
    /// `gidMappings`, likewise.
    pub gid_mappings: Vec<IdMapping>,
    /// `timeOffsets`.
    pub time_offsets: Vec<TimeOffset>,
    /// `devices`, in their order.
    pub devices: Vec<Device>,
    /// `cgroupsPath`, not empty.
    pub cgroups_path: Option<String>,
    /// `resources`. An absent object is the same as an empty one: a container may use no device beyond the default ones.
    pub resources: Resources,
    /// `sysctl`: key with dots or slashes as written, see [`sysctl_path`](super::sysctl_path), value. Each belongs to a
    /// namespace that the container does not share with the runtime; if that is a network namespace given by its path,
    /// that it is another one than the runtime's own is not checked yet.
    pub sysctl: Vec<(String, String)>,
    /// `seccomp`.
    pub seccomp: Option<Seccomp>,
    /// `rootfsPropagation`.
    pub rootfs_propagation: Option<PropagationKind>,
    /// `maskedPaths`.
    pub masked_paths: Vec<CString>,
    /// `readonlyPaths`.
    pub readonly_paths: Vec<CString>,
    /// `mountLabel`, not empty.
    pub mount_label: Option<CString>,
    /// `personality`, as personality(2) takes it.
    pub personality: Option<u32>,
    /// `memoryPolicy`.
    pub memory_policy: Option<MemoryPolicy>,
    /// `netDevices`, by name. Only with a network namespace that is not the runtime's.
    pub net_devices: Vec<NetDevice>,
    /// `intelRdt`. An empty object is not the same as an absent one.
    pub intel_rdt: Option<IntelRdt>,
}

/// One of `netDevices`. Names are those of the kernel: 1 to 15 bytes, no slash, colon or white space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetDevice {
    /// In the runtime's network namespace.
    pub name: String,
    /// In the container. With `%d` the kernel puts a number there; absent: the same name.
    pub inside: String,
}

/// `intelRdt`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IntelRdt {
    /// `closID`: a directory's name, or `/` for the root of resctrl. Absent: the container's id.
    pub clos_id: Option<String>,
    /// `l3CacheSchema` and `memBwSchema`: what a group that exists must have.
    pub schemas: Vec<String>,
    /// `schemata`, in their order.
    pub schemata: Vec<String>,
    /// `enableMonitoring`.
    pub monitoring: bool,
}

/// `memoryPolicy`, as set_mempolicy(2) takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// `MPOL_*` with its `MPOL_F_*`.
    pub mode: u32,
    /// A bit set of NUMA nodes, 64 in a word.
    pub nodes: Vec<u64>,
}

/// `namespaces`: for each kind, whose one the container uses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Namespaces {
    pub mount: Namespace,
    pub pid: Namespace,
    pub network: Namespace,
    pub ipc: Namespace,
    pub uts: Namespace,
    pub user: Namespace,
    pub cgroup: Namespace,
    pub time: Namespace,
}

/// Whose namespace of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Namespace {
    /// The runtime's: the kind is not listed.
    #[default]
    Host,
    /// A new one: listed without a path.
    New,
    /// An existing one, by the path of its file.
    Path(PathBuf),
}

/// One line of `uidMappings` or `gidMappings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMapping {
    /// `containerID`: the first id inside.
    pub inside: u32,
    /// `hostID`: the first id outside.
    pub outside: u32,
    /// `size`: how many, at least 1.
    pub size: u32,
}

/// One of `timeOffsets`, time_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOffset {
    /// CLOCK_BOOTTIME, else CLOCK_MONOTONIC.
    pub boottime: bool,
    /// Seconds.
    pub secs: i64,
    /// Nanoseconds, below 10^9.
    pub nanosecs: u32,
}

/// One of `linux.devices`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// `path`, inside the container.
    pub path: CString,
    /// `type`.
    pub kind: DeviceKind,
    /// `major`, 0 for a FIFO.
    pub major: u32,
    /// `minor`, 0 for a FIFO.
    pub minor: u32,
    /// `fileMode`, permission bits. Absent: 0666, as runc does.
    pub mode: u32,
    /// `uid`.
    pub uid: u32,
    /// `gid`.
    pub gid: u32,
}

/// The type of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum DeviceKind {
    Char,
    Block,
    Fifo,
}

/// `resources`. `None` and absent leave the kernel's default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources {
    /// `devices`: the device cgroup's rules, in their order.
    pub devices: Vec<DeviceRule>,
    /// `memory`.
    pub memory: Memory,
    /// `cpu`.
    pub cpu: Cpu,
    /// `pids.limit`: `None` when absent. 0 was written: the caller decides as runc does.
    pub pids_limit: Option<i64>,
    /// `blockIO`.
    pub block_io: BlockIo,
    /// `hugepageLimits`: page size (`2MB`), bytes.
    pub hugepage_limits: Vec<(String, u64)>,
    /// `network`.
    pub network: NetworkResources,
    /// `rdma`: device, limits.
    pub rdma: Vec<(String, Rdma)>,
    /// `unified`: cgroup v2 file name (no slash), value.
    pub unified: Vec<(String, String)>,
}

/// One of `resources.devices`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// `allow`.
    pub allow: bool,
    /// `type`: `None` for all.
    pub kind: Option<DeviceKind>,
    /// `major`: `None` for all.
    pub major: Option<u32>,
    /// `minor`: `None` for all.
    pub minor: Option<u32>,
    /// `access` has `r`.
    pub read: bool,
    /// `access` has `w`.
    pub write: bool,
    /// `access` has `m`.
    pub mknod: bool,
}

/// `resources.memory`, bytes; -1 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Memory {
    pub limit: Option<i64>,
    pub reservation: Option<i64>,
    /// Memory and swap together, as on cgroup v1.
    pub swap: Option<i64>,
    pub kernel: Option<i64>,
    pub kernel_tcp: Option<i64>,
    pub swappiness: Option<u64>,
    pub disable_oom_killer: bool,
    pub use_hierarchy: Option<bool>,
    pub check_before_update: bool,
}

/// `resources.cpu`; times in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Cpu {
    pub shares: Option<u64>,
    pub quota: Option<i64>,
    pub burst: Option<u64>,
    pub period: Option<u64>,
    pub realtime_runtime: Option<i64>,
    pub realtime_period: Option<u64>,
    pub cpus: Option<String>,
    pub mems: Option<String>,
    pub idle: Option<i64>,
}

/// `resources.blockIO`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct BlockIo {
    pub weight: Option<u16>,
    pub leaf_weight: Option<u16>,
    pub weight_device: Vec<WeightDevice>,
    /// Bytes a second.
    pub throttle_read_bps: Vec<ThrottleDevice>,
    /// Bytes a second.
    pub throttle_write_bps: Vec<ThrottleDevice>,
    /// Operations a second.
    pub throttle_read_iops: Vec<ThrottleDevice>,
    /// Operations a second.
    pub throttle_write_iops: Vec<ThrottleDevice>,
}

/// One of `blockIO.weightDevice`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct WeightDevice {
    pub major: u32,
    pub minor: u32,
    pub weight: Option<u16>,
    pub leaf_weight: Option<u16>,
}

/// One of `blockIO.throttle*Device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ThrottleDevice {
    pub major: u32,
    pub minor: u32,
    pub rate: u64,
}

/// `resources.network` (cgroup v1 only).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkResources {
    /// `classID`.
    pub class_id: Option<u32>,
    /// `priorities`: interface, priority.
    pub priorities: Vec<(String, u32)>,
}

/// One of `resources.rdma`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Rdma {
    pub hca_handles: Option<u32>,
    pub hca_objects: Option<u32>,
}

/// `seccomp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seccomp {
    /// `defaultAction` with `defaultErrnoRet`.
    pub default_action: SeccompAction,
    /// `architectures`. Empty: the native one alone.
    pub architectures: Vec<SeccompArch>,
    /// `flags`: `SECCOMP_FILTER_FLAG_*` bits. `None`: absent, and runc then sets SPEC_ALLOW.
    pub flags: Option<u32>,
    /// `listenerPath`.
    pub listener_path: Option<PathBuf>,
    /// `listenerMetadata`.
    pub listener_metadata: String,
    /// `syscalls`, in their order.
    pub syscalls: Vec<SeccompRule>,
}

/// What a filter answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SeccompAction {
    KillThread,
    KillProcess,
    Trap,
    /// The value is `errnoRet`, EPERM when absent.
    Errno(u16),
    /// The value is `errnoRet`, EPERM when absent.
    Trace(u16),
    Allow,
    Log,
    Notify,
}

/// The architectures that the specification names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SeccompArch {
    X86,
    X86_64,
    X32,
    Arm,
    Aarch64,
    Mips,
    Mips64,
    Mips64N32,
    Mipsel,
    Mipsel64,
    Mipsel64N32,
    Ppc,
    Ppc64,
    Ppc64le,
    S390,
    S390x,
    Parisc,
    Parisc64,
    Riscv64,
    LoongArch64,
    M68k,
    Sh,
    Sheb,
}

/// One of `seccomp.syscalls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeccompRule {
    /// `names`, at least one. A name that an architecture does not have is skipped there, as libseccomp does.
    pub names: Vec<String>,
    /// `action` with `errnoRet`.
    pub action: SeccompAction,
    /// `args`.
    pub args: Vec<SeccompArg>,
}

/// One of `seccomp.syscalls[].args`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeccompArg {
    /// 0 to 5.
    pub index: u8,
    /// The datum; with [`SeccompOp::MaskedEqual`] the mask.
    pub value: u64,
    /// With [`SeccompOp::MaskedEqual`] the datum.
    pub value_two: u64,
    /// How the argument and the datum compare.
    pub op: SeccompOp,
}

/// How the two sides of a condition compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SeccompOp {
    NotEqual,
    LessThan,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    GreaterThan,
    MaskedEqual,
}
