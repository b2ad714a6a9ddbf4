//! The runtime under test as an ordinary user: `--as-user NAME|UID[:FIRST:COUNT] [--delegate]`.
//!
//! The harness is root as always and makes the namespaces of a case; the runtime alone is executed as that user, without
//! capabilities and supplementary groups. What a case makes in its directory is given to him, as it would be his, and
//! configurations become what `runc spec --rootless` makes of them: a user namespace that maps root to him, and no limits
//! unless a cgroup is delegated.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown, lchown};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ctx::{Job, Stop, fail, namespace, skip};
use crate::known::matches;
use crate::systemd;

/// Who executes the runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
    /// His name, if he has one.
    name: Option<String>,
    /// His subordinate ids, users and groups alike: the first, and how many.
    sub: Option<(u32, u32)>,
    groups: Groups,
}

/// Where the containers of an ordinary user have cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Groups {
    /// Nowhere.
    None,
    /// Below the run's parent cgroup, which is his.
    Delegated,
    /// His own systemd makes them.
    OfHisSystemd,
}

/// What the kernel keeps an ordinary user from (mount_setattr(2), *EPERM*).
const LOCKED: &str = "flags and access times of a mount of the host stay as they are";

const LINES: &str = "lines of an engine that root runs";

const REALTIME: &str = "only root of the machine gives real-time priorities";

/// Cases that an ordinary user can't have, and why.
const ROOT_ONLY: &[(&str, &str)] = &[
    ("engines/*", "engines are run by root here"),
    ("faults/*", "written for root"),
    ("spec/mounts/idmap*", "only root of the machine may idmap a mount of the host"),
    ("spec/idmap/*", "only root of the machine may idmap a mount of the host"),
    ("spec/filesystem/overlay*", "its layers are on a file system of root's"),
    ("spec/mount-option/recursive-rrw", LOCKED),
    ("spec/mount-option/recursive-rsuid", LOCKED),
    ("spec/mount-option/recursive-rdev", LOCKED),
    ("spec/mount-option/recursive-rexec", LOCKED),
    ("spec/mount-option/recursive-rnoatime", LOCKED),
    ("spec/mount-option/recursive-ratime", LOCKED),
    ("spec/mount-option/recursive-rnodiratime", LOCKED),
    ("spec/mount-option/recursive-rdiratime", LOCKED),
    ("spec/mount-option/recursive-rrelatime", LOCKED),
    ("spec/mount-option/recursive-rstrictatime", LOCKED),
    ("spec/mount-option/bind-rw", LOCKED),
    ("spec/mount-option/bind-suid", LOCKED),
    ("spec/mount-option/bind-dev", LOCKED),
    ("spec/mount-option/bind-exec", LOCKED),
    ("spec/mount-option/bind-atime", LOCKED),
    ("spec/mount-option/bind-diratime", LOCKED),
    ("spec/mounts/recursive", "a bind without what is mounted below would uncover it"),
    ("spec/mount-option/bind-noatime", LOCKED),
    ("spec/namespace/time-offsets*", "refused by name"),
    ("spec/namespace/any-combination*", "namespaces of the host are joined"),
    ("spec/namespace/joined-mount", "a namespace of the host is joined"),
    ("spec/namespace/path-of-another-type-*", "namespaces of the host are joined"),
    ("spec/userns/many-mappings", "rootless/many-mappings is for a user"),
    ("spec/userns/new-and-joined-*", "a namespace of the host is joined"),
    ("spec/net-device/*", "only root of the machine may take devices of the host"),
    ("spec/device/node-char", "only root of the machine makes device nodes"),
    ("spec/device/node-block", "only root of the machine makes device nodes"),
    ("spec/device/node-outside-dev", "only root of the machine makes device nodes"),
    ("spec/device/rules-*", "only root of the machine may load device rules"),
    ("cgroups/holds/devices", "only root of the machine may load device rules"),
    ("cgroups/measured/devices", "only root of the machine may load device rules"),
    ("cgroups/devices/*", "only root of the machine may load device rules"),
    ("cgroups/systemd/property/devices", "only root of the machine may load device rules"),
    (
        "cgroups/systemd/unit/slice",
        "systemd moves processes from elsewhere into delegated units alone, and a slice is none",
    ),
    ("cgroups/delegation/*", "written for root, whose cgroup is given to the container"),
    ("cgroups/life/below-frozen", "a cgroup of root's is frozen"),
    ("spec/process/scheduler-fifo", REALTIME),
    ("spec/process/scheduler-rr", REALTIME),
    ("spec/process/scheduler-deadline", REALTIME),
    ("spec/process/io-priority-rt", REALTIME),
    ("security/regression/setgid-directory", "a group that is not his"),
    ("security/GHSA-g54h-m393-cpwq/*", "only root of the machine makes device nodes"),
    ("spec/process/large-ids", "more ids than are lent to a user"),
    ("cli/features/mount-options-are-accepted", "only root of the machine may idmap a mount of the host"),
    ("cli/features/namespaces-are-made", "ids of the host are mapped"),
    ("spec/seccomp/notify", "exec can't hand a filter's listener over: refused by name"),
    ("spec/seccomp/notify-flags", "exec can't hand a filter's listener over: refused by name"),
    ("cli/global/root-default", "$XDG_RUNTIME_DIR, which rootless/default-root checks"),
    ("cli/lines/containerd", LINES),
    ("cli/lines/go-runc", LINES),
    ("cli/lines/cri-o", LINES),
    ("cli/lines/buildah", "without `--root`: rootless/default-root is for a user"),
    ("cli/lines/inspektor-gadget", LINES),
    ("cli/text/out-of-memory", "rootless/limits-without-permission is for a user"),
    ("cli/text/events-after-the-end", "a limit of root's"),
    ("cli/text/init-still-running", "a cgroup of root's is frozen"),
    ("cli/text/no-control-file", "rootless/limits-without-permission is for a user"),
    ("cli/global/root-many", "--rootless=false takes permission for all cgroups"),
];

