//! How many system calls each command may make, with all processes that it starts until it ends: what no machine's load
//! blurs. Where a number has to grow, say why in the commit; where it has shrunk, take it down.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use benches::Scratch;

/// Makes `/sys/fs/cgroup` the v2 hierarchy alone, on a hybrid host, in a mount namespace.
const ONLY_V2: &str = "mount --bind /sys/fs/cgroup/unified /mnt && umount -R /sys/fs/cgroup && \
                       mount --move /mnt /sys/fs/cgroup && exec \"$@\"";

/// Operation, the most calls on v2, and on a hybrid host with nine v1 hierarchies. `create` with the whole life of the
/// first process.
const BUDGETS: [(&str, usize, usize); 7] = [
    ("run", 640, 930),
    ("create", 590, 860),
    ("state", 70, 70),
    ("start", 70, 70),
    ("exec", 320, 365),
    ("kill", 64, 64),
    ("delete", 85, 98),
];

/// Says why nothing is tested; in CI that is a failure.
fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "can't be skipped in CI: {reason}");
    eprintln!("SKIPPED system_calls: {reason}");
}

/// The program beside this test, or the one that `ORLOP` names.
fn orlop() -> PathBuf {
    std::env::var_os("ORLOP")
        .map_or_else(|| std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("orlop"), PathBuf::from)
}

/// One command under strace(1).
struct Traced {
    strace: Child,
    summary: PathBuf,
}

impl Traced {
    fn spawn(scratch: &Path, only_v2: bool, arguments: &[&str]) -> Self {
        let summary = scratch.join(format!("{}.calls", arguments[0]));
        let mut command = Command::new(if only_v2 { "unshare" } else { "strace" });
        if only_v2 {
            command.args(["-m", "--propagation", "private", "sh", "-c", ONLY_V2, "sh", "strace"]);
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

fn check(only_v2: bool, name: &str, budget: impl Fn(&(&str, usize, usize)) -> usize) {
    let scratch = Scratch::new(name).unwrap();
    let quick = scratch.bundle("true", &["/bin/true"]).unwrap().display().to_string();
    let slow = scratch.bundle("sleep", &["/bin/sleep", "1000"]).unwrap().display().to_string();
    let id = format!("{name}-{}", std::process::id());
    let _container = Deleted { scratch: &scratch.0, id: &id };
    let count = |arguments: &[&str]| Traced::spawn(&scratch.0, only_v2, arguments).count();
    let run = count(&["run", "-b", &quick, &format!("{id}-run")]);
    // strace follows the container's first process too: its whole life is counted with `create`.
    let create = Traced::spawn(&scratch.0, only_v2, &["create", "-b", &slow, &id]);
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
    if !Path::new("/bin/busybox").exists() || Command::new("strace").arg("-V").output().is_err() {
        return skip("needs strace and /bin/busybox");
    }
    if !orlop().exists() {
        return skip("orlop is not built");
    }
    if !is_root() {
        return skip("needs root");
    }
    let hybrid = Path::new("/sys/fs/cgroup/unified").exists();
    check(hybrid, "v2", |row| row.1);
    if hybrid {
        check(false, "hybrid", |row| row.2);
    } else {
        eprintln!("SKIPPED hybrid: this host has cgroup v2 alone");
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
