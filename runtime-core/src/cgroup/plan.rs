//! The decision: which directories, and what is written into them.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::devices::AccessList;
use super::layout::clean;
use super::resources::{Limits, limits};
use super::{Cgroup, Dir, Hierarchy, Layout, OnFailure, Value, Write, systemd};
use crate::spec::{Linux, MountKind, Namespace, Spec};
use crate::user_mapping;
use crate::{Error, Result};

/// What decides beside the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options<'a> {
    /// The user on the host to whom the v2 cgroup is delegated: the container has its own cgroup namespace and a
    /// writable cgroup mount.
    pub owner: Option<u32>,
    /// No device rules: the runtime is in a user namespace, where nobody may load them, nor make device nodes.
    pub skip_devices: bool,
    /// Rootless: see [`Cgroup::best_effort`] and [`Cgroup::rootless`].
    pub rootless: bool,
    /// systemd makes the cgroup.
    pub systemd: Option<systemd::Options<'a>>,
}

/// The cgroup for a container. Pure.
///
/// An absolute `cgroupsPath` is taken from the root of each hierarchy as it is mounted. A relative one, or the id where
/// there is none, is taken from the runtime's own cgroup on v1; on v2 from its parent, because a cgroup with processes
/// of its own (the runtime's) can't give controllers to its children. `..` does not lead out. As runc does.
///
/// With systemd a `cgroupsPath` is `slice:prefix:name`: see [`systemd`].
pub fn plan(linux: &Linux, id: &str, layout: &Layout, options: Options<'_>) -> Result<Cgroup> {
    let v2 = layout.is_v2();
    let (dirs, mut unit) = match options.systemd {
        None => (dirs(linux.cgroups_path.as_deref(), id, layout)?, None),
        Some(systemd) => unit(linux, id, layout, systemd).map(|(dirs, unit)| (dirs, Some(unit)))?,
    };
    let available = layout.unified.as_ref().filter(|_| v2).map(|unified| unified.controllers.as_slice());
    let Limits { mut writes, ignored } = limits(&linux.resources, &dirs, available)?;

    if let Some(cpuset) = dirs.iter().position(|dir| dir.has("cpuset")) {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if !writes.iter().any(|write| write.dir == cpuset && write.file == file) {
                writes.push(Write {
                    dir: cpuset,
                    file: file.to_owned(),
                    value: Value::Parent,
                    pointer: String::new(),
                    on_failure: OnFailure::Fail,
                });
            }
        }
    }

    let mut devices = None;
    // A user's systemd can't load device programs either.
    if !options.skip_devices && !options.systemd.is_some_and(|systemd| systemd.manager.user) {
        let list = AccessList::new(&linux.resources.devices, &linux.devices)?;
        let v1 = dirs.iter().position(|dir| dir.has("devices"));
        if let Some(unit) = &mut unit {
            unit.properties.extend(systemd::device_properties(&list, v2, unit.unit.version));
        }
        match v1 {
            Some(dir) => writes.extend(list.writes().map(|(file, value)| Write {
                dir,
                file: file.to_owned(),
                value: Value::Text(value),
                pointer: "/linux/resources/devices".to_owned(),
                on_failure: if options.rootless { OnFailure::SkipRefused } else { OnFailure::Fail },
            })),
            None if v2 => devices = Some(list.program()),
            // Not the v2 hierarchy of a hybrid layout: who mounts v1 without its device controller has none.
            None => {
                let reason = "no cgroup hierarchy has the devices controller";
                return Err(Error::unsupported("/linux/resources/devices", reason));
            }
        }
    }
    let best_effort = options.rootless && linux.cgroups_path.is_none() && unit.is_none();
    // In a hybrid layout the container sees v1 only, which can't be delegated.
    let owner = options.owner.filter(|_| v2);
    let controllers = available.unwrap_or_default().to_vec();
    Ok(Cgroup { dirs, controllers, writes, devices, owner, best_effort, rootless: options.rootless, ignored, unit })
}

