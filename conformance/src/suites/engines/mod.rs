//! Real engines with the runtime in runc's place: what their users see.

mod containerd;
mod cri;
mod docker;
mod podman;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::ctx::{Cmd, Ctx, Outcome, Stop, ensure, fail, patience, reap, skip, wait_fd};
use crate::fixture::Fixture;
use crate::frame::Case;

/// Time limit of a case: engines are slow on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// How long to wait for something that an engine will do.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn cases() -> Vec<Case> {
    let mut all = docker::cases();
    all.extend(containerd::cases());
    all.extend(cri::cases());
    all.extend(podman::cases());
    for c in &mut all {
        // With `--full`, 200 containers at once; and a life with each of two runtimes.
        let long = c.name.ends_with("/crowd") || c.name.ends_with("-log/beside");
        c.timeout = if long { 5 * LIMIT } else { LIMIT };
    }
    all
}

/// Finds a program of an engine, or skips.
fn tool(name: &str) -> Result<PathBuf, Stop> {
    ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/sbin"]
        .iter()
        .map(|d| Path::new(d).join(name))
        .find(|p| p.is_file())
        .ok_or_else(|| Stop::Skip(format!("no {name} on this machine")))
}

/// `PROGRAM ARGS` in the environment that the engines' programs get here; `dir` is the fixture's.
fn engine<'a, S: AsRef<std::ffi::OsStr>>(
    x: &'a Ctx,
    dir: &Path,
    program: &str,
    args: impl IntoIterator<Item = S>,
) -> Result<Cmd<'a>, Stop> {
    let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", at("bin"));
    let (home, tmp, docker) = (at("home"), at("tmp"), format!("unix://{}", at("docker.sock")));
    let env = [("PATH", path.as_str()), ("HOME", &home), ("TMPDIR", &tmp), ("DOCKER_HOST", &docker)];
    Ok(x.program(&tool(program)?, args).env(&env))
}

/// A case of an engine that a fixture runs. `run` is given the fixture's directory, and tidies up whatever became of it.
fn staged(
    fixture: &'static Fixture,
    name: &str,
    checks: &'static str,
    run: impl Fn(&Ctx, PathBuf) -> Outcome + Send + Sync + 'static,
) -> Case {
    let mut case = Case::new("engines", format!("{}/{name}", fixture.name), checks, move |x| match &x.job.stage {
        Some(stage) => run(x, stage.dir.clone()),
        None => fail("harness: no fixture"),
    });
    case.fixture = Some(fixture);
    case
}

/// What every fixture has: the directories, the loopback interface, a user `probe` with subordinate ids, and the image's
/// files as `image.tar`.
fn prepare(x: &Ctx) -> Outcome {
    let dir = &x.job.dir;
    if !x.job.flags.is_empty() {
        return skip("engines take a runtime without global flags");
    }
    for d in ["bin", "home", "tmp"] {
        fs::create_dir_all(dir.join(d))?;
    }
    // BuildKit inside dockerd takes what is called runc.
    fs::copy(&x.job.runtime, dir.join("bin/runc"))?;
    let append = |file: &str, line: &str| -> Outcome {
        let old = fs::read_to_string(file).unwrap_or_default();
        Ok(fs::write(file, format!("{old}{line}\n"))?)
    };
    // libsubid of shadow 4.17 looks for the owner of a range among the users.
    append("/etc/passwd", "probe:x:1999:1999::/:/bin/sh\ncontainers:x:1998:1998::/:/bin/sh")?;
    append("/etc/group", "probe:x:1999:\ncontainers:x:1998:")?;
    for file in ["/etc/subuid", "/etc/subgid"] {
        append(file, "probe:200000:65536\ncontainers:300000:655360")?;
    }
    engine(x, dir, "busybox", ["ip", "link", "set", "lo", "up"])?.go()?.ok()?;
    let root = dir.join("image");
    for d in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "data"] {
        fs::create_dir_all(root.join(d))?;
    }
    let busybox = tool("busybox")?;
    fs::copy(&busybox, root.join("bin/busybox"))?;
    let applets = x.program(&busybox, ["--list"]).go()?.ok()?.stdout;
    for applet in applets.lines().filter(|a| *a != "busybox") {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nsomeone:x:1000:1000::/tmp:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\nsomeone:x:1000:\nothers:x:2000:\n")?;
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::write(root.join("data/from-image"), "of the image\n")?;
    let tar = dir.join("image.tar");
    let (tar, root) = (tar.to_string_lossy(), root.to_string_lossy());
    engine(x, dir, "busybox", ["tar", "-c", "-f", &tar, "-C", &root, "."])?.go()?.ok().map(drop)
}

/// Whether the kernel translates addresses, which engines want for their bridges. Debian's user-mode Linux can't.
fn translates(x: &Ctx) -> Result<bool, Stop> {
    let chain = |verb: &str| engine(x, &x.job.dir, "iptables", ["-t", "nat", verb, "HARNESS"])?.go();
    // To list what is not there succeeds.
    Ok(chain("-N")?.status == 0 && chain("-X")?.status == 0)
}

