//! Id mappings of user namespaces, user_namespaces(7): which ids they have, and who may write them.
//!
//! Who has CAP_SETUID in the namespace around may map any of its ids. An ordinary user may map his own id and no other,
//! in one line of one id, and only after he has given up setgroups(2) for the namespace: a group can also take rights
//! away. Further ids are lent to him by the administrator (subuid(5), subgid(5)), and newuidmap(1) and newgidmap(1) map
//! these for him.

pub(crate) mod helper;

use std::fmt;

use crate::error::{Error, Result};
use crate::host::{CAP_SETGID, CAP_SETUID, Host};
use crate::spec::{IdMapping, Linux, User};

/// One map of a user namespace that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap {
    /// The content of `/proc/PID/uid_map` or `gid_map`.
    pub text: String,
    /// Who writes it.
    pub writer: Writer,
}

/// Who writes a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// The runtime itself.
    Runtime,
    /// newuidmap(1) or newgidmap(1).
    Helper,
}

/// Both maps of a user namespace that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMaps {
    /// uid_map.
    pub uids: IdMap,
    /// gid_map.
    pub gids: IdMap,
    /// `deny` goes into `/proc/PID/setgroups` first: without it the kernel takes no gid_map from an ordinary user (3.19,
    /// CVE-2014-8989).
    pub deny_setgroups: bool,
}

/// What is known of the user namespace in which a process will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// uid_map.
    pub uids: Vec<IdMapping>,
    /// gid_map.
    pub gids: Vec<IdMapping>,
    /// setgroups(2) is allowed in it.
    pub setgroups: bool,
}

/// The text of `/proc/PID/uid_map` or `gid_map`: a line `inside outside size` for each mapping.
#[must_use]
pub fn map_text(mappings: &[IdMapping]) -> String {
    mappings.iter().map(|m| format!("{} {} {}\n", m.inside, m.outside, m.size)).collect()
}

/// The mappings in the text of a map, as the kernel shows it: in columns.
#[must_use]
pub fn parse_map(text: &str) -> Vec<IdMapping> {
    let line = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse().ok());
        Some(IdMapping { inside: numbers.next()??, outside: numbers.next()??, size: numbers.next()?? })
    };
    text.lines().filter_map(line).collect()
}

/// The id outside for an id inside. `None`: not mapped.
#[must_use]
pub fn outside(mappings: &[IdMapping], inside: u32) -> Option<u32> {
    mappings.iter().find_map(|m| {
        let offset = inside.checked_sub(m.inside)?;
        (offset < m.size).then(|| m.outside + offset)
    })
}

/// How the maps of a container's new user namespace are written.
///
/// # Errors
/// A map whose text the kernel does not take: it must be shorter than a page.
pub(crate) fn new_maps(linux: &Linux, host: &Host) -> Result<IdMaps> {
    let map = |name: &str, mappings: &[IdMapping], own: u32, capability: u64| {
        let text = map_text(mappings);
        if text.len() >= host.page_size {
            let (lines, bytes, most) = (mappings.len(), text.len(), host.page_size - 1);
            let why = format!("{lines} mappings are {bytes} bytes of text, the kernel takes {most}");
            return Err(Error::unsupported(format_args!("/linux/{name}"), why));
        }
        let own_alone = matches!(mappings, [IdMapping { outside, size: 1, .. }] if *outside == own);
        let may = host.capabilities & capability != 0 || own_alone;
        Ok(IdMap { text, writer: if may { Writer::Runtime } else { Writer::Helper } })
    };
    let uids = map("uidMappings", &linux.uid_mappings, host.euid, CAP_SETUID)?;
    let gids = map("gidMappings", &linux.gid_mappings, host.egid, CAP_SETGID)?;
    let deny_setgroups = gids.writer == Writer::Runtime && host.capabilities & CAP_SETGID == 0;
    Ok(IdMaps { uids, gids, deny_setgroups })
}

/// Refuses ids that the user namespace does not have, below the JSON pointer of the process. What is returned are the
/// supplementary groups to set; `None`: setgroups(2) is not allowed there, and none were asked for.
///
/// # Errors
/// An id outside of the maps; groups where nobody may set them.
pub(crate) fn check_user(pointer: &str, user: &User, known: &Known) -> Result<Option<Vec<u32>>> {
    let mapped = |name: fmt::Arguments<'_>, id: u32, mappings: &[IdMapping]| match outside(mappings, id) {
        Some(_) => Ok(()),
        None => Err(Error::refused(
            format_args!("{pointer}/user/{name}"),
            format_args!("{id} is not mapped in the user namespace"),
        )),
    };
    mapped(format_args!("uid"), user.uid, &known.uids)?;
    mapped(format_args!("gid"), user.gid, &known.gids)?;
    if !known.setgroups && !user.additional_gids.is_empty() {
        let why = "setgroups(2) is not allowed in a user namespace whose group an ordinary user mapped himself";
        return Err(Error::unsupported(format_args!("{pointer}/user/additionalGids"), why));
    }
    for (index, gid) in user.additional_gids.iter().enumerate() {
        mapped(format_args!("additionalGids/{index}"), *gid, &known.gids)?;
    }
    Ok(known.setgroups.then(|| user.additional_gids.clone()))
}