/// The user on the host to whom a container's v2 cgroup is delegated: the one of its process, where the container has
/// a new cgroup namespace and finds its cgroup mounted writable. So programs that manage cgroups (systemd, an engine) work
/// in a container whose root is nobody on the host. As runc does, also without a user namespace.
///
/// `None` for the rest, and where the mappings are those of a namespace that is joined and are not given.
#[must_use]
pub fn owner(spec: &Spec) -> Option<u32> {
    let Linux { namespaces, uid_mappings, .. } = &spec.linux;
    let writable = |mount: &crate::spec::Mount| {
        let destination = Path::new(std::ffi::OsStr::from_bytes(mount.destination.as_bytes()));
        let read_only = (mount.attr_set | mount.rec_attr_set) & libc::MOUNT_ATTR_RDONLY != 0;
        mount.kind == MountKind::Cgroup && clean(destination) == Path::new("sys/fs/cgroup") && !read_only
    };
    if namespaces.cgroup != Namespace::New || !spec.mounts.iter().any(writable) {
        return None;
    }
    let user = spec.process.as_ref().map_or(0, |process| process.user.uid);
    if namespaces.user == Namespace::Host { Some(user) } else { user_mapping::outside(uid_mappings, user) }
}

/// The unit, with everything but its devices, and its directories.
fn unit(
    linux: &Linux,
    id: &str,
    layout: &Layout,
    systemd: systemd::Options<'_>,
) -> Result<(Vec<Dir>, systemd::TransientUnit)> {
    let systemd::Options { manager, annotations } = systemd;
    let v2 = layout.is_v2();
    if manager.user && !v2 {
        // Nobody but root may be in charge of a part of a v1 hierarchy.
        let reason = "a user's systemd has cgroup v2 alone; this machine has v1";
        return Err(Error::unsupported("/linux/cgroupsPath", reason));
    }
    let place = systemd::place(linux.cgroups_path.as_deref(), id, manager.user)?;
    let dir = |hierarchy: &Hierarchy, name: String| Dir {
        hierarchy: name,
        mount: hierarchy.mount.clone(),
        path: systemd::directory(&hierarchy.mount, manager, &place),
    };
    let mut dirs: Vec<_> = layout.v1.iter().map(|h| dir(h, h.controllers.join(","))).collect();
    dirs.extend(layout.unified.iter().map(|h| dir(h, String::new())));
    if dirs.is_empty() {
        return Err(Error::unsupported("/linux/cgroupsPath", "no cgroup hierarchy is mounted on /sys/fs/cgroup"));
    }
    let mut properties = systemd::unit_properties(&place, v2, annotations)?;
    properties.extend(systemd::properties(&linux.resources, v2, manager.version)?);
    let unit = systemd::Unit {
        name: place.name,
        sockets: manager.sockets.clone(),
        user: manager.user,
        version: manager.version,
    };
    Ok((dirs, systemd::TransientUnit { unit, properties }))
}