/// Cases that need ids of the container beside root.
const SUBORDINATE: &[&str] = &[
    "spec/userns/*",
    "spec/sysctl/network",
    "spec/link/copy-symlink-user-namespace",
    "spec/mounts/data-options",
    "spec/device/node-fifo",
    "cli/exec/user*",
    "cli/exec/additional-gids*",
    "cli/exec/process",
];

/// Cases that need a cgroup of the container's own.
const DELEGATED: &[&str] = &[
    "cgroups/*",
    "spec/resources/*",
    "spec/cgroup-mount/writable",
    "spec/cgroup/absolute-path",
    "spec/cgroup/relative-path",
    "spec/cgroup/no-path",
    "spec/cgroup/removed",
    "spec/cgroup/pids-limit-holds",
    "spec/cgroup/memory-limit-holds",
    "cli/create/in-its-cgroup",
    "cli/delete/force-paused",
    "cli/exec/paused",
    "cli/pause/*",
    "cli/events/stats",
    "cli/update/*",
];

impl User {
    pub(crate) fn parse(text: &str, groups: Groups) -> Result<User, Stop> {
        let mut parts = text.split(':');
        let who = parts.next().unwrap_or_default();
        let number = |text: &str| text.parse::<u32>().or_else(|_| fail(format!("--as-user {text}: no number")));
        let passwd = fs::read_to_string("/etc/passwd")?;
        let entry = passwd
            .lines()
            .map(|l| l.split(':').collect::<Vec<_>>())
            .find(|f| f.len() > 3 && (f[0] == who || f[2] == who));
        let (uid, gid, name) = match entry {
            Some(fields) => (number(fields[2])?, number(fields[3])?, Some(fields[0].to_owned())),
            None => (number(who)?, number(who)?, None),
        };
        let sub = match (parts.next(), parts.next()) {
            (None, _) => None,
            (Some(first), Some(count)) => Some((number(first)?, number(count)?)),
            (Some(_), None) => return fail("--as-user: subordinate ids are FIRST:COUNT"),
        };
        if uid == 0 {
            return fail("--as-user: root is no ordinary user");
        }
        Ok(User { uid, gid, name, sub, groups })
    }

    /// Whether his containers have cgroups.
    pub(crate) fn has_groups(&self) -> bool {
        self.groups != Groups::None
    }

    /// `XDG_RUNTIME_DIR`: that of his login where his systemd is wanted, else a private one.
    pub(crate) fn runtime_dir(&self, job: &Job) -> PathBuf {
        match self.groups {
            Groups::OfHisSystemd => systemd::runtime_dir(self.uid),
            Groups::None | Groups::Delegated => job.dir.join("xdg"),
        }
    }

