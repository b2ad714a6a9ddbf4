//! A command with one fault in it: an error in place of one system call, of the command's or of a process that it makes.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{Cmd, Out, Stop, able, fail, note, note_status, patience, shown};

/// Where and what.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    /// The command is 0; its children count in the order of their births, until they execute another program.
    pub process: usize,
    /// Counted in the process, from 0.
    pub call: usize,
    /// Its number. Where another one stands in that place this time (a wait took a turn more), nothing fails.
    pub number: u64,
    pub errno: Errno,
}

/// What was seen of a command under a tracer.
pub(crate) struct Traced {
    pub out: Out,
    /// The numbers of the system calls, a list a process.
    pub calls: Vec<Vec<u64>>,
    /// The paths that were executed with execve(2), after the command itself.
    pub executed: Vec<String>,
    /// Whether the fault's place was reached.
    pub faulted: bool,
}

/// A process that is followed.
struct Followed {
    index: usize,
    /// The call that is under way is the one that fails.
    failing: bool,
}

/// How long a command may take that takes milliseconds.
const DEADLINE: Duration = Duration::from_secs(20);

impl Cmd<'_> {
    /// Runs it to its end under a tracer, which makes one call fail without having been made. What runs on is let go.
    pub(crate) fn faulty(mut self, fault: Option<Fault>) -> Result<Traced, Stop> {
        self.with.push("traceme".into());
        let mut text = self.text();
        if let Some(f) = fault {
            text.push_str(&format!(" (call {} of its process {} fails: {})", f.call, f.process, f.errno));
        }
        note(&text);
        let (o, e) = (self.ctx.fresh("stdout"), self.ctx.fresh("stderr"));
        let mut command = self.command()?;
        let child = command.stdin(self.stdin).stdout(File::create(&o)?).stderr(File::create(&e)?).spawn()?;
        drop(command);
        let root = Pid::from_raw(child.id() as i32);
        let watchdog = watch(root)?;
        let mut traced = follow(root, fault)?;
        if watchdog.join().unwrap_or(true) {
            return fail(format!("hang: no end within {:?}: {text}", patience(DEADLINE)));
        }
        traced.out.stdout = String::from_utf8_lossy(&fs::read(&o)?).into_owned();
        traced.out.stderr = String::from_utf8_lossy(&fs::read(&e)?).replace("\\\"", "\"");
        let _ = (fs::remove_file(&o), fs::remove_file(&e));
        able(&traced.out.stderr)?;
        self.ctx.evidence(&format!("$ {text}\n-> {}{}", traced.out.status, shown("err", &traced.out.stderr)));
        Ok(traced)
    }
}

/// Kills the process if it is still there after the deadline, and tells whether it had to.
fn watch(root: Pid) -> Result<std::thread::JoinHandle<bool>, Stop> {
    use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let Some(pid) = rustix::process::Pid::from_raw(root.as_raw()) else { return fail("the command has no pid") };
    let fd = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(std::thread::spawn(move || {
        let hangs = super::wait_fd(&fd, DEADLINE).is_err();
        if hangs {
            let _ = pidfd_send_signal(&fd, Signal::KILL);
        }
        hangs
    }))
}

fn follow(root: Pid, fault: Option<Fault>) -> Result<Traced, Stop> {
    let mut followed: HashMap<Pid, Followed> = HashMap::new();
    let mut traced = Traced {
        out: Out { status: 0, stdout: String::new(), stderr: String::new() },
        calls: Vec::new(),
        executed: Vec::new(),
        faulted: false,
    };
    loop {
        // All children, so that orphans of the command do not stay zombies for which somebody waits.
        let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let mut pass_on = None;
        match status {
            WaitStatus::Exited(p, code) => {
                followed.remove(&p);
                if p == root {
                    traced.out.status = code;
                    break;
                }
                note_status(p, code);
            }
            WaitStatus::Signaled(p, signal, _) => {
                followed.remove(&p);
                if p == root {
                    traced.out.status = 128 + signal as i32;
                    break;
                }
                note_status(p, 128 + signal as i32);
            }
            WaitStatus::PtraceSyscall(p) => {
                if let Some(process) = followed.get_mut(&p) {
                    at_call(p, process, fault, &mut traced)?;
                }
            }
            // A container's program, or a hook, is none of the runtime.
            WaitStatus::PtraceEvent(p, _, libc::PTRACE_EVENT_EXEC) if p != root => {
                followed.remove(&p);
                let _ = ptrace::detach(p, None);
                continue;
            }
            // The first stop: of the command the helper's execve, of a child its birth.
            WaitStatus::Stopped(p, Signal::SIGTRAP | Signal::SIGSTOP) if !followed.contains_key(&p) => {
                followed.insert(p, Followed { index: traced.calls.len(), failing: false });
                traced.calls.push(Vec::new());
                if p == root {
                    let births =
                        Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE;
                    let other =
                        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL;
                    ptrace::setoptions(p, births | other)?;
                }
            }
            WaitStatus::Stopped(_, signal) => pass_on = Some(signal),
            _ => {}
        }
        if let Some(p) = status.pid().filter(|p| followed.contains_key(p)) {
            resume(ptrace::syscall(p, pass_on))?;
        }
    }
    for pid in followed.into_keys() {
        let_go(pid)?;
    }
    Ok(traced)
}

