//! Namespace steps, in the child.

use std::ffi::CStr;

use super::Kind;
use crate::child::{Context, Failure, write_proc};
use crate::plan::FdIndex;
use crate::sys;

pub(crate) fn join(context: &Context<'_>, namespace: FdIndex, kind: Kind) -> Result<(), Failure> {
    Ok(sys::setns(context.fd(namespace), kind.flag())?)
}

pub(crate) fn join_process(context: &Context<'_>, process: FdIndex, kinds: &[Kind]) -> Result<(), Failure> {
    Ok(sys::setns(context.fd(process), flags(kinds))?)
}

pub(crate) fn unshare(kinds: &[Kind]) -> Result<(), Failure> {
    Ok(sys::unshare(flags(kinds))?)
}

/// All bits of some kinds.
pub(crate) fn flags(kinds: &[Kind]) -> u64 {
    kinds.iter().fold(0, |bits, kind| bits | kind.flag())
}

/// The ids that a user namespace's maps give to its first process are those of the parent, seen through the maps.
/// Groups first: setgroups(2) and setresgid(2) need capabilities that setresuid(2) may take.
pub(crate) fn become_namespace_root(uid: u32, gid: u32) -> Result<(), Failure> {
    match sys::setgroups(&[]) {
        // `setgroups` is `deny` where the maps were written without privileges, user_namespaces(7).
        Ok(()) | Err(sys::Errno(libc::EPERM)) => {}
        Err(errno) => return Err(errno.into()),
    }
    sys::setresgid(gid)?;
    sys::setresuid(uid)?;
    // A change of ids takes this back, prctl(2).
    Ok(sys::set_parent_death_signal(libc::SIGKILL)?)
}

pub(crate) fn time_offsets(context: &Context<'_>, proc: FdIndex, lines: &CStr) -> Result<(), Failure> {
    write_proc(context.fd(proc), c"self/timens_offsets", lines.to_bytes())
}
