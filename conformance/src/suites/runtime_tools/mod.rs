//! OCI runtime-tools' validation, the specification's own suite: each of its programs is a case.
//!
//! The programs are built from a checkout of the sources (`--runtime-tools DIR`, `build.rs`). They find the runtime through
//! a script that keeps its state private and notes what it is asked, they write TAP (`tap.rs`), and they run in cgroups of
//! their own, because they all take the same names. Which of them nobody can pass is in `known.rs`, with the reason; which
//! cases of ours have the same subjects is in the table below.

mod build;
mod tap;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::ctx::{Ctx, Outcome, Stop, able, ensure, fail, reap, skip};
use crate::frame::{Case, remove_cgroups};

pub(crate) use build::build;

/// A validation program.
struct Program {
    name: &'static str,
    /// What it checks.
    checks: &'static str,
    /// Our own cases with the same subject, in the suites' present reading of the specification.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests hold it"))]
    ours: &'static [&'static str],
    /// It prints no test point where all is well.
    quiet: bool,
    needs: Need,
}

/// What a program needs of the machine.
#[derive(Clone, Copy)]
enum Need {
    Nothing,
    /// A hierarchy of cgroup v1 with this controller: the programs know no other.
    V1(&'static str),
    AppArmor,
    SeLinux,
    EveryCapability,
}

impl Need {
    /// Skips where the machine does not have it.
    fn check(self, x: &Ctx) -> Outcome {
        let is_there = |path: &str| Path::new(path).exists();
        match self {
            Need::V1(controller) => x.needs_v1(controller),
            Need::AppArmor if !is_there("/sys/kernel/security/apparmor") => skip("needs AppArmor"),
            Need::SeLinux if !is_there("/sys/fs/selinux/enforce") => skip("needs SELinux"),
            Need::EveryCapability => {
                let last: u32 = fs::read_to_string("/proc/sys/kernel/cap_last_cap")?.trim().parse()?;
                let status = fs::read_to_string("/proc/self/status")?;
                let held = status.lines().find_map(|l| l.strip_prefix("CapBnd:")).unwrap_or_default();
                let held = u64::from_str_radix(held.trim(), 16)?;
                if held == (2u64 << last) - 1 {
                    Ok(())
                } else {
                    skip("needs every capability: this machine's root has not all")
                }
            }
            _ => Ok(()),
        }
    }
}

const fn program(name: &'static str, checks: &'static str, ours: &'static [&'static str]) -> Program {
    Program { name, checks, ours, quiet: false, needs: Need::Nothing }
}

const fn quiet(name: &'static str, checks: &'static str, ours: &'static [&'static str]) -> Program {
    Program { name, checks, ours, quiet: true, needs: Need::Nothing }
}

impl Program {
    const fn needs(self, needs: Need) -> Program {
        Program { needs, ..self }
    }
}

