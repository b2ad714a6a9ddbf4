//! The root of a container: mounts, devices, links, masked and read-only paths, and the change of root itself.
//!
//! This file decides (pure); `apply` does, in the child; `in_root` resolves every path of the container.

pub(crate) mod apply;
mod copy_up;
pub(crate) mod in_root;

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::cgroup;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::namespace::Kind;
use crate::plan::{FdIndex, Idmap, Open, Opens, Step};
use crate::process::clean;
use crate::spec::{
    self, DeviceKind, Mount, MountIdmap, MountIds, MountKind, Namespace, Propagation, PropagationKind, SourceLink, Spec,
};
use crate::sys::attr;

/// One mount, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountStep {
    /// In the container.
    pub target: CString,
    /// What is mounted.
    pub source: MountSource,
    /// `MOUNT_ATTR_*` to set.
    pub attr_set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub attr_clear: u64,
    /// `MOUNT_ATTR_*` to set on all mounts of the tree.
    pub rec_attr_set: u64,
    /// `MOUNT_ATTR_*` to clear on all mounts of the tree.
    pub rec_attr_clear: u64,
    /// Propagation changes, in order.
    pub propagation: Vec<Propagation>,
    /// What the target must be.
    pub guard: Target,
    /// What a symbolic link as the source of a bind means.
    pub link: SourceLink,
    /// A symbolic link as the target is hidden by the mount, not followed.
    pub over_link: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A copy of the mount at a path of the runtime's mount namespace.
    Path {
        /// The path.
        path: CString,
        /// With all below.
        recursive: bool,
    },
    /// Such a copy, opened by the parent: the ids of a user namespace may not reach the path.
    Opened {
        /// The detached copy.
        tree: FdIndex,
        /// The path, for the text.
        path: CString,
    },
    /// A new mount of a file system.
    New(NewFilesystem),
    /// Such a mount, made by the parent with all its attributes: what a user namespace may not idmap.
    Made {
        /// The detached mount.
        mount: FdIndex,
        /// What it is.
        new: NewFilesystem,
    },
}

/// A new mount of a file system, by fsopen(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFilesystem {
    /// Its type.
    pub fstype: CString,
    /// Its source.
    pub source: CString,
    /// Its parameters: with a value, or as a flag.
    pub parameters: Vec<(CString, Option<CString>)>,
    /// A tmpfs without a mode gets the mode of the directory that it hides, as runc does.
    pub mode_from_target: bool,
    /// It starts with a copy of what it hides.
    pub copy_up: bool,
    /// Shown with the ids of a user namespace.
    pub idmap: Option<Idmap>,
    /// What mount(2) gets instead, when fsconfig(2) can't take all.
    pub legacy: Option<LegacyMount>,
}

/// The last two arguments of mount(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyMount {
    /// Superblock flags, `MS_*`.
    pub flags: u64,
    /// The parameters as one string.
    pub data: CString,
}

/// What a mount's target must be, before anything is mounted on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Anything, also on procfs: `/proc/cpuinfo` and the like.
    Any,
    /// Not on procfs.
    NotInProc,
    /// A directory without a link on the way: procfs and sysfs go there.
    Ordinary,
    /// `/proc`, so the source must be the root of a procfs.
    ProcRoot,
}

/// A change of a mount that is in place, decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RemountStep {
    /// In the container.
    pub path: CString,
    /// `MOUNT_ATTR_*` to set.
    pub attr_set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub attr_clear: u64,
    /// `MOUNT_ATTR_*` to set on all mounts of the tree.
    pub rec_attr_set: u64,
    /// `MOUNT_ATTR_*` to clear on all mounts of the tree.
    pub rec_attr_clear: u64,
    /// Parameters of the file system to change: with a value, or as a flag.
    pub superblock: Vec<(CString, Option<CString>)>,
    /// Propagation changes, in order.
    pub propagation: Vec<Propagation>,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceNode {
    /// In the container.
    pub path: CString,
    /// Type and permission bits.
    pub mode: u32,
    /// As makedev(3).
    pub device: u64,
    /// Inside the container.
    pub uid: u32,
    /// Inside the container.
    pub gid: u32,
}