fn dirs(path: Option<&str>, id: &str, layout: &Layout) -> Result<Vec<Dir>> {
    let absolute = path.is_some_and(|path| path.starts_with('/'));
    let below = clean(Path::new(path.unwrap_or(id)));
    // The root itself would be limited, frozen and killed with everything on the machine.
    if below.as_os_str().is_empty() || path.is_some_and(|path| path.contains('\0')) {
        return Err(Error::refused("/linux/cgroupsPath", format_args!("{:?} names no cgroup", path.unwrap_or(id))));
    }
    let dir = |hierarchy: &Hierarchy, name: String, from: &Path| {
        let from = if absolute { Path::new("") } else { from };
        let path = hierarchy.mount.join(clean(from)).join(&below);
        Dir { hierarchy: name, mount: hierarchy.mount.clone(), path }
    };
    let mut dirs: Vec<_> = layout.v1.iter().map(|h| dir(h, h.controllers.join(","), &h.own)).collect();
    if let Some(unified) = &layout.unified {
        let own = &unified.own;
        let from = if layout.is_v2() { own.parent().unwrap_or(own) } else { own };
        dirs.push(dir(unified, String::new(), from));
    }
    if dirs.is_empty() {
        return Err(Error::unsupported("/linux/cgroupsPath", "no cgroup hierarchy is mounted on /sys/fs/cgroup"));
    }
    Ok(dirs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Cpu, Resources};

    fn hierarchy(controllers: &[&str], mount: &str, own: &str) -> Hierarchy {
        let controllers = controllers.iter().map(ToString::to_string).collect();
        Hierarchy { controllers, mount: mount.into(), own: own.into() }
    }

    fn v2() -> Layout {
        Layout { v1: vec![], unified: Some(hierarchy(&["cpu", "memory"], "/sys/fs/cgroup", "/user/session")) }
    }

    fn hybrid() -> Layout {
        Layout {
            v1: vec![
                hierarchy(&["cpu", "cpuacct"], "/c/cpu,cpuacct", "/mine"),
                hierarchy(&["cpuset"], "/c/cpuset", "/"),
                hierarchy(&["devices"], "/c/devices", "/../.."),
                hierarchy(&["name=systemd"], "/c/systemd", "/init.scope"),
            ],
            unified: Some(hierarchy(&[], "/c/unified", "/own")),
        }
    }

    #[test]
    fn directories_are_found() {
        let check = |layout: &Layout, path: Option<&str>, expect: Result<&[&str], &str>| {
            let dirs = dirs(path, "id", layout);
            let dirs = dirs.map(|dirs| dirs.into_iter().map(|dir| dir.path).collect::<Vec<_>>());
            let expect = expect.map(|dirs| dirs.iter().map(std::path::PathBuf::from).collect());
            assert_eq!(dirs.map_err(|e| e.to_string()), expect.map_err(str::to_owned), "{path:?}");
        };
        type Result<T, E> = std::result::Result<T, E>;
        check(&v2(), Some("/a/b"), Ok(&["/sys/fs/cgroup/a/b"]));
        check(&v2(), Some("/../../a/./b/../c"), Ok(&["/sys/fs/cgroup/a/c"]));
        check(&v2(), Some("a/b"), Ok(&["/sys/fs/cgroup/user/a/b"]));
        check(&v2(), Some("../../../../a"), Ok(&["/sys/fs/cgroup/user/a"]));
        check(&v2(), None, Ok(&["/sys/fs/cgroup/user/id"]));
        let nothing = |path| format!("/linux/cgroupsPath: {path:?} names no cgroup");
        for path in ["/", "", ".", "a/..", "/..", "a\0b"] {
            check(&v2(), Some(path), Err(&nothing(path)));
        }
        check(
            &hybrid(),
            Some("/a"),
            Ok(&["/c/cpu,cpuacct/a", "/c/cpuset/a", "/c/devices/a", "/c/systemd/a", "/c/unified/a"]),
        );
        check(
            &hybrid(),
            Some("../a"),
            Ok(&[
                "/c/cpu,cpuacct/mine/a",
                "/c/cpuset/a",
                "/c/devices/a",
                "/c/systemd/init.scope/a",
                "/c/unified/own/a",
            ]),
        );
        let none = "/linux/cgroupsPath: no cgroup hierarchy is mounted on /sys/fs/cgroup";
        check(&Layout::default(), Some("/a"), Err(none));
    }

    #[test]
    fn a_whole_plan() {
        let cpu = Cpu { shares: Some(1024), cpus: Some("0".into()), ..Cpu::default() };
        let linux = Linux { resources: Resources { cpu, ..Resources::default() }, ..Linux::default() };
        let cgroup = plan(&linux, "id", &hybrid(), Options { rootless: true, ..Options::default() }).unwrap();
        let refusable = |write: Write| Write { on_failure: OnFailure::SkipRefused, ..write };
        let write = |dir, file: &str, value: Value, pointer: &str| Write {
            dir,
            file: file.into(),
            value,
            pointer: pointer.into(),
            on_failure: OnFailure::Fail,
        };
        let text = |text: &str| Value::Text(text.into());
        let head = [
            write(1, "cpuset.cpus", text("0"), "/linux/resources/cpu/cpus"),
            write(0, "cpu.shares", text("1024"), "/linux/resources/cpu/shares"),
            write(1, "cpuset.mems", Value::Parent, ""),
            refusable(write(2, "devices.deny", text("a *:* rwm"), "/linux/resources/devices")),
            refusable(write(2, "devices.allow", text("b *:* m"), "/linux/resources/devices")),
        ];
        assert_eq!(cgroup.writes[..5], head);
        assert_eq!(cgroup.writes.len(), 4 + 11);
        assert_eq!((cgroup.devices, cgroup.best_effort), (None, true));

        let error = plan(&linux, "id", &v2(), Options::default()).unwrap_err().to_string();
        assert_eq!(error, "/linux/resources/cpu/cpus: cgroup v2 has no cpuset controller here");
        let linux = Linux { cgroups_path: Some("a".into()), ..Linux::default() };
        let cgroup = plan(&linux, "id", &v2(), Options { owner: Some(7), ..Options::default() }).unwrap();
        assert_eq!((cgroup.writes, cgroup.owner, cgroup.best_effort), (vec![], Some(7), false));
        assert!(cgroup.devices.is_some());
        let cgroup = plan(&linux, "id", &v2(), Options { skip_devices: true, ..Options::default() }).unwrap();
        assert_eq!(cgroup.devices, None);
    }

    #[test]
    fn whom_a_cgroup_is_delegated_to() {
        let check = |namespaces: &str, mounts: &str, uid: u32, expect| {
            let config = format!(
                r#"{{"ociVersion": "1.2.0", "root": {{"path": "rootfs"}}, "mounts": [{mounts}],
                    "process": {{"args": ["a"], "cwd": "/", "user": {{"uid": {uid}, "gid": 0}}}},
                    "linux": {{"namespaces": [{{"type": "mount"}}, {namespaces}],
                        "uidMappings": [{{"containerID": 0, "hostID": 1000, "size": 1}},
                                        {{"containerID": 1, "hostID": 100000, "size": 10}}],
                        "gidMappings": [{{"containerID": 0, "hostID": 1000, "size": 1}}]}}}}"#
            );
            let config = if namespaces.contains("user") {
                config
            } else {
                config.replace("uidMappings", "x").replace("gidMappings", "y")
            };
            let (spec, _) = Spec::from_slice(config.as_bytes(), Path::new("/b")).unwrap();
            assert_eq!(owner(&spec), expect, "{namespaces} {mounts} {uid}");
        };
        let mount = |options: &str| {
            format!(
                r#"{{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [{options}]}}"#
            )
        };
        let (own, user) = (r#"{"type": "cgroup"}"#, r#"{"type": "cgroup"}, {"type": "user"}"#);
        let (rw, ro) = (mount(r#""nosuid", "rw""#), mount(r#""ro""#));
        check(user, &rw, 0, Some(1000));
        check(user, &rw, 5, Some(100_004));
        check(user, &rw, 500, None);
        check(user, &ro, 0, None);
        check(user, "", 0, None);
        check(user, &rw.replace("/sys/fs/cgroup", "/sys/./fs/cgroup/"), 0, Some(1000));
        check(user, &rw.replace("/sys/fs/cgroup", "/cgroup"), 0, None);
        check(r#"{"type": "user"}"#, &rw, 0, None);
        check(r#"{"type": "user"}, {"type": "cgroup", "path": "/proc/self/ns/cgroup"}"#, &rw, 0, None);
        check(own, &rw, 0, Some(0));
        check(own, &rw, 7, Some(7));
    }
}
