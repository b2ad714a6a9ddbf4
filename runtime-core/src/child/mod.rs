//! After the clone: this process is a copy of one thread of a program that may have many.
//!
//! It takes the steps that were decided for it, one after the other. It does not choose, parse, format or allocate: the
//! heap may be locked for ever by a thread that does not exist here. What it knows was made before the clone; what it
//! says is one fixed record. A layering test keeps the allocating parts of `std` out of this room and of every
//! `apply.rs`; a privileged test runs it under an allocator that aborts.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::plan::{FdIndex, Signal, Step};
use crate::sys::{self, Clone3, Errno};
use crate::{chroot, console, hook, namespace, process};

/// What a child inherits.
pub(crate) struct Context<'a> {
    /// What the parent opened, by [`FdIndex`].
    pub(crate) fds: &'a [OwnedFd],
    /// Where the container's root filesystem is among them.
    pub(crate) root: Option<FdIndex>,
    /// The files by which it enters its cgroups.
    pub(crate) cgroups: &'a [OwnedFd],
    /// What becomes the standard streams. `None`: the parent's stay.
    pub(crate) streams: [Option<BorrowedFd<'a>>; 3],
    /// The child's side of the channel to the parent.
    pub(crate) channel: BorrowedFd<'a>,
    /// The parent's side, which the child closes first of all: else the channel would not end with the parent.
    pub(crate) parents: BorrowedFd<'a>,
    /// Where init and the hop note when their steps ended, when somebody traces them.
    pub(crate) clock: (&'a [AtomicU64], &'a [AtomicU64]),
}

/// The little that is known only after the clone.
pub(crate) struct Memory {
    /// `HOME=...` and a NUL.
    home: [u8; 1024],
    has_home: bool,
    /// Of the hook that runs, or that has failed.
    said: hook::apply::Said,
}

/// Why a step failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) errno: Errno,
    /// What of the step: its meaning is the step's.
    pub(crate) detail: u32,
}

impl Failure {
    pub(crate) fn new(errno: Errno, detail: u32) -> Self {
        Failure { errno, detail }
    }

    /// The failure happened at this place of a list.
    pub(crate) fn at(self, index: usize) -> Self {
        Failure { detail: self.detail | (index as u32) << 8, ..self }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Failure { errno, detail: 0 }
    }
}

/// What a child tells: a record of fixed size, in one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// It is this far, and waits.
    Reached(Signal),
    /// A step of its list failed.
    Failed { step: u32, failure: Failure },
    /// The hop made init: its pid.
    Cloned(i32),
    /// The filter's listener is the descriptor of this number.
    Listener(i32),
}

/// Bytes of a [`Message`].
pub(crate) const MESSAGE_SIZE: usize = 16;

/// Bytes of the longest report: behind the record of a failed hook comes the end of what it printed.
pub(crate) const REPORT_MAX: usize = MESSAGE_SIZE + hook::OUTPUT_SHOWN;

impl Message {
    pub(crate) fn encode(self) -> [u8; MESSAGE_SIZE] {
        let words: [u32; 4] = match self {
            Message::Reached(signal) => [1, signal as u32, 0, 0],
            Message::Failed { step, failure } => [2, step, failure.detail, failure.errno.0 as u32],
            Message::Cloned(pid) => [3, pid as u32, 0, 0],
            Message::Listener(fd) => [4, fd as u32, 0, 0],
        };
        let mut bytes = [0; MESSAGE_SIZE];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// With what a failed hook printed. `None`: not a message of ours.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (record, said) = bytes.split_first_chunk()?;
        let message = Message::of_record(record)?;
        (said.is_empty() || matches!(message, Message::Failed { .. })).then_some((message, said))
    }

    fn of_record(bytes: &[u8; MESSAGE_SIZE]) -> Option<Self> {
        let word = |i: usize| u32::from_ne_bytes([bytes[i * 4], bytes[i * 4 + 1], bytes[i * 4 + 2], bytes[i * 4 + 3]]);
        Some(match (word(0), word(1)) {
            (1, signal) => Message::Reached(
                [Signal::Born, Signal::RootReady, Signal::Ready].into_iter().find(|s| *s as u32 == signal)?,
            ),
            (2, step) => Message::Failed { step, failure: Failure::new(Errno(word(3) as i32), word(2)) },
            (3, pid) => Message::Cloned(pid as i32),
            (4, fd) => Message::Listener(fd as i32),
            _ => return None,
        })
    }
}