/// The files of /proc that may be bound over, because they only inform: LXCFS and others bind them.
const PROC_FILES: [&CStr; 10] = [
    c"/proc/cpuinfo",
    c"/proc/diskstats",
    c"/proc/meminfo",
    c"/proc/stat",
    c"/proc/swaps",
    c"/proc/uptime",
    c"/proc/loadavg",
    c"/proc/slabinfo",
    c"/proc/sys/kernel/ns_last_pid",
    c"/proc/sys/crypto/fips_enabled",
];

/// The devices that every container has (`config-linux.md`, *Default Devices*): name, major, minor.
const DEFAULT_DEVICES: [(&CStr, u32, u32); 6] = [
    (c"/dev/null", 1, 3),
    (c"/dev/zero", 1, 5),
    (c"/dev/full", 1, 7),
    (c"/dev/random", 1, 8),
    (c"/dev/urandom", 1, 9),
    (c"/dev/tty", 5, 0),
];

/// The links that every container has (`runtime-linux.md`, *Dev symbolic links*).
const DEFAULT_LINKS: [(&CStr, &CStr); 4] = [
    (c"/dev/fd", c"/proc/self/fd"),
    (c"/dev/stdin", c"/proc/self/fd/0"),
    (c"/dev/stdout", c"/proc/self/fd/1"),
    (c"/dev/stderr", c"/proc/self/fd/2"),
];

/// The mounts, in the order of the configuration.
///
/// # Errors
/// Where an idmapping is asked for that the kernel can't make.
pub(crate) fn mounts(spec: &Spec, cgroup: &cgroup::Cgroup, open: &mut Opens) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let label = spec.linux.mount_label.as_deref();
    for (index, mount) in spec.mounts.iter().enumerate() {
        if mount.idmap.is_some() && mount.kind == MountKind::Cgroup {
            // cgroup and cgroup2 are none of those that take an idmapping (FS_ALLOW_IDMAP of the kernel).
            return Err(Error::unsupported(format_args!("/mounts/{index}"), "a cgroup mount can't be idmapped"));
        }
        let idmap = mount.idmap.as_ref().map(|idmap| idmapping(idmap, open));
        match &mount.kind {
            MountKind::Cgroup => cgroup_mounts(spec, cgroup, mount, &mut steps),
            MountKind::Bind { source, recursive } => {
                let source = bind_source(spec, open, (source, *recursive), mount.source_link, idmap);
                steps.push(Step::Mount(MountStep { source, ..mount_step(mount) }));
            }
            MountKind::Remount { .. } => steps.push(remount(spec, index, mount)),
            MountKind::Filesystem { .. } => {
                let step = filesystem(mount, label, idmap);
                if let MountSource::New(NewFilesystem { idmap: Some(_), legacy: Some(_), .. }) = step.source {
                    let why = "options of more than 255 bytes and iversion don't go with an idmapping";
                    return Err(Error::unsupported(format_args!("/mounts/{index}"), why));
                }
                steps.push(Step::Mount(made_by_parent(spec, open, step)));
            }
        }
    }
    Ok(steps)
}

/// An idmapping takes power over its namespace, which is none below a container's user namespace: there the parent makes
/// the file system. It then belongs to the parent's user namespace, so that its ids, and those of the mappings, are the same
/// as without a user namespace; and it may be one that the kernel mounts in no other (those on block devices).
fn made_by_parent(spec: &Spec, open: &mut Opens, step: MountStep) -> MountStep {
    let foreign = spec.linux.namespaces.user != Namespace::Host;
    match step.source {
        MountSource::New(new) if foreign && new.idmap.is_some() => {
            let mount = open.add(Open::Filesystem { new: new.clone(), attributes: step.attr_set });
            MountStep { source: MountSource::Made { mount, new }, ..step }
        }
        source => MountStep { source, ..step },
    }
}

fn idmapping(idmap: &MountIdmap, open: &mut Opens) -> Idmap {
    let namespace = match &idmap.ids {
        MountIds::Mappings { uids, gids } => Open::UserNamespace { uids: uids.clone(), gids: gids.clone() },
        MountIds::Namespace(path) => Open::Namespace { path: c_path(path), kind: Kind::User },
    };
    Idmap { namespace: open.add(namespace), recursive: idmap.recursive }
}

