//! Black-box suites for any OCI runtime.
//!
//! `conformance --runtime PATH [--against PATH,PATH] [SUITE...]` runs every case of the suites under every runtime, prints
//! progress, writes the reports that are asked for, and exits with 1 if the runtime under test failed a case that is not
//! in the table of known faults. The same executable is the probe inside the containers.

#![recursion_limit = "256"]

mod booted;
mod ctx;
mod fixture;
mod frame;
mod known;
mod probe;
mod report;
mod suites;
mod systemd;
mod uml;
mod user;
mod userland;
mod vm;

use std::collections::HashMap;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Parser;
use serde::{Deserialize, Serialize};

use ctx::{Driver, Stop};
use frame::{Case, Runtime, Setting, Status, Verdict};
use report::{Report, word};
use user::User;

/// Run black-box suites against OCI runtimes.
#[derive(Parser)]
struct Options {
    /// The runtime under test: a path, or a name in PATH; global flags may follow after spaces
    #[arg(long, required_unless_present_any = ["list", "shell", "merge"])]
    runtime: Option<String>,
    /// Further runtimes to show beside it
    #[arg(long, value_delimiter = ',')]
    against: Vec<String>,
    /// Only these suites
    suites: Vec<String>,
    /// Only cases whose `suite/name` contains one of these texts
    #[arg(long, value_delimiter = ',')]
    filter: Vec<String>,
    /// Print the cases and what they check, run nothing
    #[arg(long)]
    list: bool,
    /// Write the results as TAP
    #[arg(long)]
    tap: Option<PathBuf>,
    /// Write the results as JUnit XML
    #[arg(long)]
    junit: Option<PathBuf>,
    /// Write the matrix as Markdown, as a page and as JSON into this directory
    #[arg(long)]
    report: Option<PathBuf>,
    /// Run nothing: make one report of those that are in these directories
    #[arg(long, value_name = "DIR", value_delimiter = ',', conflicts_with = "runtime")]
    merge: Vec<PathBuf>,
    /// Run where /sys/fs/cgroup is the v2 hierarchy alone
    #[arg(long)]
    v2: bool,
    /// Who makes the containers' cgroups: the runtime, or systemd (`--systemd-cgroup`), which is started if it is not running
    #[arg(long, value_enum, default_value_t = Driver::Cgroupfs)]
    driver: Driver,
    /// Everything may take this many times as long (1; on an emulated machine 10)
    #[arg(long)]
    slow: Option<u32>,
    /// Execute the runtime as this ordinary user: NAME or UID, with FIRST:COUNT subordinate ids after a colon
    #[arg(long)]
    as_user: Option<String>,
    /// With --as-user: the run's parent cgroup is his
    #[arg(long, requires = "as_user")]
    delegate: bool,
    /// Cases at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// How often each race of the suite `security` is run; without it 60 times, with `--full` 500
    #[arg(long)]
    rounds: Option<u32>,
    /// The runtime that the cases `cgroups/compared/*` compare with, on the machine where they run: a path, or a name in PATH;
    /// without it runc, if there is one
    #[arg(long)]
    reference: Option<PathBuf>,
    /// Time limit of each case in seconds, instead of its own
    #[arg(long)]
    timeout: Option<u64>,
    /// Cases that must not be skipped: a file with a pattern a line, or patterns between commas (`*` at the end; `!` before
    /// exceptions from those above, which may be skipped in CI too)
    #[arg(long)]
    must_run: Option<String>,
    /// Every system call and every cycle of the suite `faults`: minutes instead of seconds
    #[arg(long)]
    full: bool,
    /// Run in a virtual machine (Debian, systemd, cgroup v2 alone) whose image is kept in this directory, and made if
    /// need be. Runtimes with a slash are brought into it, others are those of the machine
    #[arg(long, value_name = "DIR")]
    vm: Option<PathBuf>,
    /// Run in the file system of the virtual machine's image, which is kept in this directory and made if need be, on this
    /// machine's kernel: Debian's current engines and systemd at native speed, with the controllers that are here.
    /// Runtimes with a slash are brought into it, others are those of the image
    #[arg(long, value_name = "DIR", conflicts_with_all = ["vm", "runtime_tools"])]
    userland: Option<PathBuf>,
    /// Debian's suite in the image: sid or trixie
    #[arg(long, default_value = "sid")]
    vm_release: String,
    /// How the machine's processor is made
    #[arg(long, value_enum, default_value_t = vm::Accel::Tcg, requires = "vm")]
    vm_accel: vm::Accel,
    /// Further arguments of the machine's kernel
    #[arg(long, default_value = "", requires = "vm", allow_hyphen_values = true)]
    vm_kernel: String,
    /// Seconds after which the machine is powered off
    #[arg(long, default_value_t = 3600, requires = "vm")]
    vm_deadline: u64,
    /// Instead of suites, a shell in the machine: /opt/conformance holds the executables
    #[arg(long, requires = "vm")]
    shell: bool,
    /// Print verdicts as JSON for a harness outside, and judge nothing
    #[arg(long, hide = true)]
    stream: bool,
    /// Sources of OCI runtime-tools for the suite `runtime-tools`, which are built with the installed Go
    #[arg(long, value_name = "DIR", conflicts_with = "vm")]
    runtime_tools: Option<PathBuf>,
    /// Print the evidence of failures, and what was measured
    #[arg(long, short)]
    verbose: bool,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    let name = args.first().and_then(|a| Path::new(a).file_name()).unwrap_or_default();
    let ended = match args.get(1).map(String::as_str) {
        _ if name == "probe" => return ExitCode::from(probe::main(&args[1..])),
        Some("probe") => return ExitCode::from(probe::main(&args[2..])),
        Some("__exec") => Err(Stop::Fail(exec_with(&args[2..]).to_string())),
        Some("__apart") => frame::apart(&args[2..]).map_err(Stop::from),
        Some("__beside") => match frame::beside(&args[2..]) {
            Ok(never) => match never {},
            Err(e) => Err(e.into()),
        },
        Some("__boot") => booted::boot(&args[2..]),
        Some("__first") => booted::first(&args[2..]),
        Some("__booted") => booted::inside(&args[2..]),
        Some("__userland") => userland::enter(&args[2..]),
        Some("__within") => fixture::within(&args[2], &args[3..]),
        Some("__inner") => frame::inner(&args[2]),
        Some("__hold") => fixture::hold(&args[2], &suites::all(None)),
        _ => conduct(&Options::parse()),
    };
    match ended {
        Ok(status) => ExitCode::from(status),
        Err(Stop::Fail(e) | Stop::Skip(e)) => {
            eprintln!("conformance: {e}");
            ExitCode::from(2)
        }
    }
}

