//! How many system calls each command may make, with all processes that it starts until it ends: what no machine's load
//! blurs. Where a number has to grow, say why in the commit; where it has shrunk, take it down.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use benches::Scratch;

/// Makes `/sys/fs/cgroup` the v2 hierarchy alone, on a hybrid host, in a mount namespace.
const ONLY_V2: &str = "mount --bind /sys/fs/cgroup/unified /mnt && umount -R /sys/fs/cgroup && \
                       mount --move /mnt /sys/fs/cgroup";

/// Operation, the most calls on v2, and on a hybrid host with nine v1 hierarchies. `create` with the whole life of the
/// first process.
const BUDGETS: [(&str, usize, usize); 7] = [
    ("run", 615, 890),
    ("create", 570, 830),
    ("state", 68, 68),
    ("start", 68, 68),
    ("exec", 305, 350),
    ("kill", 62, 62),
    ("delete", 82, 96),
];

fn orlop() -> PathBuf {
    benches::orlop("system_calls").unwrap()
}

/// One command under strace(1).
struct Traced {
    strace: Child,
    summary: PathBuf,
}

impl Traced {
    /// `before` is a script that changes the mounts, which only the command sees.
    fn spawn(scratch: &Path, before: Option<&str>, arguments: &[&str]) -> Self {
        let summary = scratch.join(format!("{}.calls", arguments[0]));
        let mut command = Command::new(if before.is_some() { "unshare" } else { "strace" });
        if let Some(before) = before {
            let script = format!("{before} && exec \"$@\"");
            command.args(["-m", "--propagation", "private", "sh", "-c", &script, "sh", "strace"]);
        }
        command.args(["-f", "-c", "-U", "calls,name", "-o"]).arg(&summary).arg(orlop());
        command.arg("--root").arg(scratch.join("state")).args(arguments);
        let strace = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        Traced { strace, summary }
    }

    /// How many calls it made, with all that it started, when all have ended.
    fn count(mut self) -> usize {
        let status = self.strace.wait().unwrap();
        let text = std::fs::read_to_string(&self.summary).unwrap();
        assert!(status.success() || self.summary.ends_with("create.calls"), "{}: {status}", self.summary.display());
        let calls = |name: &str| -> Option<usize> {
            let line = text.lines().find(|line| line.split_whitespace().last() == Some(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let total = calls("total").unwrap_or_else(|| panic!("{text}"));
        // A debug build of std asks by fcntl(2) whether each descriptor that it closes is open.
        if cfg!(debug_assertions) { total - calls("fcntl").unwrap_or_default() } else { total }
    }
}

/// Until the container's status is this one.
fn wait_for(scratch: &Path, id: &str, status: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let wanted = format!("\"status\": \"{status}\"");
    loop {
        let state =
            Command::new(orlop()).arg("--root").arg(scratch.join("state")).args(["state", id]).output().unwrap();
        if String::from_utf8_lossy(&state.stdout).contains(&wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "{id} is not {status}: {state:?}");
    }
}

fn check(before: Option<&str>, name: &str, budget: impl Fn(&(&str, usize, usize)) -> usize) {
    let scratch = Scratch::new(name).unwrap();
    let quick = scratch.bundle("true", &["/bin/true"]).unwrap().display().to_string();
    let slow = scratch.bundle("sleep", &["/bin/sleep", "1000"]).unwrap().display().to_string();
    let id = format!("{name}-{}", std::process::id());
    let _container = Deleted { scratch: &scratch.0, id: &id };
    let count = |arguments: &[&str]| Traced::spawn(&scratch.0, before, arguments).count();
    let run = count(&["run", "-b", &quick, &format!("{id}-run")]);
    // strace follows the container's first process too: its whole life is counted with `create`.
    let create = Traced::spawn(&scratch.0, before, &["create", "-b", &slow, &id]);
    wait_for(&scratch.0, &id, "created");
    let state = count(&["state", &id]);
    let start = count(&["start", &id]);
    let exec = count(&["exec", &id, "/bin/true"]);
    let kill = count(&["kill", &id, "KILL"]);
    wait_for(&scratch.0, &id, "stopped");
    let create = create.count();
    let delete = count(&["delete", &id]);
    let calls = [run, create, state, start, exec, kill, delete];
    let mut over = Vec::new();
    for (row, calls) in BUDGETS.iter().zip(calls) {
        eprintln!("{name} {}: {calls} calls of {}", row.0, budget(row));
        if calls > budget(row) {
            over.push(format!("{}: {calls} calls, budget {}", row.0, budget(row)));
        }
    }
    assert!(over.is_empty(), "{name}: {over:?}");
}

/// A container that is gone in the end, whatever happens.
struct Deleted<'a> {
    scratch: &'a Path,
    id: &'a str,
}

impl Drop for Deleted<'_> {
    fn drop(&mut self) {
        let _ = Command::new(orlop())
            .arg("--root")
            .arg(self.scratch.join("state"))
            .args(["delete", "-f", self.id])
            .status();
    }
}

#[test]
fn budgets() {
    if benches::orlop("system_calls").is_none() {
        return;
    }
    let hybrid = is_hybrid();
    check(hybrid.then_some(ONLY_V2), "v2", |row| row.1);
    if hybrid {
        check(None, "hybrid", |row| row.2);
    } else {
        eprintln!("SKIPPED hybrid: this host has cgroup v2 alone");
    }
}

fn is_hybrid() -> bool {
    Path::new("/sys/fs/cgroup/unified").exists()
}

#[test]
fn the_host_may_be_full() {
    const MOUNTS: &str = "for i in $(seq 300); do mount -t tmpfs none /mnt || exit; done";
    const CONTAINERS: usize = 20;
    if benches::orlop("the_host_may_be_full").is_none() {
        return;
    }
    let scratch = Scratch::new("full").unwrap();
    let quick = scratch.bundle("true", &["/bin/true"]).unwrap().display().to_string();
    let slow = scratch.bundle("sleep", &["/bin/sleep", "1000"]).unwrap().display().to_string();
    let ids: Vec<_> = (0..=CONTAINERS).map(|number| format!("full-{}-{number}", std::process::id())).collect();
    let _containers: Vec<_> = ids.iter().map(|id| Deleted { scratch: &scratch.0, id }).collect();
    let start = |id: &str| {
        let mut command = Command::new(orlop());
        command.arg("--root").arg(scratch.0.join("state")).args(["run", "-d", "-b", &slow, id]);
        assert!(command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap().success());
    };
    start(&ids[0]);
    let counts = |before: Option<&str>| {
        let run = Traced::spawn(&scratch.0, before, &["run", "-b", &quick, "full-run"]).count();
        let exec = Traced::spawn(&scratch.0, before, &["exec", &ids[0], "/bin/true"]).count();
        let state = Traced::spawn(&scratch.0, before, &["state", &ids[0]]).count();
        [run, exec, state]
    };
    let alone = counts(None);
    let among_mounts = counts(Some(MOUNTS));
    ids[1..].iter().for_each(|id| start(id));
    let among_containers = counts(None);
    for (few, many) in [among_mounts, among_containers].into_iter().flat_map(|many| alone.into_iter().zip(many)) {
        // How often the end of a cgroup or of a process must be waited for differs by a few.
        assert!(
            many <= few + 10,
            "alone {alone:?}, with mounts {among_mounts:?}, with containers {among_containers:?}"
        );
    }
}
