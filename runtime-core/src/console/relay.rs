//! A process in the foreground, seen from the host: its end is waited for, signals are passed on to it, and its
//! terminal is connected to the caller's.
//!
//! One thread, one poll(2): a pidfd tells of the end, a signalfd of signals. Three rules keep it from losing bytes, from
//! hanging and from spinning (each was broken in a runtime before):
//!
//! - A pty master is at its end (EIO, POLLHUP for ever) whenever no process has the other side open, and comes back
//!   when one opens `/dev/console` again. So the master is watched for edges, and only the pidfd says when all is over.
//! - What the process wrote last is in the kernel's buffers when its pidfd fires; a read that finds nothing (EAGAIN, EIO)
//!   has waited for those buffers, so reading on until then gets all of it.
//! - The caller's standard streams may be shared with other processes: they are never made non-blocking. They are read and
//!   written only after poll(2) allowed it, at most `CHUNK` bytes at a time, which is what a pipe then has room for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno as NixErrno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::sys::{self, Errno};
use crate::{Error, Result};

/// How much is read or written at once, in bytes: PIPE_BUF, and the size of a terminal's buffers.
const CHUNK: usize = 4096;

/// How much is still read when the process has ended, in bytes. Its last words fit: a terminal holds at most 640 KiB. But
/// a process that it left behind may go on writing for ever.
const LAST_WORDS: usize = 1 << 20;

/// All signals of this thread, as a stream.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks all signals from now on; they wait until [`wait`] deals with them. To be called before the process is
    /// started, so that none is lost, by a program that has one thread.
    pub fn block_all() -> Result<Self> {
        let all = SigSet::all();
        all.thread_block().map_err(|error| system("block signals", error))?;
        let fd = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        Ok(Signals(fd.map_err(|error| system("open a signalfd", error))?))
    }

    fn next(&self) -> Option<i32> {
        self.0.read_signal().ok().flatten().map(|info| info.ssi_signo as i32)
    }
}

/// The process that is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Process<'a> {
    /// In the caller's pid namespace.
    pub pid: i32,
    /// It must be a child of the caller.
    pub pidfd: BorrowedFd<'a>,
    /// Whether all other children that end are reaped, too: a subreaper must, a program with children of its own must
    /// not.
    pub reap_others: bool,
}

/// Waits for the end of `process`, passing on all signals to it and connecting `terminal` to it. Returns its exit code, or
/// 128 + the signal that ended it.
pub fn wait(process: Process<'_>, signals: &Signals, mut terminal: Option<Terminal<'_>>) -> Result<i32> {
    let mut exit = None;
    loop {
        if let Some(code) = exit
            && terminal.as_ref().is_none_or(Terminal::is_drained)
        {
            return Ok(code);
        }
        let mut list = vec![(Source::Signals, signals.0.as_fd(), PollFlags::POLLIN)];
        if exit.is_none() {
            list.push((Source::Process, process.pidfd, PollFlags::POLLIN));
        }
        if let Some(terminal) = &terminal {
            terminal.interests(&mut list);
        }
        // With nowhere to put it, what the process writes is read and dropped; other events get their turn in between.
        let timeout = match &terminal {
            Some(terminal) if terminal.readable && terminal.outward.is_empty() => PollTimeout::ZERO,
            _ => PollTimeout::NONE,
        };
        let ready = poll_ready(&list, timeout)?;
        for source in ready {
            match source {
                Source::Signals => {
                    while let Some(signal) = signals.next() {
                        match signal {
                            libc::SIGCHLD if process.reap_others => {
                                while let Some((pid, code)) = sys::reap() {
                                    if pid == process.pid {
                                        exit = Some(code);
                                    }
                                }
                            }
                            // Its own children are its own business; SIGPIPE came from our own writing.
                            libc::SIGCHLD | libc::SIGPIPE => {}
                            libc::SIGWINCH if terminal.is_some() => {
                                terminal.as_ref().map(Terminal::resize);
                            }
                            // Nobody is left who could obey; whoever wants us to end does not want the rest.
                            libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT if exit.is_some() => {
                                terminal = None;
                            }
                            // ESRCH: it has ended, and the pidfd will say so.
                            _ => drop(sys::pidfd_send_signal(process.pidfd, signal)),
                        }
                    }
                }
                Source::Process if exit.is_none() => {
                    exit = Some(
                        sys::wait_exit(process.pidfd).map_err(|errno| Error::system("wait for the process", errno))?,
                    );
                }
                Source::Process => {}
                Source::Master => terminal.iter_mut().for_each(Terminal::look),
                Source::Input => terminal.iter_mut().for_each(Terminal::read_input),
                Source::Output => terminal.iter_mut().for_each(Terminal::write_output),
            }
        }
        if let Some(terminal) = &mut terminal {
            if exit.is_some() {
                terminal.finish();
            }
            terminal.move_bytes();
        }
    }
}

