//! The parent's side: opens what the plan names, clones, does from outside what can only be done there, and collects the
//! verdict.
//!
//! The wire between parent and child is one socket pair: fixed records up ([`crate::child::Message`]), a byte down for `go on`. Its end says that the child has executed its program, has left for good, or has died.

mod fds;
mod from_outside;
mod report;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

pub(crate) use report::{describe, late_cause, late_steps};

use crate::cgroup;
use crate::child::{self, Context, Failure, Message, REPORT_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::files::c_path;
use crate::intel_rdt;
use crate::namespace::Kind;
use crate::namespace::apply::flags;
use crate::namespace::net_devices::Moved;
use crate::plan::{ParentStep, Plan, Signal, Step};
use crate::state::Directory;
use crate::sys::{self, Clone3, Errno};
use crate::trace::{self, By, Clock};

/// What exists beside the plan when the process is made.
pub(crate) struct Surroundings<'a> {
    /// The container's cgroup.
    pub(crate) cgroup: &'a cgroup::Record,
    /// The container's groups in resctrl.
    pub(crate) rdt: Option<&'a intel_rdt::Record>,
    /// The cgroup v2 directory in which the process is born.
    pub(crate) birthplace: Option<BorrowedFd<'a>>,
    /// What the process gets as descriptors 0, 1 and 2. `None`: the caller's.
    pub(crate) streams: [Option<BorrowedFd<'a>>; 3],
    /// The container's directory, for what must be written down before it is done.
    pub(crate) directory: Option<&'a Directory>,
    /// Where its processes note when their steps ended.
    pub(crate) clock: &'a Clock,
}

impl Surroundings<'_> {
    fn entry_files(&self) -> impl Iterator<Item = PathBuf> {
        self.cgroup.entries(self.birthplace.is_some())
    }

    /// Opens the files by which a process enters its cgroups.
    fn entries(&self) -> Result<Vec<OwnedFd>> {
        let open = |file: PathBuf| {
            let opened = c_path(&file).and_then(|path| sys::openat(sys::CWD, &path, libc::O_WRONLY, 0));
            opened.map_err(|errno| Error::system(format!("open {}", file.display()), errno))
        };
        self.entry_files().map(open).collect()
    }

    fn not_entered(&self, failure: Failure) -> Error {
        let file = self.entry_files().nth(failure.detail as usize).unwrap_or_default();
        Error::system(format!("enter cgroup: write \"0\" to {}", file.display()), failure.errno)
    }
}

/// A process that the plan's steps have made.
pub(crate) struct Launched {
    /// In the runtime's pid namespace.
    pub(crate) pid: i32,
    /// Its handle.
    pub(crate) pidfd: OwnedFd,
    /// The master of its terminal, where no socket was to get it.
    pub(crate) master: Option<OwnedFd>,
}

/// How long a process may take from one message to the next, in milliseconds. Hooks have their own ends, and run while the
/// other side waits; this is for mounts and files that do not answer.
const PATIENCE: u64 = 300_000;

/// When [`launch`] tells of a process, with its pid in the runtime's pid namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// It exists, in its cgroup, and is at work: what takes time, and must be done before it is ready, is done now.
    Working,
    /// It is all that `created` means: what is written down is true from now on.
    Ready,
}

/// Makes the process, and `tell`s of it.
///
/// When this fails the process is gone.
pub(crate) fn launch(
    plan: &Plan,
    surroundings: &Surroundings<'_>,
    tell: &mut dyn FnMut(Moment, i32) -> Result<()>,
) -> Result<Launched> {
    let fds = fds::open(&plan.open)?;
    let (channel, far_end) = sys::socketpair().map_err(|e| Error::system("make a channel", e))?;
    // Once it lives it may be killed at any time.
    let oom_kills = surroundings.cgroup.oom_kill_count().unwrap_or_default();
    let mut process = spawn(plan, surroundings, &fds, channel, far_end)?;
    process.keep_network(plan, &fds);
    drop(fds);
    let result = process.serve(plan, surroundings, oom_kills, tell);
    match result {
        Ok(()) => Ok(process.release()),
        Err(error) => {
            process.end();
            Err(error)
        }
    }
}

/// A process that is not yet the container's: it ends with its owner.
struct Process {
    pid: i32,
    pidfd: Option<OwnedFd>,
    channel: OwnedFd,
    master: Option<OwnedFd>,
    /// The network namespace that it joins, where devices go there.
    network: Option<OwnedFd>,
    /// The network devices that it got.
    devices: Option<Moved>,
}