impl Context<'_> {
    pub(crate) fn fd(&self, index: FdIndex) -> BorrowedFd<'_> {
        // An index is made together with the descriptor's place; a wrong one gives EBADF in whatever uses it.
        self.fds.get(index.0).map_or(self.channel, OwnedFd::as_fd)
    }

    /// The container's root directory: the prepared tree, or what the process's own root is.
    pub(crate) fn root(&self) -> Result<Root<'_>, Failure> {
        Ok(match self.root {
            Some(index) => Root::Prepared(self.fd(index)),
            None => Root::Own(sys::openat(sys::CWD, c"/", libc::O_PATH | libc::O_DIRECTORY, 0)?),
        })
    }

    /// The master of the terminal goes to the parent.
    pub(crate) fn send_master(&self, master: BorrowedFd<'_>) -> Result<(), Failure> {
        sys::send_with_fd(self.channel, &[0], master)?;
        Ok(())
    }
}

/// A root directory, from before the clone or opened here.
pub(crate) enum Root<'a> {
    Prepared(BorrowedFd<'a>),
    Own(OwnedFd),
}

impl Root<'_> {
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Root::Prepared(fd) => *fd,
            Root::Own(fd) => fd.as_fd(),
        }
    }
}

impl Memory {
    pub(crate) fn new() -> Self {
        Memory { home: [0; 1024], has_home: false, said: hook::apply::Said::new() }
    }

    /// The `HOME` that was found, as a variable.
    pub(crate) fn home(&self) -> Option<&CStr> {
        if self.has_home { CStr::from_bytes_until_nul(&self.home).ok() } else { None }
    }

    /// A directory that does not fit is `/`.
    pub(crate) fn set_home(&mut self, directory: &[u8]) {
        const NAME: &[u8] = b"HOME=";
        let directory = if directory.len() + NAME.len() < self.home.len() { directory } else { b"/" };
        self.home.fill(0);
        for (place, byte) in self.home.iter_mut().zip(NAME.iter().chain(directory)) {
            *place = *byte;
        }
        self.has_home = true;
    }
}

/// A process that does nothing but be in new namespaces (`CLONE_*`), until it is killed or its parent's thread ends.
pub(crate) fn hold(namespaces: u64) -> sys::Result<(i32, OwnedFd)> {
    sys::clone3_and_run(Clone3 { flags: namespaces, cgroup: None }, || {
        let _ = sys::set_parent_death_signal(libc::SIGKILL);
        loop {
            let _ = sys::poll([], None);
        }
    })
}

/// Clones: init at once, or a hop that makes it. Returns, in the caller alone, the pid and the handle of the clone.
pub(crate) fn spawn(
    init: &[Step],
    hop: Option<&[Step]>,
    how: Clone3<'_>,
    context: &Context<'_>,
) -> sys::Result<(i32, OwnedFd)> {
    let Some(steps) = hop else {
        return sys::clone3_and_run(how, || {
            leave_parents_side(context);
            run(init, context)
        });
    };
    sys::clone3_and_run(Clone3::default(), || {
        leave_parents_side(context);
        let memory = prepare(steps, context);
        // The runtime's child and not the hop's.
        let how = Clone3 { flags: how.flags | libc::CLONE_PARENT as u64, ..how };
        match sys::clone3_and_run(how, || run(init, context)) {
            Ok((pid, init)) => {
                if sys::write(context.channel, &Message::Cloned(pid).encode()).is_err() {
                    // Nobody knows of it, and it would wait for ever, with its end of the channel open.
                    let _ = sys::pidfd_send_signal(init.as_fd(), libc::SIGKILL);
                }
                sys::exit(0)
            }
            Err(errno) => fail(context.channel, steps.len(), errno.into(), &memory),
        }
    })
}

/// The death signal tells nothing of a parent that ended before it was asked for. Whoever waits hears of that one by the
/// channel's end.
fn leave_parents_side(context: &Context<'_>) {
    let _ = sys::close_inherited_one(context.parents.as_raw_fd());
}

