//! A virtual machine to run the suites in: Debian with systemd, cgroup v2 alone and current runtimes, built by `vm/build`.
//!
//! The machine lives no longer than this process: the kernel ends qemu when its parent dies, whatever the parent dies of, and
//! what the guest writes goes to a file without a name. Emulated, since a machine that is virtual itself runs no guest by KVM
//! as a rule; hence all time limits are multiplied.

use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::ctx::{Stop, fail};

/// What makes the image; the executable brings it along.
const BUILD: &str = include_str!("../vm/build");

/// Where this executable is in the image's file system, and the runtimes that come from outside.
pub(crate) const HOME: &str = "/opt/conformance";

/// How qemu runs the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Accel {
    /// Emulated: runs everywhere, about ten times slower.
    Tcg,
    /// By the processor, where /dev/kvm works.
    Kvm,
    /// User-mode Linux: a kernel that is a program, whose processes are this machine's. Nearly as fast as the machine itself,
    /// with one processor and without cpuset and hugetlb.
    Uml,
}

/// What the machine is to be.
pub(crate) struct Wanted<'a> {
    /// Where the image is kept.
    pub dir: &'a Path,
    /// Debian's suite: `sid` or `trixie`.
    pub release: &'a str,
    pub accel: Accel,
    /// Further arguments of the guest's kernel.
    pub kernel: &'a str,
    /// When it is powered off in any case.
    pub end: Instant,
}

/// A running machine; dropping it powers it off.
pub(crate) struct Machine {
    qemu: Child,
    ssh: Vec<String>,
    console: PathBuf,
    watch: Watch,
}

