//! What a case has in its hands: the runtime, bundles, running containers, and what must hold when it is over.

mod fault;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt::{Debug, Display};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::systemd::Manager;

pub(crate) use fault::{Fault, Traced};

/// Why a case did not pass.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Stop {
    /// What was expected and what was seen.
    Fail(String),
    /// Why this machine or this runtime cannot be asked.
    Skip(String),
}

/// What a case returns.
pub(crate) type Outcome = Result<(), Stop>;

impl<E: std::error::Error> From<E> for Stop {
    fn from(e: E) -> Stop {
        Stop::Fail(format!("harness: {e}"))
    }
}

/// A failure with this text.
pub(crate) fn fail<T>(text: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Fail(text.into()))
}

/// Skips the case for this reason.
pub(crate) fn skip<T>(reason: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Skip(reason.into()))
}

/// Fails with `what` unless `holds`.
pub(crate) fn ensure(holds: bool, what: impl Display) -> Outcome {
    if holds { Ok(()) } else { fail(what.to_string()) }
}

/// Fails unless `got == want`.
#[expect(clippy::needless_pass_by_value, reason = "callers pass temporaries; a reference at every call is noise")]
pub(crate) fn eq<A: Debug + PartialEq<B>, B: Debug>(what: impl Display, got: A, want: B) -> Outcome {
    if got == want { Ok(()) } else { fail(format!("{what}: expected {want:?}, got {got:?}")) }
}

/// Fails unless `text` contains every one of `parts`.
pub(crate) fn contains(what: impl Display, text: &str, parts: &[&str]) -> Outcome {
    match parts.iter().find(|p| !text.contains(**p)) {
        Some(p) => fail(format!("{what}: expected to contain {p:?}, got {text:?}")),
        None => Ok(()),
    }
}

/// Who makes the containers' cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub(crate) enum Driver {
    /// The runtime.
    Cgroupfs,
    /// systemd, as `--systemd-cgroup` asks: cgroupsPath is `slice:prefix:name`.
    Systemd,
}

/// How many times as long as usual everything may take.
static SLOW: OnceLock<u32> = OnceLock::new();

/// Grants everything that is waited for in this process `times` its time.
pub(crate) fn slow_down(times: u32) {
    let _ = SLOW.set(times);
}

/// How long to wait, on this machine, for what takes at most `usual`.
pub(crate) fn patience(usual: Duration) -> Duration {
    usual * SLOW.get().copied().unwrap_or(1)
}

/// How one run of a case is described to the process that runs it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    /// `suite/name`.
    pub case: String,
    /// The runtime's executable, absolute.
    pub runtime: PathBuf,
    /// Global flags before all others.
    pub flags: Vec<String>,
    /// First line of its `--version`.
    pub version: String,
    /// Private directory of this run.
    pub dir: PathBuf,
    /// The probe's executable on the host.
    pub probe: PathBuf,
    /// Part of every name of this run of the harness.
    pub run: String,
    /// Part of every container id and cgroup name of this run, and of no other's.
    pub tag: String,
    /// Parent of the containers' cgroups, as a `cgroupsPath`.
    pub cgroup: String,
    /// Whether /sys/fs/cgroup is the v2 hierarchy alone.
    pub v2: bool,
    pub driver: Driver,
    /// How many times as long as usual everything may take.
    pub slow: u32,
    /// How often a race is run.
    pub rounds: u32,
    /// Sources of OCI runtime-tools, and where the programs are that were built from them.
    pub runtime_tools: Option<(PathBuf, PathBuf)>,
    /// A runtime to compare with.
    pub reference: Option<PathBuf>,
    /// The fixture that is there.
    pub stage: Option<crate::fixture::Stage>,
    /// Whether to try everything where a sample is tried otherwise.
    pub full: bool,
    /// Who executes the runtime, unless root.
    pub user: Option<crate::user::User>,
}

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Out {
    /// Exit status, or 128+n for a process that signal n ended.
    pub status: i32,
    pub stdout: String,
    /// With logrus' escaped quotes undone, so that texts can be compared.
    pub stderr: String,
}

impl Out {
    /// Fails unless the command succeeded.
    pub(crate) fn ok(self) -> Result<Out, Stop> {
        self.exits(0)
    }

    /// Fails unless the exit status is `status`.
    pub(crate) fn exits(self, status: i32) -> Result<Out, Stop> {
        eq("exit status", self.status, status)?;
        Ok(self)
    }

    /// Fails unless the command failed, with a message: which status that is, the specification does not say.
    pub(crate) fn errs(self) -> Result<Out, Stop> {
        ensure(self.status != 0, "it succeeded")?;
        ensure(!self.stderr.trim().is_empty(), "no message")?;
        Ok(self)
    }

    /// Fails unless the exit status is `status` and standard error contains `texts`.
    pub(crate) fn fails(self, status: i32, texts: &[&str]) -> Result<Out, Stop> {
        let out = self.exits(status)?;
        contains("stderr", &out.stderr, texts)?;
        Ok(out)
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Result<Value, Stop> {
        serde_json::from_str(&self.stdout).or_else(|e| fail(format!("stdout is not JSON ({e}): {:?}", self.stdout)))
    }

    /// The values that the probe's verbs printed, without the lines that are not JSON.
    pub(crate) fn results(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .filter_map(|l| serde_json::from_str::<Value>(l).ok())
            .map(|v| v.get("result").cloned().unwrap_or(v))
            .collect()
    }
}

/// A command line under construction.
pub(crate) struct Cmd<'a> {
    ctx: &'a Ctx,
    program: PathBuf,
    args: Vec<OsString>,
    /// What `__exec` does before the program is executed.
    with: Vec<String>,
    stdin: Stdio,
    env: Option<Vec<(String, String)>>,
    cwd: Option<PathBuf>,
}

