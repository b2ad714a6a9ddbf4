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
    known("runc version 1.1.5", "cli/program/exec-interpreter-missing", "returns before execve: the status is 1"),
    known("runc version 1.1.5", "cli/exec/bad-user-4294967296", "the number wraps around"),
    known("runc version 1.1.5", "cli/tty/long-socket-path", "connects by the path as it is"),
    known("runc version 1.1.5", "spec/domainname", "came with runc 1.2"),
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