/// What ends every wait for a machine: its deadline, and a signal to this process.
pub(crate) struct Watch {
    signals: SignalFd,
    end: Instant,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// What a wait ended with.
enum Event {
    Readable,
    /// This process is asked to end.
    Signal(Signal),
    Late,
}

/// A runtime as it is to be called there: `words` is the path and its flags. What has a slash is brought along.
fn runtime(index: usize, words: &str, payload: &Path) -> Result<String, Stop> {
    let (path, flags) = words.split_once(' ').map_or((words, ""), |(p, f)| (p, f.trim()));
    if !path.contains('/') {
        return Ok(words.to_owned());
    }
    let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
    let dir = payload.join(index.to_string());
    fs::create_dir_all(&dir)?;
    fs::copy(path, dir.join(&*name)).or_else(|e| fail(format!("no runtime at {path}: {e}")))?;
    Ok(format!("{HOME}/{index}/{name} {flags}").trim_end().to_owned())
}

/// What is brought along, in a directory that is to be [`HOME`]: this executable and the `runtimes`; and their words there.
pub(crate) fn payload(runtimes: &[&str], scratch: &Path) -> Result<(PathBuf, Vec<String>), Stop> {
    let payload = scratch.join("payload");
    fs::create_dir_all(&payload)?;
    fs::copy(std::env::current_exe()?, payload.join("conformance"))?;
    let inside = runtimes.iter().enumerate().map(|(i, r)| runtime(i, r, &payload)).collect::<Result<Vec<_>, Stop>>()?;
    Ok((payload, inside))
}

/// Makes the image if it is missing or was made by another script, and returns its disk.
pub(crate) fn build(dir: &Path, release: &str) -> Result<PathBuf, Stop> {
    fs::create_dir_all(dir)?;
    let script = dir.join("build");
    if fs::read_to_string(&script).ok().as_deref() != Some(BUILD) {
        fs::write(&script, BUILD)?;
    }
    let status = Command::new("bash").arg(&script).arg(dir).arg(release).stdin(Stdio::null()).status()?;
    if status.success() { Ok(dir.join("disk.img")) } else { fail(format!("the image could not be built ({status})")) }
}

/// Boots the machine with this executable and the `runtimes` in it; returns it with the runtimes' words in the guest.
pub(crate) fn boot(wanted: &Wanted, runtimes: &[&str], scratch: &Path) -> Result<(Machine, Vec<String>), Stop> {
    let disk = build(wanted.dir, wanted.release)?;
    let watch = Watch::until(wanted.end)?;
    let (payload, inside) = payload(runtimes, scratch)?;
    let tar = scratch.join("payload.tar");
    let status = Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(&payload).arg(".").status()?;
    if !status.success() {
        return fail("tar failed");
    }

    let key = wanted.dir.join("key");
    let console = scratch.join("console.log");
    let log = scratch.join("qemu.log");
    // Free now; that somebody else takes it before qemu does is told by qemu.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let kernel =
        format!("root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 mitigations=off panic=-1 {}", wanted.kernel);
    let accel = match wanted.accel {
        // One thread for all processors: with several, qemu 7.2 now and then still executes the breakpoint by which the kernel
        // patches its code (static keys, as when the first cpuset comes), and the kernel panics ("int3").
        Accel::Tcg => ["tcg,thread=single,tb-size=1024", "max"],
        Accel::Kvm => ["kvm", "host"],
        Accel::Uml => return fail("harness: user-mode Linux needs no qemu"),
    };
    let words: Vec<String> = [
        &format!("die-with={}", std::process::id()),
        "--",
        "qemu-system-x86_64",
        "-accel",
        accel[0],
        "-cpu",
        accel[1],
        "-smp",
        "2",
        "-m",
        "4096",
        "-no-reboot",
        "-kernel",
        &wanted.dir.join("vmlinuz").to_string_lossy(),
        "-initrd",
        &wanted.dir.join("initrd").to_string_lossy(),
        "-append",
        &kernel,
        // Writes go to a file in TMPDIR that has no name; the image stays as it is. User-mode Linux locks it too, which qemu
        // would take for somebody who writes.
        "-drive",
        &format!("file={},if=virtio,format=raw,cache=unsafe,snapshot=on,file.locking=off", disk.display()),
        "-drive",
        &format!("file={},if=virtio,format=raw,readonly=on", tar.display()),
        // The guest reaches nothing outside.
        "-netdev",
        &format!("user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
        "-device",
        "virtio-net-pci,netdev=n0",
        "-display",
        "none",
        "-monitor",
        "none",
        "-serial",
        &format!("file:{}", console.display()),
        "-serial",
        "stdio",
    ]
    .map(str::to_owned)
    .to_vec();
    let mut qemu = Command::new(std::env::current_exe()?)
        .arg("__exec")
        .args(words)
        .env("TMPDIR", wanted.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&log)?)
        .spawn()?;
    let Some(mut ready) = qemu.stdout.take() else { return fail("no output of qemu") };
    let ssh = [
        "-q",
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
        "-o",
        "ConnectTimeout=60",
        "-i",
        &key.to_string_lossy(),
        "-p",
        &port.to_string(),
        "root@127.0.0.1",
    ]
    .map(str::to_owned)
    .to_vec();
    let machine = Machine { qemu, ssh, console, watch };
    let mut said = String::new();
    while !said.contains("ready") {
        machine.watch.readable(&ready.as_fd().try_clone_to_owned()?, "the machine to be up")?;
        let mut some = [0; 64];
        let n = ready.read(&mut some)?;
        if n == 0 {
            let why = fs::read_to_string(&log).unwrap_or_default();
            return fail(format!("the machine did not boot: {}{}", why.trim_end(), last_words(&machine.console)));
        }
        said.push_str(&String::from_utf8_lossy(&some[..n]));
    }
    Ok((machine, inside))
}

/// As one word of a shell.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

impl Watch {
    /// From here on, to be asked to end means that machines are powered off first.
    pub(crate) fn until(end: Instant) -> Result<Watch, Stop> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            mask.add(signal);
        }
        mask.thread_block()?;
        Ok(Watch { signals: SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?, end })
    }

    fn wait(&self, fd: &OwnedFd) -> Result<Event, Stop> {
        let left = self.end.saturating_duration_since(Instant::now());
        let limit = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut fds = [PollFd::new(&self.signals, PollFlags::IN), PollFd::new(fd, PollFlags::IN)];
        match poll(&mut fds, Some(&limit)) {
            Err(rustix::io::Errno::INTR) => return self.wait(fd),
            other => other?,
        };
        if let Some(signal) = self.signals.read_signal()? {
            return Ok(Event::Signal(Signal::try_from(signal.ssi_signo as i32)?));
        }
        Ok(if fds[1].revents().is_empty() { Event::Late } else { Event::Readable })
    }

    /// Waits until there is something to read, unless this process is to end or the time is over.
    fn readable(&self, fd: &OwnedFd, what: &str) -> Result<(), Stop> {
        match self.wait(fd)? {
            Event::Readable => Ok(()),
            Event::Signal(signal) => fail(format!("{signal} while waiting for {what}")),
            Event::Late => fail(format!("time is over; waited for {what}")),
        }
    }

    /// Each line of what a program prints whose output is piped, until its end.
    pub(crate) fn lines(&self, child: &mut Child, hear: &mut impl FnMut(&str) -> Result<(), Stop>) -> Result<(), Stop> {
        let Some(mut out) = child.stdout.take() else { return fail("harness: no output") };
        let fd = out.as_fd().try_clone_to_owned()?;
        let mut pending = Vec::new();
        let mut some = vec![0; 65536];
        loop {
            self.readable(&fd, "the suites in the machine")?;
            let n = out.read(&mut some)?;
            if n == 0 {
                return Ok(());
            }
            pending.extend_from_slice(&some[..n]);
            while let Some(end) = pending.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                hear(String::from_utf8_lossy(&line).trim_end())?;
            }
        }
    }
}