/// What was kept writable while others were mounted below it, and becomes read-only when all is in place.
pub(crate) fn seals(spec: &Spec) -> impl Iterator<Item = Step> + '_ {
    let mounts = spec.mounts.iter().enumerate();
    mounts.filter(|(_, m)| sealed_later(m)).filter_map(|(index, mount)| {
        let mut later = spec.mounts[index + 1..].iter().rev().filter(|m| remounts(m, mount));
        let last = later.find(|m| (m.attr_set | m.attr_clear) & attr::RDONLY != 0).unwrap_or(mount);
        (last.attr_set & attr::RDONLY != 0).then(|| {
            let path = clean(&mount.destination);
            Step::Remount(RemountStep { path, attr_set: attr::RDONLY, ..RemountStep::default() })
        })
    })
}

fn remounts(later: &Mount, mount: &Mount) -> bool {
    matches!(later.kind, MountKind::Remount { .. }) && clean(&later.destination) == clean(&mount.destination)
}

fn remount(spec: &Spec, index: usize, mount: &Mount) -> Step {
    let mut superblock = Vec::new();
    // What is sealed later is made read-only then.
    let sealed = spec.mounts[..index].iter().any(|earlier| sealed_later(earlier) && remounts(mount, earlier));
    let kept = if sealed { attr::RDONLY } else { 0 };
    if let MountKind::Remount { bind: false, data, sb_set, sb_clear } = &mount.kind {
        let flags = SB_FLAGS.iter().filter(|(bit, ..)| !(sealed && *bit == libc::MS_RDONLY));
        superblock.extend(flags.filter_map(|(bit, on, off)| {
            let name = if sb_set & bit != 0 { on } else { off };
            ((sb_set | sb_clear) & bit != 0).then(|| ((*name).to_owned(), None))
        }));
        superblock.extend(data.iter().map(|option| parameter(option)));
    }
    Step::Remount(RemountStep {
        path: clean(&mount.destination),
        attr_set: mount.attr_set & !kept,
        attr_clear: mount.attr_clear & !kept,
        rec_attr_set: mount.rec_attr_set,
        rec_attr_clear: mount.rec_attr_clear,
        superblock,
        propagation: mount.propagation.clone(),
    })
}

/// A tmpfs may be the place for other mounts' targets, and /dev for the default devices.
fn sealed_later(mount: &Mount) -> bool {
    match &mount.kind {
        MountKind::Filesystem { fstype, .. } => {
            fstype.as_c_str() == c"tmpfs" || clean(&mount.destination).as_c_str() == c"/dev"
        }
        _ => false,
    }
}

fn mount_step(mount: &Mount) -> MountStep {
    let target = clean(&mount.destination);
    MountStep {
        guard: guard(&target, mount),
        target,
        source: MountSource::Path { path: CString::default(), recursive: false },
        attr_set: mount.attr_set,
        attr_clear: mount.attr_clear,
        rec_attr_set: mount.rec_attr_set,
        rec_attr_clear: mount.rec_attr_clear,
        propagation: mount.propagation.clone(),
        link: mount.source_link,
        over_link: mount.over_link,
    }
}

fn guard(target: &CStr, mount: &Mount) -> Target {
    match &mount.kind {
        MountKind::Filesystem { fstype, .. } if fstype.as_c_str() == c"proc" || fstype.as_c_str() == c"sysfs" => {
            Target::Ordinary
        }
        _ if target == c"/proc" => Target::ProcRoot,
        MountKind::Bind { .. } if PROC_FILES.contains(&target) => Target::Any,
        // binfmt_misc is a file system of its own for /proc/sys/fs/binfmt_misc.
        MountKind::Filesystem { fstype, .. } if fstype.as_c_str() == c"binfmt_misc" => Target::Any,
        _ => Target::NotInProc,
    }
}

fn bind_source(
    spec: &Spec,
    open: &mut Opens,
    (path, recursive): (&CStr, bool),
    link: SourceLink,
    idmap: Option<Idmap>,
) -> MountSource {
    let path = path.to_owned();
    // Without a user namespace the child can go by the path, and no descriptor is held meanwhile: a thousand binds
    // need no thousand descriptors.
    if idmap.is_none()
        && spec.linux.namespaces.user == Namespace::Host
        && !matches!(spec.linux.namespaces.mount, Namespace::Path(_))
    {
        return MountSource::Path { path, recursive };
    }
    let follow = link == SourceLink::Follow;
    let tree = open.add(Open::Tree { path: path.clone(), recursive, follow, idmap });
    MountSource::Opened { tree, path }
}