/// Who was killed between its stop and now needs nothing more.
fn resume(result: nix::Result<()>) -> Result<(), Stop> {
    match result {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Counts a call; the fault's is replaced by one that does not exist, and its result by the error.
fn at_call(pid: Pid, process: &mut Followed, fault: Option<Fault>, traced: &mut Traced) -> Result<(), Stop> {
    // Somebody may have killed it since it stopped.
    let Ok(info) = ptrace::syscall_info(pid) else { return Ok(()) };
    if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
        let Ok(mut registers) = ptrace::getregs(pid) else { return Ok(()) };
        let calls = &mut traced.calls[process.index];
        calls.push(registers.orig_rax);
        if registers.orig_rax == libc::SYS_execve.cast_unsigned() {
            traced.executed.push(text_at(pid, registers.rdi)?);
        }
        // It fails for wrong arguments alone; and a process that could not outlive its parent would end after it was announced.
        let dies_with_parent =
            registers.orig_rax == libc::SYS_prctl.cast_unsigned() && registers.rdi == libc::PR_SET_PDEATHSIG as u64;
        // It waits for `start`, which would tell: `create` has ended.
        let waits = process.index > 0
            && registers.orig_rax == libc::SYS_read.cast_unsigned()
            && fs::read_link(format!("/proc/{pid}/fd/{}", registers.rdi)).is_ok_and(|path| path.ends_with("start"));
        process.failing = !(dies_with_parent || waits)
            && fault
                .is_some_and(|f| (f.process, f.call + 1, f.number) == (process.index, calls.len(), registers.orig_rax));
        if process.failing {
            traced.faulted = true;
            registers.orig_rax = u64::MAX;
            resume(ptrace::setregs(pid, registers))?;
        }
    } else if let (true, Some(fault)) = (std::mem::take(&mut process.failing), fault) {
        let Ok(mut registers) = ptrace::getregs(pid) else { return Ok(()) };
        registers.rax = i64::from(-(fault.errno as i32)).cast_unsigned();
        resume(ptrace::setregs(pid, registers))?;
    }
    Ok(())
}

/// The string at an address of another process.
fn text_at(pid: Pid, address: u64) -> Result<String, Stop> {
    let mut text = Vec::new();
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    loop {
        let mut part = [0; 256];
        // Less where the string's page is the last.
        let n = memory.read_at(&mut part, address + text.len() as u64)?;
        let end = part[..n].iter().position(|byte| *byte == 0);
        text.extend_from_slice(&part[..end.unwrap_or(n)]);
        if end.is_some() || n == 0 {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
    }
}

/// Ends the tracing of a process that runs, or waits: it must be stopped for that.
fn let_go(pid: Pid) -> Result<(), Stop> {
    resume(kill(pid, Signal::SIGSTOP))?;
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)) {
            Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(()),
            Err(e) => return Err(e.into()),
            Ok(WaitStatus::Stopped(_, Signal::SIGSTOP)) => return resume(ptrace::detach(pid, None)),
            Ok(WaitStatus::Stopped(_, signal)) => resume(ptrace::syscall(pid, signal))?,
            Ok(WaitStatus::Exited(_, code)) => {
                note_status(pid, code);
                return Ok(());
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                note_status(pid, 128 + signal as i32);
                return Ok(());
            }
            Ok(_) => resume(ptrace::syscall(pid, None))?,
        }
    }
}