/// What [`wait`] polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    Process,
    Master,
    Input,
    Output,
}

/// Waits, and says which are ready.
fn poll_ready(list: &[(Source, BorrowedFd<'_>, PollFlags)], timeout: PollTimeout) -> Result<Vec<Source>> {
    let mut fds: Vec<PollFd<'_>> = list.iter().map(|(_, fd, events)| PollFd::new(*fd, *events)).collect();
    match poll(&mut fds, timeout) {
        Ok(_) | Err(NixErrno::EINTR) => {}
        Err(error) => return Err(system("poll", error)),
    }
    let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
    Ok(list.iter().zip(&fds).filter(|(_, fd)| ready(fd)).map(|((source, ..), _)| *source).collect())
}

/// A process's pseudo-terminal, connected to the caller's streams. When it goes out of scope, the caller's terminal is
/// what it was before.
#[derive(Debug)]
pub struct Terminal<'a> {
    master: OwnedFd,
    /// Becomes ready at each edge of the master.
    edges: Epoll,
    /// The caller's terminal.
    host: Option<RawMode<'a>>,
    /// `None` at its end.
    input: Option<BorrowedFd<'a>>,
    /// `None` when its reader is gone: what would go there is dropped, so that the process goes on.
    output: Option<BorrowedFd<'a>>,
    /// On the way from the input to the master.
    inward: Vec<u8>,
    /// On the way from the master to the output.
    outward: Vec<u8>,
    /// The master may have something to read.
    readable: bool,
    /// The master may have room.
    writable: bool,
    /// How much may still be read, once the process has ended.
    remaining: Option<usize>,
}

impl<'a> Terminal<'a> {
    /// Connects `master` to `streams`: standard input, output and error, or what stands for them. The first of them that
    /// is a terminal goes to raw mode, and its size becomes the size of the process's terminal.
    pub fn connect(master: OwnedFd, streams: [BorrowedFd<'a>; 3]) -> Result<Self> {
        let flags = fcntl(&master, FcntlArg::F_GETFL).map_err(|error| system("fcntl", error))?;
        let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
        fcntl(&master, FcntlArg::F_SETFL(flags)).map_err(|error| system("fcntl", error))?;
        // The caller's terminal turns line feeds into what it needs; and a file gets plain ones, as from runc.
        let mut modes = tcgetattr(&master).map_err(|error| system("read the terminal's modes", error))?;
        modes.output_flags.remove(OutputFlags::ONLCR);
        tcsetattr(&master, SetArg::TCSANOW, &modes).map_err(|error| system("set the terminal's modes", error))?;

        let edges = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|error| system("epoll_create", error))?;
        let events = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        edges.add(&master, EpollEvent::new(events, 0)).map_err(|error| system("epoll_ctl", error))?;

        let terminal = Terminal {
            host: streams.into_iter().find_map(RawMode::set),
            master,
            edges,
            input: Some(streams[0]),
            output: Some(streams[1]),
            inward: Vec::new(),
            outward: Vec::new(),
            readable: true,
            writable: true,
            remaining: None,
        };
        terminal.resize();
        Ok(terminal)
    }

    /// The process's terminal gets the size of the caller's.
    fn resize(&self) {
        if let Some(host) = &self.host
            && let Ok(size) = sys::window_size(host.terminal)
        {
            // EIO: the other side is gone, and so is whom the size would interest.
            let _ = sys::set_window_size(self.master.as_fd(), size);
        }
    }

    fn interests<'s>(&'s self, list: &mut Vec<(Source, BorrowedFd<'s>, PollFlags)>) {
        list.push((Source::Master, self.edges.0.as_fd(), PollFlags::POLLIN));
        if let Some(input) = self.input
            && self.inward.is_empty()
            && self.remaining.is_none()
        {
            list.push((Source::Input, input, PollFlags::POLLIN));
        }
        if let Some(output) = self.output
            && !self.outward.is_empty()
        {
            list.push((Source::Output, output, PollFlags::POLLOUT));
        }
    }

    /// An edge: takes it and remembers it.
    fn look(&mut self) {
        let mut events = [EpollEvent::empty()];
        if self.edges.wait(&mut events, 0u8) == Ok(1) {
            // A write that finds no room makes an edge of its own while the other side is closed (EPOLLHUP): taking that
            // for room would write again at once, for ever.
            let what = events[0].events();
            self.writable |= what.contains(EpollFlags::EPOLLOUT);
            self.readable |= what.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        }
    }

    fn read_input(&mut self) {
        let Some(input) = self.input else { return };
        let mut buffer = [0; CHUNK];
        match sys::read(input, &mut buffer) {
            Ok(0) => self.input = None,
            Ok(count) => self.inward.extend_from_slice(&buffer[..count]),
            // Somebody else who has the stream took the bytes.
            Err(Errno(libc::EAGAIN)) => {}
            // EIO: a terminal that hung up, or that is somebody else's now.
            Err(_) => self.input = None,
        }
    }

    fn write_output(&mut self) {
        let Some(output) = self.output else { return };
        match sys::write(output, &self.outward[..self.outward.len().min(CHUNK)]) {
            Ok(count) => drop(self.outward.drain(..count)),
            Err(Errno(libc::EAGAIN)) => {}
            Err(_) => self.output = None,
        }
    }

    /// Moves what can be moved to and from the master without waiting.
    fn move_bytes(&mut self) {
        while self.writable && !self.inward.is_empty() {
            match sys::write(self.master.as_fd(), &self.inward) {
                Ok(count) if count > 0 => drop(self.inward.drain(..count)),
                Ok(_) | Err(Errno(libc::EAGAIN)) => self.writable = false,
                // Nobody is there to read it.
                Err(_) => self.inward.clear(),
            }
        }
        if self.output.is_none() {
            self.outward.clear();
        }
        if self.readable && self.outward.is_empty() {
            let mut buffer = [0; CHUNK];
            let room = self.remaining.unwrap_or(CHUNK).min(CHUNK);
            match sys::read(self.master.as_fd(), &mut buffer[..room]) {
                Ok(count) if count > 0 => {
                    if let Some(remaining) = &mut self.remaining {
                        *remaining -= count;
                    }
                    if self.output.is_some() {
                        self.outward.extend_from_slice(&buffer[..count]);
                    }
                }
                _ => self.readable = false,
            }
        }
    }

    /// The process has ended: what is left in the terminal is read, and no more.
    fn finish(&mut self) {
        if self.remaining.is_none() {
            self.remaining = Some(LAST_WORDS);
            self.readable = true;
            self.inward.clear();
        }
    }

    fn is_drained(&self) -> bool {
        self.remaining.is_some() && !self.readable && (self.outward.is_empty() || self.output.is_none())
    }
}

/// A terminal in raw mode, until this goes out of scope.
#[derive(Debug)]
struct RawMode<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> RawMode<'a> {
    /// `None`: not a terminal.
    fn set(terminal: BorrowedFd<'a>) -> Option<Self> {
        let before = tcgetattr(terminal).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        // Line feeds of the runtime's own messages still return the carriage.
        raw.output_flags.insert(OutputFlags::OPOST);
        tcsetattr(terminal, SetArg::TCSANOW, &raw).ok()?;
        Some(RawMode { terminal, before })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, SetArg::TCSANOW, &self.before);
    }
}