/// The programs of the suite.
const PROGRAMS: &[Program] = &[
    program(
        "config_updates_without_affect",
        "runtime.md Lifecycle: step 3, a later change of config.json has no effect",
        &["cli/create/config-changes-later"],
    ),
    program("create", "runtime.md Create", &["spec/operation/create"]),
    program(
        "default",
        "config.md: a plain configuration",
        &["spec/mounts/default-filesystems", "spec/device/default-null"],
    ),
    program("delete", "runtime.md Delete", &["spec/operation/delete"]),
    program(
        "delete_only_create_resources",
        "runtime.md Delete: only what was created",
        &["spec/operation/delete-only-its-own"],
    )
    .needs(Need::V1("pids")),
    program("delete_resources", "runtime.md Delete: all that was created", &["spec/cgroup/removed"])
        .needs(Need::V1("pids")),
    program("hooks", "config.md POSIX-platform Hooks: order", &["spec/hooks/order-in-a-kind"]),
    program(
        "hooks_stdin",
        "config.md POSIX-platform Hooks: the state on stdin",
        &["spec/hooks/state", "spec/hooks/state-status"],
    ),
    program("hostname", "config.md Hostname", &["spec/hostname"]),
    program("kill", "runtime.md Kill", &["spec/operation/kill"]),
    program("kill_no_effect", "runtime.md Kill: no effect on a stopped container", &["spec/operation/kill"]),
    program("killsig", "runtime.md Kill: the signal arrives", &["cli/kill/deliver-SIGUSR1"]),
    program(
        "linux_cgroups_blkio",
        "config-linux.md Block IO",
        &["cgroups/set/blkio-weight", "spec/resources/io-throttle"],
    )
    .needs(Need::V1("blkio")),
    program("linux_cgroups_cpus", "config-linux.md CPU", &["spec/resources/cpu-shares", "spec/resources/cpuset-cpus"])
        .needs(Need::V1("cpu")),
    program("linux_cgroups_devices", "config-linux.md Allowed Device list", &["spec/device/rules-in-order"])
        .needs(Need::V1("devices")),
    program(
        "linux_cgroups_hugetlb",
        "config-linux.md Huge page limits",
        &["cgroups/set/hugepages", "spec/refused/hugepage-size"],
    )
    .needs(Need::V1("hugetlb")),
    program(
        "linux_cgroups_memory",
        "config-linux.md Memory",
        &["spec/resources/memory-limit", "spec/resources/memory-swappiness"],
    )
    .needs(Need::V1("memory")),
    program(
        "linux_cgroups_network",
        "config-linux.md Network",
        &["spec/resources/net-class-id", "spec/resources/net-priorities"],
    )
    .needs(Need::V1("net_cls")),
    program("linux_cgroups_pids", "config-linux.md PIDs", &["spec/resources/pids-limit"]).needs(Need::V1("pids")),
    program(
        "linux_cgroups_relative_blkio",
        "config-linux.md Cgroups Path: relative; Block IO",
        &["spec/cgroup/relative-path"],
    )
    .needs(Need::V1("blkio")),
    program(
        "linux_cgroups_relative_cpus",
        "config-linux.md Cgroups Path: relative; CPU",
        &["spec/cgroup/relative-path"],
    )
    .needs(Need::V1("cpu")),
    program(
        "linux_cgroups_relative_devices",
        "config-linux.md Cgroups Path: relative; Allowed Device list",
        &["spec/cgroup/relative-path"],
    )
    .needs(Need::V1("devices")),
    program(
        "linux_cgroups_relative_hugetlb",
        "config-linux.md Cgroups Path: relative; Huge page limits",
        &["spec/cgroup/relative-path"],
    )
    .needs(Need::V1("hugetlb")),
    program(
        "linux_cgroups_relative_memory",
        "config-linux.md Cgroups Path: relative; Memory",
        &["spec/cgroup/relative-path"],
    )
    .needs(Need::V1("memory")),
    program(
        "linux_cgroups_relative_network",
        "config-linux.md Cgroups Path: relative; Network",
        &["spec/cgroup/relative-path"],
    )
    .needs(Need::V1("net_cls")),
    program(
        "linux_cgroups_relative_pids",
        "config-linux.md Cgroups Path: relative; PIDs",
        &["spec/cgroup/relative-path"],
    )
    .needs(Need::V1("pids")),
    program(
        "linux_devices",
        "config-linux.md Devices",
        &["spec/device/node-char", "spec/device/node-block", "spec/device/node-fifo"],
    ),
    program(
        "linux_masked_paths",
        "config-linux.md Masked Paths",
        &["spec/masked/file", "spec/masked/directory", "spec/masked/kinds", "spec/refused/mask-relative"],
    ),
    program("linux_mount_label", "config-linux.md Mount Label", &["spec/label/mount"]).needs(Need::SeLinux),
    program(
        "linux_ns_itype",
        "config-linux.md Namespaces: not listed, inherited",
        &["spec/namespace/inherited-pid", "spec/namespace/inherited-network"],
    ),
    program(
        "linux_ns_nopath",
        "config-linux.md Namespaces: without path, new",
        &["spec/namespace/new-pid", "spec/namespace/new-network"],
    ),
    program(
        "linux_ns_path",
        "config-linux.md Namespaces: path",
        &["spec/namespace/joined-pid", "spec/namespace/joined-network"],
    ),
    program(
        "linux_ns_path_type",
        "config-linux.md Namespaces: a path of another type",
        &["spec/refused/namespace-of-other-type"],
    ),
    program("linux_process_apparmor_profile", "config.md Linux Process: apparmorProfile", &["spec/label/apparmor"])
        .needs(Need::AppArmor),
    program(
        "linux_readonly_paths",
        "config-linux.md Readonly Paths",
        &["spec/readonly/paths", "spec/readonly/kinds", "spec/refused/readonly-relative"],
    ),
    program(
        "linux_rootfs_propagation",
        "config-linux.md Rootfs Mount Propagation",
        &["spec/rootfs-propagation/private", "spec/rootfs-propagation/shared"],
    ),
    program("linux_seccomp", "config-linux.md Seccomp", &["spec/seccomp/errno"]),
    program("linux_sysctl", "config-linux.md Sysctl", &["spec/sysctl/network"]),
    program("linux_uid_mappings", "config-linux.md User namespace mappings", &["spec/userns/maps"]),
    program(
        "misc_props",
        "config.md Annotations, Extensibility, Valid values",
        &["spec/extensibility/unknown-properties", "spec/lifecycle/annotations", "spec/refused/oci-version"],
    ),
    program(
        "mounts",
        "config.md Mounts: propagation",
        &["spec/mount-option/shared", "spec/mount-option/rslave", "spec/mount-option/unbindable"],
    ),
    program("pidfile", "runc: --pid-file", &["cli/pid-file/no-newline"]),
    quiet("poststart", "config.md Poststart: after the program was executed", &["spec/hooks/order"]),
    quiet("poststart_fail", "runtime.md Lifecycle: a failing poststart hook", &["spec/hooks/failure-poststart"]),
    quiet("poststop", "config.md Poststop: after the container was deleted", &["spec/hooks/order"]),
    quiet("poststop_fail", "runtime.md Lifecycle: a failing poststop hook", &["spec/hooks/poststop-failure"]),
    quiet("prestart", "config.md Prestart: before the program is executed", &["spec/hooks/order"]),
    quiet("prestart_fail", "runtime.md Lifecycle: a failing prestart hook", &["spec/hooks/failure-prestart"]),
    program("process", "config.md Process: cwd, env, args", &["spec/process/cwd", "spec/process/env"]),
    program("process_capabilities", "config.md Linux Process: capabilities", &["spec/caps/sets"])
        .needs(Need::EveryCapability),
    quiet(
        "process_capabilities_fail",
        "config.md Linux Process: an unknown capability",
        &["spec/caps/unknown-is-a-warning"],
    ),
    program("process_oom_score_adj", "config.md Linux Process: oomScoreAdj", &["spec/process/oom-score-adj"]),
    program("process_rlimits", "config.md POSIX process: rlimits", &["spec/rlimits/several"]),
    quiet("process_rlimits_fail", "config.md POSIX process: an unknown rlimit", &["spec/refused/rlimit-unknown"]),
    program(
        "process_user",
        "config.md POSIX-platform User",
        &["spec/process/user", "spec/process/additional-gids", "spec/process/umask"],
    ),
    program("root_readonly_true", "config.md Root: readonly", &["spec/root/readonly"]),
    program("start", "runtime.md Start", &["spec/operation/start", "spec/refused/process-missing"]),
    program("state", "runtime.md Query State", &["spec/operation/state"]),
];

