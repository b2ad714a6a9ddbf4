//! A systemd of the harness's own, for a machine that was booted by something else: the first process of namespaces of its
//! own (pid, mount, cgroup, UTS, IPC, network), in a cgroup of its own in every hierarchy, which it takes for the root. It is
//! there in a second, has all the v1 controllers that the machine has or, with `--v2`, the v2 hierarchy alone, and
//! no units but its own and those of the runtimes. The harness is run a second time inside.
//!
//! systemd finds a /run of its own; everything else is the machine's.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::ctx::{Outcome, Stop, fail};
use crate::frame::remove_cgroups;

/// How long systemd may take to be ready.
const START: Duration = Duration::from_secs(30);

const SYSTEMD: &str = "/lib/systemd/systemd";

const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWCGROUP)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWNET);

/// A systemd that runs; dropping it ends it and all that is below it.
struct Booted {
    child: Child,
    tag: String,
}

impl Drop for Booted {
    fn drop(&mut self) {
        // The first process of the namespaces dies with its parent.
        let _ = self.child.kill();
        let _ = self.child.wait();
        remove_cgroups(&self.tag);
    }
}

/// Runs this program with these arguments in a systemd of its own, and returns its status.
pub(crate) fn run(arguments: &[String], v2: bool, scratch: &Path) -> Result<u8, Stop> {
    if !Path::new(SYSTEMD).exists() {
        return fail(format!("--driver systemd: systemd is not running here, and there is no {SYSTEMD}"));
    }
    let tag = format!("booted-{}", std::process::id());
    let (ready, log) = (scratch.join("ready"), scratch.join("systemd.log"));
    let told = UnixDatagram::bind(&ready)?;
    let child = Command::new(std::env::current_exe()?)
        .args(["__boot", &tag, if v2 { "v2" } else { "all" }])
        .arg(&ready)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&log)?)
        .spawn()?;
    let mut booted = Booted { child, tag };
    let why = |what: &str| {
        let text = fs::read_to_string(&log).unwrap_or_default();
        fail(format!("systemd did not start: {what} [{}]", text.trim_end()))
    };
    let Some(out) = booted.child.stdout.take() else { return fail("harness: no output") };
    let pid = io::read_to_string(out)?;
    let Ok(pid) = pid.trim().parse::<i32>() else { return why("it ended") };
    let end = Instant::now() + START;
    let mut message = [0; 4096];
    loop {
        told.set_read_timeout(Some(end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))))?;
        match told.recv(&mut message) {
            // sd_notify(3), as to the manager of a container.
            Ok(length) if message[..length].split(|b| *b == b'\n').any(|line| line == b"READY=1") => break,
            Ok(_) => {}
            Err(_) => return why("it was not ready in time"),
        }
    }
    // It tells of every job that takes long, and would wait for who does not read that.
    drop(told);
    let mut inside = Command::new(std::env::current_exe()?)
        .args(["__booted", &pid.to_string()])
        .args(arguments)
        // Its pids are small numbers, the same every time; so are the names that it makes of them.
        .env("TMPDIR", scratch)
        .stdin(Stdio::null())
        .spawn()?;
    Ok(u8::try_from(inside.wait()?.code().unwrap_or(2)).unwrap_or(2))
}

/// Hidden command `__boot TAG v2|all SOCKET`: makes the cgroups and the namespaces, starts systemd, prints its pid, and waits.
pub(crate) fn boot(words: &[String]) -> Result<u8, Stop> {
    let [tag, hierarchies, ready] = words else { return fail("three words") };
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let mounts = mounts(&fs::read_to_string("/proc/self/mountinfo")?, hierarchies == "v2");
    let own = fs::read_to_string("/proc/self/cgroup")?;
    for mount in &mounts {
        let dir = mount.dir.join(tag);
        fs::create_dir(&dir)?;
        // A v1 cpuset starts empty.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if mount.options.contains("cpuset") {
                fs::write(dir.join(file), fs::read_to_string(mount.dir.join(file))?)?;
            }
        }
        fs::write(dir.join("cgroup.procs"), "0")?;
    }
    unshare(NAMESPACES)?;
    // The roots are fixed: this process leaves again, since a v2 cgroup that has processes can't give controllers away.
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(name), Some(path)) = (fields.next(), fields.next()) else { continue };
        if let Some(mount) = mounts.iter().find(|mount| mount.is(name)) {
            fs::write(mount.dir.join(path.trim_start_matches('/')).join("cgroup.procs"), "0")?;
        }
    }
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let mut child = Command::new(std::env::current_exe()?);
    child.arg("__first").args([tag, hierarchies, ready]).stdin(Stdio::null()).stdout(Stdio::null());
    for place in &mounts {
        child.arg(place.dir.join(tag).join("cgroup.procs"));
    }
    let mut child = child.spawn()?;
    println!("{}", child.id());
    // Whoever reads it reads to the end.
    nix::unistd::dup2_stdout(fs::File::open("/dev/null")?)?;
    Ok(u8::try_from(child.wait()?.code().unwrap_or(1)).unwrap_or(1))
}

