//! `linux`.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use super::json::Node;
use super::process::number_set;
use super::resources::resources;
use super::seccomp::seccomp;
use super::types::{
    Device, DeviceKind, IdMapping, IntelRdt, Linux, MemoryPolicy, Namespace, Namespaces, NetDevice, PropagationKind,
    TimeOffset,
};
use crate::Result;

/// Reads `linux`.
pub(super) fn linux(at: Node<'_>, bundle: &Path) -> Result<Linux> {
    let o = at.object()?;
    let namespaces = namespaces(o.field("namespaces"))?;
    Ok(Linux {
        uid_mappings: id_mappings(o.field("uidMappings"), &namespaces.user)?,
        gid_mappings: id_mappings(o.field("gidMappings"), &namespaces.user)?,
        time_offsets: time_offsets(o.field("timeOffsets"), &namespaces.time)?,
        devices: o.field("devices").list(device)?,
        cgroups_path: o.field("cgroupsPath").text()?.map(str::to_owned),
        resources: resources(o.field("resources"))?,
        sysctl: sysctl(o.field("sysctl"), &namespaces)?,
        seccomp: seccomp(o.field("seccomp"), bundle)?,
        rootfs_propagation: o.field("rootfsPropagation").one_of("propagation", &PROPAGATIONS)?,
        masked_paths: paths(o.field("maskedPaths"), &namespaces)?,
        readonly_paths: paths(o.field("readonlyPaths"), &namespaces)?,
        mount_label: o.field("mountLabel").cstring()?,
        personality: personality(o.field("personality"))?,
        memory_policy: memory_policy(o.field("memoryPolicy"))?,
        net_devices: net_devices(o.field("netDevices"), &namespaces.network)?,
        intel_rdt: intel_rdt(o.field("intelRdt"))?,
        namespaces,
    })
}

/// The place of one kind.
type Place = fn(&mut Namespaces) -> &mut Namespace;

/// The kinds of `namespaces`, sorted by name.
pub(crate) const NAMESPACES: [(&str, Place); 8] = [
    ("cgroup", |all| &mut all.cgroup),
    ("ipc", |all| &mut all.ipc),
    ("mount", |all| &mut all.mount),
    ("network", |all| &mut all.network),
    ("pid", |all| &mut all.pid),
    ("time", |all| &mut all.time),
    ("user", |all| &mut all.user),
    ("uts", |all| &mut all.uts),
];

fn namespaces(at: Node<'_>) -> Result<Namespaces> {
    let mut all = Namespaces::default();
    at.list(|at| {
        let o = at.object()?;
        let kind = o.field("type");
        let name = kind.required(kind.text())?;
        let namespace = kind.required(kind.one_of("namespace", &NAMESPACES))?(&mut all);
        if *namespace != Namespace::Host {
            return Err(kind.refuse(format_args!("duplicated namespace {name:?}")));
        }
        *namespace = match o.field("path").absolute()? {
            None => Namespace::New,
            Some(path) => Namespace::Path(PathBuf::from(path)),
        };
        Ok(())
    })?;
    Ok(all)
}

fn id_mappings(at: Node<'_>, user: &Namespace) -> Result<Vec<IdMapping>> {
    let mappings = mappings(at)?;
    match user {
        Namespace::Host if !mappings.is_empty() => {
            Err(at.refuse("User namespace mappings specified, but USER namespace isn't enabled in the config"))
        }
        Namespace::New if mappings.is_empty() => Err(at.refuse("must be set for a new user namespace")),
        _ => Ok(mappings),
    }
}

