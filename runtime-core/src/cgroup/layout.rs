//! Which hierarchies this machine has, and where.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, statfs};

use super::files;
use crate::sys::Errno;
use crate::{Error, Result};

/// The cgroup hierarchies of a machine, seen from the runtime. Only `unified`: pure v2. Only `v1`: v1. Both: hybrid,
/// where v1 controls and the unified hierarchy only groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// The v1 hierarchies that a container joins, in the kernel's order.
    pub v1: Vec<Hierarchy>,
    /// The v2 hierarchy.
    pub unified: Option<Hierarchy>,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// v1: what is bound to it, in the kernel's order (`cpu`, `cpuacct`), or its name (`name=systemd`). v2: the
    /// controllers available at its root.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The runtime's own cgroup: absolute, seen from `mount`.
    pub own: PathBuf,
}

/// The v1 controllers and named hierarchies that a container joins; runc has the same list. Other named hierarchies
/// belong to somebody else.
const JOINED: [&str; 15] = [
    "cpuset",
    "cpu",
    "cpuacct",
    "blkio",
    "memory",
    "devices",
    "freezer",
    "net_cls",
    "perf_event",
    "net_prio",
    "hugetlb",
    "pids",
    "rdma",
    "misc",
    "name=systemd",
];

impl Layout {
    /// Pure v2: no v1 hierarchy at all.
    #[must_use]
    pub fn is_v2(&self) -> bool {
        self.v1.is_empty() && self.unified.is_some()
    }

    /// Looks at `/sys/fs/cgroup`. A hierarchy that is mounted elsewhere, or of which only a part is mounted, is
    /// found through `/proc/self/mountinfo`, which is not read otherwise: its length grows with the host's mounts.
    pub fn probe() -> Result<Self> {
        Layout::probe_at(Path::new("/sys/fs/cgroup"))
    }

    fn probe_at(base: &Path) -> Result<Self> {
        let memberships = Membership::parse(&read("/proc/self/cgroup")?);
        let v2_at = |path: &Path| holds(path, CGROUP2_SUPER_MAGIC);
        let v1_at = |path: &Path| holds(path, CGROUP_SUPER_MAGIC);

        let pure = v2_at(base)?;
        let mut mounts = None;
        let mut layout = Layout::default();
        for Membership { hierarchy, path } in memberships {
            if hierarchy.is_empty() {
                let mount = if pure { base.to_owned() } else { base.join("unified") };
                if pure || v2_at(&mount)? {
                    let controllers = read(mount.join("cgroup.controllers"))?;
                    let controllers = controllers.split_whitespace().map(str::to_owned).collect();
                    layout.unified = Some(Hierarchy { controllers, mount, own: path });
                }
                continue;
            }
            let controllers: Vec<String> = hierarchy.split(',').map(str::to_owned).collect();
            if pure || !controllers.iter().any(|name| JOINED.contains(&name.as_str())) {
                continue;
            }
            // One call tells that the hierarchy is there and that it is mounted from its root.
            let mount = base.join(hierarchy.strip_prefix("name=").unwrap_or(&hierarchy));
            if v1_at(&below(&mount, &path))? {
                layout.v1.push(Hierarchy { controllers, mount, own: path });
                continue;
            }
            if mounts.is_none() {
                mounts = Some(MountedHierarchy::parse(&read("/proc/self/mountinfo")?));
            }
            let found = mounts.iter().flatten().find(|m| controllers.iter().all(|c| m.options.contains(c)));
            layout.v1.extend(found.map(|m| m.hierarchy(controllers, &path)));
        }
        Ok(layout)
    }
}

/// Whether `path` is there and on such a file system. A hierarchy that can't be looked at is not one that is absent: a container
/// would be made outside of it, and none of its limits hold.
fn holds(path: &Path, wanted: FsType) -> Result<bool> {
    match statfs(path) {
        Ok(stat) => Ok(stat.filesystem_type() == wanted),
        Err(nix::Error::ENOENT | nix::Error::ENOTDIR | nix::Error::EACCES) => Ok(false),
        Err(error) => {
            let operation = format_args!("find the file system of {}", path.display());
            Err(Error::system(operation, Errno(error as i32)))
        }
    }
}

fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    files::read(path).map_err(|errno| Error::system(format_args!("read {}", path.display()), errno))
}

/// `path` taken for an absolute one below `root`: `..` does not lead out, nothing is looked up.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(clean(path))
}

/// A path without root, `.` and `..`, as it reads from a root directory: `../a/./b/../c` is `a/c`.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// One line of `/proc/PID/cgroup`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Membership {
    /// Controllers or `name=...`; empty for the unified hierarchy.
    pub(super) hierarchy: String,
    /// Where the process is.
    pub(super) path: PathBuf,
}