/// Where the case notes what it does: where a hang is said to be.
static LAST: OnceLock<PathBuf> = OnceLock::new();

/// Notes the command that is about to run.
fn note(text: &str) {
    if let Some(path) = LAST.get() {
        let _ = fs::write(path, text);
    }
}

/// Notes, beside the last command, what is waited for.
fn waiting(what: &str) {
    if let Some(path) = LAST.get() {
        let last = fs::read_to_string(path).unwrap_or_default();
        let last = last.split(" (then ").next().unwrap_or_default();
        let _ = fs::write(path, format!("{last} (then waiting for {what})"));
    }
}

thread_local! {
    /// Statuses of children that ended while another was waited for.
    static REAPED: RefCell<HashMap<i32, i32>> = RefCell::default();
}

/// Waits for any child of ours and notes its status; false if there is none (yet, unless `block`).
pub(crate) fn reap_one(block: bool) -> Result<bool, Stop> {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    let (pid, status) = match waitpid(None, (!block).then_some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(pid, status)) => (pid, status),
        Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
        Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return Ok(false),
        // A stop, of one that the case traces.
        Ok(_) | Err(nix::errno::Errno::EINTR) => return Ok(true),
        Err(e) => return Err(e.into()),
    };
    REAPED.with(|r| r.borrow_mut().insert(pid.as_raw(), status));
    Ok(true)
}

/// Waits for the child `pid` and reaps every orphan meanwhile, as a shim does: init of a pid namespace cannot end while
/// a process of it is a zombie that nobody waits for.
pub(crate) fn reap(pid: u32) -> Result<i32, Stop> {
    loop {
        if let Some(status) = REAPED.with(|r| r.borrow_mut().remove(&(pid as i32))) {
            return Ok(status);
        }
        if !reap_one(true)? {
            return fail(format!("process {pid} is not a child"));
        }
    }
}

/// Waits until one of these children has ended, and says which: [`reap`] has its status then.
pub(crate) fn any_ended(pids: &[u32]) -> Result<usize, Stop> {
    loop {
        let ended = REAPED.with(|r| pids.iter().position(|pid| r.borrow().contains_key(&(*pid as i32))));
        if let Some(at) = ended {
            return Ok(at);
        }
        if !reap_one(true)? {
            return fail("harness: there is no child to wait for");
        }
    }
}

/// Notes the status of a child that nobody asked for yet.
fn note_status(pid: nix::unistd::Pid, status: i32) -> Option<nix::sys::signal::Signal> {
    REAPED.with(|r| r.borrow_mut().insert(pid.as_raw(), status));
    None
}

/// How a command ended that was to be killed at one of its system calls.
pub(crate) enum Cut {
    /// There; the number of the call.
    Killed(String),
    /// It ended before; how many calls it did.
    Ended(Out, usize),
}