/// Mappings that a user namespace can have.
pub(super) fn mappings(at: Node<'_>) -> Result<Vec<IdMapping>> {
    /// UID_GID_MAP_MAX_EXTENTS of the kernel, user_namespaces(7).
    const LINES_MAX: usize = 340;

    let mappings = at.list(|at| {
        let o = at.object()?;
        let (inside, outside, size) = (o.field("containerID"), o.field("hostID"), o.field("size"));
        let mapping = IdMapping {
            inside: inside.required(inside.id())?,
            outside: outside.required(outside.id())?,
            size: size.required(size.int_in(1, u32::MAX))?,
        };
        for (from, first) in [(inside, mapping.inside), (outside, mapping.outside)] {
            if first.checked_add(mapping.size).is_none() {
                return Err(from.refuse(format_args!("{first} and {} ids from there are beyond 2^32-2", mapping.size)));
            }
        }
        Ok(mapping)
    })?;

    if mappings.len() > LINES_MAX {
        return Err(at.refuse(format_args!("{} mappings, the kernel takes {LINES_MAX}", mappings.len())));
    }
    // The kernel would answer EINVAL for the whole file.
    for (side, first) in [("containerID", (|m| m.inside) as fn(&IdMapping) -> u32), ("hostID", |m| m.outside)] {
        let mut ranges: Vec<(u32, u32, usize)> =
            mappings.iter().enumerate().map(|(i, m)| (first(m), first(m) + m.size, i)).collect();
        ranges.sort_unstable();
        if let Some(pair) = ranges.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            let (one, other) = (pair[0].2.min(pair[1].2), pair[0].2.max(pair[1].2));
            return Err(crate::Error::refused(
                format_args!("{at}/{other}/{side}"),
                format_args!("these ids overlap those of mapping {one}"),
            ));
        }
    }
    Ok(mappings)
}

fn time_offsets(at: Node<'_>, time: &Namespace) -> Result<Vec<TimeOffset>> {
    let offsets = at.map(|clock, at| {
        let boottime = match clock {
            "boottime" => true,
            "monotonic" => false,
            _ => return Err(at.refuse(format_args!("unknown clock {clock:?}"))),
        };
        let o = at.object()?;
        Ok(TimeOffset {
            boottime,
            secs: o.field("secs").int()?.unwrap_or_default(),
            nanosecs: o.field("nanosecs").int_in(0, 999_999_999)?.unwrap_or_default(),
        })
    })?;
    match time {
        _ if offsets.is_empty() => Ok(offsets),
        Namespace::New => Ok(offsets),
        Namespace::Host => {
            Err(at.refuse("time namespace offsets specified, but time namespace isn't enabled in the config"))
        }
        // time_namespaces(7): only before the first process is in it.
        Namespace::Path(_) => Err(at.refuse("the offsets of an existing time namespace can't be changed")),
    }
}

const DEVICE_TYPES: [(&str, DeviceKind); 4] =
    [("b", DeviceKind::Block), ("c", DeviceKind::Char), ("p", DeviceKind::Fifo), ("u", DeviceKind::Char)];

fn device(at: Node<'_>) -> Result<Device> {
    // What mknod(2) can take: 12 bits of major, 20 bits of minor. The kernel drops the rest without a word.
    const MAJOR_MAX: u32 = (1 << 12) - 1;
    const MINOR_MAX: u32 = (1 << 20) - 1;

    let o = at.object()?;
    let (path, kind, major, minor) = (o.field("path"), o.field("type"), o.field("major"), o.field("minor"));
    let name = path.required(path.absolute())?;
    let kind = kind.required(kind.one_of("device type", &DEVICE_TYPES))?;
    let (major, minor) = match kind {
        DeviceKind::Fifo => (0, 0),
        _ => (major.required(major.int_in(0, MAJOR_MAX))?, minor.required(minor.int_in(0, MINOR_MAX))?),
    };
    Ok(Device {
        path: path.to_cstring(name)?,
        kind,
        major,
        minor,
        // Engines copy the host's st_mode, type bits included.
        mode: o.field("fileMode").int()?.unwrap_or(0o666u32) & 0o7777,
        uid: o.field("uid").id()?.unwrap_or_default(),
        gid: o.field("gid").id()?.unwrap_or_default(),
    })
}

/// As runc, the recursive names mean the same: nothing is mounted yet below the root.
const PROPAGATIONS: [(&str, PropagationKind); 8] = [
    ("private", PropagationKind::Private),
    ("rprivate", PropagationKind::Private),
    ("rshared", PropagationKind::Shared),
    ("rslave", PropagationKind::Slave),
    ("runbindable", PropagationKind::Unbindable),
    ("shared", PropagationKind::Shared),
    ("slave", PropagationKind::Slave),
    ("unbindable", PropagationKind::Unbindable),
];

fn paths(at: Node<'_>, namespaces: &Namespaces) -> Result<Vec<CString>> {
    let paths = at.list(|at| at.to_cstring(at.required(at.absolute())?))?;
    if !paths.is_empty() && namespaces.mount == Namespace::Host {
        return Err(at.refuse("unable to restrict sys entries without a private MNT namespace"));
    }
    Ok(paths)
}