impl fmt::Display for IdMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, map, helper) in [("uids", &self.uids, "newuidmap"), ("gids", &self.gids, "newgidmap")] {
            let lines = map.text.lines().map(|line| line.replace(' ', ":")).collect::<Vec<_>>().join(" ");
            write!(f, "{}{name} {lines}", if name == "uids" { "map " } else { " " })?;
            if map.writer == Writer::Helper {
                write!(f, " by {helper}")?;
            }
        }
        if self.deny_setgroups { write!(f, " and deny setgroups") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Layout;

    fn mapping(inside: u32, outside: u32, size: u32) -> IdMapping {
        IdMapping { inside, outside, size }
    }

    #[test]
    fn maps() {
        let maps = [mapping(0, 1000, 1), mapping(1, 100_000, 65536)];
        assert_eq!(map_text(&maps), "0 1000 1\n1 100000 65536\n");
        assert_eq!(parse_map("         0       1000          1\n         1     100000      65536\n"), maps);
        for (inside, expect) in [(0, Some(1000)), (1, Some(100_000)), (65536, Some(165_535)), (65537, None)] {
            assert_eq!(outside(&maps, inside), expect, "{inside}");
        }
        let whole = parse_map("         0          0 4294967295\n");
        assert_eq!(outside(&whole, u32::MAX - 1), Some(u32::MAX - 1));
    }

    #[test]
    fn who_writes_the_maps() {
        let host = |capabilities| Host {
            euid: 1000,
            egid: 100,
            capabilities,
            last_capability: 40,
            in_user_namespace: false,
            setgroups: true,
            page_size: 4096,
            cgroup: Layout::default(),
            apparmor: false,
            selinux: false,
            kcore: true,
        };
        let check = |capabilities, uids: &[IdMapping], gids: &[IdMapping], expect: &str| {
            let linux = Linux { uid_mappings: uids.to_vec(), gid_mappings: gids.to_vec(), ..Linux::default() };
            assert_eq!(new_maps(&linux, &host(capabilities)).unwrap().to_string(), expect);
        };
        let both = CAP_SETUID | CAP_SETGID;
        let sub = [mapping(0, 1000, 1), mapping(1, 100_000, 9)];
        check(0, &[mapping(0, 1000, 1)], &[mapping(7, 100, 1)], "map uids 0:1000:1 gids 7:100:1 and deny setgroups");
        check(both, &[mapping(0, 1000, 1)], &[mapping(0, 100, 1)], "map uids 0:1000:1 gids 0:100:1");
        check(both, &sub, &sub, "map uids 0:1000:1 1:100000:9 gids 0:1000:1 1:100000:9");
        check(0, &sub, &sub, "map uids 0:1000:1 1:100000:9 by newuidmap gids 0:1000:1 1:100000:9 by newgidmap");
        check(
            0,
            &sub,
            &[mapping(0, 100, 1)],
            "map uids 0:1000:1 1:100000:9 by newuidmap gids 0:100:1 and deny setgroups",
        );
        check(0, &[mapping(0, 1001, 1)], &sub, "map uids 0:1001:1 by newuidmap gids 0:1000:1 1:100000:9 by newgidmap");
        check(0, &[mapping(0, 1000, 2)], &sub, "map uids 0:1000:2 by newuidmap gids 0:1000:1 1:100000:9 by newgidmap");
        check(CAP_SETGID, &sub, &sub, "map uids 0:1000:1 1:100000:9 by newuidmap gids 0:1000:1 1:100000:9");

        let many = |first| (0..340).map(|i| mapping(i, first + 2 * i, 1)).collect::<Vec<_>>();
        let text = |first| {
            let linux = Linux { uid_mappings: many(first), gid_mappings: many(0), ..Linux::default() };
            new_maps(&linux, &host(both)).map(|maps| maps.uids.text.lines().count()).map_err(|e| e.to_string())
        };
        assert_eq!(text(0), Ok(340));
        let refused = "/linux/uidMappings: 340 mappings are 4310 bytes of text, the kernel takes 4095";
        assert_eq!(text(100_000), Err(refused.to_owned()));
    }

    #[test]
    fn ids_outside_the_maps_are_refused() {
        let known = |setgroups| Known { uids: vec![mapping(0, 5, 2)], gids: vec![mapping(0, 5, 3)], setgroups };
        let check = |uid, gid, groups: &[u32], setgroups, expect: Result<Option<&[u32]>, &str>| {
            let user = User { uid, gid, additional_gids: groups.to_vec(), umask: None };
            let result = check_user("/process", &user, &known(setgroups)).map_err(|e| e.to_string());
            assert_eq!(result, expect.map(|groups| groups.map(<[u32]>::to_vec)).map_err(str::to_owned));
        };
        check(1, 2, &[0, 2], true, Ok(Some(&[0, 2])));
        check(1, 2, &[], true, Ok(Some(&[])));
        check(1, 2, &[], false, Ok(None));
        check(2, 9, &[], true, Err("/process/user/uid: 2 is not mapped in the user namespace"));
        check(1, 3, &[], true, Err("/process/user/gid: 3 is not mapped in the user namespace"));
        check(1, 2, &[0, 3], true, Err("/process/user/additionalGids/1: 3 is not mapped in the user namespace"));
        let denied = "/process/user/additionalGids: setgroups(2) is not allowed in a user namespace whose group an \
                      ordinary user mapped himself";
        check(1, 2, &[0], false, Err(denied));
    }
}