/// Hidden command `__exec OP... -- PROGRAM ARGS`: changes its own circumstances and becomes the program.
fn exec_with(args: &[String]) -> io::Error {
    match try_exec(args) {
        Ok(never) => match never {},
        Err(e) => e,
    }
}

fn try_exec(args: &[String]) -> io::Result<std::convert::Infallible> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let at = args.iter().position(|a| a == "--").unwrap_or(0);
    let mut variables = Vec::new();
    for op in &args[..at] {
        let (key, value) = op.split_once('=').unwrap_or((op, ""));
        let bad = |e: &dyn std::fmt::Display| io::Error::other(format!("{op}: {e}"));
        match key {
            "close" => nix::unistd::close(value.parse::<i32>().map_err(|e| bad(&e))?)?,
            "open" => {
                let file = fs::File::open(value).map_err(|e| bad(&e))?;
                fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))?;
                // Inherited by the program; its number is the lowest that was free.
                let _ = std::os::fd::IntoRawFd::into_raw_fd(file);
            }
            "umask" => {
                let mode = u32::from_str_radix(value, 8).map_err(|e| bad(&e))?;
                nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mode));
            }
            "session" => {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(io::stdin())?;
            }
            "cpu" => {
                let mut cpus = nix::sched::CpuSet::new();
                cpus.set(value.parse().map_err(|e| bad(&e))?)?;
                nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpus)?;
            }
            "cgroup" => fs::write(Path::new(value).join("cgroup.procs"), "0").map_err(|e| bad(&e))?,
            "user" => become_user(value).map_err(|e| bad(&e))?,
            // Last of all: from here on only the program's own system calls are seen.
            "traceme" => nix::sys::ptrace::traceme()?,
            "subreaper" => nix::sys::prctl::set_child_subreaper(true)?,
            "die-with" => {
                nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
                if nix::unistd::getppid().as_raw().to_string() != value {
                    return Err(bad(&"it has ended already"));
                }
            }
            "proc" => {
                let none: Option<&str> = None;
                nix::mount::mount(Some("proc"), "/proc", Some("proc"), nix::mount::MsFlags::empty(), none)?;
            }
            "oom" => fs::write("/proc/self/oom_score_adj", value)?,
            "pid-in" => variables.push((value, std::process::id().to_string())),
            _ => return Err(bad(&"unknown circumstance")),
        }
    }
    let Some(program) = args.get(at + 1) else { return Err(io::Error::other("no program")) };
    let mut command = Command::new(program);
    command.args(&args[at + 2..]).envs(variables);
    // As where a runtime is executed without circumstances: a container keeps it busy for an instant.
    let failed = |_| Some(command.exec()).filter(|e| e.kind() != io::ErrorKind::ExecutableFileBusy);
    Err((0..1000).find_map(failed).unwrap_or_else(|| io::ErrorKind::ExecutableFileBusy.into()))
}