impl Membership {
    /// Parses lines of the form `id:controllers:path`, cgroups(7). The path may hold colons.
    pub(super) fn parse(text: &str) -> Vec<Membership> {
        let line = |line: &str| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some(Membership { hierarchy: fields.next()?.to_owned(), path: fields.next()?.into() })
        };
        text.lines().filter_map(line).collect()
    }
}

/// A v1 hierarchy in `/proc/self/mountinfo`.
#[derive(Debug, PartialEq, Eq)]
struct MountedHierarchy {
    /// The directory of the hierarchy that is mounted.
    root: PathBuf,
    mount: PathBuf,
    /// Options of the superblock: controllers and `name=...` among them.
    options: Vec<String>,
}

impl MountedHierarchy {
    /// Parses `/proc/self/mountinfo`, proc_pid_mountinfo(5); lines of other file systems are left out.
    fn parse(text: &str) -> Vec<Self> {
        let line = |line: &str| {
            let (mount, filesystem) = line.split_once(" - ")?;
            let mut mount = mount.split(' ').skip(3);
            let (root, point) = (unescape(mount.next()?), unescape(mount.next()?));
            let mut filesystem = filesystem.split(' ');
            if filesystem.next()? != "cgroup" {
                return None;
            }
            let options = filesystem.nth(1)?.split(',').map(str::to_owned).collect();
            Some(MountedHierarchy { root, mount: point, options })
        };
        text.lines().filter_map(line).collect()
    }

    /// The hierarchy as a container sees it that is in the cgroup `path`. Where `path` is not below what is mounted
    /// (a bind of another cgroup), the root of the mount is the best that there is.
    fn hierarchy(&self, controllers: Vec<String>, path: &Path) -> Hierarchy {
        let own = path.strip_prefix(&self.root).unwrap_or(Path::new(""));
        Hierarchy { controllers, mount: self.mount.clone(), own: Path::new("/").join(own) }
    }
}

/// A path of mountinfo, where the kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> PathBuf {
    let bytes = field.as_bytes();
    let mut path = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = (bytes[at] == b'\\').then(|| field.get(at + 1..at + 4)).flatten();
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                at += 4;
            }
            None => {
                path.push(bytes[at]);
                at += 1;
            }
        }
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_are_parsed() {
        let check = |text: &str, expect: &[(&str, &str)]| {
            let expect: Vec<_> =
                expect.iter().map(|(h, p)| Membership { hierarchy: (*h).into(), path: p.into() }).collect();
            assert_eq!(Membership::parse(text), expect, "{text}");
        };
        check("", &[]);
        check("0::/\n", &[("", "/")]);
        check("0::/a:b\n", &[("", "/a:b")]);
        check(
            "5:cpu,cpuacct:/x\n1:name=systemd:/init.scope\n0::/../..\nbroken\n",
            &[("cpu,cpuacct", "/x"), ("name=systemd", "/init.scope"), ("", "/../..")],
        );
    }

    #[test]
    fn paths_do_not_lead_out() {
        let check = |path: &str, expect: &str| assert_eq!(below(Path::new("/r"), Path::new(path)), Path::new(expect));
        check("/a/b", "/r/a/b");
        check("a", "/r/a");
        check("../../etc", "/r/etc");
        check("/a/../../../b/./c", "/r/b/c");
        check("/..", "/r/");
    }

    #[test]
    fn mountinfo_is_parsed() {
        let text = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                    33 31 0:30 /docker/a /sys/fs/cgroup/mem\\040ory rw - cgroup cgroup rw,memory\n\
                    41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
                    42 31 0:39 / /proc rw - proc proc rw\n";
        let mounts = MountedHierarchy::parse(text);
        assert_eq!(
            mounts[0],
            MountedHierarchy {
                root: "/".into(),
                mount: "/sys/fs/cgroup/cpu,cpuacct".into(),
                options: ["rw", "cpu", "cpuacct"].map(String::from).into(),
            }
        );
        assert_eq!(mounts.len(), 2);
        assert_eq!(
            mounts[1].hierarchy(vec!["memory".into()], Path::new("/docker/a/b")),
            Hierarchy { controllers: vec!["memory".into()], mount: "/sys/fs/cgroup/mem ory".into(), own: "/b".into() }
        );
        assert_eq!(mounts[1].hierarchy(vec![], Path::new("/elsewhere")).own, Path::new("/"));
    }

    #[test]
    fn this_machine_has_a_layout() {
        let layout = Layout::probe().unwrap();
        for hierarchy in layout.v1.iter().chain(&layout.unified) {
            assert!(below(&hierarchy.mount, &hierarchy.own).join("cgroup.procs").exists(), "{hierarchy:?}");
        }
    }
}