fn system(what: &str, error: NixErrno) -> Error {
    Error::system(what, Errno(error as i32))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    use nix::sys::signal::{Signal, kill};
    use nix::sys::termios::LocalFlags;
    use nix::unistd::Pid;

    use super::*;

    /// A new pseudo-terminal: master, other side.
    fn pty() -> (OwnedFd, OwnedFd) {
        let options = File::options().read(true).write(true).open("/dev/ptmx").unwrap();
        let master = OwnedFd::from(options);
        sys::unlock_pty(master.as_fd()).unwrap();
        let peer = sys::open_pty_peer(master.as_fd()).unwrap();
        (master, peer)
    }

    /// A shell on a terminal, as a child of this program.
    fn shell(script: &str, peer: &OwnedFd) -> (Child, OwnedFd) {
        let stdio = || Stdio::from(peer.try_clone().unwrap());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(stdio()).stdout(stdio()).stderr(stdio()).process_group(0);
        let child = command.spawn().unwrap();
        drop(command);
        let pidfd = sys::pidfd_open(child.id() as i32).unwrap();
        (child, pidfd)
    }

    /// Runs a shell on a terminal whose input is `input`; returns its exit code and all that it wrote.
    fn relayed(script: &str, input: &[u8]) -> (i32, String) {
        let (master, peer) = pty();
        // Whether the shell or we are first shall not matter.
        let mut modes = tcgetattr(&peer).unwrap();
        modes.output_flags.remove(OutputFlags::ONLCR);
        modes.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&peer, SetArg::TCSANOW, &modes).unwrap();
        let (child, pidfd) = shell(script, &peer);
        drop(peer);
        let (stdin, mut feed) = std::io::pipe().unwrap();
        let (mut collect, stdout) = std::io::pipe().unwrap();
        feed.write_all(input).unwrap();
        drop(feed);
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            collect.read_to_string(&mut text).unwrap();
            text
        });
        let code = {
            // Signals are blocked for this test's thread only, so none of the test program's are taken.
            let signals = Signals::block_all().unwrap();
            let streams = [stdin.as_fd(), stdout.as_fd(), stdout.as_fd()];
            let terminal = Terminal::connect(master, streams).unwrap();
            let process = Process { pid: child.id() as i32, pidfd: pidfd.as_fd(), reap_others: false };
            wait(process, &signals, Some(terminal)).unwrap()
        };
        drop(stdout);
        // The next shell shall not inherit the mask.
        SigSet::all().thread_unblock().unwrap();
        (code, reader.join().unwrap())
    }

    #[test]
    fn nothing_is_lost() {
        let check = |script, input: &[u8], code, output: &str| {
            assert_eq!(relayed(script, input), (code, output.to_owned()), "{script}");
        };
        check("exit 7", b"", 7, "");
        check("echo last words", b"", 0, "last words\n");
        check("kill -TERM $$", b"", 128 + 15, "");
        check("echo ready; read line; echo got $line; exit 3", b"hello\n", 3, "ready\ngot hello\n");
        // Far more than the terminal's buffers and the pipe hold.
        let (code, output) = relayed("i=0; while [ $i -lt 40000 ]; do echo 0123456789; i=$((i+1)); done", b"");
        assert_eq!((code, output.len()), (0, 40_000 * 11));
    }

    #[test]
    fn a_terminal_that_was_closed_comes_back() {
        let script = "t=$(tty); exec </dev/null >/dev/null 2>&1; i=0; while [ $i -lt 1000 ]; do i=$((i+1)); done; \
                      exec >$t; echo again";
        assert_eq!(relayed(script, b""), (0, "again\n".to_owned()));
    }

    #[test]
    fn signals_are_passed_on_and_sizes_follow() {
        let (master, peer) = pty();
        // The caller's terminal is a pty, too.
        let (outer, stream) = pty();
        sys::set_window_size(outer.as_fd(), sys::Winsize { rows: 11, columns: 22 }).unwrap();
        let before = tcgetattr(&stream).unwrap();
        // Before the signals are blocked: a child inherits the mask. It is told to go on by a line of input.
        let (mut child, pidfd) = shell("trap 'exit 5' USR1; read x; echo $$; while read x; do :; done", &peer);
        drop(peer);
        let signals = Signals::block_all().unwrap();
        let observer = master.try_clone().unwrap();
        let terminal = Terminal::connect(master, [stream.as_fd(), stream.as_fd(), stream.as_fd()]).unwrap();
        assert_eq!(sys::window_size(observer.as_fd()), Ok(sys::Winsize { rows: 11, columns: 22 }));
        assert_ne!(tcgetattr(&stream).unwrap(), before);

        sys::set_window_size(outer.as_fd(), sys::Winsize { rows: 33, columns: 44 }).unwrap();
        // In this thread: a signal for the whole program could go to another test.
        let send = |signal: i32| {
            // pthread_kill(3) of nix: the calling thread.
            nix::sys::pthread::pthread_kill(nix::sys::pthread::pthread_self(), Signal::try_from(signal).unwrap())
        };
        send(libc::SIGWINCH).unwrap();
        // The shell has set its trap when it has written its pid: a reader on the outer terminal then signals this thread.
        let tester = nix::sys::pthread::pthread_self() as usize;
        let outer_reader = outer.try_clone().unwrap();
        let thread = std::thread::spawn(move || {
            File::from(outer_reader.try_clone().unwrap()).write_all(b"go\r").unwrap();
            // The first line is the echo.
            let line = BufReader::new(File::from(outer_reader)).lines().nth(1).unwrap().unwrap();
            let _ = nix::sys::pthread::pthread_kill(tester as nix::sys::pthread::Pthread, Signal::SIGUSR1);
            line.trim().parse::<u32>()
        });
        let process = Process { pid: child.id() as i32, pidfd: pidfd.as_fd(), reap_others: false };
        assert_eq!(wait(process, &signals, Some(terminal)).unwrap(), 5);
        assert_eq!(thread.join().unwrap(), Ok(child.id()));
        assert_eq!(sys::window_size(observer.as_fd()), Ok(sys::Winsize { rows: 33, columns: 44 }));
        assert_eq!(tcgetattr(&stream).unwrap(), before, "the caller's terminal is as it was");
        let _ = child.kill();
    }

    #[test]
    fn an_output_that_nobody_reads_does_not_stop_the_process() {
        let (master, peer) = pty();
        let (child, pidfd) = shell("i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done; exit 4", &peer);
        drop(peer);
        let null = File::open("/dev/null").unwrap();
        let (reader, stdout) = std::io::pipe().unwrap();
        drop(reader);
        let signals = Signals::block_all().unwrap();
        let terminal = Terminal::connect(master, [null.as_fd(), stdout.as_fd(), stdout.as_fd()]).unwrap();
        let process = Process { pid: child.id() as i32, pidfd: pidfd.as_fd(), reap_others: false };
        assert_eq!(wait(process, &signals, Some(terminal)).unwrap(), 4);
    }

    #[test]
    fn a_process_left_behind_does_not_keep_us() {
        let (code, output) = relayed("trap '' HUP; sleep 1000 & echo $!; exit 6", b"");
        assert_eq!(code, 6);
        kill(Pid::from_raw(output.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
    }

    #[test]
    fn waiting_costs_nothing() {
        let cpu_time = || {
            let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        // More than the terminal takes, for a process that does not read it; one that has closed it.
        let flood = [b'\n'; 60_000];
        for script in ["sleep 0.3", "exec </dev/null >/dev/null 2>&1; sleep 0.3"] {
            let before = cpu_time();
            assert_eq!(relayed(script, &flood).0, 0);
            let spent = cpu_time() - before;
            assert!(spent < 100_000_000, "{script}: {spent} ns");
        }
    }

    #[test]
    fn without_a_terminal() {
        let mut child = Command::new("/bin/sh").args(["-c", "exit 9"]).spawn().unwrap();
        let pidfd = sys::pidfd_open(child.id() as i32).unwrap();
        assert!(pidfd.as_raw_fd() > 2);
        let signals = Signals::block_all().unwrap();
        let process = Process { pid: child.id() as i32, pidfd: pidfd.as_fd(), reap_others: false };
        assert_eq!(wait(process, &signals, None).unwrap(), 9);
        let _ = child.wait();
    }
}