impl<'a> Cmd<'a> {
    /// Circumstances, done in order by a helper process: `close=N`, `open=PATH` (lowest free descriptor, inherited),
    /// `umask=OCTAL`, `cpu=N` (bound to it), `subreaper`, `traceme`, `oom=N`, `proc` (mounts one on /proc), `session` (a new
    /// one; standard input is its terminal), `pid-in=VARIABLE` (its own pid, in the environment).
    pub(crate) fn with<S: Into<String>>(mut self, ops: impl IntoIterator<Item = S>) -> Cmd<'a> {
        self.with.extend(ops.into_iter().map(Into::into));
        self
    }

    pub(crate) fn stdin(mut self, stdin: impl Into<Stdio>) -> Cmd<'a> {
        self.stdin = stdin.into();
        self
    }

    /// `text` on standard input.
    pub(crate) fn input(self, text: &str) -> Result<Cmd<'a>, Stop> {
        let path = self.ctx.fresh("stdin");
        fs::write(&path, text)?;
        Ok(self.stdin(File::open(path)?))
    }

    /// Only these variables.
    pub(crate) fn env(mut self, env: &[(&str, &str)]) -> Cmd<'a> {
        self.env = Some(env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        self
    }

    /// This variable too.
    pub(crate) fn and_env(mut self, name: &str, value: &str) -> Cmd<'a> {
        self.env.get_or_insert_default().push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn cwd(mut self, dir: &Path) -> Cmd<'a> {
        self.cwd = Some(dir.to_owned());
        self
    }

    fn command(&self) -> Result<Command, Stop> {
        let mut with = self.with.clone();
        if let Some(user) = self.ctx.job.user.as_ref().filter(|_| self.program == self.ctx.job.runtime) {
            user.own(&self.ctx.job.dir, &self.ctx.kept.borrow())?;
            // A tracer shall see the runtime's own system calls alone.
            let at = with.iter().position(|op| op == "traceme").unwrap_or(with.len());
            let another = with.iter().any(|op| op.starts_with("user="));
            with.splice(at..at, if another { Vec::new() } else { user.circumstances(&self.ctx.job) });
        }
        let mut c = if with.is_empty() {
            Command::new(&self.program)
        } else {
            let mut c = Command::new("/proc/self/exe");
            c.arg("__exec").args(&with).arg("--").arg(&self.program);
            c
        };
        if let Some(user) = &self.ctx.job.user {
            c.env("XDG_RUNTIME_DIR", user.runtime_dir(&self.ctx.job)).env_remove("DBUS_SESSION_BUS_ADDRESS");
        }
        c.args(&self.args);
        if let Some(env) = &self.env {
            c.env_clear().envs(env.iter().map(|(k, v)| (k, v)));
        }
        if let Some(dir) = &self.cwd {
            c.current_dir(dir);
        }
        Ok(c)
    }

    /// A stream of a command is whose the command is: else he could not open it again.
    fn his<F: AsFd>(&self, stream: F) -> Result<F, Stop> {
        if let Some(user) = &self.ctx.job.user {
            let (uid, gid) = (nix::unistd::Uid::from_raw(user.uid), nix::unistd::Gid::from_raw(user.gid));
            nix::unistd::fchown(&stream, Some(uid), Some(gid))?;
        }
        Ok(stream)
    }

    fn text(&self) -> String {
        let mut words: Vec<_> = self.with.iter().map(|w| format!("[{w}]")).collect();
        words.push(self.program.to_string_lossy().into_owned());
        words.extend(self.args.iter().map(|a| a.to_string_lossy().into_owned()));
        words.join(" ")
    }

    /// Runs it to its end. Output goes to files, not pipes: a container that outlives the command keeps them open.
    pub(crate) fn go(self) -> Result<Out, Stop> {
        let (o, e) = (self.ctx.fresh("stdout"), self.ctx.fresh("stderr"));
        let text = self.text();
        note(&text);
        let mut command = self.command()?;
        command.stdout(self.his(File::create(&o)?)?).stderr(self.his(File::create(&e)?)?).stdin(self.stdin);
        let mut attempts = 0;
        let child = loop {
            match command.spawn() {
                // A container that tries to write to the runtime's executable keeps it busy for an instant, though it gets
                // nowhere: the kernel counts the writer before it looks at the mount. Any user may do so to any program.
                Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && attempts < 1000 => attempts += 1,
                result => break result?,
            }
        };
        drop(command);
        let status = reap(child.id())?;
        let out = Out {
            status,
            stdout: String::from_utf8_lossy(&fs::read(&o)?).into_owned(),
            stderr: String::from_utf8_lossy(&fs::read(&e)?).replace("\\\"", "\""),
        };
        able(&out.stderr)?;
        self.ctx.evidence(&format!("$ {text}\n-> {status}{}{}", shown("out", &out.stdout), shown("err", &out.stderr)));
        Ok(out)
    }

    /// Starts it with standard output and error a pipe that nobody reads any more.
    pub(crate) fn without_reader(self) -> Result<Running, Stop> {
        let text = self.text();
        note(&text);
        let (reader, writer) = io::pipe()?;
        let (nothing, _) = io::pipe()?;
        drop(reader);
        let mut command = self.command()?;
        let child = command.stdin(self.stdin).stdout(writer.try_clone()?).stderr(writer).spawn()?;
        Ok(Running { child, lines: BufReader::new(nothing), stderr: PathBuf::new(), trail: String::new() })
    }

    /// Runs it until it is about to do its `at`-th system call, the first being 1, and kills it there; its children run on.
    /// Of a program with threads the calls of the first thread count.
    pub(crate) fn cut(mut self, at: usize) -> Result<Cut, Stop> {
        use nix::sys::ptrace::{self, Options};
        use nix::sys::signal::Signal;
        use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
        self.with.push("traceme".into());
        let text = format!("{} (until its system call {at})", self.text());
        note(&text);
        let (o, e) = (self.ctx.fresh("stdout"), self.ctx.fresh("stderr"));
        let mut command = self.command()?;
        let child = command.stdin(self.stdin).stdout(File::create(&o)?).stderr(File::create(&e)?).spawn()?;
        drop(command);
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        let (mut calls, mut entering, mut seen, mut killed) = (0, true, false, None);
        let status = loop {
            // All children, so that orphans of the command do not stay zombies for which somebody waits.
            let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other?,
            };
            let of = status.pid();
            let pass_on = match status {
                WaitStatus::Exited(p, code) if p == pid => break code,
                WaitStatus::Signaled(p, signal, _) if p == pid => break 128 + signal as i32,
                WaitStatus::Exited(p, code) => note_status(p, code),
                WaitStatus::Signaled(p, signal, _) => note_status(p, 128 + signal as i32),
                WaitStatus::PtraceSyscall(_) => {
                    calls += usize::from(entering);
                    if entering && calls == at {
                        let line = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
                        killed = line.split(' ').next().map(str::to_owned);
                        nix::sys::signal::kill(pid, Signal::SIGKILL)?;
                    }
                    entering = !entering;
                    None
                }
                // The execve of the helper is the first stop.
                WaitStatus::Stopped(_, Signal::SIGTRAP) if !seen => {
                    seen = true;
                    let options =
                        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL;
                    ptrace::setoptions(pid, options)?;
                    None
                }
                WaitStatus::Stopped(_, signal) => Some(signal),
                _ => None,
            };
            if of == Some(pid) {
                match ptrace::syscall(pid, pass_on) {
                    // Killed between the stop and now.
                    Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        };
        let out = Out {
            status,
            stdout: String::from_utf8_lossy(&fs::read(&o)?).into_owned(),
            stderr: String::from_utf8_lossy(&fs::read(&e)?).replace("\\\"", "\""),
        };
        let _ = (fs::remove_file(&o), fs::remove_file(&e));
        self.ctx.evidence(&format!("$ {text}\n-> {status}{}", shown("err", &out.stderr)));
        Ok(match killed {
            Some(call) => Cut::Killed(call),
            None => Cut::Ended(out, calls),
        })
    }

    /// Starts it with the three streams on a terminal of this size.
    pub(crate) fn on_terminal(self, rows: u16, columns: u16) -> Result<Terminal, Stop> {
        let text = self.text();
        note(&text);
        self.ctx.evidence(&format!("$ {text} (on a terminal) &"));
        let size = nix::pty::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = nix::pty::openpty(Some(&size), None)?;
        // Else the command would hold its own terminal's master, and no end of it could ever be seen.
        for end in [&pty.master, &pty.slave] {
            nix::fcntl::fcntl(end, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
        }
        let mut command = self.command()?;
        self.his(&pty.slave)?;
        let child = command.stdin(pty.slave.try_clone()?).stdout(pty.slave.try_clone()?).stderr(pty.slave).spawn()?;
        // The command's copies must go, or the master would never see the end.
        drop(command);
        let master = File::from(pty.master);
        Ok(Terminal { child, lines: BufReader::new(master.try_clone()?), master })
    }

    /// Runs it with standard output a pipe whose lines can be read while it runs and after.
    pub(crate) fn spawn(self) -> Result<Running, Stop> {
        let e = self.ctx.fresh("stderr");
        let text = self.text();
        note(&text);
        self.ctx.evidence(&format!("$ {text} &"));
        let (reader, writer) = io::pipe()?;
        let mut command = self.command()?;
        command.stdout(self.his(writer)?).stderr(self.his(File::create(&e)?)?);
        let child = command.stdin(self.stdin).spawn()?;
        // The command holds the writer's copy; end of file must mean that the container is gone.
        drop(command);
        Ok(Running { child, lines: BufReader::new(reader), stderr: e, trail: String::new() })
    }
}

/// Skips where crun says that it cannot work on this machine at all.
pub(crate) fn able(stderr: &str) -> Outcome {
    match () {
        () if stderr.contains("cgroups in hybrid mode not supported") => skip("no support for the hybrid hierarchy"),
        () if stderr.contains("setrlimit (RLIM_MEMLOCK)") => {
            skip("device rules need CAP_SYS_RESOURCE for RLIMIT_MEMLOCK")
        }
        () => Ok(()),
    }
}

fn shown(name: &str, text: &str) -> String {
    let text = text.trim_end();
    if text.is_empty() {
        return String::new();
    }
    let mut short: String = text.chars().take(1500).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    format!("\n{name}| {}", short.replace('\n', &format!("\n{name}| ")))
}

/// A command that was started, and the lines that it and its container print.
pub(crate) struct Running {
    pub child: Child,
    lines: BufReader<PipeReader>,
    stderr: PathBuf,
    trail: String,
}

impl Running {
    /// The next line; end of file is a failure.
    pub(crate) fn line(&mut self) -> Result<String, Stop> {
        let mut line = String::new();
        waiting("a line of output");
        if self.lines.read_line(&mut line)? == 0 {
            able(&self.stderr())?;
            return fail(format!(
                "the output ended; it was {:?}, standard error {:?}",
                self.trail,
                fs::read_to_string(&self.stderr).unwrap_or_default()
            ));
        }
        self.trail.push_str(&line);
        Ok(line.trim_end().to_owned())
    }

    /// Fails unless the next line is `want`. A Go runtime of old forwards the SIGURG that its scheduler sends to itself:
    /// that one is passed over.
    pub(crate) fn expect(&mut self, want: &str) -> Outcome {
        let mut line = self.line()?;
        while line == "signal SIGURG" && line != want {
            line = self.line()?;
        }
        eq("line of output", line, want)
    }

    /// Waits until nobody holds the pipe any more; the rest of the output.
    pub(crate) fn rest(&mut self) -> Result<String, Stop> {
        let mut text = String::new();
        waiting("the end of the output");
        io::Read::read_to_string(&mut self.lines, &mut text)?;
        Ok(text)
    }

    /// Waits for the command.
    pub(crate) fn wait(&mut self) -> Result<i32, Stop> {
        reap(self.child.id())
    }

    /// Fails unless the command, which leaves a container, succeeded.
    pub(crate) fn started(&mut self) -> Outcome {
        let status = self.wait()?;
        let stderr = self.stderr();
        able(&stderr)?;
        eq(format_args!("exit status ({})", stderr.trim_end()), status, 0)
    }

    /// Removes the file of its standard error, for those who start thousands.
    pub(crate) fn forget_stderr(&self) {
        let _ = fs::remove_file(&self.stderr);
    }

    /// What it wrote to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default().replace("\\\"", "\"")
    }
}

