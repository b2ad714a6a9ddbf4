//! Who the process is: ids, capabilities, limits, keyring. Raw calls: libc's wrappers tell all threads.

use super::{Result, call};

/// setgroups(2).
pub fn setgroups(groups: &[u32]) -> Result<()> {
    // SAFETY: the pointer and the length are those of one slice.
    unsafe { call(libc::SYS_setgroups, [groups.len(), groups.as_ptr() as usize, 0, 0, 0, 0]) }.map(drop)
}

/// setresgid(2), all three ids.
pub fn setresgid(gid: u32) -> Result<()> {
    let gid = gid as usize;
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_setresgid, [gid, gid, gid, 0, 0, 0]) }.map(drop)
}

/// setresuid(2), all three ids.
pub fn setresuid(uid: u32) -> Result<()> {
    let uid = uid as usize;
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_setresuid, [uid, uid, uid, 0, 0, 0]) }.map(drop)
}

/// capset(2) on the calling thread.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let half = |n: u32| [(effective >> n) as u32, (permitted >> n) as u32, (inheritable >> n) as u32];
    let data = [half(0), half(32)];
    // SAFETY: version 3 takes a header of two and two records of three words.
    unsafe { call(libc::SYS_capset, [header.as_ptr() as usize, data.as_ptr() as usize, 0, 0, 0, 0]) }.map(drop)
}

/// capget(2) of the calling thread: effective, permitted, inheritable.
pub fn capget() -> Result<[u64; 3]> {
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let mut data = [[0u32; 3]; 2];
    // SAFETY: version 3 takes a header of two and writes two records of three words.
    unsafe { call(libc::SYS_capget, [header.as_ptr() as usize, data.as_mut_ptr() as usize, 0, 0, 0, 0]) }?;
    Ok([0, 1, 2].map(|set| u64::from(data[0][set]) | u64::from(data[1][set]) << 32))
}

/// prctl(2) with whole numbers only.
///
/// # Safety
/// `option` must be one whose arguments are not pointers.
unsafe fn prctl(option: i32, args: [usize; 4]) -> Result<usize> {
    // SAFETY: the caller vouches that no argument is a pointer.
    unsafe { call(libc::SYS_prctl, [option as usize, args[0], args[1], args[2], args[3], 0]) }
}

/// PR_CAPBSET_DROP of prctl(2).
pub fn drop_bounding(capability: u32) -> Result<()> {
    // SAFETY: whole numbers.
    unsafe { prctl(libc::PR_CAPBSET_DROP, [capability as usize, 0, 0, 0]) }.map(drop)
}

/// PR_CAPBSET_READ of prctl(2). EINVAL: the kernel does not know this capability.
pub fn in_bounding(capability: u32) -> Result<bool> {
    // SAFETY: whole numbers.
    unsafe { prctl(libc::PR_CAPBSET_READ, [capability as usize, 0, 0, 0]) }.map(|set| set == 1)
}

/// PR_CAP_AMBIENT_CLEAR_ALL of prctl(2).
pub fn clear_ambient() -> Result<()> {
    // SAFETY: whole numbers.
    unsafe { prctl(libc::PR_CAP_AMBIENT, [libc::PR_CAP_AMBIENT_CLEAR_ALL as usize, 0, 0, 0]) }.map(drop)
}

/// PR_CAP_AMBIENT_RAISE of prctl(2). EPERM: not both permitted and inheritable.
pub fn raise_ambient(capability: u32) -> Result<()> {
    // SAFETY: whole numbers.
    unsafe { prctl(libc::PR_CAP_AMBIENT, [libc::PR_CAP_AMBIENT_RAISE as usize, capability as usize, 0, 0]) }.map(drop)
}

/// PR_SET_KEEPCAPS of prctl(2): keep the permitted set over a change of user; execve(2) clears it.
pub fn set_keepcaps(keep: bool) -> Result<()> {
    // SAFETY: whole numbers.
    unsafe { prctl(libc::PR_SET_KEEPCAPS, [usize::from(keep), 0, 0, 0]) }.map(drop)
}

/// PR_SET_NO_NEW_PRIVS of prctl(2).
pub fn set_no_new_privs() -> Result<()> {
    // SAFETY: whole numbers.
    unsafe { prctl(libc::PR_SET_NO_NEW_PRIVS, [1, 0, 0, 0]) }.map(drop)
}

/// PR_SET_PDEATHSIG of prctl(2): the signal that the process gets when the thread that made it ends; 0 for none.
pub fn set_parent_death_signal(signal: i32) -> Result<()> {
    // SAFETY: whole numbers.
    unsafe { prctl(libc::PR_SET_PDEATHSIG, [signal as usize, 0, 0, 0]) }.map(drop)
}

/// PR_SET_DUMPABLE of prctl(2); execve(2) sets it again.
pub fn set_dumpable(dumpable: bool) -> Result<()> {
    // SAFETY: whole numbers.
    unsafe { prctl(libc::PR_SET_DUMPABLE, [usize::from(dumpable), 0, 0, 0]) }.map(drop)
}

/// PR_SET_CHILD_SUBREAPER of prctl(2).
pub fn set_child_subreaper(subreaper: bool) -> Result<()> {
    // SAFETY: whole numbers.
    unsafe { prctl(libc::PR_SET_CHILD_SUBREAPER, [usize::from(subreaper), 0, 0, 0]) }.map(drop)
}

/// prlimit(2): sets a limit of a process, 0 for the caller.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit: [u64; 2] = [soft, hard];
    // SAFETY: the kernel reads one `struct rlimit64`, which is two u64.
    unsafe { call(libc::SYS_prlimit64, [pid as usize, resource as usize, limit.as_ptr() as usize, 0, 0, 0]) }.map(drop)
}

/// KEYCTL_JOIN_SESSION_KEYRING of keyctl(2): a new session keyring, or the one of that name.
pub fn join_session_keyring(name: &std::ffi::CStr) -> Result<u32> {
    const JOIN_SESSION_KEYRING: usize = 1;
    // SAFETY: `name` ends with a NUL.
    unsafe { call(libc::SYS_keyctl, [JOIN_SESSION_KEYRING, name.as_ptr() as usize, 0, 0, 0, 0]) }.map(|id| id as u32)
}

/// KEYCTL_SETPERM of keyctl(2).
pub fn set_key_permissions(key: u32, permissions: u32) -> Result<()> {
    const SETPERM: usize = 5;
    // SAFETY: whole numbers.
    unsafe { call(libc::SYS_keyctl, [SETPERM, key as usize, permissions as usize, 0, 0, 0]) }.map(drop)
}

/// umask(2).
pub fn umask(mask: u32) -> u32 {
    // SAFETY: no pointers; the call can't fail.
    unsafe { call(libc::SYS_umask, [mask as usize, 0, 0, 0, 0, 0]) }.map_or(0o022, |old| old as u32)
}

/// geteuid(2).
#[must_use]
pub fn geteuid() -> u32 {
    // SAFETY: no arguments; the call can't fail.
    unsafe { call(libc::SYS_geteuid, [0; 6]) }.map_or(u32::MAX, |id| id as u32)
}

/// getegid(2).
#[must_use]
pub fn getegid() -> u32 {
    // SAFETY: no arguments; the call can't fail.
    unsafe { call(libc::SYS_getegid, [0; 6]) }.map_or(u32::MAX, |id| id as u32)
}