fn filesystem(mount: &Mount, label: Option<&CStr>, idmap: Option<Idmap>) -> MountStep {
    let MountKind::Filesystem { fstype, source, data, sb_flags, copy_up } = &mount.kind else {
        unreachable!("the caller has matched the kind");
    };
    let sealed = sealed_later(mount);
    let mut parameters: Vec<_> = SB_FLAGS
        .iter()
        .filter(|(bit, ..)| sb_flags & bit != 0 && !(sealed && *bit == libc::MS_RDONLY))
        .map(|(_, on, _)| ((*on).to_owned(), None))
        .collect();
    parameters.extend(data.iter().map(|option| parameter(option)));
    let has_label = parameters.iter().any(|(key, _)| key.as_c_str() == c"context");
    let label = label.filter(|_| !has_label && !UNLABELLED.contains(&fstype.as_c_str()));
    parameters.extend(label.map(|label| (c"context".to_owned(), Some(label.to_owned()))));
    let too_long = parameters.iter().any(|(_, value)| value.as_ref().is_some_and(|v| v.as_bytes().len() > 255));
    // fsconfig(2) has no word for iversion. On a tmpfs nobody can see the difference.
    let legacy = too_long || sb_flags & libc::MS_I_VERSION != 0 && fstype.as_c_str() != c"tmpfs";
    let has_mode = parameters.iter().any(|(key, _)| key.as_c_str() == c"mode");
    let new = NewFilesystem {
        fstype: fstype.clone(),
        source: source.clone(),
        legacy: legacy.then(|| LegacyMount {
            flags: if sealed { sb_flags & !libc::MS_RDONLY } else { *sb_flags },
            data: joined(data, label),
        }),
        mode_from_target: fstype.as_c_str() == c"tmpfs" && !has_mode,
        copy_up: *copy_up,
        idmap,
        parameters,
    };
    let mut step = MountStep { source: MountSource::New(new), ..mount_step(mount) };
    if sealed {
        step.attr_set &= !attr::RDONLY;
    }
    step
}

/// runc and the engines' policies expect these with the labels that the kernel gives them.
const UNLABELLED: [&CStr; 5] = [c"proc", c"sysfs", c"cgroup", c"cgroup2", c"mqueue"];

/// Superblock flags as fsconfig(2) knows them, on and off (fs/fs_context.c). dirsync has no opposite, in mount(8) neither.
const SB_FLAGS: [(u64, &CStr, &CStr); 5] = [
    (libc::MS_RDONLY, c"ro", c"rw"),
    (libc::MS_SYNCHRONOUS, c"sync", c"async"),
    (libc::MS_DIRSYNC, c"dirsync", c"dirsync"),
    (libc::MS_MANDLOCK, c"mand", c"nomand"),
    (libc::MS_LAZYTIME, c"lazytime", c"nolazytime"),
];

/// `key=value` or a flag.
fn parameter(option: &CStr) -> (CString, Option<CString>) {
    let bytes = option.to_bytes();
    let part = |bytes: &[u8]| CString::new(bytes).unwrap_or_default();
    match bytes.iter().position(|&b| b == b'=') {
        Some(at) => {
            let (key, value) = (&bytes[..at], &bytes[at + 1..]);
            // The quotes of a label are for mount(2), which parts at commas: `context="u:r:t:s0:c1,c2"`.
            let bare =
                value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).filter(|_| key.ends_with(b"context"));
            (part(key), Some(part(bare.unwrap_or(value))))
        }
        None => (option.to_owned(), None),
    }
}

/// Commas part the options of mount(2), and a label has some: quotes protect them.
fn joined(options: &[CString], label: Option<&CStr>) -> CString {
    let label = label.map(|label| [b"context=\"", label.to_bytes(), b"\""].concat());
    let all: Vec<&[u8]> = options.iter().map(CString::as_bytes).chain(label.as_deref()).collect();
    let bytes = all.join(&b',');
    CString::new(bytes).unwrap_or_default()
}