/// `UID:GID`, without capabilities and supplementary groups.
fn become_user(ids: &str) -> io::Result<()> {
    let (uid, gid) = ids.split_once(':').unwrap_or((ids, ids));
    let id = |text: &str| text.parse::<u32>().map_err(io::Error::other);
    let (uid, gid) = (nix::unistd::Uid::from_raw(id(uid)?), nix::unistd::Gid::from_raw(id(gid)?));
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(gid, gid, gid)?;
    Ok(nix::unistd::setresuid(uid, uid, uid)?)
}

fn runtime(words: &str) -> Result<Runtime, Stop> {
    let mut words = words.split_whitespace();
    let path = locate(Path::new(words.next().unwrap_or_default()))?;
    Ok(Runtime { version: frame::version(&path)?, path, flags: words.map(str::to_owned).collect() })
}

/// Finds `runtime` as a shell would and makes it absolute, without following symbolic links: the name is part of it.
fn locate(runtime: &Path) -> Result<PathBuf, Stop> {
    if runtime.components().count() > 1 {
        let path = std::path::absolute(runtime)?;
        return if path.is_file() { Ok(path) } else { ctx::fail(format!("no runtime at {}", path.display())) };
    }
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|d| d.join(runtime))
        .find(|p| p.is_file())
        .ok_or_else(|| Stop::Fail(format!("no {} in PATH", runtime.display())))
}

/// A directory that is removed when it goes out of scope.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the last of the patterns that mean `path` says: whether it has no `!` before it.
fn must_run(patterns: &[String], path: &str) -> Option<bool> {
    let means = |p: &&String| known::matches(p.trim_start_matches('!'), path);
    patterns.iter().rev().find(means).map(|p| !p.starts_with('!'))
}

fn patterns(must_run: Option<&str>) -> Result<Vec<String>, Stop> {
    let Some(text) = must_run else { return Ok(Vec::new()) };
    let text = if Path::new(text).is_file() { fs::read_to_string(text)? } else { text.replace(',', "\n") };
    let lines = text.lines().map(|l| l.split('#').next().unwrap_or_default().trim());
    Ok(lines.filter(|l| !l.is_empty()).map(str::to_owned).collect())
}

/// Who hears the verdicts.
struct Audience<'a> {
    options: &'a Options,
    cases: &'a [&'a Case],
    /// Version line of each runtime.
    versions: Vec<String>,
    /// What heads each runtime's column.
    labels: Vec<String>,
    must_run: Vec<String>,
    ci: bool,
    terminal: bool,
    done: std::sync::atomic::AtomicUsize,
}

