//! setns(2), unshare(2) and what a UTS namespace holds.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use super::{Result, call, raw};

/// setns(2): with the descriptor of a namespace file and its `CLONE_NEW*`, or with a pidfd and any of them (kernel 5.8).
pub fn setns(fd: BorrowedFd<'_>, kinds: u64) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_setns, [raw(fd), kinds as usize, 0, 0, 0, 0]) }.map(drop)
}

/// NS_GET_NSTYPE of ioctl_ns(2), kernel 4.11: the `CLONE_NEW*` of a namespace's file. ENOTTY: it is none.
pub fn namespace_kind(file: BorrowedFd<'_>) -> Result<u64> {
    const NS_GET_NSTYPE: usize = 0xb703;
    // SAFETY: the request takes no argument.
    unsafe { call(libc::SYS_ioctl, [raw(file), NS_GET_NSTYPE, 0, 0, 0, 0]) }.map(|flag| flag as u64)
}

/// unshare(2).
pub fn unshare(kinds: u64) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_unshare, [kinds as usize, 0, 0, 0, 0, 0]) }.map(drop)
}

/// sethostname(2).
pub fn sethostname(name: &CStr) -> Result<()> {
    let name = name.to_bytes();
    // SAFETY: the pointer and the length are those of one slice.
    unsafe { call(libc::SYS_sethostname, [name.as_ptr() as usize, name.len(), 0, 0, 0, 0]) }.map(drop)
}

/// setdomainname(2).
pub fn setdomainname(name: &CStr) -> Result<()> {
    let name = name.to_bytes();
    // SAFETY: the pointer and the length are those of one slice.
    unsafe { call(libc::SYS_setdomainname, [name.as_ptr() as usize, name.len(), 0, 0, 0, 0]) }.map(drop)
}