/// Hidden command `__first TAG v2|all SOCKET FILE...`: the first process, which becomes systemd. The files place it.
pub(crate) fn first(words: &[String]) -> Result<u8, Stop> {
    let [_, hierarchies, ready, files @ ..] = words else { return fail("three words") };
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    for file in files {
        fs::write(file, "0")?;
    }
    furnish(hierarchies == "v2")?;
    let error = Command::new(SYSTEMD)
        .arg("--system")
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("container", "conformance")
        .env("NOTIFY_SOCKET", ready)
        .env("SYSTEMD_LOG_TARGET", "console")
        // Where systemd itself writes, and ours: nothing of the machine's.
        .env("SYSTEMD_UNIT_PATH", "/run/systemd/system.control:/run/systemd/transient:/run/units")
        .exec();
    Err(error.into())
}

/// The file systems that systemd is to find.
fn furnish(v2: bool) -> Outcome {
    let none: Option<&str> = None;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, none)?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=755"))?;
    fs::create_dir("/run/units")?;
    fs::write("/run/units/default.target", "[Unit]\nDescription=Nothing\n")?;
    let base = Path::new("/sys/fs/cgroup");
    while umount2(base, MntFlags::MNT_DETACH).is_ok() {}
    if v2 {
        mount(Some("cgroup2"), base, Some("cgroup2"), flags, none)?;
        return Ok(());
    }
    mount(Some("tmpfs"), base, Some("tmpfs"), flags, Some("mode=755"))?;
    for line in fs::read_to_string("/proc/self/cgroup")?.lines() {
        let Some(name) = line.split(':').nth(1) else { continue };
        let dir = base.join(if name.is_empty() { "unified" } else { name.trim_start_matches("name=") });
        fs::create_dir(&dir)?;
        if name.is_empty() {
            mount(Some("cgroup2"), &dir, Some("cgroup2"), flags, none)?;
        } else {
            let option = if name.starts_with("name=") { format!("none,{name}") } else { name.to_owned() };
            mount(Some("cgroup"), &dir, Some("cgroup"), flags, Some(option.as_str()))?;
        }
    }
    Ok(())
}

/// Hidden command `__booted PID ARGUMENTS`: this program, beside the systemd whose pid this is.
pub(crate) fn inside(words: &[String]) -> Result<u8, Stop> {
    let Some((pid, arguments)) = words.split_first() else { return fail("no pid") };
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let pid = Pid::from_raw(pid.parse()?).ok_or(io::ErrorKind::InvalidInput).map_err(io::Error::from)?;
    let systemd = pidfd_open(pid, PidfdFlags::empty())?;
    let own = fs::canonicalize(std::env::current_exe()?)?;
    let directory = std::env::current_dir()?;
    // Into its cgroups first, while their mounts are in sight: outside of its root paths read as `/../..`.
    for line in fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero()))?.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(name), Some(path)) = (fields.next(), fields.next()) else { continue };
        let all = mounts(&fs::read_to_string("/proc/self/mountinfo")?, false);
        if let (Some(mount), Some(at)) = (all.iter().find(|mount| mount.is(name)), path.find("booted-")) {
            let root = path[at..].split('/').next().unwrap_or_default();
            let dir = mount.dir.join(path[..at].trim_start_matches('/')).join(root).join("harness");
            if fs::create_dir(&dir).is_ok() && mount.options.contains("cpuset") {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    fs::write(dir.join(file), fs::read_to_string(mount.dir.join(file))?)?;
                }
            }
            fs::write(dir.join("cgroup.procs"), "0")?;
        }
    }
    setns(&systemd, NAMESPACES)?;
    std::env::set_current_dir(directory)?;
    let mut child = Command::new(own).args(arguments).spawn()?;
    Ok(u8::try_from(child.wait()?.code().unwrap_or(2)).unwrap_or(2))
}

/// One mounted hierarchy.
struct Hierarchy {
    dir: PathBuf,
    /// Empty: v2.
    options: String,
}

impl Hierarchy {
    /// Whether it has this name in /proc/PID/cgroup.
    fn is(&self, name: &str) -> bool {
        let mut options = self.options.split(',');
        if name.is_empty() { self.options.is_empty() } else { name.split(',').all(|word| options.any(|o| o == word)) }
    }
}

/// The hierarchies that are mounted, each once.
fn mounts(mountinfo: &str, v2: bool) -> Vec<Hierarchy> {
    let mut all: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
        let (Some(dir), mut filesystem) = (mount.split(' ').nth(4), filesystem.split(' ')) else { continue };
        let options = match filesystem.next() {
            Some("cgroup2") => String::new(),
            Some("cgroup") if !v2 => filesystem.nth(1).unwrap_or_default().to_owned(),
            _ => continue,
        };
        if dir.starts_with("/sys/fs/cgroup") && !all.iter().any(|other| other.options == options) {
            all.push(Hierarchy { dir: dir.into(), options });
        }
    }
    all
}