    /// His name, which newuidmap(1) wants him to have.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("conformance")
    }

    pub(crate) fn has_subordinates(&self) -> bool {
        self.sub.is_some()
    }

    pub(crate) fn first_subordinate(&self) -> Option<u32> {
        self.sub.map(|(first, _)| first)
    }

    /// What is different for him, in the mount namespace of the case: his name and his subordinate ids; and his cgroup.
    pub(crate) fn furnish(&self, job: &Job) -> Result<(), Stop> {
        let name = self.name();
        let passwd = fs::read_to_string("/etc/passwd")?;
        let line = format!("{name}:x:{}:{}::/:/bin/sh\n", self.uid, self.gid);
        let passwd = if self.name.is_some() { passwd } else { passwd + &line };
        let ids = self.sub.map(|(first, count)| format!("{name}:{first}:{count}\n")).unwrap_or_default();
        for (file, text) in [("passwd", &passwd), ("subuid", &ids), ("subgid", &ids)] {
            let (private, place) = (job.dir.join(format!("etc-{file}")), Path::new("/etc").join(file));
            fs::write(&private, text)?;
            if !place.exists() {
                continue;
            }
            mount(Some(&private), &place, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        }
        fs::create_dir_all(self.runtime_dir(job))?;
        if self.groups == Groups::Delegated {
            for hierarchy in hierarchies(job.v2) {
                self.delegate(&hierarchy, &job.cgroup)
                    .map_err(|e| Stop::Fail(format!("harness: delegate {}: {e}", hierarchy.display())))?;
            }
        }
        self.own(&job.dir, &[])?;
        Ok(())
    }

    /// A directory of a hierarchy becomes his, as systemd delegates it, and one in it for the runtime itself: who moves a
    /// process must be allowed to write to the common ancestor.
    fn delegate(&self, hierarchy: &Path, cgroup: &str) -> io::Result<()> {
        let dir = hierarchy.join(cgroup.trim_start_matches('/'));
        let place = dir.join("runtime");
        fs::create_dir_all(&place)?;
        let unified = dir.join("cgroup.subtree_control").exists();
        if unified {
            for above in [hierarchy, &dir] {
                let controllers = fs::read_to_string(above.join("cgroup.controllers"))?;
                for controller in controllers.split_whitespace() {
                    let _ = fs::write(above.join("cgroup.subtree_control"), format!("+{controller}"));
                }
            }
        } else {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                for below in [&dir, &place] {
                    if let (Ok(value), Some(above)) = (fs::read_to_string(below.join(file)), below.parent())
                        && value.trim().is_empty()
                    {
                        fs::write(below.join(file), fs::read_to_string(above.join(file))?.trim())?;
                    }
                }
            }
        }
        for dir in [&dir, &place] {
            chown(dir, Some(self.uid), Some(self.gid))?;
            for file in ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads", "tasks"] {
                match chown(dir.join(file), Some(self.uid), Some(self.gid)) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Gives him what is root's below `dir`, but for what is kept.
    pub(crate) fn own(&self, dir: &Path, kept: &[PathBuf]) -> io::Result<()> {
        let meta = fs::symlink_metadata(dir)?;
        // The probe is every container's: one that could write to it would be all others' end.
        if meta.uid() == 0 && (meta.is_dir() || meta.nlink() == 1) {
            lchown(dir, Some(self.uid), Some(self.gid))?;
        }
        if meta.is_dir() {
            let device = meta.dev();
            for entry in fs::read_dir(dir)? {
                let path = entry?.path();
                // What is mounted there is not of this run's making, and may not answer.
                if !kept.contains(&path) && fs::symlink_metadata(&path).is_ok_and(|m| m.dev() == device) {
                    self.own(&path, kept)?;
                }
            }
        }
        Ok(())
    }

    /// What the helper does that executes the runtime.
    pub(crate) fn circumstances(&self, job: &Job) -> Vec<String> {
        let mut all = Vec::new();
        if self.groups == Groups::Delegated {
            let places =
                hierarchies(job.v2).into_iter().map(|h| h.join(job.cgroup.trim_start_matches('/')).join("runtime"));
            all.extend(places.map(|place| format!("cgroup={}", place.display())));
        }
        all.push(format!("user={}:{}", self.uid, self.gid));
        all
    }

    /// The maps of a container: root is he, all others are his subordinates.
    pub(crate) fn maps(&self) -> Value {
        let own = |id: u32| json!({"containerID": 0, "hostID": id, "size": 1});
        let maps = |id: u32| match self.sub {
            Some((first, count)) => json!([own(id), {"containerID": 1, "hostID": first, "size": count}]),
            None => json!([own(id)]),
        };
        json!({"uidMappings": maps(self.uid), "gidMappings": maps(self.gid)})
    }

    /// The default configuration for him.
    pub(crate) fn adapt(&self, config: &mut Value) {
        namespace(config, "user", Some(json!({"type": "user"})));
        let maps = self.maps();
        for key in ["uidMappings", "gidMappings"] {
            config["linux"][key] = maps[key].clone();
        }
        if !self.has_groups()
            && let Some(linux) = config["linux"].as_object_mut()
        {
            linux.remove("cgroupsPath");
            linux.remove("resources");
        }
    }

    /// What a case has made of it must still be possible for him.
    pub(crate) fn adapt_changed(&self, case: &str, config: &mut Value) -> Result<(), Stop> {
        // A namespace of a container goes with the user namespace that it belongs to.
        let list = config["linux"]["namespaces"].as_array().cloned().unwrap_or_default();
        let owner = list.iter().find_map(|n| n["path"].as_str()?.strip_suffix(&format!("/ns/{}", link(&n["type"]))));
        let own_user = list.iter().any(|n| n["type"] == "user" && n["path"].is_null());
        if let (Some(owner), true) = (owner, own_user) {
            namespace(config, "user", Some(json!({"type": "user", "path": format!("{owner}/ns/user")})));
            if let Some(linux) = config["linux"].as_object_mut() {
                linux.remove("uidMappings");
                linux.remove("gidMappings");
            }
        }
        let has_new = |kind: &str| {
            let all = config["linux"]["namespaces"].as_array();
            all.is_some_and(|list| list.iter().any(|n| n["type"] == kind && n["path"].is_null()))
        };
        // A sysfs shows a network namespace, a procfs a pid namespace, an mqueue an ipc namespace; they are for who has power
        // over that.
        let host = |kind: &str| !list.iter().any(|n| n["type"] == kind);
        let (network, pid, ipc) = (has_new("network"), host("pid"), host("ipc"));
        if let Some(mounts) = config["mounts"].as_array_mut() {
            let bind = |mount: &mut Value, source: &str| {
                let at = mount["destination"].clone();
                let options = ["rbind", "nosuid", "noexec", "nodev"];
                *mount = json!({"destination": at, "type": "none", "source": source, "options": options});
            };
            for mount in mounts.iter_mut() {
                match mount["type"].as_str() {
                    Some("sysfs") if !network => bind(mount, "/sys"),
                    Some("proc") if pid => bind(mount, "/proc"),
                    _ => {}
                }
            }
            mounts.retain(|m| m["type"] != "mqueue" || !ipc);
        }
        let user = &config["process"]["user"];
        let others = |key: &str| {
            user[key].as_u64().is_some_and(|id| id != 0) || user[key].as_array().is_some_and(|l| !l.is_empty())
        };
        let refused = case.starts_with("spec/refused/") || case.starts_with("spec/rootless/");
        if self.sub.is_none() && !refused && ["uid", "gid", "additionalGids"].into_iter().any(others) {
            return skip(ONE_ID);
        }
        Ok(())
    }

    /// Why a case makes no sense for him.
    pub(crate) fn excuse(&self, case: &str) -> Option<&'static str> {
        let any = |list: &[&str]| list.iter().any(|pattern| matches(pattern, case));
        if let Some((_, why)) = ROOT_ONLY.iter().find(|(pattern, _)| matches(pattern, case)) {
            return Some(why);
        }
        if self.sub.is_none() && any(SUBORDINATE) {
            return Some(TAKES_IDS);
        }
        (!self.has_groups() && any(DELEGATED)).then_some(TAKES_CGROUP)
    }
}