/// Notes that what belongs to this place has ended, when somebody traces ([`crate::trace`]): else there are no places.
pub(crate) fn tick(places: &[AtomicU64], place: usize) {
    if let Some(word) = places.get(place) {
        word.store(sys::now(), Ordering::Release);
    }
}

/// Takes the steps of the hop.
fn prepare(steps: &[Step], context: &Context<'_>) -> Memory {
    let mut memory = Memory::new();
    tick(context.clock.1, 0);
    for (index, step) in steps.iter().enumerate() {
        if let Err(failure) = take(step, context, &mut memory) {
            fail(context.channel, index, failure, &memory);
        }
        tick(context.clock.1, index + 1);
    }
    memory
}

/// Takes the steps of init, of which the last executes the program. Ends the process when one fails.
fn run(steps: &[Step], context: &Context<'_>) -> ! {
    let mut memory = Memory::new();
    let mut report_to = context.channel;
    tick(context.clock.0, 0);
    for (index, step) in steps.iter().enumerate() {
        let result = match step {
            Step::Detach { verdict } => {
                report_to = context.fd(*verdict);
                detach(context)
            }
            step => take(step, context, &mut memory),
        };
        if let Err(failure) = result {
            fail(report_to, index, failure, &memory);
        }
        tick(context.clock.0, index + 1);
    }
    // A list without Execute is a process that has nothing to do.
    sys::exit(0)
}

/// Reports and ends. In one write: a reader gets all of it or nothing.
fn fail(report_to: BorrowedFd<'_>, index: usize, failure: Failure, memory: &Memory) -> ! {
    let record = Message::Failed { step: index as u32, failure }.encode();
    let mut report = [0u8; REPORT_MAX];
    let mut length = 0;
    for (place, byte) in report.iter_mut().zip(record.iter().chain(memory.said.iter())) {
        *place = *byte;
        length += 1;
    }
    let _ = sys::write(report_to, report.get(..length).unwrap_or(&record));
    sys::exit(1)
}