/// `MOUNT_ATTR_*` as the `MS_*` of mount(2).
pub(crate) fn mount_flags(attributes: u64) -> u64 {
    [
        (attr::RDONLY, libc::MS_RDONLY),
        (attr::NOSUID, libc::MS_NOSUID),
        (attr::NODEV, libc::MS_NODEV),
        (attr::NOEXEC, libc::MS_NOEXEC),
        (attr::NOATIME, libc::MS_NOATIME),
        (attr::STRICTATIME, libc::MS_STRICTATIME),
        (attr::NODIRATIME, libc::MS_NODIRATIME),
        (attr::NOSYMFOLLOW, 256),
    ]
    .iter()
    .filter(|(from, _)| attributes & from != 0)
    .fold(0, |flags, (_, to)| flags | to)
}

/// A mount of the cgroup hierarchies, as the host has them and as the cgroup namespace lets them be seen.
fn cgroup_mounts(spec: &Spec, cgroup: &cgroup::Cgroup, mount: &Mount, steps: &mut Vec<Step>) {
    let step = mount_step(mount);
    let private = spec.linux.namespaces.cgroup != Namespace::Host;
    let new = |fstype: &CStr, options: &[CString]| {
        MountSource::New(NewFilesystem {
            fstype: fstype.to_owned(),
            source: c"cgroup".to_owned(),
            parameters: options.iter().map(|o| parameter(o)).collect(),
            mode_from_target: false,
            copy_up: false,
            legacy: None,
            idmap: None,
        })
    };
    let hierarchies = cgroup::mounts(&cgroup.dirs);
    if let [unified] = hierarchies.as_slice()
        && unified.name.is_empty()
    {
        // In the host's cgroup namespace it is the host's own mount, bound. Mounted anew the view would be the same, but the
        // mount's options are the hierarchy's: the kernel takes them from whoever mounts cgroup2 in the first cgroup
        // namespace, so that systemd's `nsdelegate` would be lost, and it waits for an RCU grace period to set them
        // (10 ms, kernel 6.18).
        let root = cgroup.dirs.first().map(|dir| &dir.mount).unwrap_or(&unified.source);
        let bind =
            |path| MountStep { source: MountSource::Path { path: c_path(path), recursive: true }, ..step.clone() };
        steps.push(if private {
            Step::Attempt {
                step: Box::new(Step::Mount(MountStep { source: new(c"cgroup2", &[]), ..step.clone() })),
                on: &[libc::EPERM, libc::EBUSY],
                otherwise: Box::new(Step::Mount(bind(&unified.source))),
            }
        } else {
            Step::Mount(bind(root))
        });
        return;
    }
    // One tmpfs, a mount for each hierarchy, links for the controllers that share one; read-only at the end, when all is
    // below it.
    let readonly = step.attr_set & attr::RDONLY;
    let flags = attr::NOSUID | attr::NODEV | attr::NOEXEC;
    let tmpfs = MountStep {
        source: new(c"tmpfs", &[c"mode=755".to_owned()]),
        attr_set: (step.attr_set | flags) & !attr::RDONLY,
        propagation: Vec::new(),
        ..step.clone()
    };
    steps.push(Step::Mount(tmpfs));
    let c_text = |text: &str| CString::new(text).unwrap_or_default();
    for hierarchy in hierarchies {
        let below = |name: &str| c_text(&format!("{}/{name}", step.target.to_string_lossy()));
        let source = if private {
            // A named hierarchy has no controller, which must be said.
            let named = hierarchy.option.starts_with("name=").then(|| c_text("none"));
            let options: Vec<_> = named.into_iter().chain(hierarchy.option.split(',').map(c_text)).collect();
            new(c"cgroup", &options)
        } else {
            MountSource::Path { path: c_path(&hierarchy.source), recursive: false }
        };
        let step_for = |source| Step::Mount(MountStep { target: below(&hierarchy.name), source, ..step.clone() });
        steps.push(match hierarchy.source.parent() {
            // Where the runtime may not make the container's cgroup (rootless), the container is in the runtime's own,
            // which is the one above: without cgroupsPath, and that is when it may be missing.
            Some(own) if cgroup.best_effort && !private => Step::Attempt {
                step: Box::new(step_for(source)),
                on: &[libc::ENOENT],
                otherwise: Box::new(step_for(MountSource::Path { path: c_path(own), recursive: false })),
            },
            _ => step_for(source),
        });
        for link in &hierarchy.links {
            steps.push(Step::Symlink { path: below(link), target: c_text(&hierarchy.name), replace: false });
        }
    }
    if readonly != 0 {
        let seal = RemountStep { path: step.target, attr_set: readonly, ..RemountStep::default() };
        steps.push(Step::Remount(seal));
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

/// Default devices and those of `linux.devices`, default links, and `/dev/ptmx`. None when the configuration binds a
/// whole /dev.
pub(crate) fn devices(spec: &Spec, host: &Host) -> Vec<Step> {
    let has_own_dev = spec
        .mounts
        .iter()
        .any(|m| matches!(m.kind, MountKind::Bind { .. }) && clean(&m.destination).as_c_str() == c"/dev");
    if has_own_dev {
        return Vec::new();
    }
    let defaults = DEFAULT_DEVICES.iter().map(|&(path, major, minor)| spec::Device {
        path: path.to_owned(),
        kind: DeviceKind::Char,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    });
    // A device of the configuration stands for the default one of the same path.
    let own = &spec.linux.devices;
    let defaults = defaults.filter(|d| own.iter().all(|o| clean(&o.path) != d.path));
    let mut steps: Vec<_> = own.iter().cloned().chain(defaults).map(|d| device(spec, host, &d)).collect();
    let link = |path: &CStr, target: &CStr, replace| Step::Symlink {
        path: path.to_owned(),
        target: target.to_owned(),
        replace,
    };
    steps.extend(DEFAULT_LINKS.iter().map(|(path, target)| link(path, target, false)));
    if host.kcore {
        steps.push(link(c"/dev/core", c"/proc/kcore", false));
    }
    // The container's own devpts, also where the image brings a node.
    steps.push(link(c"/dev/ptmx", c"pts/ptmx", true));
    steps
}

fn device(spec: &Spec, host: &Host, device: &spec::Device) -> Step {
    let path = clean(&device.path);
    // mknod(2) of a device is for the initial user namespace alone: others get the host's node.
    if (spec.linux.namespaces.user != Namespace::Host || host.in_user_namespace) && device.kind != DeviceKind::Fifo {
        return Step::Mount(MountStep {
            target: path.clone(),
            source: MountSource::Path { path, recursive: false },
            attr_set: 0,
            attr_clear: 0,
            rec_attr_set: 0,
            rec_attr_clear: 0,
            propagation: Vec::new(),
            guard: Target::NotInProc,
            link: SourceLink::Follow,
            over_link: false,
        });
    }
    let kind = match device.kind {
        DeviceKind::Char => libc::S_IFCHR,
        DeviceKind::Block => libc::S_IFBLK,
        DeviceKind::Fifo => libc::S_IFIFO,
    };
    Step::Device(DeviceNode {
        path,
        mode: kind | device.mode,
        device: libc::makedev(device.major, device.minor),
        uid: device.uid,
        gid: device.gid,
    })
}

/// The names of attributes, as options are written: `nosuid,noexec`.
pub(crate) fn attr_names(attributes: u64) -> String {
    [
        (attr::RDONLY, "ro"),
        (attr::NOSUID, "nosuid"),
        (attr::NODEV, "nodev"),
        (attr::NOEXEC, "noexec"),
        (attr::NOATIME, "noatime"),
        (attr::STRICTATIME, "strictatime"),
        (attr::NODIRATIME, "nodiratime"),
        (attr::NOSYMFOLLOW, "nosymfollow"),
    ]
    .iter()
    .filter(|(bit, _)| attributes & bit != 0)
    .map(|(_, name)| *name)
    .collect::<Vec<_>>()
    .join(",")
}

/// Attributes to set and to clear, of a mount and of all below it, as far as there are any.
fn changes([set, clear, rec_set, rec_clear]: [u64; 4]) -> impl Iterator<Item = String> {
    // A change of the access time's mode clears all modes first: the new one tells.
    let cleared = if clear & attr::ATIME == attr::ATIME { clear & !attr::ATIME } else { clear };
    let all = [(set, ""), (cleared, "-"), (rec_set, "r:"), (rec_clear, "-r:")];
    let names = all.into_iter().map(|(bits, prefix)| (attr_names(bits), prefix));
    names.filter(|(names, _)| !names.is_empty()).map(|(names, prefix)| format!("{prefix}{names}"))
}

fn parameter_text((key, value): &(CString, Option<CString>)) -> String {
    match value {
        Some(value) => format!("{}={}", key.to_string_lossy(), value.to_string_lossy()),
        None => key.to_string_lossy().into_owned(),
    }
}

fn propagation_name(propagation: &Propagation) -> String {
    format!("{}{}", if propagation.recursive { "r" } else { "" }, propagation.kind)
}

impl fmt::Display for RemountStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attributes = [self.attr_set, self.attr_clear, self.rec_attr_set, self.rec_attr_clear];
        let mut options: Vec<_> = changes(attributes).collect();
        if !self.superblock.is_empty() {
            let own: Vec<_> = self.superblock.iter().map(parameter_text).collect();
            options.push(format!("file system {}", own.join(" ")));
        }
        options.extend(self.propagation.iter().map(propagation_name));
        write!(f, "remount {} ({})", self.path.to_string_lossy(), options.join(","))
    }
}

