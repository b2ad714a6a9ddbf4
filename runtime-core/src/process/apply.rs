//! Process steps, in the child.

use std::ffi::CStr;

use super::{Account, CAP_SYS_ADMIN, Privileges, Program};
use crate::child::{Context, Failure, Memory, write_proc};
use crate::plan::FdIndex;
use crate::sys::{self, Errno};

/// Groups, then the group, then the user: each takes a capability that the next one may lose. The working directory is
/// entered as root, and where root may not (NFS, FUSE) as the user, as runc does; that it is inside the container is
/// checked on the result (CVE-2024-21626: a leaked descriptor of a host directory, entered as /proc/self/fd/N).
pub(crate) fn account(account: &Account) -> Result<(), Failure> {
    let entered = match sys::chdir(&account.cwd) {
        Ok(()) => true,
        Err(Errno(libc::EACCES | libc::EPERM)) if account.uid != 0 => false,
        Err(errno) => return Err(Failure::new(errno, CWD_FAILED)),
    };
    sys::set_keepcaps(true)?;
    if let Some(groups) = &account.groups {
        match sys::setgroups(groups) {
            // Denied in this user namespace (user_namespaces(7): its maps were written without privileges), so that nobody
            // can drop a group that forbids him something; no more was asked for.
            Err(Errno(libc::EPERM)) if groups.is_empty() => {}
            result => result.map_err(|errno| Failure::new(errno, SETGROUPS_FAILED))?,
        }
    }
    sys::setresgid(account.gid).map_err(|errno| Failure::new(errno, SETGID_FAILED))?;
    sys::setresuid(account.uid).map_err(|errno| Failure::new(errno, SETUID_FAILED))?;
    if !entered {
        sys::chdir(&account.cwd).map_err(|errno| Failure::new(errno, CWD_FAILED))?;
    }
    if !sys::cwd_is_reachable()? {
        return Err(Failure::new(Errno(libc::ENOENT), CWD_OUTSIDE));
    }
    Ok(())
}

pub(crate) fn oom_score_adj(context: &Context<'_>, proc: FdIndex, value: &CStr, optional: bool) -> Result<(), Failure> {
    match write_proc(context.fd(proc), c"self/oom_score_adj", value.to_bytes()) {
        Err(Failure { errno: Errno(libc::EACCES), .. }) if optional => Ok(()),
        result => result,
    }
}

/// Details of [`account`]'s failures.
pub(crate) const CWD_FAILED: u32 = 1;
pub(crate) const CWD_OUTSIDE: u32 = 2;
pub(crate) const SETGROUPS_FAILED: u32 = 3;
pub(crate) const SETGID_FAILED: u32 = 4;
pub(crate) const SETUID_FAILED: u32 = 5;

pub(crate) fn bounding_set(keep: u64, last: u32) -> Result<(), Failure> {
    for capability in (0..=last.min(63)).filter(|n| keep >> n & 1 == 0) {
        sys::drop_bounding(capability)?;
    }
    Ok(())
}

/// The ambient set last: what it holds must be permitted and inheritable, capabilities(7).
pub(crate) fn privileges(privileges: &Privileges) -> Result<(), Failure> {
    let sets = privileges.sets;
    let extra = if privileges.keep_sys_admin { CAP_SYS_ADMIN } else { 0 };
    sys::capset(sets.effective | extra, sets.permitted | extra, sets.inheritable)?;
    sys::set_keepcaps(false)?;
    if !privileges.keep_sys_admin {
        // clone(2) may have handed the runtime's own ambient set down.
        sys::clear_ambient()?;
        for capability in (0..64).filter(|n| sets.ambient >> n & 1 == 1) {
            sys::raise_ambient(capability)?;
        }
    }
    Ok(())
}

