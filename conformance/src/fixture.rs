//! What several cases share: an engine's daemon with its images, started by the first case that needs it.
//!
//! A fixture is the first process of namespaces of its own (pid, mount, network, UTS, IPC), with a /run, /etc and /var of
//! its own; its cases enter them. When the run is over it is killed, and with it everything that an engine started:
//! shims, proxies, containers, mounts, bridges.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::ctx::{Ctx, Driver, Job, Outcome, Stop, fail, wait_fd};
use crate::frame::{Cage, Case, remove_cgroups};
use crate::systemd::Manager;

/// How long an engine may take to start.
const START: Duration = Duration::from_secs(90);

/// Something that cases share.
pub(crate) struct Fixture {
    /// Unique among fixtures.
    pub name: &'static str,
    /// Starts it, inside its namespaces; it is ready when this returns.
    pub start: fn(&Ctx) -> Outcome,
}

/// A running fixture as a case sees it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Stage {
    /// First process of its namespaces, as the harness sees it.
    pub pid: i32,
    /// Where it keeps its files.
    pub dir: PathBuf,
}

/// A running fixture; dropping it ends everything that it started.
struct Running {
    child: Child,
    stage: Stage,
    init: OwnedFd,
    tag: String,
    /// Ends what the death of the first process does not, where the pid namespace is not the fixture's own.
    cage: Option<Cage>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // The first process of the namespaces dies with its parent, and everything in them with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = wait_fd(&self.init, Duration::from_secs(20));
        drop(self.cage.take());
        // containerd's and podman's are named without the dash; slices, where a dash means nesting, without any.
        let tag = self.tag.trim_end_matches('-');
        for name in [tag.to_owned(), slice(tag)] {
            remove_cgroups(&name);
            Manager::System.forget(&name);
        }
        let _ = fs::remove_dir_all(&self.stage.dir);
    }
}

/// The name of the slice for what has `tag` in its name, without `.slice`.
pub(crate) fn slice(tag: &str) -> String {
    tag.trim_end_matches('-').replace('-', "_")
}

type Slot = Arc<OnceLock<Result<Running, Stop>>>;
type Order = (Job, Sender<Result<(Child, Option<Cage>), Stop>>);

/// The fixtures of a run.
pub(crate) struct Fixtures {
    slots: Mutex<HashMap<(String, &'static str), Slot>>,
    orders: Mutex<Option<Sender<Order>>>,
}

impl Fixtures {
    /// The fixtures, and the orders that [`serve`] must serve.
    pub(crate) fn new() -> (Fixtures, Receiver<Order>) {
        let (orders, served) = channel();
        (Fixtures { slots: Mutex::default(), orders: Mutex::new(Some(orders)) }, served)
    }

    /// No more will be started.
    pub(crate) fn close(&self) {
        if let Ok(mut orders) = self.orders.lock() {
            orders.take();
        }
    }

    /// The fixture for this job's runtime, started if need be.
    pub(crate) fn get(&self, fixture: &'static Fixture, job: &Job, label: &str) -> Result<Stage, Stop> {
        let Ok(mut slots) = self.slots.lock() else { return fail("harness: a thread died") };
        let slot = Arc::clone(slots.entry((label.to_owned(), fixture.name)).or_default());
        drop(slots);
        let started = slot.get_or_init(|| {
            let base = job.dir.parent().unwrap_or(Path::new("/"));
            let tag = format!("{}{}-{label}-", job.run, fixture.name);
            let job = Job { dir: base.join(format!("{}-{label}", fixture.name)), tag, ..job.clone() };
            fs::create_dir_all(&job.dir)?;
            let (reply, child) = channel();
            let orders = self.orders.lock().ok().and_then(|o| o.clone());
            orders.and_then(|o| o.send((job.clone(), reply)).ok());
            match child.recv() {
                Ok(started) => started.and_then(|(child, cage)| ready(child, cage, &job)),
                Err(_) => fail("harness: nobody starts fixtures"),
            }
        });
        match started {
            Ok(running) => Ok(running.stage.clone()),
            Err(Stop::Skip(why)) => Err(Stop::Skip(why.clone())),
            Err(Stop::Fail(why)) => fail(format!("{} did not start: {why}", fixture.name)),
        }
    }
}

/// Starts the fixtures that are asked for, until [`Fixtures::close`]. The thread that calls this must outlive them: a
/// process dies with the thread that is its parent.
pub(crate) fn serve(orders: &Receiver<Order>) {
    for (job, reply) in orders {
        let _ = reply.send(spawn(&job));
    }
}

fn spawn(job: &Job) -> Result<(Child, Option<Cage>), Stop> {
    let cage = (job.driver == Driver::Systemd).then(|| Cage::new(job)).transpose()?;
    let child = Command::new(std::env::current_exe()?)
        .args(cage.as_ref().map_or_else(|| vec!["__apart".to_owned()], Cage::words))
        .arg(std::env::current_exe()?)
        .args(["__hold", &serde_json::to_string(job)?])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(job.dir.join("fixture.stderr"))?)
        .spawn()?;
    Ok((child, cage))
}

