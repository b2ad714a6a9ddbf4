//! What a container shall find on `/sys/fs/cgroup`.

use std::path::PathBuf;

use super::Dir;

/// One hierarchy, as it is mounted in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountFacts {
    /// v1: the name of its directory (`cpu,cpuacct`, `systemd`). v2: empty, it is mounted on the place itself.
    pub name: String,
    /// v1: the option that makes mount(2) find it (`cpu,cpuacct`, `name=systemd`). v2: empty.
    pub option: String,
    /// The container's own directory, on the host: what is bound where the container has no cgroup namespace.
    pub source: PathBuf,
    /// Symbolic links to `name`, beside it, one for each of several controllers (`cpu`, `cpuacct`).
    pub links: Vec<String>,
}

/// The hierarchies to mount for a container with these directories. Pure.
///
/// On a hybrid host it is those of v1 alone, as with runc: software in the container then sees v1, not something
/// that is neither.
#[must_use]
pub fn mounts(dirs: &[Dir]) -> Vec<MountFacts> {
    if let [dir] = dirs
        && dir.is_unified()
    {
        let (name, option) = (String::new(), String::new());
        return vec![MountFacts { name, option, source: dir.path.clone(), links: Vec::new() }];
    }
    let facts = |dir: &Dir| {
        let name = dir.mount.file_name().map_or_else(|| dir.hierarchy.clone(), |n| n.to_string_lossy().into_owned());
        let links =
            dir.hierarchy.split(',').map(str::to_owned).filter(|link| dir.hierarchy.contains(',') && *link != name);
        let links = links.collect();
        MountFacts { name, option: dir.hierarchy.clone(), source: dir.path.clone(), links }
    };
    dirs.iter().filter(|dir| !dir.is_unified()).map(facts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_named() {
        let dir = |hierarchy: &str, mount: &str| Dir {
            hierarchy: hierarchy.into(),
            mount: mount.into(),
            path: format!("{mount}/a").into(),
        };
        let check = |dirs: &[Dir], expect: &[(&str, &str, &str, &[&str])]| {
            let expect: Vec<_> = expect
                .iter()
                .map(|(name, option, source, links)| MountFacts {
                    name: (*name).into(),
                    option: (*option).into(),
                    source: source.into(),
                    links: links.iter().map(ToString::to_string).collect(),
                })
                .collect();
            assert_eq!(mounts(dirs), expect);
        };
        check(&[dir("", "/sys/fs/cgroup")], &[("", "", "/sys/fs/cgroup/a", &[])]);
        check(
            &[dir("cpu,cpuacct", "/c/cpu,cpuacct"), dir("name=systemd", "/c/systemd"), dir("", "/c/unified")],
            &[
                ("cpu,cpuacct", "cpu,cpuacct", "/c/cpu,cpuacct/a", &["cpu", "cpuacct"]),
                ("systemd", "name=systemd", "/c/systemd/a", &[]),
            ],
        );
    }
}