/// The keyring's possessor may search it: else a process of another user in the container could not use what root there
/// has put in, as runc does.
pub(crate) fn session_keyring(name: &CStr) -> Result<(), Failure> {
    /// KEY_POS_ALL, KEY_USR_ALL and search for the possessor's group, keyctl_setperm(3): runc's 0x3f3f0000 | search.
    const PERMISSIONS: u32 = 0x3f3f_0000 | 0x0008_0000;
    let key = match sys::join_session_keyring(name) {
        Ok(key) => key,
        // A kernel without keyrings, or the filter of an outer container that hides them.
        Err(Errno(libc::ENOSYS)) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    Ok(sys::set_key_permissions(key, PERMISSIONS)?)
}

/// The standard streams belong to the user, so that it may open /dev/stdout again. Not /dev/null or another device of
/// the host's (runc#3674), and nothing that refuses (a read-only file system, an id outside the maps).
pub(crate) fn own_stdio(uid: u32) -> Result<(), Failure> {
    for fd in [STDIN, STDOUT, STDERR] {
        let Ok(stat) = sys::fstat(fd) else { continue };
        let is_device = matches!(stat.st_mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK);
        let is_pty = is_device && (136..144).contains(&libc::major(stat.st_rdev));
        if stat.st_uid == uid || is_device && !is_pty {
            continue;
        }
        match sys::fchown(fd, uid, u32::MAX) {
            Ok(()) | Err(Errno(libc::EINVAL | libc::EPERM | libc::EROFS | libc::EOVERFLOW)) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

const fn standard(number: i32) -> std::os::fd::BorrowedFd<'static> {
    sys::standard_stream(number)
}
const STDIN: std::os::fd::BorrowedFd<'static> = standard(0);
const STDOUT: std::os::fd::BorrowedFd<'static> = standard(1);
const STDERR: std::os::fd::BorrowedFd<'static> = standard(2);

/// What execve(2) will say of the first candidate that it would take. A program that the user may not execute counts as
/// found only when no later directory has one that it may.
pub(crate) fn find_program(program: &Program) -> Result<(), Failure> {
    let mut refused = None;
    for path in &program.candidates {
        match executable(path) {
            Ok(()) => return Ok(()),
            Err(errno @ Errno(libc::EACCES | libc::EISDIR)) => refused = refused.or(Some(errno)),
            Err(Errno(libc::ENOENT | libc::ENOTDIR)) if program.searched => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(refused.unwrap_or(Errno(libc::ENOENT)).into())
}

fn executable(path: &CStr) -> sys::Result<()> {
    let stat = sys::fstatat(sys::CWD, path, 0)?;
    if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
        return Err(Errno(libc::EISDIR));
    }
    sys::accessible(path, libc::X_OK)
}

/// Returns only when nothing could be executed: the most telling error.
pub(crate) fn execute(program: &Program, memory: &Memory) -> Failure {
    let mut worst = Errno(libc::ENOENT);
    for path in &program.candidates {
        match sys::execve(path, &program.argv, &program.envp, memory.home()) {
            Errno(libc::ENOENT | libc::ENOTDIR) if program.searched => {}
            Errno(libc::EACCES) if program.searched => worst = Errno(libc::EACCES),
            errno => return errno.into(),
        }
    }
    worst.into()
}

/// `HOME=` the sixth field of the first line whose third is the uid, passwd(5); `/` when there is none, as runc does.
/// The file is the container's: it may be a FIFO (so: not blocking), it may be endless (so: at most 1 MiB).
pub(crate) fn home(uid: u32, memory: &mut Memory) -> Result<(), Failure> {
    memory.set_home(b"/");
    let Ok(file) = sys::openat(sys::CWD, c"/etc/passwd", libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0) else {
        return Ok(());
    };
    use std::os::fd::AsFd;
    if sys::fstat(file.as_fd())?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Ok(());
    }
    let mut buffer = [0u8; 4096];
    let mut held = 0;
    for _ in 0..256 {
        let Some(space) = buffer.get_mut(held..).filter(|s| !s.is_empty()) else { return Ok(()) };
        let count = sys::read(file.as_fd(), space)?;
        let filled = held + count;
        let mut rest = buffer.get(..filled).unwrap_or_default();
        while let Some(end) =
            rest.iter().position(|&b| b == b'\n').or((count == 0 && !rest.is_empty()).then_some(rest.len()))
        {
            let (line, tail) = rest.split_at(end);
            if let Some(home) = passwd_home(line, uid) {
                memory.set_home(home);
                return Ok(());
            }
            rest = tail.get(1..).unwrap_or_default();
        }
        if count == 0 {
            return Ok(());
        }
        held = rest.len();
        buffer.copy_within(filled - held..filled, 0);
    }
    Ok(())
}

/// The home directory in a line of passwd(5), when the line is about `uid`.
fn passwd_home(line: &[u8], uid: u32) -> Option<&[u8]> {
    let mut fields = line.split(|&b| b == b':');
    let id = fields.nth(2)?;
    let home = fields.nth(2)?;
    (parse(id)? == uid && home.first() == Some(&b'/')).then_some(home)
}

fn parse(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u32, |value, &b| {
        b.is_ascii_digit().then_some(())?;
        value.checked_mul(10)?.checked_add(u32::from(b - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_read_from_passwd_lines() {
        for (line, uid, expect) in [
            (&b"root:x:0:0:root:/root:/bin/sh"[..], 0, Some(&b"/root"[..])),
            (b"u:x:1000:1000::/home/u:", 1000, Some(b"/home/u")),
            (b"u:x:1000:1000::/home/u:", 0, None),
            (b"u:x:00:1000::/home/u:", 0, Some(b"/home/u")),
            (b"u:x::1000::/home/u:", 0, None),
            (b"u:x:0:0::relative:", 0, None),
            (b"broken", 0, None),
            (b"u:x:4294967296:0::/x:", 0, None),
        ] {
            assert_eq!(passwd_home(line, uid), expect, "{}", line.escape_ascii());
        }
    }
}