fn take(step: &Step, context: &Context<'_>, memory: &mut Memory) -> Result<(), Failure> {
    match step {
        Step::DieWithParent => Ok(sys::set_parent_death_signal(libc::SIGKILL)?),
        Step::Outlive => {
            sys::set_parent_death_signal(0)?;
            sys::write(context.channel, &Message::Reached(Signal::Ready).encode())?;
            Ok(())
        }
        Step::Rendezvous(signal) => rendezvous(context, *signal),
        Step::Detach { .. } => detach(context),
        Step::AwaitStart { fifo } => await_start(context.fd(*fifo)),

        Step::StandardStreams => Ok(sys::become_standard_streams(context.streams)?),
        Step::EnterCgroups => enter_cgroups(context),
        Step::Join { namespace, kind } => namespace::apply::join(context, *namespace, *kind),
        Step::JoinProcess { process, kinds } => namespace::apply::join_process(context, *process, kinds),
        Step::BecomeNamespaceRoot { uid, gid } => namespace::apply::become_namespace_root(*uid, *gid),
        Step::Unshare(kinds) => namespace::apply::unshare(kinds),
        Step::TimeOffsets { proc, lines } => namespace::apply::time_offsets(context, *proc, lines),
        Step::OomScoreAdj { proc, value, optional } => process::apply::oom_score_adj(context, *proc, value, *optional),
        Step::LoopbackUp => Ok(sys::loopback_up()?),
        Step::Hostname(name) => Ok(sys::sethostname(name)?),
        Step::Domainname(name) => Ok(sys::setdomainname(name)?),
        Step::Sysctl { proc, path, value } => write_proc(context.fd(*proc), path, value.to_bytes()),

        Step::MountPropagation(kind) => chroot::apply::mount_propagation(*kind),
        Step::PrivateParent { path } => chroot::apply::private_parent(path),
        Step::CopyTree { tree, path, recursive, follow } => {
            chroot::apply::copy_tree(context, *tree, path, *recursive, *follow)
        }
        Step::AttachRoot { tree, path, propagation } => chroot::apply::attach_root(context, *tree, path, *propagation),
        Step::Mount(mount) => chroot::apply::mount(context, mount),
        Step::Attempt { step, on, otherwise } => match take(step, context, memory) {
            Err(failure) if on.contains(&failure.errno.0) => take(otherwise, context, memory),
            result => result,
        },
        Step::Device(node) => chroot::apply::device(context, node),
        Step::Symlink { path, target, replace } => chroot::apply::symlink(context, path, target, *replace),
        Step::Directory { path } => chroot::apply::directory(context, path),
        Step::Remount(remount) => chroot::apply::remount(context, remount),
        Step::PivotRoot => chroot::apply::pivot(context),
        Step::MoveRoot => chroot::apply::move_root(context),
        Step::Chroot => chroot::apply::change_root(context),
        Step::ReadonlyRoot => chroot::apply::readonly_root(),
        Step::RootPropagation(kind) => chroot::apply::root_propagation(*kind),
        Step::ReadonlyPath(path) => chroot::apply::readonly_path(context, path),
        Step::MaskPaths { paths, label } => chroot::apply::mask_paths(context, paths, label.as_deref()),

        Step::ResetSignals => Ok(sys::reset_signals()?),
        Step::NewSession => Ok(sys::setsid()?),
        Step::SessionKeyring(name) => process::apply::session_keyring(name),
        Step::Undumpable => Ok(sys::set_dumpable(false)?),
        Step::Dumpable => Ok(sys::set_dumpable(true)?),
        Step::Console(console) => console::apply::console(context, console),
        Step::OwnStdio { uid } => process::apply::own_stdio(*uid),
        Step::Rlimit(limit) => Ok(sys::set_rlimit(0, limit.resource, limit.soft, limit.hard)?),
        Step::Scheduler(scheduler) => Ok(sys::sched_setattr(scheduler)?),
        Step::IoPriority(priority) => Ok(sys::ioprio_set(*priority)?),
        Step::CpuAffinity(cpus) => Ok(sys::sched_setaffinity(cpus)?),
        Step::AllCpus => {
            // Not worth a container: a sandbox around the runtime may refuse it.
            let _ = sys::sched_setaffinity(ALL_CPUS);
            Ok(())
        }
        Step::Personality(persona) => Ok(sys::personality(*persona)?),
        Step::MemoryPolicy(policy) => Ok(sys::set_mempolicy(policy.mode, &policy.nodes)?),
        Step::Label { proc, file, value } => write_proc(context.fd(*proc), file, value.to_bytes()),
        Step::Umask(mask) => {
            sys::umask(*mask);
            Ok(())
        }
        Step::BoundingSet { keep, last } => process::apply::bounding_set(*keep, *last),
        Step::Account(account) => process::apply::account(account),
        Step::Privileges(privileges) => process::apply::privileges(privileges),
        Step::NoNewPrivileges => Ok(sys::set_no_new_privs()?),
        Step::Home { uid } => process::apply::home(*uid, memory),
        Step::FindProgram(program) => process::apply::find_program(program),
        Step::CloseFds { preserve, needed } => close_fds(context, *preserve, needed),
        Step::Hook(hook) => {
            hook::apply::run(hook, &mut memory.said)?;
            memory.said.clear();
            Ok(())
        }
        Step::Seccomp(program) => {
            sys::seccomp_set_mode_filter(program.flags, &program.filter)?;
            Ok(())
        }
        Step::SeccompListener(program) => listen(context, program),
        Step::Execute(program) => Err(process::apply::execute(program, memory)),
    }
}

/// `0` is who writes.
fn enter_cgroups(context: &Context<'_>) -> Result<(), Failure> {
    for (index, file) in context.cgroups.iter().enumerate() {
        sys::write(file.as_fd(), b"0").map_err(|errno| Failure::new(errno, index as u32))?;
    }
    Ok(())
}

fn rendezvous(context: &Context<'_>, signal: Signal) -> Result<(), Failure> {
    if signal == Signal::Ready {
        // From here on the channel does the death signal's work: a parent that ends without a word is heard by its end.
        // So one that has said `go on` may end at once, and needs no answer.
        sys::set_parent_death_signal(0)?;
    }
    // The parent knows of a birth by its clone.
    if signal != Signal::Born {
        sys::write(context.channel, &Message::Reached(signal).encode())?;
    }
    wait_for_parent(context)
}

/// As many as Linux can be built for (NR_CPUS of x86-64); of a longer set it ignores the rest.
const ALL_CPUS: &[u64] = &[u64::MAX; 8192 / 64];