/// A command on a terminal, seen from the terminal's other side.
pub(crate) struct Terminal {
    pub child: Child,
    /// What the terminal's size is set on.
    pub master: File,
    lines: BufReader<File>,
}

impl Terminal {
    /// The next line that it shows.
    pub(crate) fn line(&mut self) -> Result<String, Stop> {
        waiting("a line on the terminal");
        let mut line = String::new();
        // EIO is how a master says that the last slave was closed.
        match self.lines.read_line(&mut line) {
            Ok(n) if n > 0 => Ok(line.trim_end().to_owned()),
            _ => fail(format!("the terminal was closed; it showed {line:?}")),
        }
    }

    /// Hangs up; the command's status.
    pub(crate) fn hang_up(self) -> Result<i32, Stop> {
        drop((self.master, self.lines));
        waiting("the end after the hangup");
        reap(self.child.id())
    }

    /// The command's status and the rest of what it showed.
    pub(crate) fn end(mut self) -> Result<(i32, String), Stop> {
        waiting("the end of the terminal's output");
        let mut rest = Vec::new();
        let _ = io::Read::read_to_end(&mut self.lines, &mut rest);
        let rest = String::from_utf8_lossy(&rest).into_owned();
        able(&rest)?;
        Ok((reap(self.child.id())?, rest))
    }
}