/// Whether a skip for this reason is for what such a user does not have, and not for what the machine lacks.
pub(crate) fn is_excuse(reason: &str) -> bool {
    ROOT_ONLY.iter().map(|(_, why)| *why).chain([ONE_ID, TAKES_IDS, TAKES_CGROUP, HAS_CGROUP]).any(|why| why == reason)
}

const ONE_ID: &str = "an ordinary user without subordinate ids has one id in a container";
pub(crate) const TAKES_IDS: &str = "takes subordinate ids";
const TAKES_CGROUP: &str = "takes a delegated cgroup";
pub(crate) const HAS_CGROUP: &str = "a cgroup is delegated";

/// The name of a kind of namespace below /proc/PID/ns.
fn link(kind: &Value) -> &str {
    match kind.as_str() {
        Some("network") => "net",
        Some("mount") => "mnt",
        kind => kind.unwrap_or_default(),
    }
}

/// Where the hierarchies are mounted.
fn hierarchies(v2: bool) -> Vec<PathBuf> {
    if v2 {
        return vec!["/sys/fs/cgroup".into()];
    }
    let info = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let point = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        right.starts_with("cgroup").then(|| left.split(' ').nth(4).map(PathBuf::from))?
    };
    info.lines().filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        let check = |text: &str| User::parse(text, Groups::None).ok().map(|u| (u.uid, u.gid, u.sub));
        assert_eq!(check("54321"), Some((54321, 54321, None)));
        assert_eq!(check("54321:100000:65536"), Some((54321, 54321, Some((100_000, 65536)))));
        for wrong in ["root", "0", "54321:1", "54321:x:1", "no such user", ""] {
            assert_eq!(check(wrong), None, "{wrong}");
        }
    }
}
