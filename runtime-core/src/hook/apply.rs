//! Hook steps, in the child.

use std::os::fd::AsFd;

use super::HookStep;
use crate::child::Failure;
use crate::sys::{self, Clone3, Errno};

/// Details of failures: the hook's end, or why it did not begin.
pub(crate) const EXITED: u32 = 0x1000;
pub(crate) const TIMED_OUT: u32 = 1;

/// The state is in a file and not in a pipe: a hook that ends without reading it harms nobody (crun's `start` dies of
/// SIGPIPE there), and one that reads slowly holds nobody up.
pub(crate) fn run(hook: &HookStep) -> Result<(), Failure> {
    let state = sys::memfd(c"state")?;
    // `runtime.md`, State: a hook in the container's namespaces gets the pid as the container sees it.
    let mut digits = [0u8; 10];
    let pid = decimal(sys::getpid(), &mut digits);
    for part in [hook.state_head.as_bytes(), pid, hook.state_tail.as_bytes()] {
        let mut rest = part;
        while !rest.is_empty() {
            rest = rest.get(sys::write(state.as_fd(), rest)?..).unwrap_or_default();
        }
    }
    sys::rewind(state.as_fd())?;
    let (_, pidfd) = sys::clone3_and_run(Clone3::default(), || {
        let _ = sys::set_parent_death_signal(libc::SIGKILL);
        if sys::dup_onto(state.as_fd(), 0).is_ok() && sys::close_inherited(3, u32::MAX).is_ok() {
            sys::execve(&hook.path, &hook.argv, &hook.envp, None);
        }
        sys::exit(127)
    })?;
    let timeout = hook.timeout.map(|seconds| u64::from(seconds) * 1000);
    if sys::poll([(pidfd.as_fd(), libc::POLLIN)], timeout)? == 0 {
        let _ = sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
        let _ = sys::wait_exit(pidfd.as_fd());
        return Err(Failure::new(Errno(libc::ETIMEDOUT), TIMED_OUT));
    }
    match sys::wait_exit(pidfd.as_fd())? {
        0 => Ok(()),
        code => Err(Failure::new(Errno(libc::ECANCELED), EXITED + code.unsigned_abs())),
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
    fn pids_are_written_in_digits() {
        for pid in [0, 7, 10, 4_194_304, i32::MAX] {
            assert_eq!(decimal(pid, &mut [0; 10]), pid.to_string().as_bytes());
        }
    }
}
