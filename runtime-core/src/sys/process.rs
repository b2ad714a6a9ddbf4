//! What a process is besides its ids: session, signals, scheduling, personality.

use super::{Result, call};
use crate::spec::Scheduler;

/// getpid(2): in the caller's own pid namespace.
#[must_use]
pub fn getpid() -> i32 {
    // SAFETY: no arguments; the call can't fail.
    unsafe { call(libc::SYS_getpid, [0; 6]) }.map_or(0, |pid| pid as i32)
}

/// setsid(2).
pub fn setsid() -> Result<()> {
    // SAFETY: no arguments.
    unsafe { call(libc::SYS_setsid, [0; 6]) }.map(drop)
}

/// Every signal back to its default action and none blocked: both survive execve(2), so the container would inherit
/// what the engine or `nohup` had set.
pub fn reset_signals() -> Result<()> {
    /// The kernel's struct sigaction: handler, flags, restorer, mask (without the restorer on some architectures, where
    /// the extra word is ignored).
    const DEFAULT: [u64; 4] = [0; 4];
    const MASK_SIZE: usize = 8;
    for signal in 1..=64 {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            let args = [signal as usize, DEFAULT.as_ptr() as usize, 0, MASK_SIZE, 0, 0];
            // SAFETY: SIG_DFL with no flags; the old action is not asked for. EINVAL for a signal that does not exist.
            let _ = unsafe { call(libc::SYS_rt_sigaction, args) };
        }
    }
    set_signal_mask(0).map(drop)
}

/// rt_sigprocmask(2): sets the calling thread's mask, bit N-1 for signal N. Returns the old one.
pub fn set_signal_mask(mask: u64) -> Result<u64> {
    const MASK_SIZE: usize = 8;
    let mut old = 0u64;
    let args = [libc::SIG_SETMASK as usize, &raw const mask as usize, &raw mut old as usize, MASK_SIZE, 0, 0];
    // SAFETY: both sets are one 64-bit word.
    unsafe { call(libc::SYS_rt_sigprocmask, args) }?;
    Ok(old)
}

/// sched_setattr(2) on the calling thread.
pub fn sched_setattr(what: &Scheduler) -> Result<()> {
    /// struct sched_attr, SCHED_ATTR_SIZE_VER0.
    #[repr(C)]
    struct SchedAttr {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: what.policy,
        flags: what.flags,
        nice: what.nice,
        priority: what.priority,
        runtime: what.runtime,
        deadline: what.deadline,
        period: what.period,
    };
    // SAFETY: `attr` says its own size.
    unsafe { call(libc::SYS_sched_setattr, [0, &raw const attr as usize, 0, 0, 0, 0]) }.map(drop)
}

/// sched_setaffinity(2) on the calling thread: bit sets of CPU numbers, 64 in a word.
pub fn sched_setaffinity(cpus: &[u64]) -> Result<()> {
    // SAFETY: the pointer and the length are those of one slice.
    unsafe { call(libc::SYS_sched_setaffinity, [0, size_of_val(cpus), cpus.as_ptr() as usize, 0, 0, 0]) }.map(drop)
}

/// set_mempolicy(2) on the calling thread: `mode` with its flags, and a bit set of NUMA nodes, 64 in a word.
pub fn set_mempolicy(mode: u32, nodes: &[u64]) -> Result<()> {
    // The kernel takes one bit less than it is told of (get_nodes() in mm/mempolicy.c), since ever.
    let (address, bits) = if nodes.is_empty() { (0, 0) } else { (nodes.as_ptr() as usize, nodes.len() * 64 + 1) };
    // SAFETY: null, or a slice of as many bits.
    unsafe { call(libc::SYS_set_mempolicy, [mode as usize, address, bits, 0, 0, 0]) }.map(drop)
}

/// ioprio_set(2) on the calling thread.
pub fn ioprio_set(priority: u16) -> Result<()> {
    const WHO_PROCESS: usize = 1;
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_ioprio_set, [WHO_PROCESS, 0, usize::from(priority), 0, 0, 0]) }.map(drop)
}

/// personality(2).
pub fn personality(persona: u32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_personality, [persona as usize, 0, 0, 0, 0, 0]) }.map(drop)
}