/// A bundle on disk and the id that its container will have.
pub(crate) struct Bundle {
    pub id: String,
    pub dir: PathBuf,
    pub rootfs: PathBuf,
}

impl Bundle {
    /// A file of the bundle.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    pub(crate) fn dir(&self) -> &str {
        self.dir.to_str().unwrap_or_default()
    }
}

/// A container in the background whose program said that it is ready.
pub(crate) struct Live {
    pub id: String,
    pub bundle: Bundle,
    /// As the harness sees it.
    pub pid: i32,
    pub out: Running,
}

/// The socket of `--console-socket`.
pub(crate) struct Console {
    pub path: String,
    listener: UnixListener,
}

/// What arrived on the console socket.
pub(crate) struct Pty {
    pub name: String,
    pub fds: usize,
    pub master: OwnedFd,
    /// Kept to see that nothing more comes.
    stream: UnixStream,
}

impl Console {
    /// Closes whatever came, without waiting for more.
    pub(crate) fn drain(&self) -> Outcome {
        self.listener.set_nonblocking(true)?;
        while self.listener.accept().is_ok() {}
        Ok(())
    }

    /// Accepts the connection and takes the one message.
    pub(crate) fn accept(&self) -> Result<Pty, Stop> {
        use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
        waiting("a connection to the console socket");
        let (stream, _) = self.listener.accept()?;
        let mut space = [std::mem::MaybeUninit::uninit(); 256];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut name = vec![0; 4096];
        let n = recvmsg(&stream, &mut [io::IoSliceMut::new(&mut name)], &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
        name.truncate(n);
        let mut fds: Vec<OwnedFd> = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(list) = message {
                fds.extend(list);
            }
        }
        let count = fds.len();
        let Some(master) = fds.pop() else { return fail(format!("console socket: no descriptor with {name:?}")) };
        Ok(Pty { name: String::from_utf8_lossy(&name).into_owned(), fds: count, master, stream })
    }
}

impl Pty {
    /// Everything that the terminal shows until its other side is closed.
    pub(crate) fn read_all(self) -> String {
        let mut text = Vec::new();
        waiting("the end of the terminal's output");
        // EIO is how a master says that the last slave was closed.
        let _ = io::Read::read_to_end(&mut File::from(self.master), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// What else came over the socket until all who held its other end closed it.
    pub(crate) fn rest(&self) -> Result<usize, Stop> {
        let end = OwnedFd::from(self.stream.try_clone()?);
        wait_fd(&end, Duration::from_secs(3))
            .or_else(|_| fail("the connection stays open: somebody holds the runtime's end of it"))?;
        let mut more = Vec::new();
        io::Read::read_to_end(&mut &self.stream, &mut more)?;
        Ok(more.len())
    }
}

/// The context of a case. Everything that it makes lies in a directory that is removed afterwards.
pub(crate) struct Ctx {
    pub job: Job,
    count: Cell<u32>,
    ids: RefCell<Vec<String>>,
    trail: RefCell<Vec<String>>,
    measured: RefCell<Vec<String>>,
    kept: RefCell<Vec<PathBuf>>,
}

impl Ctx {
    pub(crate) fn new(job: Job) -> Ctx {
        let _ = LAST.set(job.dir.join("last"));
        slow_down(job.slow);
        Ctx {
            job,
            count: Cell::new(0),
            ids: RefCell::default(),
            trail: RefCell::default(),
            measured: RefCell::default(),
            kept: RefCell::default(),
        }
    }

    /// A path in the private directory that nobody used.
    pub(crate) fn fresh(&self, name: &str) -> PathBuf {
        self.count.set(self.count.get() + 1);
        self.job.dir.join(format!("{name}.{}", self.count.get()))
    }

    /// Notes what is about to be asked of a daemon, where a hang is said to be.
    pub(crate) fn asks(&self, what: &str) {
        note(what);
    }

    pub(crate) fn evidence(&self, text: &str) {
        self.trail.borrow_mut().push(text.to_owned());
    }

    /// The last commands with their output.
    pub(crate) fn trail(&self) -> String {
        let t = self.trail.borrow();
        t[t.len().saturating_sub(6)..].join("\n")
    }

    /// Adds a line to the evidence, also of a pass.
    pub(crate) fn measure(&self, text: impl Into<String>) {
        self.measured.borrow_mut().push(text.into());
    }

    /// What was measured, a line each.
    pub(crate) fn measured(&self) -> String {
        self.measured.borrow().join("\n")
    }

    pub(crate) fn state_root(&self) -> PathBuf {
        self.job.dir.join("state")
    }

    /// `RUNTIME ARGS`, with `--systemd-cgroup` where a container is made and systemd is to make its cgroup. The other
    /// commands must know by themselves: conmon gives the flag to no others.
    pub(crate) fn bare<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd<'_> {
        let mut all: Vec<OsString> = self.job.flags.iter().map(OsString::from).collect();
        let given: Vec<OsString> = args.into_iter().map(|a| a.as_ref().to_owned()).collect();
        let command = given.iter().find(|a| ["create", "run", "exec"].iter().any(|c| a == c));
        if self.job.driver == Driver::Systemd && command.is_some_and(|c| c != "exec") {
            all.push("--systemd-cgroup".into());
        }
        all.extend(given);
        self.program(&self.job.runtime, all)
    }

    /// `PROGRAM ARGS`.
    pub(crate) fn program<S: AsRef<OsStr>>(&self, program: &Path, args: impl IntoIterator<Item = S>) -> Cmd<'_> {
        Cmd {
            ctx: self,
            program: program.to_owned(),
            args: args.into_iter().map(|a| a.as_ref().to_owned()).collect(),
            with: Vec::new(),
            stdin: Stdio::null(),
            env: None,
            cwd: None,
        }
    }