/// The end of what the guest's kernel printed.
pub(crate) fn last_words(console: &Path) -> String {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut last: Vec<&str> = text.lines().rev().take(60).collect();
    last.reverse();
    format!("; the console ends with:\n{}", last.join("\n"))
}

impl Machine {
    /// A command of the guest, which has what was brought along.
    fn command(&self, terminal: bool, words: &[String]) -> Command {
        let script = format!(
            "mkdir -p {HOME} && tar -xf /dev/vdb -C {HOME} && cd /root && export PATH=$PATH:/usr/sbin:/sbin && exec {}",
            words.iter().map(|w| quoted(w)).collect::<Vec<_>>().join(" ")
        );
        let mut ssh = Command::new("ssh");
        ssh.arg(if terminal { "-t" } else { "-T" }).args(&self.ssh).arg(script);
        ssh
    }

    /// Runs conformance with these arguments in the guest; `hear` gets each line that it prints, and returns whether to go on.
    pub(crate) fn conformance(
        &self,
        args: &[String],
        mut hear: impl FnMut(&str) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let words = [&[format!("{HOME}/conformance")], args].concat();
        let mut ssh = self.command(false, &words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let heard = self.watch.lines(&mut ssh, &mut hear);
        if heard.is_err() {
            let _ = ssh.kill();
        }
        let status = ssh.wait()?;
        heard?;
        match status.code() {
            Some(0) => Ok(()),
            Some(255) => fail(format!("the connection to the machine broke{}", last_words(&self.console))),
            _ => fail(format!("conformance ended with {status} in the machine")),
        }
    }

    /// A shell in the guest, on this process's own streams.
    pub(crate) fn shell(&self, terminal: bool) -> Result<u8, Stop> {
        let words = if terminal { vec!["bash".to_owned(), "-l".to_owned()] } else { vec!["bash".to_owned()] };
        let mut child = self.command(terminal, &words).spawn()?;
        let pid = rustix::process::Pid::from_child(&child);
        let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
        if !matches!(self.watch.wait(&fd), Ok(Event::Readable)) {
            child.kill()?;
        }
        Ok(u8::try_from(child.wait()?.code().unwrap_or(1)).unwrap_or(1))
    }
}

/// How much longer everything takes.
pub(crate) fn slowness(accel: Accel) -> u32 {
    match accel {
        Accel::Tcg => 10,
        Accel::Kvm => 1,
        // Its system calls and page faults take several of this machine's.
        Accel::Uml => 3,
    }
}

/// When a machine that was booted now is powered off.
pub(crate) fn deadline(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}