impl NewFilesystem {
    /// As they are written; `ro` once.
    fn options(&self, attributes: u64) -> Vec<String> {
        let own = self.parameters.iter().filter(|(key, _)| key.as_c_str() != c"ro" || attributes & attr::RDONLY == 0);
        let mut options: Vec<_> = own.map(parameter_text).collect();
        let iversion = self.legacy.as_ref().is_some_and(|legacy| legacy.flags & libc::MS_I_VERSION != 0);
        options.extend(iversion.then(|| "iversion".to_owned()));
        options.extend(self.idmap.map(|idmap| idmap.to_string()));
        options.extend(self.copy_up.then(|| "tmpcopyup".to_owned()));
        options
    }

    /// `make tmpfs (size=64k,idmap)`.
    pub(crate) fn describe(&self, f: &mut fmt::Formatter<'_>, verb: &str, attributes: u64) -> fmt::Result {
        let names = attr_names(attributes);
        let options: Vec<_> =
            Some(names).filter(|names| !names.is_empty()).into_iter().chain(self.options(attributes)).collect();
        write!(f, "{verb} {} ({})", self.fstype.to_string_lossy(), options.join(","))
    }
}

impl fmt::Display for MountStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |s: &CString| s.to_string_lossy().into_owned();
        match &self.source {
            MountSource::Path { path, .. } | MountSource::Opened { path, .. } => write!(f, "bind {}", text(path))?,
            MountSource::New(new) | MountSource::Made { new, .. } => write!(f, "mount {}", text(&new.fstype))?,
        }
        write!(f, " on {}", text(&self.target))?;
        let mut options =
            changes([self.attr_set, self.attr_clear, self.rec_attr_set, self.rec_attr_clear]).collect::<Vec<_>>();
        if let MountSource::New(new) | MountSource::Made { new, .. } = &self.source {
            options.extend(new.options(self.attr_set));
        }
        options.extend(self.propagation.iter().map(propagation_name));
        options.extend(match self.link {
            SourceLink::Follow => None,
            SourceLink::Mount => Some("src-nofollow".to_owned()),
            SourceLink::Copy => Some("copy-symlink".to_owned()),
        });
        options.extend(self.over_link.then(|| "dest-nofollow".to_owned()));
        if options.is_empty() { Ok(()) } else { write!(f, " ({})", options.join(",")) }
    }
}

impl fmt::Display for DeviceNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.mode & libc::S_IFMT {
            libc::S_IFCHR => 'c',
            libc::S_IFBLK => 'b',
            _ => 'p',
        };
        write!(f, "make node {} {kind}", self.path.to_string_lossy())?;
        if kind != 'p' {
            write!(f, " {}:{}", libc::major(self.device), libc::minor(self.device))?;
        }
        write!(f, " {:04o} {}:{}", self.mode & 0o7777, self.uid, self.gid)
    }
}

impl fmt::Display for PropagationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PropagationKind::Private => "private",
            PropagationKind::Shared => "shared",
            PropagationKind::Slave => "slave",
            PropagationKind::Unbindable => "unbindable",
        })
    }
}