/// A verdict on its way out of a machine.
#[derive(Serialize, Deserialize)]
enum Message {
    /// Version lines of the runtimes.
    Runtimes(Vec<String>),
    Verdict {
        case: String,
        runtime: usize,
        verdict: Verdict,
    },
}

impl Audience<'_> {
    fn new<'a>(
        options: &'a Options,
        cases: &'a [&'a Case],
        names: &[&str],
        versions: Vec<String>,
    ) -> Result<Audience<'a>, Stop> {
        let labels = names
            .iter()
            .zip(&versions)
            .map(|(name, version)| {
                let path = name.split(' ').next().unwrap_or_default();
                let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
                format!("{name} {}", version.split(' ').nth(2).unwrap_or("?"))
            })
            .collect();
        Ok(Audience {
            options,
            cases,
            versions,
            labels,
            must_run: patterns(options.must_run.as_deref())?,
            ci: std::env::var("CI").is_ok_and(|v| v == "true"),
            terminal: io::stdout().is_terminal(),
            done: std::sync::atomic::AtomicUsize::new(0),
        })
    }

    /// What is known beforehand changes the verdict.
    fn judge(&self, c: usize, r: usize, mut v: Verdict) -> Verdict {
        let path = self.cases[c].path();
        if v.status == Status::Skip {
            let excused = self.options.as_user.is_some() && user::is_excuse(&v.reason);
            let may_skip = || excused || known::MAY_SKIP.iter().any(|(p, _)| known::matches(p, &path));
            if r == 0 && must_run(&self.must_run, &path).unwrap_or_else(|| self.ci && !may_skip()) {
                v.status = Status::Fail;
                v.reason = format!("skipped, but must run: {}", v.reason);
            }
        }
        if v.status == Status::Fail
            && let Some(why) = known::reason(&self.versions[r], &path, &v.reason, self.options.as_user.is_some())
        {
            v.status = Status::Known;
            v.reason = format!("{why} [{}]", v.reason);
        }
        v
    }

    fn tell(&self, c: usize, r: usize, v: &Verdict) {
        let n = self.done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let path = self.cases[c].path();
        let mut out = io::stdout().lock();
        if self.terminal {
            let _ = write!(out, "\r\x1b[K");
        }
        if v.status != Status::Pass || !self.terminal {
            let _ = writeln!(out, "{:<5} {path} ({}) {}", word(v.status), self.labels[r], v.reason);
        }
        if self.options.verbose && matches!(v.status, Status::Fail | Status::Pass) {
            for line in v.evidence.lines() {
                let _ = writeln!(out, "      {line}");
            }
        }
        if self.terminal {
            let _ = write!(out, "[{n}/{}] {path}", self.cases.len() * self.labels.len());
        }
        let _ = out.flush();
    }
}

/// Prints a message for the harness outside.
fn send(message: &Message) {
    if let Ok(text) = serde_json::to_string(message) {
        println!("{text}");
    }
}