    /// `RUNTIME --root PRIVATE ARGS`.
    pub(crate) fn cmd<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd<'_> {
        let mut all: Vec<OsString> = vec!["--root".into(), self.state_root().into()];
        all.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self.bare(all)
    }

    /// Runs `RUNTIME --root PRIVATE ARGS` to its end.
    pub(crate) fn rt<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Out, Stop> {
        self.cmd(args).go()
    }

    /// An id that nobody used; its container is deleted at the end.
    pub(crate) fn id(&self) -> String {
        let id = format!("{}{}", self.job.tag, self.ids.borrow().len());
        self.ids.borrow_mut().push(id.clone());
        id
    }

    /// A bundle with the default configuration as `patch` changes it.
    pub(crate) fn bundle(&self, patch: impl FnOnce(&mut Value)) -> Result<Bundle, Stop> {
        let b = self.bare_bundle()?;
        let mut config = default_config();
        config["linux"]["cgroupsPath"] = json!(self.cgroups_path(&b.id));
        if let Some(user) = &self.job.user {
            user.adapt(&mut config);
        }
        if self.job.v2 {
            // With the v2 hierarchy alone there is no reason not to have the default namespaces of engines.
            push(&mut config["linux"]["namespaces"], json!({"type": "cgroup"}));
        }
        patch(&mut config);
        if let Some(user) = &self.job.user {
            user.adapt_changed(&self.job.case, &mut config)?;
        }
        fs::write(b.dir.join("config.json"), serde_json::to_vec_pretty(&config)?)?;
        Ok(b)
    }

    /// A bundle without config.json.
    pub(crate) fn bare_bundle(&self) -> Result<Bundle, Stop> {
        let id = self.id();
        let dir = self.job.dir.join(&id);
        let rootfs = dir.join("rootfs");
        for d in ["proc", "sys", "dev", "tmp", "etc", "dir"] {
            fs::create_dir_all(rootfs.join(d))?;
        }
        fs::hard_link(&self.job.probe, rootfs.join("probe"))?;
        Ok(Bundle { id, dir, rootfs })
    }

    /// Runs the container in the foreground.
    pub(crate) fn run(&self, b: &Bundle) -> Result<Out, Stop> {
        self.rt(["run", "--bundle", b.dir(), &b.id])
    }

    /// Runs the default container as `patch` changes it, expecting success, and returns its first line: the facts.
    pub(crate) fn facts(&self, patch: impl FnOnce(&mut Value)) -> Result<Value, Stop> {
        let b = self.bundle(patch)?;
        facts_of(&self.run(&b)?.ok()?)
    }

    /// A container in the background, its program `/probe wait` unless `patch` says otherwise, ready.
    pub(crate) fn live(&self, patch: impl FnOnce(&mut Value)) -> Result<Live, Stop> {
        let b = self.bundle(|c| {
            args(c, "wait");
            patch(c);
        })?;
        self.live_bundle(b)
    }

    /// The bundle's container in the background, ready.
    pub(crate) fn live_bundle(&self, b: Bundle) -> Result<Live, Stop> {
        let pid_file = b.path("pid");
        let mut out = self.cmd(["run", "--detach", "--bundle", b.dir(), "--pid-file", &pid_file, &b.id]).spawn()?;
        out.started()?;
        out.expect("ready")?;
        let pid = fs::read_to_string(&pid_file)?.trim().parse()?;
        Ok(Live { id: b.id.clone(), bundle: b, pid, out })
    }

    /// Creates the bundle's container; its output arrives when it is started.
    pub(crate) fn create(&self, b: &Bundle) -> Result<Running, Stop> {
        let mut out = self.cmd(["create", "--bundle", b.dir(), "--pid-file", &b.path("pid"), &b.id]).spawn()?;
        out.started()?;
        Ok(out)
    }

    /// `state ID` as JSON.
    pub(crate) fn state(&self, id: &str) -> Result<Value, Stop> {
        self.rt(["state", id])?.ok()?.json()
    }

    /// Fails unless the status of `id` is `want`.
    pub(crate) fn status(&self, id: &str, want: &str) -> Outcome {
        eq("status", self.state(id)?["status"].as_str(), Some(want))
    }

    /// Ends the container's program and waits until it is seen to be gone.
    pub(crate) fn kill(&self, live: &Live) -> Outcome {
        self.rt(["kill", &live.id, "KILL"])?.ok()?;
        self.gone(live.pid)
    }

    /// Waits until process `pid` has ended.
    pub(crate) fn gone(&self, pid: i32) -> Outcome {
        note(&format!("(waiting for the end of process {pid})"));
        let own_child = fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| {
            s.rsplit_once(')')
                .is_some_and(|(_, r)| r.split_whitespace().nth(1) == Some(&std::process::id().to_string()))
        });
        if own_child {
            return reap(pid as u32).map(drop);
        }
        let Some(p) = rustix::process::Pid::from_raw(pid) else { return Ok(()) };
        let Ok(fd) = rustix::process::pidfd_open(p, rustix::process::PidfdFlags::empty()) else { return Ok(()) };
        wait_fd(&fd, Duration::from_secs(10))
    }

    /// Waits until no other process is left in the case's pid namespace: killed is not yet ended.
    pub(crate) fn alone(&self) -> Outcome {
        self.alone_with(&[])
    }

    /// Waits until no other process than these is left.
    pub(crate) fn alone_with(&self, wanted: &[i32]) -> Outcome {
        let end = Instant::now() + patience(Duration::from_secs(3));
        loop {
            while reap_one(false)? {}
            let mut left = processes();
            left.retain(|(pid, _)| !wanted.contains(pid));
            let Some((pid, _)) = left.first() else { return Ok(()) };
            ensure(Instant::now() < end, format_args!("left behind: processes {left:?}"))?;
            let Some(p) = rustix::process::Pid::from_raw(*pid) else { continue };
            if let Ok(fd) = rustix::process::pidfd_open(p, rustix::process::PidfdFlags::empty()) {
                let _ = wait_fd(&fd, Duration::from_millis(100));
            }
        }
    }

    /// A listening console socket.
    pub(crate) fn console(&self) -> Result<Console, Stop> {
        let path = self.fresh("console");
        Ok(Console { listener: UnixListener::bind(&path)?, path: path.to_string_lossy().into_owned() })
    }

    /// The systemd that makes the cgroups with `--driver systemd`.
    pub(crate) fn manager(&self) -> Manager {
        Manager::of(self.job.user.as_ref())
    }

    /// The `cgroupsPath` of container `id`.
    pub(crate) fn cgroups_path(&self, id: &str) -> String {
        match self.job.driver {
            Driver::Cgroupfs => format!("{}/{id}", self.job.cgroup),
            Driver::Systemd => format!("{}:conformance:{id}", self.manager().slice()),
        }
    }

    /// What `cgroups_path` of container `id` becomes in each hierarchy.
    pub(crate) fn group(&self, id: &str) -> String {
        match self.job.driver {
            Driver::Cgroupfs => format!("{}/{id}", self.job.cgroup),
            Driver::Systemd => {
                let manager = self.manager();
                format!("{}/{}/conformance-{id}.scope", manager.root(), manager.slice())
            }
        }
    }

    /// Whether a line of /proc/PID/cgroup says that the process is in the group of container `id`. A scope is delegated:
    /// crun makes a group of its own below.
    pub(crate) fn in_group(&self, line: &str, id: &str) -> bool {
        let group = self.group(id);
        let path = line.splitn(3, ':').nth(2).unwrap_or_default();
        path == group || self.job.driver == Driver::Systemd && path.starts_with(&format!("{group}/"))
    }

    /// Skips where systemd makes the cgroups.
    pub(crate) fn needs_cgroupfs(&self) -> Outcome {
        match self.job.driver {
            Driver::Cgroupfs => Ok(()),
            Driver::Systemd => skip("a path of the cgroupfs driver"),
        }
    }

    /// The directory of the container's cgroup that holds the knobs of `controller`.
    pub(crate) fn cgroup(&self, id: &str, controller: &str) -> PathBuf {
        let base = if self.job.v2 { "/sys/fs/cgroup".to_owned() } else { format!("/sys/fs/cgroup/{controller}") };
        PathBuf::from(format!("{base}{}", self.group(id)))
    }

    /// Skips unless the v1 `controller` is there.
    pub(crate) fn needs_v1(&self, controller: &str) -> Outcome {
        if self.job.v2 {
            return skip("cgroup v2 alone");
        }
        // systemd makes directories for those that it could not mount.
        if Path::new("/sys/fs/cgroup").join(controller).join("cgroup.procs").exists() {
            return Ok(());
        }
        skip(format!("no cgroup v1 controller {controller}"))
    }

    /// Skips unless the hierarchy of this run has `controller`.
    pub(crate) fn needs(&self, controller: &str) -> Outcome {
        if self.job.v2 { self.needs_v2(controller) } else { self.needs_v1(controller) }
    }

    /// Skips unless the v2 hierarchy has `controller`, where systemd makes the cgroups in its own part of it.
    pub(crate) fn needs_v2(&self, controller: &str) -> Outcome {
        let root = if self.job.driver == Driver::Systemd { self.manager().root() } else { String::new() };
        let all = fs::read_to_string(format!("/sys/fs/cgroup{root}/cgroup.controllers")).unwrap_or_default();
        if all.split_whitespace().any(|c| c == controller) {
            return Ok(());
        }
        skip(format!("the v2 hierarchy has no controller {controller} here"))
    }

    /// Waits until systemd knows no unit of this case any more: it collects those that have ended in its own time.
    fn no_units(&self) -> Outcome {
        let end = Instant::now() + patience(Duration::from_secs(3));
        loop {
            let left = self.manager().units(&self.job.tag)?;
            if left.is_empty() {
                return Ok(());
            }
            ensure(Instant::now() < end, format_args!("left behind: units {left:?}"))?;
        }
    }

    /// Whether a container's cgroup goes with its last process, and with it what its counters could tell: systemd's scope on v2.
    pub(crate) fn goes_with_last_process(&self) -> bool {
        self.job.v2 && self.job.driver == Driver::Systemd
    }

    /// Gives what the case made to who executes the runtime.
    pub(crate) fn give(&self, dir: &Path) -> Outcome {
        Ok(self.job.user.as_ref().map_or(Ok(()), |user| user.own(dir, &[]))?)
    }

    /// A directory of the case's that stays root's.
    pub(crate) fn keep(&self, dir: &Path) {
        self.kept.borrow_mut().push(dir.to_owned());
    }

    /// Deletes what the case left and checks that nothing remains.
    pub(crate) fn finish(&self, mounts_before: &str) -> Outcome {
        let root = self.state_root();
        for id in self.ids.borrow().iter().filter(|id| root.join(id).exists()) {
            let out = self.rt(["delete", "--force", id])?;
            eq(format_args!("delete --force {id} at the end ({})", out.stderr.trim_end()), out.status, 0)?;
        }
        self.alone()?;
        let left = crate::frame::cgroups_named(&self.job.tag);
        ensure(left.is_empty(), format_args!("left behind: cgroups {left:?}"))?;
        if self.job.driver == Driver::Systemd {
            self.no_units()?;
        }
        for id in self.ids.borrow().iter() {
            ensure(!root.join(id).exists(), format_args!("left behind: {}/{id}", root.display()))?;
        }
        let now = fs::read_to_string("/proc/self/mountinfo")?;
        let new: Vec<_> = now.lines().filter(|l| !mounts_before.lines().any(|b| b == *l)).collect();
        ensure(new.is_empty(), format_args!("left behind: mounts {new:?}"))
    }
}