fn wait_for_parent(context: &Context<'_>) -> Result<(), Failure> {
    let mut word = [0u8; 1];
    match sys::read(context.channel, &mut word)? {
        // The parent has ended or has given up: there is nobody to tell.
        0 => sys::exit(1),
        _ => Ok(()),
    }
}

/// The parent's last word was `go on`.
fn detach(context: &Context<'_>) -> Result<(), Failure> {
    Ok(sys::close_inherited_one(context.channel.as_raw_fd())?)
}

/// Without this reader the FIFO can't be opened for writing any more: that is how the container's status shows.
fn await_start(fifo: BorrowedFd<'_>) -> Result<(), Failure> {
    let mut word = [0u8; 1];
    sys::read(fifo, &mut word)?;
    Ok(sys::close_inherited_one(fifo.as_raw_fd())?)
}

/// Closes by ranges, from one needed descriptor to the next: the lists are short and need not be sorted.
fn close_fds(context: &Context<'_>, preserve: u32, needed: &[FdIndex]) -> Result<(), Failure> {
    let mut first = 3;
    let end = 3 + preserve;
    while first < end {
        // Those may have come close-on-exec.
        sys::keep_over_exec(first as i32)?;
        first += 1;
    }
    loop {
        let numbers = needed.iter().map(|&index| context.fd(index)).chain([context.channel]);
        match numbers.map(|fd| fd.as_raw_fd() as u32).filter(|&number| number >= first).min() {
            Some(next) => {
                if next > first {
                    sys::close_inherited(first, next - 1)?;
                }
                first = next + 1;
            }
            None => return Ok(sys::close_inherited(first, u32::MAX)?),
        }
    }
}

/// The number goes to the parent, which takes a copy of the descriptor (pidfd_getfd(2)) and hands it to the agent: this
/// process can only call what its own filter does not hand to that agent. Hence write(2) and read(2) alone.
fn listen(context: &Context<'_>, program: &crate::seccomp::Program) -> Result<(), Failure> {
    let Some(listener) = sys::seccomp_set_mode_filter(program.flags, &program.filter)? else {
        return Err(Errno(libc::EBADF).into());
    };
    sys::write(context.channel, &Message::Listener(listener.as_raw_fd()).encode())?;
    wait_for_parent(context)?;
    // close(2) is the filter's to judge, and execve(2) closes it anyway.
    std::mem::forget(listener);
    Ok(())
}

/// Writes a file of the host's procfs. `proc` was checked when it was opened; nothing mounted over it and no link but
/// procfs's own `self` and `thread-self` is followed (CVE-2019-16884, CVE-2019-19921, CVE-2025-52881).
pub(crate) fn write_proc(proc: BorrowedFd<'_>, path: &CStr, value: &[u8]) -> Result<(), Failure> {
    let resolve = sys::RESOLVE_BENEATH | sys::RESOLVE_NO_XDEV | sys::RESOLVE_NO_MAGICLINKS;
    let file = sys::openat2(proc, path, libc::O_WRONLY, 0, resolve)?;
    sys::write(file.as_fd(), value)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_their_encoding() {
        for message in [
            Message::Reached(Signal::Born),
            Message::Reached(Signal::Ready),
            Message::Failed { step: 7, failure: Failure::new(Errno(libc::EPERM), 9).at(3) },
            Message::Cloned(4_000_000),
            Message::Listener(5),
        ] {
            assert_eq!(Message::decode(&message.encode()), Some((message, &b""[..])));
        }
        let failed = Message::Failed { step: 7, failure: Failure::new(Errno(libc::ECANCELED), 9) };
        assert_eq!(Message::decode(&[&failed.encode()[..], b"why"].concat()), Some((failed, &b"why"[..])));
        assert_eq!(Message::decode(&[&Message::Cloned(7).encode()[..], b"why"].concat()), None);
        assert_eq!(Message::decode(&[0; MESSAGE_SIZE]), None);
        assert_eq!(Message::decode(&[1; 3]), None);
    }

    #[test]
    fn home_is_a_variable() {
        let mut memory = Memory::new();
        assert_eq!(memory.home(), None);
        memory.set_home(b"/root");
        assert_eq!(memory.home(), Some(c"HOME=/root"));
        memory.set_home(&[b'/'; 2000]);
        assert_eq!(memory.home(), Some(c"HOME=/"));
    }
}