/// Runs the cases here and returns the verdicts as they are.
fn run_here(options: &Options, cases: &[&Case], names: &[&str], scratch: &Path) -> Result<Option<Outcome>, Stop> {
    let groups = match (options.driver, options.delegate) {
        (Driver::Systemd, _) => user::Groups::OfHisSystemd,
        (Driver::Cgroupfs, true) => user::Groups::Delegated,
        (Driver::Cgroupfs, false) => user::Groups::None,
    };
    let user = options.as_user.as_deref().map(|text| User::parse(text, groups)).transpose()?;
    if options.driver == Driver::Systemd {
        systemd::Manager::of(user.as_ref()).start()?;
    }
    let mut runtimes: Vec<Runtime> = names.iter().map(|r| runtime(r)).collect::<Result<_, _>>()?;
    // Where they are, an ordinary user may not come (rootless engines, --as-user); and attacks are on the copies.
    for (index, runtime) in runtimes.iter_mut().enumerate() {
        let dir = scratch.join(format!("runtime-{index}"));
        fs::create_dir_all(&dir)?;
        let copy = dir.join(runtime.path.file_name().unwrap_or_default());
        fs::copy(&runtime.path, &copy)?;
        runtime.path = copy;
    }
    let versions: Vec<String> = runtimes.iter().map(|r| r.version.clone()).collect();
    let probe = scratch.join("probe");
    fs::copy(std::env::current_exe()?, &probe)?;
    let tools = cases.iter().filter(|c| c.suite == "runtime-tools").map(|c| c.name.as_str()).collect::<Vec<_>>();
    let runtime_tools = match options.runtime_tools.as_ref().filter(|_| !tools.is_empty()) {
        Some(sources) => {
            let built = suites::runtime_tools::build(sources, &scratch.join("runtime-tools"), |p| tools.contains(&p))?;
            Some((sources.clone(), built))
        }
        None => None,
    };
    let setting = Setting {
        dir: scratch.to_owned(),
        probe,
        v2: options.v2(),
        driver: options.driver,
        slow: options.slow.unwrap_or(1).max(1),
        full: options.full,
        jobs: options.jobs.max(1),
        rounds: options.rounds.unwrap_or(if options.full { 500 } else { 60 }).max(1),
        runtime_tools,
        reference: match &options.reference {
            Some(path) => Some(locate(path)?),
            None => locate(Path::new("runc")).ok(),
        },
        timeout: options.timeout.map(Duration::from_secs),
        user,
    };
    if options.stream {
        send(&Message::Runtimes(versions));
        let tell = |c: usize, r: usize, v: &Verdict| {
            send(&Message::Verdict { case: cases[c].path(), runtime: r, verdict: v.clone() });
        };
        frame::run_all(cases, &runtimes, &setting, tell, |_, _, v| v);
        return Ok(None);
    }
    let audience = Audience::new(options, cases, names, versions)?;
    let verdicts =
        frame::run_all(cases, &runtimes, &setting, |c, r, v| audience.tell(c, r, v), |c, r, v| audience.judge(c, r, v));
    Ok(Some((audience.labels, verdicts)))
}

/// Labels of the runtimes, and `verdicts[case][runtime]`.
type Outcome = (Vec<String>, Vec<Vec<Verdict>>);

/// What the harness in the image's file system is told, but for the runtimes.
fn passed_on(options: &Options) -> Vec<String> {
    let mut args = vec!["--stream".to_owned()];
    let usual = if options.vm.is_some() { vm::slowness(options.vm_accel) } else { 1 };
    args.extend([format!("--slow={}", options.slow.unwrap_or(usual)), format!("--jobs={}", options.jobs)]);
    if options.v2 {
        args.push("--v2".to_owned());
    }
    if options.driver == Driver::Systemd {
        args.push("--driver=systemd".to_owned());
    }
    args.extend(options.rounds.map(|n| format!("--rounds={n}")));
    args.extend(options.timeout.map(|n| format!("--timeout={n}")));
    args.extend(options.reference.iter().map(|path| format!("--reference={}", path.display())));
    if options.full {
        args.push("--full".to_owned());
    }
    args.extend(options.as_user.iter().map(|user| format!("--as-user={user}")));
    if options.delegate {
        args.push("--delegate".to_owned());
    }
    if !options.filter.is_empty() {
        args.push(format!("--filter={}", options.filter.join(",")));
    }
    args.extend(options.suites.iter().cloned());
    args
}

