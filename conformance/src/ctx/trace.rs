//! A command whose system calls are watched, ptrace(2), and of which one goes wrong.

use std::fs::{self, File};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{Cmd, Out, Stop, note, note_status, shown};

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disturbance {
    /// SIGKILL when it is about to be done. The command's children run on.
    Kill,
    /// It is not done, and returns this errno.
    Fail(i32),
}

/// Calls calls count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calls {
    /// The command's own; of a program with threads those of the first thread.
    Own,
    /// Those of the first process that it makes, until it executes another program.
    Child,
}

/// How a command ended of which one system call was to be disturbed.
pub(crate) struct Disturbed {
    /// What it said in the end; of a killed one it says nothing.
    pub(crate) out: Out,
    /// The number of the call, if it came to that.
    pub(crate) call: Option<u64>,
    /// How many calls there were, up to that one.
    pub(crate) calls: usize,
}

/// A process that is watched.
struct Watched {
    pid: Pid,
    /// The next stop is before a system call, and not behind one.
    entering: bool,
}

impl Watched {
    fn new(pid: Pid) -> Self {
        Watched { pid, entering: true }
    }
}

impl Cmd<'_> {
    /// Runs it, and disturbs the `at`-th system call, the first being 1. `spared`: numbers of calls that are left alone.
    pub(crate) fn disturbed(
        mut self,
        how: Disturbance,
        whose: Calls,
        at: usize,
        spared: &[u64],
    ) -> Result<Disturbed, Stop> {
        self.with.push("traceme".into());
        let text = format!("{} ({how:?} at system call {at}, {whose:?})", self.text());
        note(&text);
        let (o, e) = (self.ctx.fresh("stdout"), self.ctx.fresh("stderr"));
        let mut command = self.command()?;
        let child = command.stdin(self.stdin).stdout(File::create(&o)?).stderr(File::create(&e)?).spawn()?;
        drop(command);
        let mut own = Watched::new(Pid::from_raw(child.id() as i32));
        let (mut other, mut seen, mut calls) = (None::<Watched>, false, 0);
        let (mut disturbed, mut failing) = (None, None);
        let status = loop {
            // All children, so that orphans of the command do not stay zombies for which somebody waits.
            let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Err(Errno::EINTR) => continue,
                result => result?,
            };
            let mut pass_on = None;
            let mut let_go = false;
            match status {
                WaitStatus::Exited(p, code) if p == own.pid => break code,
                WaitStatus::Signaled(p, signal, _) if p == own.pid => break 128 + signal as i32,
                WaitStatus::Exited(p, code) => _ = note_status(p, code),
                WaitStatus::Signaled(p, signal, _) => _ = note_status(p, 128 + signal as i32),
                WaitStatus::PtraceSyscall(p) => {
                    let of_own = p == own.pid;
                    let Some(process) = (if of_own { Some(&mut own) } else { other.as_mut() }) else { continue };
                    if process.entering {
                        let call = call_of(p);
                        let counts = of_own == (whose == Calls::Own);
                        calls += usize::from(counts);
                        if counts && calls == at && call.is_some_and(|call| !spared.contains(&call)) {
                            disturbed = call;
                            match how {
                                Disturbance::Kill => kill(p, Signal::SIGKILL)?,
                                Disturbance::Fail(errno) => {
                                    failing = Some(errno);
                                    skip_call(p)?;
                                }
                            }
                        }
                    } else if let Some(errno) = failing.take_if(|_| disturbed.is_some()) {
                        answer_call(p, errno)?;
                        let_go = !of_own;
                    }
                    process.entering = !process.entering;
                }
                WaitStatus::PtraceEvent(p, _, event) => {
                    if p == own.pid && event != libc::PTRACE_EVENT_EXEC {
                        let made = Pid::from_raw(ptrace::getevent(p)? as i32);
                        other.get_or_insert_with(|| Watched::new(made));
                    }
                    // Its own program: no more of the runtime's.
                    let_go = p != own.pid && event == libc::PTRACE_EVENT_EXEC;
                }
                // The execve of the helper is the first stop.
                WaitStatus::Stopped(_, Signal::SIGTRAP) if !seen => {
                    seen = true;
                    let mut options =
                        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL;
                    if whose == Calls::Child {
                        options |=
                            Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
                    }
                    ptrace::setoptions(own.pid, options)?;
                }
                // The first stop of a new one.
                WaitStatus::Stopped(p, Signal::SIGSTOP) if p != own.pid => {
                    // Only the first that it makes counts; further ones, hooks for example, are left alone.
                    let_go = other.as_ref().is_some_and(|other| other.pid != p);
                    if other.is_none() {
                        other = Some(Watched::new(p));
                    }
                }
                WaitStatus::Stopped(_, signal) => pass_on = Some(signal),
                _ => {}
            }
            let Some(p) = status.pid() else { continue };
            if matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..)) {
                other.take_if(|other| other.pid == p);
                continue;
            }
            let moved = if let_go {
                other.take_if(|other| other.pid == p);
                ptrace::detach(p, None)
            } else {
                ptrace::syscall(p, pass_on)
            };
            match moved {
                // Killed between the stop and now.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        };
        if let Some(other) = other {
            let_go_of(other.pid)?;
        }
        let out = Out {
            status,
            stdout: String::from_utf8_lossy(&fs::read(&o)?).into_owned(),
            stderr: String::from_utf8_lossy(&fs::read(&e)?).replace("\\\"", "\""),
        };
        let _ = (fs::remove_file(&o), fs::remove_file(&e));
        self.ctx.evidence(&format!("$ {text}\n-> {status}{}", shown("err", &out.stderr)));
        Ok(Disturbed { out, call: disturbed, calls })
    }
}

/// The call before which a process stands.
fn call_of(pid: Pid) -> Option<u64> {
    fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?.split(' ').next()?.parse().ok()
}

/// The kernel does nothing for the call that has this number.
#[cfg(target_arch = "x86_64")]
fn skip_call(pid: Pid) -> Result<(), Stop> {
    let mut registers = ptrace::getregs(pid)?;
    registers.orig_rax = u64::MAX;
    Ok(ptrace::setregs(pid, registers)?)
}

#[cfg(target_arch = "x86_64")]
fn answer_call(pid: Pid, errno: i32) -> Result<(), Stop> {
    let mut registers = ptrace::getregs(pid)?;
    registers.rax = i64::from(-errno) as u64;
    Ok(ptrace::setregs(pid, registers)?)
}

#[cfg(not(target_arch = "x86_64"))]
fn skip_call(_: Pid) -> Result<(), Stop> {
    super::skip("the registers are written for x86-64 alone")
}

#[cfg(not(target_arch = "x86_64"))]
fn answer_call(_: Pid, _: i32) -> Result<(), Stop> {
    super::skip("the registers are written for x86-64 alone")
}

/// A process may be let go of only while it stands.
fn let_go_of(pid: Pid) -> Result<(), Stop> {
    if kill(pid, Signal::SIGSTOP).is_err() {
        return Ok(());
    }
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)) {
            Err(Errno::EINTR) => {}
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(_) => return Ok(()),
            Ok(WaitStatus::Stopped(_, Signal::SIGSTOP)) => {
                let _ = ptrace::detach(pid, None);
                return Ok(());
            }
            Ok(_) => _ = ptrace::syscall(pid, None),
        }
    }
}
