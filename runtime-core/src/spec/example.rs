//! The configuration that `spec` writes for a user to start from.

/// For root: what runc gives, under this runtime's name.
const FOR_ROOT: &str = include_str!("example.json");

/// For a user without privileges, who is root inside: the host's network and sysfs, no group but his own, no limits.
const ROOTLESS: &str = include_str!("example-rootless.json.in");

/// A user's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// The text of a `config.json` that runs `sh`, as `runc spec` writes it.
///
/// `rootless`: for this user, without privileges. `cgroup_namespace`: with a cgroup namespace, as runc has it on hosts
/// with cgroup v2 alone.
#[must_use]
pub fn example(rootless: Option<Ids>, cgroup_namespace: bool) -> String {
    let text = match rootless {
        None => FOR_ROOT.to_owned(),
        Some(Ids { uid, gid }) => ROOTLESS.replace("UID", &uid.to_string()).replace("GID", &gid.to_string()),
    };
    if cgroup_namespace { text } else { text.replace(",\n\t\t\t{\n\t\t\t\t\"type\": \"cgroup\"\n\t\t\t}", "") }
}