/// Runs the cases in a machine; without an outcome where a shell was asked for.
fn run_in_vm(
    options: &Options,
    dir: &Path,
    cases: &[&Case],
    names: &[&str],
    scratch: &Path,
) -> Result<Result<Outcome, u8>, Stop> {
    let dir = &std::path::absolute(dir)?;
    let wanted = vm::Wanted {
        dir,
        release: &options.vm_release,
        accel: options.vm_accel,
        kernel: &options.vm_kernel,
        end: vm::deadline(options.vm_deadline),
    };
    if options.vm_accel == vm::Accel::Uml {
        if options.shell {
            return ctx::fail("--shell: user-mode Linux has no terminal for one");
        }
        let disk = vm::build(dir, &options.vm_release)?;
        let (payload, inside) = vm::payload(names, scratch)?;
        let run = |args: &[String], hear: &mut dyn FnMut(&str) -> ctx::Outcome| {
            uml::conformance(&wanted, &disk, &payload, scratch, args, hear)
        };
        return listen(options, cases, names, &inside, run).map(Ok);
    }
    let (machine, inside) = vm::boot(&wanted, names, scratch)?;
    if options.shell {
        return machine.shell(io::stdin().is_terminal()).map(Err);
    }
    listen(options, cases, names, &inside, |args, hear| machine.conformance(args, hear)).map(Ok)
}

/// Runs the cases in the file system of a machine's image.
fn run_in_userland(
    options: &Options,
    dir: &Path,
    cases: &[&Case],
    names: &[&str],
    scratch: &Path,
) -> Result<Outcome, Stop> {
    let disk = vm::build(&std::path::absolute(dir)?, &options.vm_release)?;
    let (payload, inside) = vm::payload(names, scratch)?;
    listen(options, cases, names, &inside, |args, hear| userland::conformance(&disk, &payload, scratch, args, hear))
}

/// Has `run` execute the harness elsewhere, where the runtimes are called `inside`, and judges the verdicts that it prints.
fn listen(
    options: &Options,
    cases: &[&Case],
    names: &[&str],
    inside: &[String],
    run: impl FnOnce(&[String], &mut dyn FnMut(&str) -> ctx::Outcome) -> ctx::Outcome,
) -> Result<Outcome, Stop> {
    let mut args = passed_on(options);
    for (i, words) in inside.iter().enumerate() {
        args.push(format!("--{}={words}", if i == 0 { "runtime" } else { "against" }));
    }
    let index: HashMap<String, usize> = cases.iter().enumerate().map(|(i, c)| (c.path(), i)).collect();
    let mut verdicts: Vec<Vec<Option<Verdict>>> = vec![vec![None; names.len()]; cases.len()];
    let mut audience = None;
    let ended = run(&args, &mut |line| {
        match (serde_json::from_str(line)?, &audience) {
            (Message::Runtimes(versions), _) => audience = Some(Audience::new(options, cases, names, versions)?),
            (Message::Verdict { case, runtime, verdict }, Some(audience)) => {
                let Some(c) = index.get(&case).copied() else { return ctx::fail(format!("unknown case {case}")) };
                let verdict = audience.judge(c, runtime, verdict);
                audience.tell(c, runtime, &verdict);
                verdicts[c][runtime] = Some(verdict);
            }
            (Message::Verdict { .. }, None) => return ctx::fail("a verdict before the runtimes"),
        }
        Ok(())
    });
    let Some(audience) = audience else {
        return ended.and_then(|()| ctx::fail("no verdicts were told"));
    };
    let why = match ended {
        Ok(()) => "no verdict came".to_owned(),
        Err(Stop::Fail(why) | Stop::Skip(why)) => {
            println!("\nconformance: {why}");
            format!("not reached: {why}")
        }
    };
    let lost = |v: Option<Verdict>| {
        let evidence = String::new();
        v.unwrap_or_else(|| Verdict { status: Status::Fail, reason: why.clone(), evidence, time: Duration::ZERO })
    };
    let verdicts = verdicts.into_iter().map(|row| row.into_iter().map(lost).collect()).collect();
    Ok((audience.labels, verdicts))
}

impl Options {
    /// Whether v2 is all that the cases see. Where it is all that there is, it need not be asked for.
    fn v2(&self) -> bool {
        self.v2 || self.vm.is_some() || Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
    }
}