/// The cases: the programs of the table, and what `sources` has beside them.
pub(crate) fn cases(sources: Option<&Path>) -> Vec<Case> {
    let mut all: Vec<Case> = PROGRAMS.iter().map(|p| case(p.name.to_owned(), p.checks, p.quiet, p.needs)).collect();
    for name in sources.map(build::programs).unwrap_or_default() {
        if !PROGRAMS.iter().any(|p| p.name == name) {
            all.push(case(name, "a program that the table does not know", false, Need::Nothing));
        }
    }
    all
}

fn case(name: String, checks: &'static str, quiet: bool, needs: Need) -> Case {
    let program = name.clone();
    let mut case = Case::new("runtime-tools", name, checks, move |x| {
        needs.check(x)?;
        run(x, &program, quiet)
    });
    // They wait by asking once a second, for up to half a minute.
    case.timeout = Duration::from_secs(120);
    case
}

/// Runs one program.
fn run(x: &Ctx, name: &str, quiet: bool) -> Outcome {
    let Some((_, built)) = &x.job.runtime_tools else { return skip("no sources: --runtime-tools DIR is not given") };
    let program = built.join(name);
    if !program.exists() {
        return skip("these sources have no such program");
    }
    let cgroups = Cgroups::own(x)?;
    let (out, err, log) = (x.job.dir.join("tap"), x.job.dir.join("stderr"), x.job.dir.join("commands"));
    let bundles = x.job.dir.join("tmp");
    fs::create_dir_all(&bundles)?;
    fs::write(x.job.dir.join("last"), name)?;
    let child = Command::new(&program)
        .current_dir(built)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TMPDIR", &bundles)
        .env("RUNTIME", script(x, &log)?)
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?)
        .spawn()?;
    let status = reap(child.id())?;
    let read = |p: &Path| fs::read(p).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let (text, stderr) = (read(&out), read(&err));
    let tap = tap::parse(&text);
    x.measure(format!("{} test points, exit status {status}", tap::count(&tap)));
    for (title, text) in [("", tap::excerpt(&text)), ("standard error:\n", stderr.clone()), ("commands:\n", read(&log))]
    {
        if !text.trim().is_empty() {
            x.measure(format!("{title}{}", middle_cut(text.trim_end(), 12_000)));
        }
    }
    able(&read(&log))?;
    let verdict = tap::judge(&tap, status, &stderr, quiet);
    // What the program leaves is its own affair. What the runtime leaves when it was told to delete all is not.
    let left = remove_all(x).and_then(|()| x.alone()).and_then(|()| cgroups.none_left());
    cgroups.leave();
    verdict.and(left)
}