/// Waits until `fd` is readable.
pub(crate) fn wait_fd(fd: &OwnedFd, limit: Duration) -> Outcome {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = patience(limit);
    let limit_ts = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
    let n = poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&limit_ts))?;
    ensure(n == 1, format_args!("nothing happened within {limit:?}"))
}

/// The other processes of this case that are not zombies: pid and name. They are those of its pid namespace; where it has
/// none of its own (with systemd), what descends from it, which is all since it is their subreaper.
pub(crate) fn processes() -> Vec<(i32, String)> {
    let own = std::process::id() as i32;
    let Ok(dir) = fs::read_dir("/proc") else { return Vec::new() };
    let all: Vec<(i32, i32, bool, String)> = dir
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (name, rest) = stat.rsplit_once(')')?;
            let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
            let alive = !rest.trim_start().starts_with(['Z', 'X']);
            Some((pid, parent, alive, name.split_once('(').map_or_else(String::new, |(_, n)| n.to_owned())))
        })
        .collect();
    let mut family = vec![own];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(all.iter().filter(|(_, p, ..)| *p == parent).map(|(pid, ..)| *pid));
        next += 1;
    }
    all.into_iter()
        .filter(|(pid, _, alive, _)| *alive && *pid != own && (own == 1 || family.contains(pid)))
        .map(|(pid, _, _, name)| (pid, name))
        .collect()
}