fn conduct(options: &Options) -> Result<u8, Stop> {
    if !options.merge.is_empty() {
        let reports = options.merge.iter().map(|p| Report::read(p)).collect::<Result<_, _>>()?;
        write(options, &Report::merge(reports))?;
        return Ok(0);
    }
    if options.filter.iter().any(String::is_empty) {
        return ctx::fail("--filter: an empty text is part of every name");
    }
    let all = suites::all(options.runtime_tools.as_deref());
    if let Some(unknown) = options.suites.iter().find(|s| !all.iter().any(|c| c.suite == **s)) {
        return ctx::fail(format!("no suite {unknown}"));
    }
    let cases: Vec<&Case> = all
        .iter()
        .filter(|c| options.suites.is_empty() || options.suites.iter().any(|s| s == c.suite))
        .filter(|c| options.filter.is_empty() || options.filter.iter().any(|f| c.path().contains(f.as_str())))
        .collect();
    // Who reads it may have enough, as `head` does.
    let mut out = io::stdout();
    if options.list {
        for c in &cases {
            let _ = writeln!(out, "{:<48} {}", c.path(), c.checks);
        }
        let _ = writeln!(out, "{} cases", cases.len());
        return Ok(0);
    }
    if cases.is_empty() {
        return ctx::fail("no case is left");
    }
    let names: Vec<&str> = options.runtime.iter().chain(&options.against).map(String::as_str).collect();
    // /tmp is often a tmpfs whose devices and set-user-id programs do not work.
    let tmp = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    let scratch = Scratch(tmp.join(format!("cf-{}", std::process::id())));
    fs::create_dir_all(&scratch.0)?;
    let (labels, verdicts) = if let Some(dir) = &options.vm {
        match run_in_vm(options, dir, &cases, &names, &scratch.0)? {
            Ok(outcome) => outcome,
            Err(status) => return Ok(status),
        }
    } else if let Some(dir) = &options.userland {
        run_in_userland(options, dir, &cases, &names, &scratch.0)?
    } else {
        ctx::slow_down(options.slow.unwrap_or(1).max(1));
        if options.driver == Driver::Systemd && !systemd::is_running() {
            let arguments: Vec<_> = std::env::args().skip(1).collect();
            return booted::run(&arguments, options.v2(), &scratch.0);
        }
        match run_here(options, &cases, &names, &scratch.0)? {
            Some(outcome) => outcome,
            None => return Ok(0),
        }
    };
    let _ = writeln!(out);
    let report = Report::new(&cases, &labels, &setting(options), verdicts);
    for (r, label) in labels.iter().enumerate() {
        let _ = writeln!(out, "{label}: {}", report.counts(r));
    }
    write(options, &report)?;
    Ok(u8::from(report.count(0, None, Status::Fail) > 0))
}

/// What distinguishes this run of a runtime from others.
fn setting(options: &Options) -> String {
    let mut words = Vec::new();
    if options.vm.is_some() {
        let kind = if options.vm_accel == vm::Accel::Uml { "user-mode Linux" } else { "virtual machine" };
        words.push(format!("{kind}, Debian {}", options.vm_release));
    }
    if options.userland.is_some() {
        words.push(format!("engines of Debian {}", options.vm_release));
    }
    words.push(if options.v2() { "cgroup v2" } else { "cgroup v1 or hybrid" }.to_owned());
    if options.driver == Driver::Systemd {
        words.push("systemd".to_owned());
    }
    words.extend(options.as_user.as_ref().map(|user| format!("as user {user}")));
    words.extend(options.delegate.then(|| "delegated cgroup".to_owned()));
    words.join(", ")
}

fn write(options: &Options, report: &Report) -> io::Result<()> {
    if let Some(file) = &options.tap {
        fs::write(file, report.tap())?;
    }
    if let Some(file) = &options.junit {
        fs::write(file, report.junit())?;
    }
    if let Some(dir) = &options.report {
        report.write(dir)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{must_run, patterns};

    #[test]
    fn the_last_pattern_that_means_a_case_decides() {
        let list = patterns(Some("a/*,!a/b*,a/bc # with a reason")).expect("no file");
        let check = |path, expect| assert_eq!(must_run(&list, path), expect, "{path}");
        check("a/x", Some(true));
        check("a/b", Some(false));
        check("a/bc", Some(true));
        check("a/bcd", Some(false));
        check("c", None);
    }
}