/// At most about `limit` bytes, the middle left out.
fn middle_cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let head = (0..=limit / 2).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    let tail = (text.len() - limit / 2..text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(text.len());
    format!("{}\n[... {} bytes ...]\n{}", &text[..head], tail - head, &text[tail..])
}

/// `text` as one word of a shell's command line.
fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The runtime as the programs see it: without flags of their own they would share the machine's state directory.
fn script(x: &Ctx, log: &Path) -> Result<PathBuf, Stop> {
    use std::os::unix::fs::PermissionsExt;
    let path = |p: &Path| word(&p.to_string_lossy());
    let mut runtime = vec![path(&x.job.runtime)];
    runtime.extend(x.job.flags.iter().map(|f| word(f)));
    let text = format!(
        r#"#!/bin/sh
printf '%s ' {name} "$@" >{last}
# A container may inherit standard error; then it is a file, and can be read.
if [ -f /proc/self/fd/2 ]; then
    errors=/proc/self/fd/2
    {runtime} --root {root} "$@"
    status=$?
else
    errors={errors}
    {runtime} --root {root} "$@" 2>"$errors"
    status=$?
    cat "$errors" >&2
fi
{{
    printf '%s -> %s\n' "$*" $status
    [ $status = 0 ] || sed 's/^/    /' "$errors"
}} >>{log}
exit $status
"#,
        name = path(&x.job.runtime),
        last = path(&x.job.dir.join("last")),
        errors = path(&x.job.dir.join("errors")),
        runtime = runtime.join(" "),
        root = path(&x.state_root()),
        log = path(log),
    );
    let file = x.job.dir.join("runtime");
    fs::write(&file, text)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(file)
}

/// Deletes the containers that the program left.
fn remove_all(x: &Ctx) -> Outcome {
    let Ok(entries) = fs::read_dir(x.state_root()) else { return Ok(()) };
    for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        let id = entry.file_name().to_string_lossy().into_owned();
        x.measure(format!("the program left container {id}"));
        let out = x.rt(["delete", "--force", &id])?;
        if out.status != 0 {
            return fail(format!("delete --force {id}: {}", out.stderr.trim_end()));
        }
    }
    Ok(())
}

