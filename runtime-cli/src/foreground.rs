//! A process in the foreground of a command: `run` and `exec` without `--detach`.

use std::os::fd::OwnedFd;

use runtime_core::Result;
use runtime_core::console::relay::{self, Process, Signals, Terminal};
use runtime_core::{sys, trace};

use crate::commands::{Call, Started};

/// What comes before the process exists, so that no signal and no orphan is lost. `subreaper`: processes that the container
/// leaves behind become this process's children. For `run`, which ends with the container; not for `exec`, as in runc.
pub(crate) fn begin(subreaper: bool) -> Result<Signals> {
    if subreaper {
        // It can't fail.
        let _ = nix::sys::prctl::set_child_subreaper(true);
    }
    Signals::block_all()
}

/// Connects the process's terminal to our streams.
pub(crate) fn connect(master: OwnedFd) -> Result<Terminal<'static>> {
    Terminal::connect(master, sys::STDIO)
}

/// Waits for the end of the process, and says with what to exit.
pub(crate) fn wait(
    call: &Call<'_>,
    process: Started<'_>,
    subreaper: bool,
    signals: &Signals,
    terminal: Option<Terminal<'_>>,
) -> Result<u8> {
    let _span = trace::span(|| "wait for the process to end");
    let Started { pid, pidfd } = process;
    let code = relay::wait(Process { pid, pidfd, reap_others: subreaper }, signals, terminal)?;
    call.log.debug(&format!("process {pid} ended with {code}"));
    Ok(code as u8)
}
