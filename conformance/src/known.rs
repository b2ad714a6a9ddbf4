//! What is known beforehand: faults of the reference runtimes, and skips that a CI machine may have.

/// A reference runtime's failure that is not ours to repair.
pub(crate) struct Known {
    /// How the first line of `--version` begins, up to a word's end.
    pub runtime: &'static str,
    /// `suite/name`; a trailing `*` stands for the rest.
    pub case: &'static str,
    /// Why it fails there.
    pub reason: &'static str,
}

const fn known(runtime: &'static str, case: &'static str, reason: &'static str) -> Known {
    Known { runtime, case, reason }
}

/// The table of known faults.
pub(crate) const KNOWN: &[Known] = &[
    known("runc version 1.1.5", "cli/features/unsafe-annotations", "came with runc 1.2"),
    known("runc version 1.1.5", "cli/features/idmap", "came with runc 1.2"),
    known("runc version 1.1.5", "cli/global/root-slash", "refused since runc 1.3"),
    known("runc version 1.1.5", "cli/config/null", "nil pointer dereference"),
    known(
        "runc version 1.1.5",
        "cli/program/exec-not-a-program",
        "returns before execve: the status is the process's 1",
    ),
    known(
        "runc version 1.1.5",
        "cli/program/exec-interpreter-missing",
        "returns before execve: the status is the process's 1",
    ),
    known(
        "runc version 1.1.5",
        "cli/log/json-record",
        "a warning about memory.events where cgroup v2 has no memory controller",
    ),
    known(
        "runc version 1.1.5",
        "cli/program/run-directory",
        "a warning about memory.events where cgroup v2 has no memory controller",
    ),
    known(
        "runc version 1.1.5",
        "cli/program/run-not-executable",
        "a warning about memory.events where cgroup v2 has no memory controller",
    ),
    known("runc version 1.1.5", "cli/exec/bad-user-4294967296", "the number wraps around"),
    known("runc version 1.1.5", "cli/tty/long-socket-path", "connects by the path as it is"),
    known("runc version 1.1.5", "spec/domainname", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/process/scheduler-*", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/process/io-priority", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/process/personality", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/process/memory-policy", "came with runc 1.4"),
    known("runc version 1.1.5", "spec/process/exec-cpu-affinity", "came with runc 1.3"),
    known(
        "runc version 1.1.5",
        "spec/process/rlimit-lowered-for-exec",
        "Go 1.19 raises its own soft limit and passes it on",
    ),
    known("runc version 1.1.5", "spec/refused/rlimit-twice", "not checked"),
    known(
        "runc version 1.1.5",
        "spec/refused/device-over-a-file",
        "an existing file is taken for the device (EEXIST is ignored)",
    ),
    known("runc version 1.1.5", "spec/refused/mask-relative", "not checked"),
    known("runc version 1.1.5", "spec/refused/idmap-without-mappings", "the option came with runc 1.2"),
    known("runc version 1.1.5", "spec/refused/personality", "the property came with runc 1.2"),
    known("runc version 1.1.5", "spec/refused/scheduler", "the property came with runc 1.2"),
    known("runc version 1.1.5", "spec/refused/io-priority", "the property came with runc 1.2"),
    known("runc version 1.1.5", "spec/refused/memory-policy", "the property came with runc 1.4"),
    known("runc version 1.1.5", "spec/mounts/idmap", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/mount-option/defaults", "passed to the filesystem"),
    known("runc version 1.1.5", "spec/rootfs-propagation/unbindable", "the root is bound after it was made unbindable"),
    known(
        "runc version 1.1.5",
        "spec/rootfs-propagation/shared",
        "the parent is made private before the root is bound",
    ),
    known("runc version 1.1.5", "spec/namespace/new-time", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/namespace/joined-time", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/namespace/time-offsets", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/namespace/net-devices", "came with runc 1.4"),
    known("runc version 1.1.5", "spec/userns/joined", "wants mappings although the namespace has them"),
    known("runc version 1.1.5", "spec/device/symlink-of-dev", "CVE-2026-41579"),
    known("runc version 1.1.5", "spec/seccomp/flags", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/resources/cpu-burst", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/resources/cpu-idle", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/hooks/order", "poststart hooks run at the end of create"),
    known("runc version 1.1.5", "spec/hooks/state-status", "poststart hooks run at the end of create"),
    known("runc version 1.1.5", "spec/hooks/poststop-failure", "the hooks after the failed one do not run"),
];

/// Cases that may be skipped where `CI=true`, with the reason; every other skip fails there.
pub(crate) const MAY_SKIP: &[(&str, &str)] = &[("*", "to be narrowed with the first runs of CI")];

/// Whether `pattern`, with an optional `*` at its end, means `name`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// Why `case` is known to fail under the runtime whose version line is `version`.
pub(crate) fn reason(version: &str, case: &str) -> Option<&'static str> {
    KNOWN
        .iter()
        .find(|k| {
            let rest = version.strip_prefix(k.runtime);
            rest.is_some_and(|r| !r.starts_with(|c: char| c.is_ascii_digit())) && matches(k.case, case)
        })
        .map(|k| k.reason)
}

#[cfg(test)]
mod tests {
    use super::{matches, reason};

    #[test]
    fn patterns() {
        assert!(matches("a/b", "a/b") && matches("a/*", "a/b") && matches("*", "a/b"));
        assert!(!matches("a/b", "a/bc") && !matches("a/b*", "a/c"));
    }

    #[test]
    fn versions_are_compared_up_to_a_words_end() {
        assert!(reason("runc version 1.1.5+ds1", "spec/domainname").is_some());
        assert!(reason("runc version 1.1.55", "spec/domainname").is_none());
        assert!(reason("crun version 1.1.5", "spec/domainname").is_none());
    }
}