/// Cgroups that are the root of every hierarchy for this case: the programs all use the same paths, and would meet.
struct Cgroups {
    name: String,
    /// The cgroup namespace that the case came from.
    before: File,
    /// Where hierarchies are mounted.
    points: Vec<PathBuf>,
}

/// The group in which the case itself is on cgroup v2, where a group with processes can't hand on controllers.
const OWN: &str = "harness";

impl Cgroups {
    fn own(x: &Ctx) -> Result<Cgroups, Stop> {
        // Not named with the case's tag: what is, is looked for when the case is over.
        let index = x.job.tag.strip_prefix(&x.job.run).unwrap_or_default();
        let name = format!("{}-{index}tools", x.job.cgroup.trim_start_matches('/'));
        let info = fs::read_to_string("/proc/self/mountinfo")?;
        let mut points = Vec::new();
        for line in info.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(point) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            let kind = right.split(' ').next().unwrap_or_default();
            if kind != "cgroup" && kind != "cgroup2" {
                continue;
            }
            let group = point.join(&name);
            fs::create_dir(&group)?;
            if kind == "cgroup2" {
                // What a runtime would do at the root: hand on what there is. Not all of it can be handed on.
                for controller in fs::read_to_string(point.join("cgroup.controllers"))?.split_whitespace() {
                    let _ = fs::write(point.join("cgroup.subtree_control"), format!("+{controller}"));
                }
            }
            for file in ["cpuset.cpus", "cpuset.mems"] {
                // A new group of v1 has none, and takes no process.
                if kind == "cgroup" && group.join(file).exists() {
                    fs::write(group.join(file), fs::read(point.join(file))?)?;
                }
            }
            fs::write(group.join("cgroup.procs"), "0")?;
            points.push((point, kind == "cgroup2"));
        }
        let before = File::open("/proc/self/ns/cgroup")?;
        unshare(CloneFlags::CLONE_NEWCGROUP)?;
        let none: Option<&str> = None;
        for (point, v2) in &points {
            let group = point.join(&name);
            if *v2 {
                fs::create_dir(group.join(OWN))?;
                fs::write(group.join(OWN).join("cgroup.procs"), "0")?;
            }
            mount(Some(&group), point, none, MsFlags::MS_BIND, none)?;
        }
        Ok(Cgroups { name, before, points: points.into_iter().map(|(p, _)| p).collect() })
    }

    /// Fails if a group was made and is still there.
    fn none_left(&self) -> Outcome {
        let mut left = Vec::new();
        for point in &self.points {
            let made = fs::read_dir(point)?.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
            left.extend(made.map(|e| e.path()).filter(|p| !p.ends_with(OWN)));
        }
        ensure(left.is_empty(), format_args!("left behind: cgroups {left:?}"))
    }

    /// Goes back to the roots and removes the groups. Of a case that is killed the frame removes them.
    fn leave(&self) {
        let _ = setns(&self.before, CloneFlags::CLONE_NEWCGROUP);
        for point in self.points.iter().rev() {
            let _ = umount2(point, MntFlags::MNT_DETACH);
            let _ = fs::write(point.join("cgroup.procs"), "0");
        }
        remove_cgroups(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::{PROGRAMS, middle_cut, word};

    #[test]
    fn every_program_has_cases_of_ours() {
        let all: Vec<String> = crate::suites::all(None).iter().map(crate::frame::Case::path).collect();
        for p in PROGRAMS {
            assert!(!p.ours.is_empty(), "{}: no case of ours", p.name);
            for case in p.ours {
                assert!(all.iter().any(|c| c == case), "{}: there is no case {case}", p.name);
            }
        }
        assert_eq!(PROGRAMS.len(), 58);
        assert!(PROGRAMS.is_sorted_by_key(|p| p.name));
    }

    #[test]
    fn texts() {
        assert_eq!(middle_cut("abc", 3), "abc");
        assert_eq!(middle_cut("aaaabbbbcccc", 8), "aaaa\n[... 4 bytes ...]\ncccc");
        // Cut between characters.
        assert_eq!(middle_cut("ääääää", 6), "ä\n[... 8 bytes ...]\nä");
        assert_eq!(word("it's"), r"'it'\''s'");
    }
}
