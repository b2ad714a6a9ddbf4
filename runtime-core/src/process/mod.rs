//! What the process is: its user, its privileges, its limits, its program.

pub(crate) mod apply;

use std::ffi::{CStr, CString};
use std::fmt;

use crate::spec::{self, Capabilities, Rlimit};
use crate::sys::CStringArray;

/// The user that the process becomes, and its working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Inside the container.
    pub uid: u32,
    /// Inside the container.
    pub gid: u32,
    /// Supplementary groups. `None`: setgroups(2) is not allowed in this user namespace, and none were asked for.
    pub groups: Option<Vec<u32>>,
    /// `process.cwd`.
    pub cwd: CString,
}

/// The capability sets of the process, besides the bounding set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Privileges {
    /// The sets.
    pub sets: Capabilities,
    /// Keep CAP_SYS_ADMIN until the seccomp filter is in place: without no_new_privs, loading it takes that.
    pub keep_sys_admin: bool,
}

/// A program to execute: every path that may be it, in the order of the search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// `args[0]` for one that has a slash, else that name in each directory of `PATH`.
    pub candidates: Vec<CString>,
    /// The arguments.
    pub argv: CStringArray,
    /// The environment.
    pub envp: CStringArray,
    /// The candidates are from `PATH`.
    pub searched: bool,
}

/// CAP_SYS_ADMIN of capabilities(7).
pub const CAP_SYS_ADMIN: u64 = 1 << 21;

impl Program {
    /// What `process` asks for.
    #[must_use]
    pub fn new(process: &spec::Process) -> Self {
        let name = process.args[0].as_bytes();
        let searched = !name.contains(&b'/');
        let candidates = if searched {
            let path = process.env.iter().find_map(|v| v.as_bytes().strip_prefix(b"PATH="));
            search_path(path.unwrap_or(DEFAULT_PATH), name)
        } else {
            vec![process.args[0].clone()]
        };
        Program {
            candidates,
            argv: CStringArray::new(process.args.clone()),
            envp: CStringArray::new(process.env.clone()),
            searched,
        }
    }

    /// `args[0]`.
    #[must_use]
    pub fn name(&self) -> String {
        self.argv.strings()[0].to_string_lossy().into_owned()
    }
}

/// Where a program is looked for when the container has no `PATH`: what runc sets.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A name in every directory of a `PATH`. An empty entry is the working directory.
fn search_path(path: &[u8], name: &[u8]) -> Vec<CString> {
    path.split(|&b| b == b':')
        .filter_map(|directory| {
            let directory = if directory.is_empty() { b"." } else { directory };
            CString::new([directory, b"/", name].concat()).ok()
        })
        .collect()
}

/// Names of the resources of setrlimit(2), by number.
const RLIMIT_NAMES: [&str; 16] = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

/// `RLIMIT_NOFILE soft 1024 hard 4096`.
pub(crate) fn rlimit_text(limit: &Rlimit) -> String {
    let name = RLIMIT_NAMES.get(limit.resource as usize).copied().unwrap_or("?");
    let value = |v: u64| if v == u64::MAX { "unlimited".to_owned() } else { v.to_string() };
    format!("RLIMIT_{name} soft {} hard {}", value(limit.soft), value(limit.hard))
}

/// The names of a set's capabilities.
pub(crate) fn capability_names(set: u64, last: u32) -> String {
    let all = u64::MAX >> (63 - last.min(63));
    if set & all == all {
        return "all capabilities".to_owned();
    }
    let names: Vec<_> = (0..64).filter(|n| set >> n & 1 == 1).map(capability_name).collect();
    if names.is_empty() { "no capability".to_owned() } else { names.join(" ") }
}

/// `CAP_CHOWN` for 0.
pub(crate) fn capability_name(number: u32) -> String {
    caps::all()
        .into_iter()
        .find(|c| u32::from(c.index()) == number)
        .map_or_else(|| format!("CAP_{number}"), |c| c.to_string())
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "become uid {} gid {}", self.uid, self.gid)?;
        if let Some(groups) = self.groups.as_ref().filter(|g| !g.is_empty()) {
            write!(f, " groups {groups:?}")?;
        }
        write!(f, " in {}", self.cwd.to_string_lossy())
    }
}

impl fmt::Display for Privileges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Capabilities { effective, permitted, inheritable, ambient, .. } = self.sets;
        write!(
            f,
            "set capabilities (effective {effective:#x}, permitted {permitted:#x}, inheritable {inheritable:#x}, ambient {ambient:#x})"
        )
    }
}

/// A path without `.`, `..`, doubled or trailing slashes, always absolute. It compares paths; it opens none.
#[must_use]
pub(crate) fn clean(path: &CStr) -> CString {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.to_bytes().split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut bytes = vec![b'/'];
    bytes.extend(parts.join(&b'/'));
    CString::new(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (path, expect) in
            [(c"/a//b/./c/", c"/a/b/c"), (c"/a/../../b", c"/b"), (c"a", c"/a"), (c"/", c"/"), (c"", c"/")]
        {
            assert_eq!(clean(path).as_c_str(), expect);
        }
    }

    #[test]
    fn path_search_takes_every_directory_in_order() {
        let found = search_path(b"/bin::/usr/bin/", b"sh");
        assert_eq!(found, [c"/bin/sh", c"./sh", c"/usr/bin//sh"].map(CString::from));
    }

    #[test]
    fn limits_and_capabilities_have_names() {
        assert_eq!(
            rlimit_text(&Rlimit { resource: 7, soft: 1, hard: u64::MAX }),
            "RLIMIT_NOFILE soft 1 hard unlimited"
        );
        assert_eq!(capability_names(0b11, 40), "CAP_CHOWN CAP_DAC_OVERRIDE");
        assert_eq!(capability_names(u64::MAX, 40), "all capabilities");
        assert_eq!(capability_names(0, 40), "no capability");
    }
}