fn spawn(
    plan: &Plan,
    surroundings: &Surroundings<'_>,
    fds: &[OwnedFd],
    channel: OwnedFd,
    far_end: OwnedFd,
) -> Result<Process> {
    let failed = |what: &'static str| move |errno| Error::system(what, errno);
    // A handler of this program must not run in the child. The child opens itself again when all are back to default.
    let mask = sys::set_signal_mask(u64::MAX).map_err(failed("block signals"))?;
    let span = trace::span(|| clone_text(plan));
    let result = enter_pid_namespace(plan, fds).and_then(|back| {
        let forked = clone(plan, surroundings, fds, far_end.as_fd(), channel.as_fd());
        let returned = back.map_or(Ok(()), |own| sys::setns(own.as_fd(), Kind::Pid.flag()));
        let (pid, pidfd) = forked?;
        let process = Process { pid, pidfd: Some(pidfd), channel, master: None, network: None, devices: None };
        match returned {
            Ok(()) => Ok(process),
            Err(errno) => {
                drop(far_end);
                process.end();
                Err(Error::system("return to own pid namespace", errno))
            }
        }
    });
    drop(span);
    sys::set_signal_mask(mask).map_err(failed("restore signals"))?;
    let process = result?;
    let hop = process.pid;
    let process = if plan.topology.hop_joins.is_some() { process.hopped(plan)? } else { process };
    surroundings.clock.watch(By::Init, process.pid, 0, plan.init.iter().enumerate());
    surroundings.clock.watch(By::Hop, hop, plan.init.len() + 1, plan.hop.iter().enumerate());
    Ok(process)
}

/// A pid namespace is joined by the thread that clones, for its children. The result leads back.
fn enter_pid_namespace(plan: &Plan, fds: &[OwnedFd]) -> Result<Option<OwnedFd>> {
    let Some(kind) = plan.topology.around_clone else { return Ok(None) };
    let target = plan.open.iter().zip(fds).find_map(|(open, fd)| match open {
        crate::plan::Open::Namespace { kind: k, .. } if *k == kind => Some(fd),
        crate::plan::Open::Process { .. } => Some(fd),
        _ => None,
    });
    let target = target.ok_or_else(|| Error::system("join pid namespace", Errno(libc::EBADF)))?;
    let own = sys::pidfd_open(sys::getpid()).map_err(|e| Error::system("open own process", e))?;
    sys::setns(target.as_fd(), kind.flag()).map_err(|e| Error::system("join pid namespace", e))?;
    Ok(Some(own))
}

fn clone(
    plan: &Plan,
    surroundings: &Surroundings<'_>,
    fds: &[OwnedFd],
    channel: BorrowedFd<'_>,
    parents: BorrowedFd<'_>,
) -> Result<(i32, OwnedFd)> {
    let clock = surroundings.clock.places(plan.init.len());
    let cgroups = if plan.init.contains(&Step::EnterCgroups) { surroundings.entries()? } else { Vec::new() };
    let streams = surroundings.streams;
    let context = Context { fds, root: plan.root, cgroups: &cgroups, streams, channel, parents, clock };
    let init = Clone3 { flags: flags(&plan.topology.new), cgroup: surroundings.birthplace };
    let hop = plan.topology.hop_joins.is_some();
    let forked = child::spawn(&plan.init, hop.then_some(&plan.hop[..]), init, &context);
    forked.map_err(|errno| Error::system(clone_text(plan), errno))
}

fn clone_text(plan: &Plan) -> String {
    let kinds: Vec<_> = plan.topology.new.iter().map(|kind| kind.name()).collect();
    match plan.topology.hop_joins {
        Some(_) => "clone hop".to_owned(),
        None => format!("clone init with new namespaces {kinds:?}"),
    }
}

impl Process {
    /// The hop tells init's pid and ends; init is this process's child by CLONE_PARENT.
    fn hopped(mut self, plan: &Plan) -> Result<Process> {
        let told = match self.receive() {
            Ok(Some((Message::Cloned(pid), _))) => {
                sys::pidfd_open(pid).map(|pidfd| (pid, pidfd)).map_err(|e| Error::system("open init", e))
            }
            Ok(Some((Message::Failed { step, failure }, printed))) => match plan.hop.get(step as usize) {
                Some(step) => Err(describe(step, failure, &printed)),
                None => Err(Error::system("clone init", failure.errno)),
            },
            Ok(_) => Err(Error::new(ErrorKind::System, "the hop ended before it made init")),
            Err(error) => Err(error),
        };
        match told {
            Ok((pid, pidfd)) => {
                let hop = self.pidfd.replace(pidfd);
                self.pid = pid;
                if let Some(hop) = hop {
                    let _ = sys::wait_exit(hop.as_fd());
                }
                Ok(self)
            }
            Err(error) => {
                self.end();
                Err(error)
            }
        }
    }

