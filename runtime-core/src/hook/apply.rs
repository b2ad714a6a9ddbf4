//! Hook steps, in the child.

use std::os::fd::AsFd;

use super::HookStep;
use crate::child::{Failure, Memory};
use crate::sys::{self, Clone3, Errno};

/// Details of failures: the hook's end, or why it did not begin.
pub(crate) const EXITED: u32 = 0x1000;
pub(crate) const TIMED_OUT: u32 = 1;

/// The state is in a file and not in a pipe: a hook that ends without reading it harms nobody (crun's `start` dies of
/// SIGPIPE there), and one that reads slowly holds nobody up.
pub(crate) fn run(hook: &HookStep, memory: &Memory) -> Result<(), Failure> {
    let state = sys::memfd(c"state")?;
    let mut digits = [0u8; 10];
    for part in [hook.state_head.as_bytes(), memory.pid_digits(&mut digits), hook.state_tail.as_bytes()] {
        let mut rest = part;
        while !rest.is_empty() {
            rest = rest.get(sys::write(state.as_fd(), rest)?..).unwrap_or_default();
        }
    }
    sys::rewind(state.as_fd())?;
    let (_, pidfd) = sys::clone3_and_run(Clone3::default(), || {
        let _ = sys::set_parent_death_signal(libc::SIGKILL);
        if sys::dup_onto(state.as_fd(), 0).is_ok() && sys::close_on_exec_from(3).is_ok() {
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