/// Waits until the fixture says that it is ready.
fn ready(mut child: Child, cage: Option<Cage>, job: &Job) -> Result<Running, Stop> {
    let Some(mut out) = child.stdout.take() else { return fail("harness: no output") };
    let end = Instant::now() + START;
    let spoken = line(&mut out, end).and_then(|pid| Ok((pid, line(&mut out, end)?)));
    let running = spoken.and_then(|(pid, outcome)| {
        let pid: i32 = pid.parse()?;
        let outcome: Outcome = serde_json::from_str(&outcome)?;
        outcome.map(|()| pid)
    });
    let init = running.and_then(|pid| match Pid::from_raw(pid) {
        Some(p) => Ok((pid, pidfd_open(p, PidfdFlags::empty())?)),
        None => fail("harness: no pid"),
    });
    match init {
        Ok((pid, init)) => {
            Ok(Running { child, init, cage, tag: job.tag.clone(), stage: Stage { pid, dir: job.dir.clone() } })
        }
        Err(e) => {
            let _ = child.kill();
            child.wait()?;
            let stderr = fs::read_to_string(job.dir.join("fixture.stderr")).unwrap_or_default();
            match e {
                Stop::Fail(e) if !stderr.is_empty() => fail(format!("{e} [{}]", stderr.trim_end())),
                e => Err(e),
            }
        }
    }
}

fn line(out: &mut ChildStdout, end: Instant) -> Result<String, Stop> {
    let fd = out.as_fd().try_clone_to_owned()?;
    let mut text = Vec::new();
    let mut byte = [0];
    loop {
        wait_fd(&fd, end.saturating_duration_since(Instant::now()))?;
        if out.read(&mut byte)? == 0 {
            return fail("it ended");
        }
        if byte[0] == b'\n' {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        text.push(byte[0]);
    }
}

/// Hidden command `__within PID PROGRAM ARGS`: runs the program in the namespaces of the fixture whose first process PID
/// is, and returns its status.
pub(crate) fn within(pid: &str, words: &[String]) -> Result<u8, Stop> {
    let Some((program, args)) = words.split_first() else { return fail("no program") };
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let pid = Pid::from_raw(pid.parse()?).ok_or(io::ErrorKind::InvalidInput).map_err(io::Error::from)?;
    let kinds = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET;
    setns(pidfd_open(pid, PidfdFlags::empty())?, kinds)?;
    // Only a child is in the pid namespace.
    let mut child = Command::new(program).args(args).spawn()?;
    Ok(u8::try_from(child.wait()?.code().unwrap_or(1)).unwrap_or(1))
}

/// Hidden command `__hold JOB`, as the first process of new namespaces: starts the fixture of the job's case, says how
/// that ended, and reaps what is orphaned until it is killed.
pub(crate) fn hold(job: &str, cases: &[Case]) -> Result<u8, Stop> {
    let job: Job = serde_json::from_str(job)?;
    // The old /proc is still there: it says who this is for the harness.
    println!("{}", fs::read_link("/proc/self")?.display());
    crate::frame::furnish(&job)?;
    let fixture = cases.iter().find(|c| c.path() == job.case).and_then(|c| c.fixture);
    let Some(fixture) = fixture else { return fail(format!("no fixture of {}", job.case)) };
    let dir = job.dir.clone();
    let ctx = Ctx::new(job);
    let outcome = private(&dir).and_then(|()| (fixture.start)(&ctx));
    let outcome = outcome.or_else(|stop| match stop {
        Stop::Fail(why) => fail(format!("{why} [{}]", ctx.trail())),
        stop @ Stop::Skip(_) => Err(stop),
    });
    println!("{}", serde_json::to_string(&outcome)?);
    if outcome.is_err() {
        return Ok(1);
    }
    loop {
        if waitpid(None, None).is_err() {
            nix::unistd::pause();
        }
    }
}

/// Engines and their plugins write below /run, /etc and parts of /var, whatever they are told: these are private, and vanish.
fn private(dir: &Path) -> Outcome {
    let none: Option<&str> = None;
    let run = dir.join("run");
    fs::create_dir_all(&run)?;
    mount(Some("/run"), &run, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none)?;
    // But for what systemd is asked by.
    for name in ["systemd", "dbus"] {
        if run.join(name).is_dir() {
            let to = Path::new("/run").join(name);
            fs::create_dir(&to)?;
            mount(Some(&run.join(name)), &to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
        }
    }
    nix::mount::umount2(&run, nix::mount::MntFlags::MNT_DETACH)?;
    // Not all of /var: the run's own directory is below /var/tmp.
    for name in ["etc", "var/lib", "var/cache", "var/log"] {
        let flat = name.replace('/', "-");
        let (upper, work) = (dir.join(&flat), dir.join(format!("{flat}.work")));
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        let options = format!("lowerdir=/{name},upperdir={},workdir={}", upper.display(), work.display());
        let mounted = mount(
            Some("overlay"),
            format!("/{name}").as_str(),
            Some("overlay"),
            MsFlags::empty(),
            Some(options.as_str()),
        );
        if let Err(e) = mounted {
            return crate::ctx::skip(format!("no overlay file system for engines ({e})"));
        }
    }
    Ok(())
}