/// The probe's facts: the first line of output.
pub(crate) fn facts_of(out: &Out) -> Result<Value, Stop> {
    let line = out.stdout.lines().next().unwrap_or_default();
    serde_json::from_str(line).or_else(|e| fail(format!("no facts from the probe ({e}): {:?}", out.stdout)))
}

/// Sets the program: `/probe` with these space-separated words.
pub(crate) fn args(config: &mut Value, words: &str) {
    let mut all = vec!["/probe"];
    all.extend(words.split(' '));
    config["process"]["args"] = json!(all);
}

/// Appends to an array, which is made if need be.
pub(crate) fn push(array: &mut Value, item: Value) {
    match array.as_array_mut() {
        Some(a) => a.push(item),
        None => *array = json!([item]),
    }
}

/// Replaces the namespaces' entry of this type, or removes it.
pub(crate) fn namespace(config: &mut Value, kind: &str, entry: Option<Value>) {
    if let Some(list) = config["linux"]["namespaces"].as_array_mut() {
        list.retain(|n| n["type"] != kind);
        list.extend(entry);
    }
}

/// A change of the configuration.
pub(crate) type Patch = fn(&mut Value);

/// The smallest configuration that engines would recognise: every namespace but user, cgroup and time.
pub(crate) fn default_config() -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/probe", "report"],
            "env": ["PATH=/usr/bin:/bin:/", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs"},
        "hostname": "conformance",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}
