//! The facts about the machine that a plan depends on.
//!
//! A plain struct, which a test can make up. The machine may have changed since it was filled in: a plan that no longer
//! fits fails at the step that meets the change.

use crate::cgroup::Layout;
use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::process::CAP_SYS_ADMIN;
use crate::sys::{self, Errno};

/// What the machine is and what the caller may do on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Effective user id.
    pub euid: u32,
    /// Effective group id.
    pub egid: u32,
    /// The caller's permitted capabilities: what it can hand on.
    pub capabilities: u64,
    /// The highest capability that the kernel knows.
    pub last_capability: u32,
    /// The caller is not in the initial user namespace: device nodes can't be made.
    pub in_user_namespace: bool,
    /// setgroups(2) is allowed in the caller's user namespace, and so in those that are made below it.
    pub setgroups: bool,
    /// Bytes of a page: an id map must be shorter.
    pub page_size: usize,
    /// The cgroup hierarchies.
    pub cgroup: Layout,
    /// AppArmor is enabled.
    pub apparmor: bool,
    /// SELinux is enabled.
    pub selinux: bool,
    /// /proc/kcore exists.
    pub kcore: bool,
}

impl Host {
    /// Looks. Reads a few files below /proc and /sys, never the mount table.
    ///
    /// # Errors
    /// What the cgroup layout's probe says; the kernel's refusal of capget(2).
    pub fn probe() -> Result<Self> {
        check_kernel(
            &nix::sys::utsname::uname().map_err(|e| Error::system("read the kernel's version", Errno(e as i32)))?,
        )?;
        let [_, permitted, _] = sys::capget().map_err(|e| Error::system("read own capabilities", e))?;
        let in_user_namespace = in_user_namespace()?;
        Ok(Host {
            euid: sys::geteuid(),
            egid: sys::getegid(),
            capabilities: permitted,
            last_capability: last_capability()?,
            in_user_namespace,
            // In the initial user namespace it always is.
            setgroups: !in_user_namespace || setgroups_allowed("/proc/self/setgroups")?,
            page_size: nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
                .ok()
                .flatten()
                .map_or(4096, |size| size as usize),
            cgroup: Layout::probe()?,
            apparmor: is_there("/sys/kernel/security/apparmor")?
                || says("/sys/module/apparmor/parameters/enabled", "Y")?,
            selinux: is_there("/sys/fs/selinux/status")?,
            kcore: is_there("/proc/kcore")?,
        })
    }

    /// The caller can neither mount nor make or join namespaces, but in a user namespace of his own: an ordinary user, or
    /// root without CAP_SYS_ADMIN.
    #[must_use]
    pub fn is_unprivileged(&self) -> bool {
        self.capabilities & CAP_SYS_ADMIN == 0
    }
}

/// CAP_SETGID of capabilities(7).
pub(crate) const CAP_SETGID: u64 = 1 << 6;
/// CAP_SETUID of capabilities(7).
pub(crate) const CAP_SETUID: u64 = 1 << 7;

/// mount_setattr(2) is the youngest call that nothing stands in for.
const OLDEST_KERNEL: (u32, u32) = (5, 12);

fn check_kernel(name: &nix::sys::utsname::UtsName) -> Result<()> {
    let release = name.release().to_string_lossy();
    match kernel_version(&release) {
        Some(version) if version < OLDEST_KERNEL => {
            let (major, minor) = OLDEST_KERNEL;
            let text = format!("kernel {release} is too old: {major}.{minor} or newer is needed");
            Err(Error::new(ErrorKind::Unsupported, text))
        }
        _ => Ok(()),
    }
}

/// `6.1.0-13-amd64` is 6.1.
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// What can't be looked at for want of memory, say, is not taken for absent; what the caller may not see, he has not.
fn found<T>(looked: sys::Result<T>, path: &str) -> Result<Option<T>> {
    match looked {
        Ok(seen) => Ok(Some(seen)),
        Err(Errno(libc::ENOENT | libc::ENOTDIR | libc::EACCES)) => Ok(None),
        Err(errno) => Err(Error::system(format_args!("look at {path}"), errno)),
    }
}

fn is_there(path: &str) -> Result<bool> {
    Ok(found(std::fs::metadata(path).map_err(Errno::from), path)?.is_some())
}

/// Whether the file begins so.
fn says(path: &str, start: &str) -> Result<bool> {
    Ok(found(files::read(path), path)?.is_some_and(|text| text.starts_with(start.as_bytes())))
}

/// Capability 40 (CAP_CHECKPOINT_RESTORE) is there since kernel 5.9, so the search upwards is short.
fn last_capability() -> Result<u32> {
    for capability in 41..64 {
        match sys::in_bounding(capability) {
            Ok(_) => {}
            Err(Errno(libc::EINVAL)) => return Ok(capability - 1),
            Err(errno) => return Err(Error::system("find the last capability", errno)),
        }
    }
    Ok(63)
}

/// The initial user namespace maps every id to itself, user_namespaces(7).
fn in_user_namespace() -> Result<bool> {
    let path = "/proc/self/uid_map";
    Ok(found(files::read(path), path)?.is_some_and(|map| {
        let words = map.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.ne([&b"0"[..], b"0", b"4294967295"])
    }))
}

/// Whether a file `/proc/PID/setgroups` says so, user_namespaces(7).
pub(crate) fn setgroups_allowed(path: &str) -> Result<bool> {
    says(path, "allow")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_read() {
        for (release, expect) in
            [("6.1.0-13-amd64", Some((6, 1))), ("5.12", Some((5, 12))), ("5.4.0+", Some((5, 4))), ("x", None)]
        {
            assert_eq!(kernel_version(release), expect, "{release}");
        }
    }
}
