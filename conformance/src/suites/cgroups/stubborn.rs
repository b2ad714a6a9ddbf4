//! Processes that do not do what the kernel is asked to have them do: one that can't be frozen, and one that does not go.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};

use super::{Covered, case};
use crate::ctx::{Ctx, Driver, Live, Outcome, Stop, contains, ensure, eq, patience, skip, wait_fd};
use crate::frame::Case;

/// How long a runtime may wait for the kernel, with some time to spare.
const LIMIT: Duration = Duration::from_secs(15);

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(
            "life/freeze-timeout",
            "a group that does not freeze in time is thawed again, and the error says so",
            freeze,
        ),
        case("life/delete-held", "delete is bounded, and says which process holds a group", held),
    ]
}

/// Ends and reaps a child when it is dropped, also one that is held.
struct Ended(Child);

impl Ended {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id() as i32)
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = kill(self.pid(), Signal::SIGKILL);
        loop {
            let _ = ptrace::cont(self.pid(), None);
            match waitpid(self.pid(), Some(WaitPidFlag::__WALL)) {
                Ok(WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)) | Err(Errno::EINTR) => {}
                _ => break,
            }
        }
    }
}

fn spawn(program: &str, arg: &str) -> Result<Ended, Stop> {
    let mut command = Command::new(program);
    Ok(Ended(command.arg(arg).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
}

/// The group of a container where its processes are looked for.
fn group(x: &Ctx, id: &str) -> PathBuf {
    x.cgroup(id, if x.job.v2 { "" } else { "freezer" })
}

fn enter(group: &Path, process: &Ended) -> Outcome {
    Ok(fs::write(group.join("cgroup.procs"), process.pid().to_string())?)
}

/// A process that no freezer can stop, because it waits for a directory that another one keeps locked, which waits for a file
/// system that nobody serves. Whoever is waited for
/// goes first.
struct Unfreezable {
    _holder: Ended,
    process: Ended,
    _mounted: Covered,
    _server: File,
}

/// How a directory is made.
#[cfg(target_arch = "x86_64")]
const MKDIR: [i64; 2] = [nix::libc::SYS_mkdirat, nix::libc::SYS_mkdir];
#[cfg(not(target_arch = "x86_64"))]
const MKDIR: [i64; 1] = [nix::libc::SYS_mkdirat];

fn unfreezable(x: &Ctx) -> Result<Unfreezable, Stop> {
    let Ok(server) = File::options().read(true).write(true).open("/dev/fuse") else { return skip("no FUSE here") };
    let point = x.fresh("unserved");
    fs::create_dir(&point)?;
    x.keep(&point);
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
    mount(Some("unserved"), &point, Some("fuse"), MsFlags::empty(), Some(options.as_str()))?;
    let mounted = Covered(vec![point.clone()]);
    let below = point.join("below");
    let waiting = |program: &str, calls: &[i64]| -> Result<Ended, Stop> {
        let process = spawn(program, &below.to_string_lossy())?;
        let end = pidfd_open(rustix::process::Pid::from_child(&process.0), PidfdFlags::empty())?;
        let proc = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", process.pid())).unwrap_or_default();
        // Not where it is read from a disk, which looks the same: it would be let go, or the two would come in the wrong order.
        let called = || proc("syscall").split(' ').next().is_some_and(|n| n.parse().is_ok_and(|n| calls.contains(&n)));
        let deadline = Instant::now() + patience(Duration::from_secs(5));
        while !(called() && proc("stat").rsplit(')').next().is_some_and(|s| s.starts_with(" D"))) {
            let ended = wait_fd(&end, Duration::from_millis(1)).is_ok();
            ensure(!ended && Instant::now() < deadline, format_args!("{program} does not wait"))?;
        }
        Ok(process)
    };
    let holder = waiting("stat", &[nix::libc::SYS_statx, nix::libc::SYS_newfstatat])?;
    let process = waiting("mkdir", &MKDIR)?;
    Ok(Unfreezable { _holder: holder, process, _mounted: mounted, _server: server })
}

fn freeze(x: &Ctx) -> Outcome {
    let mut live = x.live(|_| ())?;
    let group = group(x, &live.id);
    let stuck = unfreezable(x)?;
    enter(&group, &stuck.process)?;
    let start = Instant::now();
    let out = x.rt(["pause", &live.id])?.errs()?;
    x.measure(format!("{:.1} s: {}", start.elapsed().as_secs_f32(), out.stderr.trim_end()));
    ensure(start.elapsed() < patience(LIMIT), format_args!("it took {:?}", start.elapsed()))?;
    contains("stderr", &out.stderr, &["freeze"])?;
    // All of it goes on, at once.
    x.status(&live.id, "running")?;
    let (file, thawed) = if x.job.v2 { ("cgroup.freeze", "0") } else { ("freezer.state", "THAWED") };
    eq(file, fs::read_to_string(group.join(file))?.trim(), thawed)?;
    x.rt(["kill", &live.id, "USR1"])?.ok()?;
    live.out.expect("signal SIGUSR1")?;
    x.rt(["exec", &live.id, "/probe", "echo", "hello"])?.ok()?;
    // And nothing that could come of it later is left.
    drop(stuck);
    x.rt(["pause", &live.id])?.ok()?;
    x.status(&live.id, "paused")?;
    x.rt(["resume", &live.id])?.ok().map(drop)
}

/// Has a process stop where it is about to end, also of SIGKILL, until it is let go: ptrace(2), `PTRACE_O_TRACEEXIT`.
fn hold(process: &Ended) -> Outcome {
    Ok(ptrace::seize(process.pid(), ptrace::Options::PTRACE_O_TRACEEXIT)?)
}

/// A debugger holds a process in a group that the container made; of a second container it has, for who deletes it, no number.
fn held(x: &Ctx) -> Outcome {
    if x.job.driver == Driver::Systemd {
        return skip("systemd, too, waits for the process, and a minute goes by");
    }
    if x.job.user.is_some() {
        return skip("takes root: another pid namespace, and a state directory that is the caller's");
    }
    let (one, other) = (x.live(|_| ())?, x.live(|_| ())?);
    let occupy = |live: &Live| -> Result<Ended, Stop> {
        let below = group(x, &live.id).join("below");
        fs::create_dir(&below)?;
        x.give(&below)?;
        let process = spawn("sleep", "1000")?;
        hold(&process)?;
        enter(&below, &process)?;
        x.kill(live)?;
        Ok(process)
    };
    let processes = [occupy(&one)?, occupy(&other)?];
    let holders = [format!("process {} is", processes[0].pid()), "pid namespace is".to_owned()];
    let start = Instant::now();
    let mut of_one = x.cmd(["delete", &one.id]).spawn()?;
    let root = x.state_root();
    let (runtime, root) = (x.job.runtime.to_string_lossy(), root.to_string_lossy());
    let words = ["--pid", "--fork", "--mount-proc", &runtime, "--root", &root, "delete", &other.id];
    let mut of_other = x.program(Path::new("unshare"), words).spawn()?;
    let deletes = [(&mut of_one, &one), (&mut of_other, &other)];
    for (((delete, live), process), holder) in deletes.into_iter().zip(processes).zip(holders) {
        let status = delete.wait()?;
        let stderr = delete.stderr();
        x.measure(format!("{:.1} s: {}", start.elapsed().as_secs_f32(), stderr.trim_end()));
        ensure(status != 0, "it was deleted")?;
        ensure(start.elapsed() < patience(LIMIT), format_args!("it took {:?}", start.elapsed()))?;
        contains("stderr", &stderr, &[&group(x, &live.id).join("below").to_string_lossy(), &holder])?;
        // Whoever has let go of it can have it deleted.
        x.status(&live.id, "stopped")?;
        drop(process);
        x.rt(["delete", &live.id])?.ok()?;
        ensure(!group(x, &live.id).exists(), "its cgroup is still there")?;
    }
    Ok(())
}
