//! Hook steps, in the child.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{HookStep, OUTPUT_SHOWN};
use crate::child::Failure;
use crate::sys::{self, Clone3, Errno};

/// Details of failures: the hook's end, or why it did not begin.
pub(crate) const EXITED: u32 = 0x1000;
pub(crate) const TIMED_OUT: u32 = 1;

/// The end of what a hook has printed.
pub(crate) struct Said {
    ring: [u8; OUTPUT_SHOWN],
    count: usize,
}

impl Said {
    pub(crate) const fn new() -> Self {
        Said { ring: [0; OUTPUT_SHOWN], count: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(place) = self.ring.get_mut(self.count % OUTPUT_SHOWN) {
                *place = *byte;
            }
            self.count += 1;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &u8> {
        let length = self.count.min(OUTPUT_SHOWN);
        self.ring.iter().cycle().skip((self.count - length) % OUTPUT_SHOWN).take(length)
    }
}

/// Runs a hook; the end of what it prints is in `said`.
///
/// By pipes and not by files: the container's limit of a file's size may count already, and nobody would bound what a hook
/// prints. They hold nobody up. This side of them never blocks and reads while the hook runs, and the hook's end is its
/// process's, whoever goes on to keep them. One that does not read its state harms nobody either (crun's `start` dies of
/// SIGPIPE there): a reading end is open here too.
pub(crate) fn run(hook: &HookStep, said: &mut Said) -> Result<(), Failure> {
    let (reader, state) = sys::pipe()?;
    let (output, writer) = sys::pipe()?;
    sys::set_nonblocking(state.as_fd())?;
    sys::set_nonblocking(output.as_fd())?;
    let (_, pidfd) = sys::clone3_and_run(Clone3::default(), || {
        let _ = sys::set_parent_death_signal(libc::SIGKILL);
        let streams = [(&reader, 0), (&writer, 1), (&writer, 2)];
        let connected = streams.iter().all(|(end, number)| sys::dup_onto(end.as_fd(), *number).is_ok());
        if connected && sys::close_inherited(3, u32::MAX).is_ok() {
            sys::execve(&hook.path, &hook.argv, &hook.envp, None);
        }
        sys::exit(127)
    })?;
    drop(writer);

    // `runtime.md`, State: a hook in the container's namespaces gets the pid as the container sees it.
    let mut digits = [0u8; 10];
    let pid = decimal(sys::getpid(), &mut digits);
    let mut parts = [hook.state_head.as_bytes(), pid, hook.state_tail.as_bytes()];
    let (mut state, mut output) = (Some(state), Some(output));
    let deadline = hook.timeout.map(|seconds| sys::uptime() + u64::from(seconds) * 1_000_000_000);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_sub(sys::uptime()).div_ceil(1_000_000));
        let process = (pidfd.as_fd(), libc::POLLIN);
        let ready = sys::poll([process, or(&state, libc::POLLOUT, &pidfd), or(&output, libc::POLLIN, &pidfd)], left)?;
        feed(&mut state, &mut parts);
        drain(&mut output, said);
        if ready & 1 != 0 {
            break;
        }
        if ready == 0 {
            let _ = sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            let _ = sys::wait_exit(pidfd.as_fd());
            return Err(Failure::new(Errno(libc::ETIMEDOUT), TIMED_OUT));
        }
    }
    match sys::wait_exit(pidfd.as_fd())? {
        0 => Ok(()),
        code => Err(Failure::new(Errno(libc::ECANCELED), EXITED + code.unsigned_abs())),
    }
}

/// What is waited for. Of a pipe that is done with nothing is asked, and the process stands in its place.
fn or<'a>(end: &'a Option<OwnedFd>, event: i16, process: &'a OwnedFd) -> (BorrowedFd<'a>, i16) {
    end.as_ref().map_or((process.as_fd(), 0), |end| (end.as_fd(), event))
}

/// Writes as much of the state as the pipe takes, and closes it behind the last byte.
fn feed(state: &mut Option<OwnedFd>, parts: &mut [&[u8]; 3]) {
    let Some(end) = state.as_ref() else { return };
    for part in parts {
        while !part.is_empty() {
            match sys::write(end.as_fd(), part) {
                Ok(written) => *part = part.get(written..).unwrap_or_default(),
                Err(_) => return,
            }
        }
    }
    *state = None;
}

/// Reads what has been printed. Who prints without end is left for a look at the process after what the largest pipe holds.
fn drain(output: &mut Option<OwnedFd>, said: &mut Said) {
    const PIPE_MAX: usize = 1 << 20;
    let Some(end) = output.as_ref() else { return };
    let mut chunk = [0u8; 4096];
    for _ in 0..PIPE_MAX / chunk.len() {
        match sys::read(end.as_fd(), &mut chunk) {
            Ok(0) => return *output = None,
            Ok(length) => said.add(chunk.get(..length).unwrap_or_default()),
            Err(_) => return,
        }
    }
}

/// A pid in decimal digits.
fn decimal(pid: i32, buffer: &mut [u8; 10]) -> &[u8] {
    let mut rest = pid.unsigned_abs();
    let mut start = buffer.len();
    for (at, place) in buffer.iter_mut().enumerate().rev() {
        *place = b'0' + (rest % 10) as u8;
        start = at;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    buffer.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_is_printed_is_kept() {
        let mut said = Said::new();
        let end = |said: &Said| said.iter().copied().collect::<Vec<u8>>();
        assert_eq!(end(&said), b"");
        said.add(b"one");
        said.add(b" two");
        assert_eq!(end(&said), b"one two");
        let long: Vec<u8> = (0..3000).map(|n| (n % 251) as u8).collect();
        said.add(&long);
        assert_eq!(end(&said), long[3000 - OUTPUT_SHOWN..]);
        said.add(b"!");
        assert_eq!(end(&said), [&long[3001 - OUTPUT_SHOWN..], b"!"].concat());
        said.clear();
        said.add(b"x");
        assert_eq!(end(&said), b"x");
    }

    #[test]
    fn pids_are_written_in_digits() {
        for pid in [0, 7, 10, 4_194_304, i32::MAX] {
            assert_eq!(decimal(pid, &mut [0; 10]), pid.to_string().as_bytes());
        }
    }
}
