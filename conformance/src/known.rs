//! What is known beforehand: faults of the reference runtimes, and skips that a CI machine may have.

/// A reference runtime's failure that is not ours to repair.
pub(crate) struct Known {
    /// How the first line of `--version` begins, up to a word's end; empty for every runtime.
    pub runtime: &'static str,
    /// `suite/name`; a trailing `*` stands for the rest.
    pub case: &'static str,
    /// How the failure's own reason begins: another failure of the same case is not known.
    pub shows: &'static str,
    /// Why it fails there.
    pub reason: &'static str,
}

const fn known(runtime: &'static str, case: &'static str, reason: &'static str) -> Known {
    Known { runtime, case, shows: "", reason }
}

/// As [`known`], for failures whose reason begins with `shows`.
const fn known_as(runtime: &'static str, case: &'static str, shows: &'static str, reason: &'static str) -> Known {
    Known { runtime, case, shows, reason }
}

/// A fault of a program of OCI runtime-tools: no runtime can pass it on a current kernel, or by the present text of the
/// specification it must not. `shows` tells how many of its test points fail for it.
const fn tools(case: &'static str, shows: &'static str, reason: &'static str) -> Known {
    known_as("", case, shows, reason)
}

/// A fault of crun.
const SIGPIPE: &str = "delete is killed by SIGPIPE where a poststop hook ends without reading its standard input";

/// A deviation of runc that engines rely on.
const DELETE_CREATED: &str = "a container that was only created is deleted: engines clean up that way";