/// personality(2): PER_LINUX, PER_LINUX32.
const DOMAINS: [(&str, u32); 2] = [("LINUX", 0x0000), ("LINUX32", 0x0008)];

fn personality(at: Node<'_>) -> Result<Option<u32>> {
    if at.is_null() {
        return Ok(None);
    }
    let o = at.object()?;
    o.field("flags").must_be_unset()?;
    let domain = o.field("domain");
    domain.required(domain.one_of("personality domain", &DOMAINS)).map(Some)
}

/// linux/mempolicy.h, sorted by name: the mode, and whether it takes nodes (`None`: it may).
pub(crate) const MEMORY_MODES: [(&str, (u32, Option<bool>)); 7] = [
    ("MPOL_BIND", (2, Some(true))),
    ("MPOL_DEFAULT", (0, Some(false))),
    ("MPOL_INTERLEAVE", (3, Some(true))),
    ("MPOL_LOCAL", (4, Some(false))),
    ("MPOL_PREFERRED", (1, None)),
    ("MPOL_PREFERRED_MANY", (5, Some(true))),
    ("MPOL_WEIGHTED_INTERLEAVE", (6, Some(true))),
];

/// linux/mempolicy.h, sorted by name. They are written into the mode.
pub(crate) const MEMORY_FLAGS: [(&str, u32); 3] =
    [("MPOL_F_NUMA_BALANCING", 1 << 13), ("MPOL_F_RELATIVE_NODES", 1 << 14), ("MPOL_F_STATIC_NODES", 1 << 15)];

/// What of it the kernel would answer with a bare EINVAL is refused here; which flags fit which mode depends on its version.
fn memory_policy(at: Node<'_>) -> Result<Option<MemoryPolicy>> {
    /// The kernel is built for at most 1024 nodes (CONFIG_NODES_SHIFT).
    const NODE_MAX: usize = 1023;
    const NODE_MODES: u32 = 1 << 14 | 1 << 15;

    if at.is_null() {
        return Ok(None);
    }
    let o = at.object()?;
    let (mode, nodes, flags) = (o.field("mode"), o.field("nodes"), o.field("flags"));
    let (number, takes_nodes) = mode.required(mode.one_of("memory policy", &MEMORY_MODES))?;
    let set = number_set(nodes, "node", NODE_MAX)?.unwrap_or_default();
    let bits = flags.bits("memory policy flag", &MEMORY_FLAGS)?;
    let name = mode.text()?.unwrap_or_default();
    match takes_nodes {
        Some(true) if set.is_empty() => return Err(nodes.refuse(format_args!("must be set for {name}"))),
        Some(false) if !set.is_empty() => return Err(nodes.refuse(format_args!("{name} takes no nodes"))),
        _ => {}
    }
    if bits & NODE_MODES == NODE_MODES {
        return Err(flags.refuse("MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES exclude each other"));
    }
    Ok(Some(MemoryPolicy { mode: number | bits, nodes: set }))
}

fn net_devices(at: Node<'_>, network: &Namespace) -> Result<Vec<NetDevice>> {
    let devices = at.map(|name, at| {
        if !names_a_device(name) {
            return Err(at.refuse(format_args!("{name:?} is not the name of a network device")));
        }
        let o = at.object()?;
        let inside_at = o.field("name");
        let inside = inside_at.text()?.unwrap_or(name);
        // The kernel takes one `%d` and no other use of the sign (__dev_alloc_name).
        let literal = inside.replacen("%d", "", 1);
        if !names_a_device(inside) || literal.contains('%') {
            return Err(inside_at.refuse(format_args!("{inside:?} is not the name of a network device")));
        }
        Ok(NetDevice { name: name.to_owned(), inside: inside.to_owned() })
    })?;
    for (index, device) in devices.iter().enumerate() {
        let same = |other: &&NetDevice| other.inside == device.inside && !device.inside.contains("%d");
        if let Some(other) = devices[..index].iter().find(same) {
            let (name, inside, other) = (&device.name, &device.inside, &other.name);
            let pointer = format!("{at}/{}/name", name.replace('~', "~0").escape_debug());
            return Err(crate::Error::refused(pointer, format_args!("{inside:?} is also the name of {other}")));
        }
    }
    match network {
        Namespace::Host if !devices.is_empty() => {
            Err(at.refuse("unable to move network devices without a private NET namespace"))
        }
        _ => Ok(devices),
    }
}