    fn serve(
        &mut self,
        plan: &Plan,
        surroundings: &Surroundings<'_>,
        oom_kills: u64,
        tell: &mut dyn FnMut(Moment, i32) -> Result<()>,
    ) -> Result<()> {
        if plan.init.contains(&Step::Rendezvous(Signal::Born)) {
            self.act(&plan.at_birth, plan, surroundings)?;
            self.go_on()?;
        }
        tell(Moment::Working, self.pid)?;
        let waits = plan.root.is_some();
        let mut ready = false;
        loop {
            let (message, printed) = self.receive()?.unzip();
            match message {
                Some(Message::Reached(Signal::RootReady)) => {
                    self.act(&plan.at_root_ready, plan, surroundings)?;
                    self.go_on()?;
                }
                Some(Message::Reached(Signal::Ready)) => {
                    self.act(&plan.at_ready, plan, surroundings)?;
                    tell(Moment::Ready, self.pid)?;
                    // What waits for `start` is by itself from here on.
                    if waits {
                        return self.go_on();
                    }
                    ready = true;
                }
                Some(Message::Listener(fd)) => {
                    from_outside::notify_agent(plan, self.pid, self.handle()?, fd)?;
                    self.go_on()?;
                }
                Some(Message::Failed { step, failure }) => {
                    return Err(match plan.init.get(step as usize) {
                        Some(Step::EnterCgroups) => surroundings.not_entered(failure),
                        Some(step) => describe(step, failure, &printed.unwrap_or_default()),
                        None => Error::system("run the plan", failure.errno),
                    });
                }
                Some(Message::Reached(Signal::Born) | Message::Cloned(_)) => {
                    return Err(Error::new(ErrorKind::System, "init sent a message out of turn"));
                }
                // The channel's end: the program runs.
                None if ready => {
                    surroundings.clock.executed(plan.init.len());
                    return Ok(());
                }
                None => return Err(self.died(surroundings, oom_kills)),
            }
        }
    }

    /// Of all that was opened the parent keeps only what it still needs: some of it shows by its end that init has gone.
    fn keep_network(&mut self, plan: &Plan, fds: &[OwnedFd]) {
        self.network = plan.at_birth.iter().find_map(|step| match step {
            ParentStep::NetDevices { namespace: Some(index), .. } => fds.get(index.0)?.try_clone().ok(),
            _ => None,
        });
    }

    fn act(&mut self, steps: &[ParentStep], plan: &Plan, surroundings: &Surroundings<'_>) -> Result<()> {
        for step in steps {
            match step {
                ParentStep::NetDevices { devices, .. } => {
                    self.devices = Some(from_outside::net_devices(
                        devices,
                        self.pid,
                        self.network.take(),
                        surroundings.directory,
                    )?);
                }
                step => from_outside::take(step, plan, self.pid, surroundings)?,
            }
        }
        Ok(())
    }

    /// The next message, and what a failed hook printed. `None`: the channel has ended.
    fn receive(&mut self) -> Result<Option<(Message, Vec<u8>)>> {
        let _span = trace::span(|| "hear from init");
        let mut buffer = [0u8; REPORT_MAX];
        loop {
            let failed = |errno| Error::system("hear from init", errno);
            if sys::poll([(self.channel.as_fd(), libc::POLLIN)], Some(PATIENCE)).map_err(failed)? == 0 {
                return Err(Error::new(
                    ErrorKind::Timeout,
                    format!("init did not answer within {} s", PATIENCE / 1000),
                ));
            }
            let (length, fd) = sys::receive_with_fd(self.channel.as_fd(), &mut buffer).map_err(failed)?;
            if fd.is_some() {
                self.master = fd;
                continue;
            }
            return match length {
                0 => Ok(None),
                length => Message::decode(buffer.get(..length).unwrap_or_default())
                    .map(|(message, printed)| Some((message, printed.to_vec())))
                    .ok_or_else(|| Error::new(ErrorKind::System, "init sent a message that is none")),
            };
        }
    }

    fn go_on(&self) -> Result<()> {
        match sys::send(self.channel.as_fd(), &[0]) {
            // It has died: the channel's end tells more.
            Ok(()) | Err(Errno(libc::EPIPE)) => Ok(()),
            Err(errno) => Err(Error::system("tell init to go on", errno)),
        }
    }

    fn handle(&self) -> Result<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(OwnedFd::as_fd).ok_or_else(|| Error::system("use init's handle", Errno(libc::EBADF)))
    }

    /// Why init died without a word: the kernel has killed it, most likely for memory.
    fn died(&mut self, surroundings: &Surroundings<'_>, oom_kills: u64) -> Error {
        let status = self.pidfd.take().and_then(|pidfd| {
            let _ = sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            sys::wait_exit(pidfd.as_fd()).ok()
        });
        if surroundings.cgroup.oom_kill_count().unwrap_or_default() > oom_kills {
            return Error::new(ErrorKind::System, "container init was OOM-killed (memory limit too low?)");
        }
        let how = match status {
            Some(code) if code > 128 => format!("signal {} ended it", code - 128),
            Some(code) => format!("it exited with {code}"),
            None => "it is gone".to_owned(),
        };
        Error::new(ErrorKind::System, format!("init did not get ready: {how}"))
    }

    fn release(mut self) -> Launched {
        Launched {
            pid: self.pid,
            // Only `end` and `died` take it, and both end the process's part here.
            pidfd: self.pidfd.take().unwrap_or_else(|| unreachable!("a process that serves has a handle")),
            master: self.master.take(),
        }
    }

    fn end(mut self) {
        // While their namespace exists: with the last process of it a virtual device would end.
        if let Some(devices) = self.devices.take() {
            devices.give_back();
        }
        if let Some(pidfd) = self.pidfd.take() {
            let _ = sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            let _ = sys::wait_exit(pidfd.as_fd());
        }
    }
}