/// Starts a daemon and waits until `answers`; its output goes to the file `PROGRAM.log` of the fixture.
fn daemon(x: &Ctx, program: &str, args: &[&str], answers: impl Fn() -> Result<bool, Stop>) -> Outcome {
    let log = x.job.dir.join(format!("{program}.log"));
    let log = log.to_string_lossy();
    let mut all = vec!["-c", "log=$1; shift; exec \"$@\" >\"$log\" 2>&1", "sh", &log, program];
    all.extend(args);
    tool(program)?;
    let running = engine(x, &x.job.dir, "sh", all)?.spawn()?;
    let Some(pid) = Pid::from_raw(running.child.id() as i32) else { return fail("no pid") };
    let fd = pidfd_open(pid, PidfdFlags::empty())?;
    let end = Instant::now() + patience(PATIENCE);
    while !answers()? {
        let ended = wait_fd(&fd, Duration::from_millis(50)).is_ok();
        if ended || Instant::now() > end {
            let log = fs::read_to_string(&*log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(3).collect();
            return fail(format!("{program} does not answer: {tail:?}"));
        }
    }
    Ok(())
}

/// Waits until `holds`: engines have no event for much of what a user sees.
fn until(what: &str, mut holds: impl FnMut() -> Result<bool, Stop>) -> Outcome {
    let end = Instant::now() + patience(PATIENCE);
    while !holds()? {
        ensure(Instant::now() < end, format_args!("{what}: not within {:?}", patience(PATIENCE)))?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Where `kind` of process `pid` (or `self`) leads.
fn namespace_of(pid: &str, kind: &str) -> Result<String, Stop> {
    Ok(fs::read_link(format!("/proc/{pid}/ns/{kind}"))?.to_string_lossy().into_owned())
}

/// The cgroup directory of process `pid` for `controller`; the v2 one where there is no such v1 hierarchy.
fn cgroup_of(pid: &str, controller: &str) -> Result<String, Stop> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let v1 = text.lines().find_map(|l| l.split_once(&format!(":{controller}:")));
    match v1 {
        Some((_, path)) => Ok(format!("/sys/fs/cgroup/{controller}{path}")),
        None => match text.lines().find_map(|l| l.strip_prefix("0::")) {
            Some(path) => Ok(format!("/sys/fs/cgroup{path}")),
            None => fail(format!("no {controller} in {text:?}")),
        },
    }
}

/// The content of the first of `files` that is there in the cgroup of process `pid`.
fn knob(pid: &str, controller: &str, files: &[&str]) -> Result<String, Stop> {
    let dir = cgroup_of(pid, controller)?;
    match files.iter().find_map(|f| fs::read_to_string(Path::new(&dir).join(f)).ok()) {
        Some(text) => Ok(text.trim().to_owned()),
        None => fail(format!("none of {files:?} in {dir}")),
    }
}

/// A command on a terminal that the case made.
struct Terminal {
    master: fs::File,
    pid: u32,
    seen: String,
    /// Up to where `seen` was expected.
    passed: usize,
}

impl Terminal {
    fn start(cmd: Cmd<'_>, rows: u16, columns: u16) -> Result<Terminal, Stop> {
        // A client hears of a new size by SIGWINCH, which only the foreground of a session gets.
        let started = cmd.with(["session"]).on_terminal(rows, columns)?;
        Ok(Terminal { master: started.master, pid: started.child.id(), seen: String::new(), passed: 0 })
    }

    fn size(&self, rows: u16, columns: u16) -> Outcome {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(&self.master, size)?)
    }

    /// Changes the size, and expects the `text` that tells that the program has seen it. A client passes the first size on
    /// before it listens for others, so what it may have missed is said again.
    fn resize(&mut self, rows: u16, columns: u16, text: &str) -> Outcome {
        let end = Instant::now() + patience(PATIENCE);
        loop {
            self.size(rows, columns)?;
            let seen = self.shows(text, Instant::now() + patience(PATIENCE) / 30);
            if seen.is_ok() || Instant::now() > end {
                return seen;
            }
            self.size(rows + 1, columns)?;
        }
    }

    fn send(&mut self, text: &str) -> Outcome {
        Ok(self.master.write_all(text.as_bytes())?)
    }

    /// Reads until the terminal shows `text` after what was expected before.
    fn expect(&mut self, text: &str) -> Outcome {
        self.shows(text, Instant::now() + patience(PATIENCE))
    }

    /// As [`Terminal::expect`], until `end`.
    fn shows(&mut self, text: &str, end: Instant) -> Outcome {
        loop {
            if let Some(at) = self.seen[self.passed..].find(text) {
                self.passed += at + text.len();
                return Ok(());
            }
            let fd: OwnedFd = self.master.try_clone()?.into();
            let left = end.saturating_duration_since(Instant::now());
            let mut buffer = [0; 4096];
            let n = if wait_fd(&fd, left).is_ok() { self.master.read(&mut buffer).unwrap_or(0) } else { 0 };
            if n == 0 {
                return fail(format!("expected {text:?} on the terminal, which showed {:?}", self.seen));
            }
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    }

    /// Waits for the command.
    fn end(mut self) -> Result<i32, Stop> {
        let mut rest = Vec::new();
        // EIO is how a master says that the last slave was closed.
        let _ = self.master.read_to_end(&mut rest);
        reap(self.pid)
    }
}

/// A loop of a shell until `stty size` prints `size`.
fn sized(size: &str) -> String {
    format!("while [ \"$(stty size)\" != '{size}' ]; do usleep 20000; done")
}

/// The runtime whose complaints an engine has anyway.
fn reference(x: &Ctx) -> Result<PathBuf, Stop> {
    x.job.reference.clone().map_or_else(|| tool("runc"), Ok)
}

/// Complaints of containerd (1.6 and 2.1) and its shims that come with runc too, in the cases of these suites: the cases
/// `*-log/beside` compare.
const OF_CONTAINERD: &[&str] = &[
    "devmapper",
    // The harness's file is of version 2, which containerd 1.6 and 2 read both.
    "Configuration migrated from version",
    // After every container that cannot be created.
    "copy shim log",
    // After every container.
    "cleaning up after shim disconnected",
    "cleanup warnings",
    "failed to read init pid file",
    "failed to remove runc container",
    // containerd 2, after every container, and of one that has ended before its events were asked for.
    "warnings while cleaning up dead shim",
    "failed to add inotify watch",
    "failed to enable controllers",
    "cgroups: epoll wait",
    // containerd 2, of an answer to a shim that has ended.
    "failed sending message on channel",
];

/// What containerd and its shims complain of by chance, whichever the runtime: of containers that end while they are looked at.
const BY_CHANCE: &[&str] = &[
    "resuming exited container from paused state",
    // Exit status 255 is the shim's own, for a child that somebody else has waited for.
    "failed to remove runc container",
    "failed to add inotify watch",
    "failed to enable controllers",
    "cgroups: epoll wait",
];

/// Fails where the engine complains of what was done with the runtime under test, and not of the same with the reference.
/// `reference` and `tested` are what it logged meanwhile.
fn no_worse(x: &Ctx, reference: &str, tested: &str) -> Outcome {
    let usual = complaints(&nameless(x, reference), &[]);
    let found = lines(&nameless(x, tested), |complaint| !usual.contains(complaint));
    ensure(found.is_empty(), format_args!("complaints that {usual:#?} does not have: {found:#?}"))
}

/// The lines of a log with complaints that are looked for.
fn lines(log: &str, sought: impl Fn(&String) -> bool) -> Vec<String> {
    log.lines().filter(|line| complaints(line, &[]).iter().any(&sought)).map(str::to_owned).collect()
}

/// A log without the paths of the runtimes.
fn nameless(x: &Ctx, log: &str) -> String {
    let reference = reference(x).unwrap_or_default();
    [&x.job.runtime, &reference]
        .iter()
        .fold(log.to_owned(), |log, path| log.replace(&*path.to_string_lossy(), "RUNTIME"))
}

/// As [`no_worse`], of what `deeds` adds to a log, which is one of a daemon that nobody else uses; `chance` is what is logged
/// now and then, whichever the runtime. What else comes by chance comes with the reference too, if that is tried again.
fn compared_log(x: &Ctx, log: &Path, chance: &[&str], deeds: impl Fn(bool) -> Outcome) -> Outcome {
    let added = |with_reference: bool| -> Result<String, Stop> {
        let start = fs::read_to_string(log)?.len();
        deeds(with_reference)?;
        Ok(nameless(x, &fs::read_to_string(log)?[start..]))
    };
    let mut usual = complaints(&added(true)?, &[]);
    let tested = added(false)?;
    let mut found = complaints(&tested, chance);
    for _ in 0..2 {
        found.retain(|complaint| !usual.contains(complaint));
        if found.is_empty() {
            return Ok(());
        }
        usual.extend(complaints(&added(true)?, &[]));
    }
    found.retain(|complaint| !usual.contains(complaint));
    let found = lines(&tested, |complaint| found.contains(complaint));
    ensure(found.is_empty(), format_args!("complaints that {usual:#?} does not have: {found:#?}"))
}

/// What a log complains of (level warning and above, also in the output of a shim that it quotes): the message and the
/// error, with ids and numbers blanked out, unless a pattern allows it.
fn complaints(log: &str, allowed: &[&str]) -> Vec<String> {
    // Each line of what is quoted is one by itself.
    let plain = log.replace("\\\"", "\"").replace("\\n", "\n").replace("time=\"", "\ntime=\"");
    let mut found: Vec<String> = plain
        .lines()
        .filter_map(|l| {
            let at = ["level=warning", "level=error", "level=fatal", "panic"].iter().find_map(|w| l.find(w))?;
            let text = l[at..].split(" id=").next().unwrap_or_default();
            let words = text.split(' ').map(|w| {
                let id = w.len() >= 32 || w.chars().any(|c| c.is_ascii_digit());
                if id { "#" } else { w }
            });
            Some(words.collect::<Vec<_>>().join(" "))
        })
        .filter(|l| !allowed.iter().any(|a| l.contains(a)))
        .collect();
    found.sort();
    found.dedup();
    found
}