/// dev_valid_name() of the kernel (net/core/dev.c). What has a slash would also be a path below /proc/sys.
fn names_a_device(name: &str) -> bool {
    let bytes = name.as_bytes();
    (1..16).contains(&bytes.len())
        && name != "."
        && name != ".."
        && !bytes.iter().any(|b| matches!(b, b'/' | b':' | 0) || b.is_ascii_whitespace() || *b == 0x0b)
}

fn intel_rdt(at: Node<'_>) -> Result<Option<IntelRdt>> {
    // An empty object asks for a group of the container's own.
    if at.is_null() {
        return Ok(None);
    }
    let o = at.object()?;
    let line = |at: Node<'_>| match at.text()? {
        Some(schema) if schema.contains('\n') => Err(at.refuse("must not hold a newline")),
        schema => Ok(schema.map(str::to_owned)),
    };
    let clos = o.field("closID");
    let clos_id = clos.text()?.map(str::to_owned);
    match clos_id.as_deref() {
        None | Some("/") => {}
        // As runc. The last three are directories of the kernel's own beside the groups.
        Some(id @ ("." | ".." | "info" | "mon_groups" | "mon_data")) => {
            return Err(clos.refuse(format_args!("{id:?} can't be a class of service")));
        }
        Some(id) if id.len() > 255 || id.contains(['/', '\n']) => {
            return Err(clos.refuse("must be the name of a directory, or \"/\""));
        }
        Some(_) => {}
    }
    let (l3, memory) = (o.field("l3CacheSchema"), o.field("memBwSchema"));
    // Only SHOULD NOT: engines have written lines of both kinds into it.
    let l3 = l3.text()?.map(str::to_owned);
    let bandwidth = line(memory)?;
    if bandwidth.as_ref().is_some_and(|schema| !schema.starts_with("MB:")) {
        return Err(memory.refuse("must start with \"MB:\""));
    }
    let schemata = o.field("schemata").list(|at| at.required(line(at)))?;
    let monitoring = o.field("enableMonitoring").flag()?;
    Ok(Some(IntelRdt { clos_id, schemas: l3.into_iter().chain(bandwidth).collect(), schemata, monitoring }))
}

/// The sysctls of the IPC namespace, below `kernel.` (ipc/ipc_sysctl.c); `fs.mqueue.` is the other part.
const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];

/// Only what a namespace holds may be written: all else would change the host. Checks and texts are runc's.
fn sysctl(at: Node<'_>, namespaces: &Namespaces) -> Result<Vec<(String, String)>> {
    at.map(|key, at| {
        let value = at.required(at.str())?;
        let path = super::sysctl_path(key);
        // Otherwise a `net/../kernel/core_pattern` would pass for one of the network.
        if path.contains('\0') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(at.refuse(format_args!("sysctl {key:?} is not a name")));
        }
        let name = dots(&path);
        if IPC_SYSCTLS.contains(&&*name) || name.starts_with("fs.mqueue.") {
            if namespaces.ipc == Namespace::Host {
                return Err(at.refuse(format_args!("sysctl {name:?} is not allowed in the hosts ipc namespace")));
            }
        } else if name.starts_with("net.") {
            // That a joined namespace is not the host's is checked where its file is opened.
            if namespaces.network == Namespace::Host {
                return Err(at.refuse(format_args!("sysctl {name:?} not allowed in host network namespace")));
            }
        } else if namespaces.uts != Namespace::Host && name == "kernel.hostname" {
            return Err(at.refuse(format_args!(
                "sysctl {name:?} is not allowed as it conflicts with the OCI \"hostname\" field"
            )));
        } else if namespaces.uts == Namespace::Host || name != "kernel.domainname" {
            return Err(at.refuse(format_args!("sysctl {name:?} is not in a separate kernel namespace")));
        }
        Ok((key.to_owned(), value.to_owned()))
    })
}

/// A sysctl's path below /proc/sys in the dotted form of sysctl(8).
fn dots(path: &str) -> String {
    swap_separators(path)
}

/// Dots for slashes and slashes for dots: `conf/eth0.100/mtu` is `conf.eth0/100.mtu`.
pub(super) fn swap_separators(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            c => c,
        })
        .collect()
}