/// The table of known faults.
pub(crate) const KNOWN: &[Known] = &[
    tools("runtime-tools/hooks", "", "compares with texts that its own hooks do not write"),
    tools(
        "runtime-tools/hooks_stdin",
        "1 of 3 ",
        "wants the status `created` in prestart hooks, which are called while it is `creating`",
    ),
    tools("runtime-tools/linux_cgroups_blkio", "", "blkio.leaf_weight is gone since Linux 5.0"),
    tools("runtime-tools/linux_cgroups_relative_blkio", "", "blkio.leaf_weight is gone since Linux 5.0"),
    tools(
        "runtime-tools/linux_cgroups_devices",
        "1 of 3 ",
        "compares by position with devices.list, which begins with the default devices",
    ),
    tools(
        "runtime-tools/linux_cgroups_relative_devices",
        "1 of 3 ",
        "compares by position with devices.list, which begins with the default devices",
    ),
    tools(
        "runtime-tools/linux_cgroups_memory",
        "12 of 54 ",
        "a limit of kernel memory alone: the kernel has none since 5.16, and runtimes pass over it",
    ),
    tools(
        "runtime-tools/linux_cgroups_relative_memory",
        "2 of 9 ",
        "a limit of kernel memory alone: the kernel has none since 5.16, and runtimes pass over it",
    ),
    tools("runtime-tools/linux_process_apparmor_profile", "", "its profile is loaded nowhere"),
    tools("runtime-tools/misc_props", "1 of 3 ", "the program of its first container is not in the bundle"),
    tools(
        "runtime-tools/pidfile",
        "",
        "kills a container that has ended, and wants that to succeed: runtime.md Kill wants an error",
    ),
    tools(
        "runtime-tools/poststart",
        "The post-start hooks MUST be called after",
        "a race of its own: wants a line of the program, which has been executed, before that of a hook, which may be quicker",
    ),
    tools(
        "runtime-tools/poststart_fail",
        "",
        "wants a warning where a poststart hook fails: runtime.md Lifecycle wants an error and the container's end",
    ),
    tools(
        "runtime-tools/prestart",
        "",
        "wants prestart hooks called by start: config.md Prestart wants them called by create",
    ),
    tools(
        "runtime-tools/process_capabilities_fail",
        "",
        "wants an error for an unknown capability: config.md Linux Process wants a warning",
    ),
    tools("runtime-tools/process_rlimits", "1 of ", "it is a Go program, and Go raises its own soft RLIMIT_NOFILE"),
    tools("runtime-tools/start", "1 of 7 ", "wants start without process to succeed: runtime.md Start wants an error"),
    tools("runtime-tools/start", "2 of 8 ", "wants start without process to succeed: runtime.md Start wants an error"),
    known_as("orlop version", "runtime-tools/delete", "2 of 5 ", DELETE_CREATED),
    known("orlop version", "spec/operation/delete-created", DELETE_CREATED),
    known_as("runc version 1.1.5", "runtime-tools/delete", "2 of 5 ", DELETE_CREATED),
    known("runc version 1.1.5", "spec/operation/delete-created", DELETE_CREATED),
    known_as("crun version 1.8.1", "runtime-tools/delete", "2 of 5 ", DELETE_CREATED),
    known("crun version 1.8.1", "spec/operation/delete-created", DELETE_CREATED),
    known(
        "orlop version",
        "runtime-tools/mounts",
        "options for a file system on a bind mount are refused, as runc does since 1.2: nothing could apply them",
    ),
    known(
        "orlop version",
        "cli/help/checkpoint",
        "checkpoint is refused by name until it is there: podman asks this way",
    ),
    known("orlop version", "cli/help/restore", "restore is refused by name until it is there"),
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
    known("runc version 1.1.5", "spec/process/io-priority-*", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/process/personality", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/process/memory-policy*", "came with runc 1.4"),
    known("runc version 1.1.5", "spec/process/exec-cpu-affinity", "came with runc 1.3"),
    known("runc version 1.1.5", "spec/process/affinity-initial", "came with runc 1.3"),
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
    known(
        "runc version 1.1.5",
        "spec/mount-option/bind-*",
        "what clears an attribute is left out for binds, until 1.2",
    ),
    known(
        "runc version 1.1.5",
        "spec/mount-option/recursive-ratime",
        "set and cleared at once, which the kernel refuses",
    ),
    known(
        "runc version 1.1.5",
        "spec/mount-option/recursive-rnostrictatime",
        "set and cleared at once, which the kernel refuses",
    ),
    known("runc version 1.1.5", "spec/mount-option/recursive-last-wins", "rro before rrw stays"),
    known(
        "runc version 1.1.5",
        "spec/mount-option/recursive-atime-policies",
        "the policies are taken for bits, and the first one stays",
    ),
    known("runc version 1.1.5", "spec/idmap/*", "came with runc 1.2, for binds"),
    known("runc version 1.1.5", "spec/namespace/any-combination*", "time namespaces came with runc 1.2"),
    known("runc version 1.1.5", "spec/namespace/time-offsets-*", "came with runc 1.2"),
    known(
        "runc version 1.1.5",
        "spec/namespace/path-of-another-type-*",
        "the message names the kind alone, or comes from reading the path",
    ),
    known("runc version 1.1.5", "spec/link/copy-symlink*", "an option of crun's, passed over"),
    known("runc version 1.1.5", "spec/link/src-nofollow", "an option of crun's, passed over"),
    known("runc version 1.1.5", "spec/link/dest-nofollow", "an option of crun's, passed over"),
    known("runc version 1.1.5", "spec/rootfs-propagation/unbindable", "the root is bound after it was made unbindable"),
    known(
        "runc version 1.1.5",
        "spec/rootfs-propagation/shared",
        "the parent is made private before the root is bound",
    ),
    known("runc version 1.1.5", "spec/namespace/new-time", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/namespace/joined-time", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/namespace/time-offsets", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/net-device/*", "came with runc 1.4"),
    known("runc version 1.1.5", "spec/userns/joined", "wants mappings although the namespace has them"),
    known("runc version 1.1.5", "spec/userns/joined-and-joined-*", "wants mappings although the namespace has them"),
    known("runc version 1.1.5", "spec/userns/no-root-inside", "becomes root first of all"),
    known("runc version 1.1.5", "spec/device/symlink-of-dev", "CVE-2026-41579"),
    known("runc version 1.1.5", "spec/seccomp/flags", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/resources/cpu-burst", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/resources/cpu-idle", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/resources/cpu-shares", "linear conversion of shares on cgroup v2"),
    known("runc version 1.1.5", "cli/update/cpu-share=1024", "linear conversion of shares on cgroup v2"),
    known("runc version 1.1.5", "cli/update/resources-file", "linear conversion of shares on cgroup v2"),
    known("runc version 1.1.5", "cgroups/update/refused", "sets back to what is already the new value"),
    known(
        "runc version 1.1.5",
        "cgroups/events/ends-with-the-container",
        "on cgroup v2 it can't do without memory.events",
    ),
    known("runc version 1.1.5", "cgroups/life/occupied", "only warned of before runc 1.2"),
    known("runc version 1.1.5", "cgroups/life/below-frozen", "waits for a process that stands still"),
    known("runc version 1.1.5", "cgroups/life/parents-go", "parents stay"),
    known("runc version 1.1.5", "cgroups/delegation/*", "only with systemd as the driver"),
    known("runc version 1.3.6", "cgroups/life/below-frozen", "waits for a process that stands still"),
    known("runc version 1.3.6", "cgroups/life/parents-go", "parents stay"),
    known("runc version 1.3.6", "cgroups/delegation/*", "only with systemd as the driver"),
    known("runc version 1.3.6", "cgroups/update/refused-device", "what was set before the refusal stays, on cgroup v2"),
    known("crun version 1.28", "cgroups/set/zeros-set-nothing", "takes a memory limit of 0 for a limit"),
    known("crun version 1.28", "cgroups/update/refused*", "no value in the error, and what was set before stays"),
    known("crun version 1.28", "cgroups/update/check-before-update", "texts of its own"),
    known("crun version 1.28", "cgroups/measured/memory", "no events"),
    known("crun version 1.28", "cgroups/devices/random", "lists of rules are read in another way"),
    known("crun version 1.28", "cgroups/life/occupied", "not checked"),
    known("crun version 1.28", "cgroups/life/below-frozen", "waits for a process that stands still"),
    known("crun version 1.28", "cgroups/life/parents-go", "parents stay"),
    known("crun version 1.28", "cgroups/delegation/*", "to the root of a user namespace, also where it is read-only"),
    known("runc version 1.3.6", "cgroups/update/refused", "sets back to what is already the new value"),
    known("runc version 1.3.6", "cgroups/update/hugepages", "only what has a flag is read from the document"),
    known("runc version 1.3.6", "cgroups/update/bad-flags", "the error has the suffix of the value alone"),
    known(
        "runc version 1.3.6",
        "cgroups/events/ends-with-the-container",
        "on cgroup v2 it can't do without memory.events",
    ),
    known("runc version 1.1.5", "cgroups/update/hugepages", "only what has a flag is read from the document"),
    known("runc version 1.1.5", "cgroups/update/cpu-burst*", "came with runc 1.2"),
    known("runc version 1.1.5", "cgroups/update/cpu-idle*", "came with runc 1.2"),
    known(
        "runc version 1.1.5",
        "cli/features/mount-options-are-accepted",
        "lists `defaults`, and hands it to the file system",
    ),
    known(
        "runc version 1.1.5",
        "cli/features/seccomp-is-compiled",
        "lists architectures of the other byte order, and refuses them",
    ),
    known("runc version 1.1.5", "spec/hooks/without-env", "gives hooks without env an environment of its own"),
    known("runc version 1.1.5", "spec/hooks/timeout-poststop", "the hooks after the failed one do not run"),
    known("runc version 1.1.5", "spec/hooks/daemon", "hangs: it waits for all who hold the hook's outputs"),
    known("runc version 1.1.5", "spec/hooks/output", "names hooks by their numbers alone"),
    known("runc version 1.1.5", "spec/seccomp/notify-flags", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/seccomp/notify-agent-silent", "hangs"),
    known("runc version 1.1.5", "spec/seccomp/all-flags", "came with runc 1.2"),
    known("runc version 1.1.5", "spec/hooks/order", "poststart hooks run at the end of create"),
    known("runc version 1.1.5", "spec/hooks/state-status", "poststart hooks run at the end of create"),
    known(
        "runc version 1.1.5",
        "engines/docker/caps/privileged",
        "refuses where the caller lacks a capability that the configuration names",
    ),
    known(
        "runc version 1.1.5",
        "engines/docker/exec/privileged",
        "refuses where the caller lacks a capability that the configuration names",
    ),
    known("runc version 1.1.5", "spec/hooks/poststop-failure", "the hooks after the failed one do not run"),
    known("runc version 1.1.5", "faults/leftovers/cgroup-parents", "parents stay"),
    known("runc version 1.1.5", "faults/leftovers/failures", "start returns before a startContainer hook has run"),
    known("runc version 1.1.5", "faults/hangs/seccomp-kills-everything", "hangs"),
    known("runc version 1.1.5", "faults/hangs/state-json-*", "delete --force gives up on what it can't read"),
    known("runc version 1.1.5", "faults/hangs/state-directory-read-only", "says that it was deleted"),
    known("runc version 1.1.5", "faults/kill-sweep/*", "state.json is written after the cgroups"),
    known(
        "runc version 1.1.5",
        "faults/fixtures/docker-privileged",
        "a capability that the caller lacks is an error, where the harness has not all",
    ),
    known(
        "runc version 1.1.5",
        "faults/fixtures/podman-rootless-privileged",
        "a capability that the caller lacks is an error, where the harness has not all",
    ),
    known("runc version 1.1.5", "spec/refused/readonly-relative", "not checked"),
    known_as(
        "runc version 1.1.5",
        "cgroups/measured/devices-stay",
        "failed writes",
        "now and then on v1 with systemd, which writes the group's list anew while runc has it changed: runc#2204 once more",
    ),
    known("runc version 1.1.5", "cgroups/systemd/unit/exists", "the process stays outside of the cgroup; runc#3806"),
    known(
        "runc version 1.1.5",
        "cgroups/systemd/unit/failed-before",
        "the process stays outside of the cgroup; runc#3806",
    ),
    known("runc version 1.1.5", "cgroups/systemd/unit/slice", "a slice is started with a process, which it can't have"),
    known("runc version 1.1.5", "spec/refused/oci-version*", "not checked"),
    known("runc version 1.1.5", "spec/hooks/state-of-a-short-program", "poststart hooks run at the end of create"),
    known("runc version 1.1.5", "runtime-tools/hooks_stdin", "poststart hooks run at the end of create"),
    known("runc version 1.1.5", "runtime-tools/poststart", "poststart hooks run at the end of create"),
    known("runc version 1.1.5", "runtime-tools/poststop_fail", "the hooks after the failed one do not run"),
    known("runc version 1.1.5", "runtime-tools/linux_cgroups_relative_*", "the parents of a relative cgroupsPath stay"),
    known_as(
        "runc version 1.1.5",
        "runtime-tools/*",
        "left behind: cgroups",
        "on cgroup v2 a create that fails may leave its cgroup, which is busy for an instant",
    ),
    known("runc version 1.1.5", "runtime-tools/linux_ns_itype", "without a mount namespace its mounts stay"),
    known(
        "runc version 1.1.5",
        "runtime-tools/linux_rootfs_propagation",
        "the parent is made private before the root is bound, and the root is bound after it was made unbindable",
    ),
    known(
        "runc version 1.1.5",
        "runtime-tools/linux_seccomp",
        "calls getcwd itself when the container's filter is loaded already",
    ),
    known("runc version 1.1.5", "security/CVE-2021-30465/*", "CVE-2024-45310: mountpoints are made by path"),
    known("runc version 1.1.5", "security/CVE-2026-41579/*", "CVE-2026-41579"),
    known("runc version 1.1.5", "security/CVE-2025-31133/*", "CVE-2025-31133: what masks is not checked"),
    known("runc version 1.1.5", "security/CVE-2025-52565/*", "CVE-2025-52565: the terminal is mounted by path"),
    known("runc version 1.1.5", "security/CVE-2019-16884/tmpfs-on-sys", "only binds are checked"),
    known(
        "runc version 1.1.5",
        "security/CVE-2025-52881/sysctl-under-a-file",
        "CVE-2025-52881: the write goes to what covers the file",
    ),
    known("runc version 1.1.5", "security/CVE-2026-30892/exec-minus-one", "numbers above 32 bits wrap around"),
    known("runc version 1.1.5", "security/hardening/nul-in-argument", "not checked: the string is cut"),
    known("runc version 1.1.5", "security/hardening/nul-in-hostname", "not checked: the name holds the NUL"),
    known("runc version 1.1.5", "security/hardening/root-resolves-to-slash", "refused since runc 1.3"),
    known("runc version 1.1.5", "security/hardening/environment-is-secret", "runc#3879, 1.1.8"),
    known("runc version 1.1.5", "security/hardening/passwd-fifo", "opens what the image calls /etc/passwd, and waits"),
    known(
        "runc version 1.1.5",
        "security/hardening/passwd-terminal",
        "opens what the image calls /etc/passwd, and waits",
    ),
    known("runc version 1.3.6", "spec/net-device/*", "came with runc 1.4"),
    known("runc version 1.3.6", "spec/process/memory-policy*", "came with runc 1.4"),
    known("runc version 1.3.6", "spec/mount-option/defaults", "passed to the filesystem"),
    known("runc version 1.3.6", "spec/mount-option/bind-atime", "has no effect on what the source has"),
    known("runc version 1.3.6", "spec/mount-option/bind-diratime", "has no effect on what the source has"),
    known(
        "runc version 1.3.6",
        "spec/mount-option/recursive-atime-policies",
        "the policies are taken for bits, and the first one stays",
    ),
    known("runc version 1.3.6", "spec/idmap/tmpfs*", "binds alone can be idmapped"),
    known("runc version 1.3.6", "spec/idmap/in-the-option", "an option of crun's"),
    known("runc version 1.3.6", "spec/link/*", "options of crun's"),
    known(
        "crun version 1.28",
        "spec/mount-option/recursive-*",
        "of the recursive options some are refused, some do nothing",
    ),
    known("runc version 1.3.6", "spec/namespace/any-combination-*", "needs a procfs in the container"),
    known(
        "runc version 1.3.6",
        "spec/namespace/path-of-another-type-*",
        "the message names the kind alone, or comes from reading the path",
    ),
    known("crun version 1.28", "spec/namespace/any-combination", "a joined and a new one together are refused"),
    known("crun version 1.28", "spec/namespace/any-combination-*", "hangs"),
    known("crun version 1.28", "spec/namespace/time-offsets-without", "the cgroup stays"),
    known("crun version 1.28", "spec/namespace/duplicate", "the cgroup stays"),
    known("crun version 1.28", "spec/namespace/path-of-another-type-*", "the cgroup stays"),
    known("crun version 1.28", "spec/mount-option/bind-*", "a bind does not keep the attributes that its source has"),
    known("crun version 1.28", "spec/mount-option/*", "later options do not undo earlier ones; some are unknown to it"),
    known("crun version 1.28", "spec/idmap/tmpfs", "the ids among the options are not mapped"),
    known("crun version 1.28", "spec/idmap/tmpfs-container's", "the mode of what it hides is not taken"),
    known("crun version 1.28", "spec/idmap/not-for-proc", "the message does not name the file system"),
    known("crun version 1.28", "spec/link/src-nofollow", "has an effect together with dest-nofollow alone"),
    known("crun version 1.28", "spec/filesystem/remount", "a remount needs a source"),
    known("crun version 1.28", "spec/process/apparmor-profile", "accepted where there is no AppArmor"),
    known("crun version 1.28", "spec/process/selinux-label", "the message does not name it"),
    known("crun version 1.28", "spec/mount-label", "accepted where there is no SELinux"),
    known("crun version 1.28", "spec/process/affinity-initial", "execCPUAffinity of the configuration is not for exec"),
    known(
        "crun version 1.28",
        "spec/process/exec-cpu-affinity",
        "execCPUAffinity of the configuration is not for exec",
    ),
    known("crun version 1.28", "spec/process/rlimit-lowered-for-exec", "the configuration's limits are not for exec"),
    known("crun version 1.28", "spec/net-device/attributes-kept", "labels of addresses keep the old name"),
    known("crun version 1.28", "spec/net-device/template", "looks for a device of the template's name"),
    known("crun version 1.28", "spec/net-device/given-back", "what was moved is lost when create fails"),
    known("crun version 1.28", "spec/net-device/refused-missing", "what was moved before is lost"),
    known("crun version 1.28", "spec/net-device/refused-*", "accepted, or refused with the kernel's error alone"),
    known("runc version 1.3", "cli/spec/default-is-quiet", "warns of the ambient capabilities that can't be raised"),
    known("runc version 1.3", "cli/global/rootless-*", "list is an error where `--root` is not there yet"),
    known("runc version 1.3", "cli/list/none", "list is an error where `--root` is not there yet"),
    known(
        "runc version 1.3",
        "cli/log/json-record",
        "a warning about memory.events where cgroup v2 has no memory controller",
    ),
    known(
        "runc version 1.3",
        "cli/program/run-directory",
        "a warning about memory.events where cgroup v2 has no memory controller",
    ),
    known(
        "runc version 1.3",
        "cli/program/run-not-executable",
        "a warning about memory.events where cgroup v2 has no memory controller",
    ),
    known(
        "runc version 1.3",
        "cli/program/run-not-a-program",
        "returns before execve: the status is the process's 255",
    ),
    known(
        "runc version 1.3",
        "cli/program/run-interpreter-missing",
        "returns before execve: the status is the process's 255",
    ),
    known(
        "runc version 1.3",
        "cli/program/exec-not-a-program",
        "returns before execve: the status is the process's 255",
    ),
    known(
        "runc version 1.3",
        "cli/program/exec-interpreter-missing",
        "returns before execve: the status is the process's 255",
    ),
    known("runc version 1.3", "cli/create/descriptors", "init waits with a directory of procfs open"),
    known("runc version 1.3", "cli/exec/additional-gids-short", "the group is there twice"),
    known("runc version 1.3", "cli/exec/bad-user-4294967296", "the number wraps around"),
    known("runc version 1.3", "cli/tty/long-socket-path", "connects by the path as it is"),
    known("runc version 1.3", "spec/process/memory-policy", "came with runc 1.4"),
    known("runc version 1.3", "spec/refused/rlimit-twice", "not checked"),
    known(
        "runc version 1.3",
        "spec/refused/device-over-a-file",
        "an existing file is taken for the device (EEXIST is ignored)",
    ),
    known("runc version 1.3", "spec/refused/mask-relative", "not checked"),
    known("runc version 1.3", "spec/refused/memory-policy", "the property came with runc 1.4"),
    known("runc version 1.3", "spec/mount-option/defaults", "passed to the filesystem"),
    known("runc version 1.3", "spec/net-device/*", "came with runc 1.4"),
    known(
        "runc version 1.3",
        "cli/features/mount-options-are-accepted",
        "lists `defaults`, and hands it to the file system",
    ),
    known(
        "runc version 1.3",
        "cli/features/seccomp-is-compiled",
        "lists architectures of the other byte order, and refuses them",
    ),
    known("runc version 1.3", "spec/hooks/without-env", "gives hooks without env an environment of its own"),
    known("runc version 1.3", "spec/hooks/timeout-poststop", "the hooks after the failed one do not run"),
    known("runc version 1.3", "spec/hooks/daemon", "hangs: it waits for all who hold the hook's outputs"),
    known("runc version 1.3", "spec/seccomp/notify-agent-silent", "hangs"),
    known("runc version 1.3", "spec/seccomp/notify-flags", "does not know WAIT_KILLABLE_RECV"),
    known("runc version 1.3", "spec/hooks/order", "poststart hooks run at the end of create"),
    known("runc version 1.3", "spec/hooks/state-status", "poststart hooks run at the end of create"),
    known("runc version 1.3", "spec/hooks/poststop-failure", "the hooks after the failed one do not run"),
    known("runc version 1.3", "cgroups/update/hugepages", "only what has a flag is read from the document"),
    known("runc version 1.3", "cgroups/update/bad-flags", "says what is wrong, not with which value"),
    known(
        "runc version 1.3",
        "cgroups/update/refused",
        "sets back to what is already the new value; with systemd the quota is rounded up and accepted",
    ),
    known(
        "runc version 1.3",
        "cgroups/events/ends-with-the-container",
        "on cgroup v2 it can't do without memory.events",
    ),
    known("crun version 1.8.1", "runtime-tools/poststop*", SIGPIPE),
    known("crun version 1.8.1", "spec/hooks/stdin-not-read", SIGPIPE),
    known("crun version 1.8.1", "spec/hooks/poststop-failure", SIGPIPE),
    known_as(
        "crun version 1.8.1",
        "runtime-tools/linux_ns_itype",
        "left behind: processes",
        "without a pid namespace and a cgroup, delete --force does not end a container that was not started",
    ),
    known_as("crun version 1.8.1", "runtime-tools/*", "left behind: cgroups", "a create that fails leaves its cgroup"),
    known("crun version 1.8.1", "spec/label/mount", "mountLabel is ignored where SELinux is not there"),
    known(
        "crun version 1.8.1",
        "cgroups/*",
        "run with --cgroup-manager=disabled where it can't set RLIMIT_MEMLOCK; and it has no command events",
    ),
    known("crun version 1.8.1", "cli/features/*", "the command came with crun 1.8.6"),
    known("crun version 1.8.1", "cli/help/*", "the command came with a later crun, or needs CRIU"),
    known("crun version 1.8.1", "cli/spec/rootless", "no mappings"),
    known(
        "crun version 1.8.1",
        "cli/global/*",
        "no single-dash long options, and --rootless, --root / as they are in runc",
    ),
    known("crun version 1.8.1", "cli/unknown-id/*", "texts and statuses of its own"),
    known("crun version 1.8.1", "cli/log/*", "texts and statuses of its own"),
    known("crun version 1.8.1", "cli/id/*", "ids are checked since crun 1.20, and texts of its own"),
    known("crun version 1.8.1", "cli/config/cwd-relative", "not checked"),
    known("crun version 1.8.1", "cli/config/namespace-twice", "not checked"),
    known("crun version 1.8.1", "cli/program/*", "texts and statuses of its own"),
    known("crun version 1.8.1", "cli/state/*", "indentation and order of its own"),
    known(
        "crun version 1.8.1",
        "cli/create/in-its-cgroup",
        "run with --cgroup-manager=disabled where it can't set RLIMIT_MEMLOCK",
    ),
    known("crun version 1.8.1", "cli/start/*", "texts and statuses of its own"),
    known("crun version 1.8.1", "cli/pid-file/relative", "resolved in the bundle"),
    known("crun version 1.8.1", "cli/pid-file/unwritable", "texts and statuses of its own"),
    known("crun version 1.8.1", "cli/list/table", "headings of its own"),
    known("crun version 1.8.1", "cli/ps/*", "run with --cgroup-manager=disabled where it can't set RLIMIT_MEMLOCK"),
    known("crun version 1.8.1", "cli/kill/unknown-*", "taken for number 0"),
    known("crun version 1.8.1", "cli/kill/lower-case", "taken for number 0"),
    known("crun version 1.8.1", "cli/kill/stopped", "texts and statuses of its own"),
    known("crun version 1.8.1", "cli/kill/all", "run with --cgroup-manager=disabled where it can't set RLIMIT_MEMLOCK"),
    known(
        "crun version 1.8.1",
        "cli/kill/shared-pidns",
        "run with --cgroup-manager=disabled where it can't set RLIMIT_MEMLOCK",
    ),
    known("crun version 1.8.1", "cli/delete/running", "texts and statuses of its own"),
    known(
        "crun version 1.8.1",
        "cli/delete/force-paused",
        "run with --cgroup-manager=disabled where it can't set RLIMIT_MEMLOCK",
    ),
    known("crun version 1.8.1", "cli/run/keep", "came with a later crun"),
    known("crun version 1.8.1", "cli/run/listen-fds", "LISTEN_FDS is not passed on"),
    known("crun version 1.8.1", "cli/run/closed-stdin", "fails"),
    known("crun version 1.8.1", "cli/exec/additional-gids*", "no such flag"),
    known("crun version 1.8.1", "cli/exec/cap", "the given capabilities replace the container's"),
    known("crun version 1.8.1", "cli/exec/bad-user-*", "CVE-2026-30892: numbers are not checked"),
    known(
        "crun version 1.8.1",
        "cli/exec/process-detach",
        "run with --cgroup-manager=disabled where it can't set RLIMIT_MEMLOCK",
    ),
    known("crun version 1.8.1", "cli/exec/stopped", "texts and statuses of its own"),
    known(
        "crun version 1.8.1",
        "cli/exec/paused",
        "run with --cgroup-manager=disabled where it can't set RLIMIT_MEMLOCK",
    ),
    known("crun version 1.8.1", "cli/exec/bad-cwd", "CVE-2024-21626"),
    known("crun version 1.8.1", "cli/tty/detach-without-socket", "texts and statuses of its own"),
    known("crun version 1.8.1", "cli/tty/socket-without-detach", "accepted"),
    known("crun version 1.8.1", "cli/tty/bad-socket", "texts and statuses of its own"),
    known("crun version 1.8.1", "cli/tty/resize", "no resizing in the foreground"),
    known("crun version 1.8.1", "cli/pause/*", "run with --cgroup-manager=disabled where it can't set RLIMIT_MEMLOCK"),
    known("crun version 1.8.1", "spec/process/scheduler-*", "came with a later crun"),
    known("crun version 1.8.1", "spec/process/io-priority-*", "came with a later crun"),
    known("crun version 1.8.1", "spec/process/memory-policy", "came with a later crun"),
    known("crun version 1.8.1", "spec/process/exec-cpu-affinity", "came with a later crun"),
    known("crun version 1.8.1", "spec/process/personality", "came with a later crun"),
    known("crun version 1.8.1", "spec/process/rlimit-lowered-for-exec", "not applied to exec"),
    known("crun version 1.8.1", "spec/extensibility/null-and-empty", "null and empty values are refused"),
    known("crun version 1.8.1", "spec/refused/*", "invalid values that are not checked"),
    known("crun version 1.8.1", "spec/mount-option/silent", "came with a later crun"),
    known("crun version 1.8.1", "spec/mount-option/loud", "came with a later crun"),
    known(
        "crun version 1.8.1",
        "spec/mount-option/*",
        "an option that clears a flag does not undo the one before, and propagation of binds",
    ),
    known("crun version 1.8.1", "spec/namespace/new-time", "came with a later crun"),
    known("crun version 1.8.1", "spec/namespace/joined-time", "came with a later crun"),
    known("crun version 1.8.1", "spec/namespace/time-offsets", "came with a later crun"),
    known("crun version 1.8.1", "spec/net-device/*", "came with a later crun"),
    known(
        "crun version 1.8.1",
        "spec/device/rules-*",
        "run with --cgroup-manager=disabled where it can't set RLIMIT_MEMLOCK",
    ),
    known("crun version 1.8.1", "spec/device/symlink-of-dev", "CVE-2026-47766"),
    known("crun version 1.8.1", "spec/readonly/keeps-flags", "the flags of the mount below are lost"),
    known(
        "crun version 1.8.1",
        "spec/cgroup/*",
        "run with --cgroup-manager=disabled where it can't set RLIMIT_MEMLOCK",
    ),
    known("crun version 1.8.1", "spec/seccomp/all-flags", "has no command features"),
    known("crun version 1.8.1", "spec/hooks/order", "startContainer and poststart hooks run at the same time"),
    known("crun version 1.8.1", "spec/hooks/state*", "bundle, status and pid inside the container are its own"),
    known("crun version 1.8.1", "spec/hooks/failed-create-is-undone", "texts and statuses of its own"),
    known("crun version 1.8.1", "spec/hooks/failure-poststart", "hangs"),
    known("crun version 1.28", "cli/features/linux", "seccomp architectures are not listed"),
    known("crun version 1.28", "cli/spec/rootless", "no mappings"),
    known("crun version 1.28", "cli/help/events", "no such command"),
    known("crun version 1.28", "cli/unknown-id/*", "texts and statuses of its own"),
    known(
        "crun version 1.28",
        "cli/global/*",
        "no single-dash long options, and --root / and wrong formats are its own",
    ),
    known("crun version 1.28", "cli/log/*", "texts and statuses of its own; the records of a file are one array"),
    known("crun version 1.28", "cli/id/*", "texts and statuses of its own"),
    known("crun version 1.28", "cli/config/cwd-relative", "not checked"),
    known("crun version 1.28", "cli/config/namespace-*", "the cgroup is left when create fails"),
    known("crun version 1.28", "cli/program/*", "texts and statuses of its own"),
    known("crun version 1.28", "cli/state/*", "indentation and order of its own, and root.path as it was given"),
    known("crun version 1.28", "cli/create/descriptors", "init waits with a directory open"),
    known("crun version 1.28", "cli/start/*", "texts and statuses of its own"),
    known("crun version 1.28", "cli/pid-file/relative", "resolved in the bundle"),
    known("crun version 1.28", "cli/pid-file/unwritable", "texts and statuses of its own"),
    known("crun version 1.28", "cli/list/table", "headings of its own"),
    known("crun version 1.28", "cli/kill/unknown-*", "texts of its own, and numbers of any base"),
    known("crun version 1.28", "cli/kill/lower-case", "unknown"),
    known("crun version 1.28", "cli/kill/stopped", "texts and statuses of its own"),
    known("crun version 1.28", "cli/kill/shared-pidns", "only init is killed"),
    known("crun version 1.28", "cli/delete/running", "texts and statuses of its own"),
    known("crun version 1.28", "cli/run/listen-fds", "LISTEN_FDS is not passed on"),
    known("crun version 1.28", "cli/run/closed-stdin", "ends with status 139 (SIGSEGV)"),
    known("crun version 1.28", "cli/exec/additional-gids*", "no such flag"),
    known("crun version 1.28", "cli/exec/cap", "the given capabilities replace the container's"),
    known("crun version 1.28", "cli/exec/bad-user-*", "CVE-2026-30892: numbers are not checked"),
    known("crun version 1.28", "cli/exec/stopped", "texts and statuses of its own"),
    known("crun version 1.28", "cli/exec/paused", "texts and statuses of its own"),
    known("crun version 1.28", "cli/tty/create", "/dev/console is a symbolic link"),
    known("crun version 1.28", "cli/tty/detach-without-socket", "texts and statuses of its own"),
    known("crun version 1.28", "cli/tty/bad-socket", "texts and statuses of its own"),
    known("crun version 1.28", "cli/tty/socket-without-detach", "accepted"),
    known("crun version 1.28", "cli/pause/stopped", "resume of what is not paused succeeds"),
    known("crun version 1.28", "cli/pause/ignore-paused", "no such flag"),
    known("crun version 1.28", "spec/extensibility/null-and-empty", "null and empty values are refused"),
    known(
        "crun version 1.28",
        "spec/refused/*",
        "invalid values that are not checked, and the cgroup is left when create fails",
    ),
    known("crun version 1.28", "spec/process/exec-cpu-affinity", "not applied"),
    known("crun version 1.28", "spec/process/rlimit-lowered-for-exec", "not applied to exec"),
    known(
        "crun version 1.28",
        "spec/mount-option/*",
        "an option that clears a flag does not undo the one before, nosymfollow goes to the filesystem, and propagation of binds",
    ),
    known("crun version 1.28", "spec/namespace/joined-time", "fails (write to sync socket: broken pipe)"),
    known("crun version 1.28", "spec/device/rules-no-list", "no rules at all: everything is allowed"),
    known("crun version 1.28", "spec/seccomp/all-flags", "lists no flags"),
    known("crun version 1.28", "spec/hooks/order", "startContainer and poststart hooks run at the same time"),
    known("crun version 1.28", "spec/hooks/state*", "bundle, status and pid inside the container are its own"),
    known("crun version 1.28", "spec/hooks/failed-create-is-undone", "texts and statuses of its own"),
    known("crun version 1.28", "cgroups/update/stopped", "texts and statuses of its own"),
    known("crun version 1.28", "cgroups/update/bad-flags", "values are not checked"),
    known("crun version 1.28", "cgroups/update/refused", "the value is not named"),
    known("crun version 1.28", "cgroups/update/keeps-the-rest", "the period falls back to 100000"),
    known("crun version 1.28", "cgroups/set/zeros-set-nothing", "a memory limit of 0 is set"),
    known("crun version 1.28", "spec/label/mount", "not checked"),
    known("crun version 1.28", "cgroups/events/*", "no such command"),
];

/// Cases that may be skipped where `CI=true`, with the reason; every other skip fails there.
pub(crate) const MAY_SKIP: &[(&str, &str)] = &[
    ("spec/cgroup-mount/named-hierarchy", "cgroup v2 has none"),
    ("spec/rootless/*", "an ordinary user's"),
    ("security/CVE-2025-52881/label", "needs AppArmor or SELinux"),
    ("security/CVE-2025-52881/nested", "needs AppArmor"),
    ("cli/events/stats", "a controller that the hierarchy does not have"),
    ("cli/update/*", "a controller that the hierarchy does not have"),
    ("cgroups/*", "a controller or knob that the hierarchy does not have, or a machine without a processor to spare"),
    ("cgroups/systemd/*", "systemd makes no cgroups here, or the hierarchy has no such controller"),
    ("cli/global/systemd-cgroup-without-systemd", "systemd is running"),
    ("spec/resources/*", "a controller or knob that the hierarchy does not have"),
    ("spec/cgroup/pids-limit-holds", "a controller that the hierarchy does not have"),
    ("spec/cgroup/memory-limit-holds", "a controller that the hierarchy does not have"),
    ("spec/process/scheduler-fifo", "no real-time budget in a v1 cpu group"),
    ("spec/process/scheduler-rr", "no real-time budget in a v1 cpu group"),
    ("spec/process/scheduler-deadline", "no real-time budget in a v1 cpu group"),
    ("spec/process/exec-cpu-affinity", "one processor"),
    ("runtime-tools/linux_cgroups_*", "the program knows cgroup v1 alone"),
    ("runtime-tools/delete_resources", "the program knows cgroup v1 alone"),
    ("runtime-tools/delete_only_create_resources", "the program knows cgroup v1 alone"),
    ("runtime-tools/linux_mount_label", "needs SELinux"),
    ("runtime-tools/linux_process_apparmor_profile", "needs AppArmor"),
    ("runtime-tools/process_capabilities", "the machine's root has not every capability"),
    ("spec/label/*", "written for a machine without SELinux"),
    ("faults/fixtures/*", "written for cgroup v1 where v2 is alone"),
    ("spec/net-device/*", "no kind of virtual device"),
    ("engines/docker/limit/blkio-weight", "this kernel has no blkio.weight"),
];

/// Whether `pattern`, with an optional `*` at its end, means `name`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// The table of known faults where an ordinary user executes the runtime, beside the other one.
const AS_USER: &[Known] = &[
    known("runc version 1.1.5", "cli/ps/*", "without a cgroup it does not know the processes"),
    known("runc version 1.1.5", "cli/kill/all", "without a cgroup it signals nobody but init, or leaves the others"),
    known("runc version 1.1.5", "cli/kill/shared-pidns", "without a cgroup it does not know the processes"),
    known("runc version 1.1.5", "cli/exec/process-detach", "without a cgroup it does not know the processes"),
    known("runc version 1.1.5", "spec/namespace/joined-*", "wants mappings although the namespace has them"),
    known("runc version 1.1.5", "spec/namespace/shared-pid", "wants mappings although the namespace has them"),
    known(
        "runc version 1.1.5",
        "spec/userns/*",
        "gives files of its own to the container's root, which must be the user himself",
    ),
    known("runc version 1.1.5", "spec/rootless/many-mappings", "has room for fewer arguments of newuidmap"),
    known("runc version 1.1.5", "spec/rootless/joined-all", "wants mappings although the namespace has them"),
    known("runc version 1.1.5", "spec/rootless/ids-not-lent", "leaves the cgroup of a create that fails, on cgroup v2"),
    known("runc version 1.1.5", "spec/device/node-fifo", "binds the host's node, which there is none of"),
    known("runc version 1.1.5", "spec/rootless/additional-gids", "refused, also where newgidmap has mapped them"),
    known("runc version 1.1.5", "cli/exec/additional-gids*", "refused, also where newgidmap has mapped them"),
    known("runc version 1.1.5", "cli/exec/process", "refused, also where newgidmap has mapped them"),
    known("runc version 1.1.5", "spec/process/additional-gids", "refused, also where newgidmap has mapped them"),
    known("runc version 1.1.5", "spec/rootless/no-root-inside", "becomes root first of all"),
    known("runc version 1.1.5", "spec/rootless/kill-shared-pidns", "without a cgroup it does not know the processes"),
];

/// Why `case`, whose failure is `failure`, is known to fail under the runtime whose version line is `version`.
pub(crate) fn reason(version: &str, case: &str, failure: &str, as_user: bool) -> Option<&'static str> {
    let more = if as_user { AS_USER } else { &[] };
    KNOWN
        .iter()
        .chain(more)
        .find(|k| {
            let rest = version.strip_prefix(k.runtime);
            let is_it = k.runtime.is_empty() || rest.is_some_and(|r| !r.starts_with(|c: char| c.is_ascii_digit()));
            is_it && matches(k.case, case) && failure.starts_with(k.shows)
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
    fn another_failure_is_not_known() {
        assert!(reason("any version 1", "runtime-tools/misc_props", "1 of 3 test points: x", false).is_some());
        assert!(reason("any version 1", "runtime-tools/misc_props", "2 of 3 test points: x", false).is_none());
    }

    #[test]
    fn versions_are_compared_up_to_a_words_end() {
        assert!(reason("runc version 1.1.5+ds1", "spec/domainname", "", false).is_some());
        assert!(reason("runc version 1.1.55", "spec/domainname", "", false).is_none());
        assert!(reason("crun version 1.1.5", "spec/domainname", "", false).is_none());
        assert!(reason("runc version 1.1.5", "cli/ps/json", "", false).is_none());
        assert!(reason("runc version 1.1.5", "cli/ps/json", "", true).is_some());
    }
}
