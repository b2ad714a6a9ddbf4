//! Questions to the kernel that change nothing.

use super::{Errno, call};

/// Whether the kernel knows all of these `SECCOMP_FILTER_FLAG_*`, seccomp(2): asked with a program at address 0, which it
/// tries to read (EFAULT) after it has looked at the flags (EINVAL) and before anything else.
#[must_use]
pub fn seccomp_knows_flags(flags: u32) -> bool {
    // WAIT_KILLABLE_RECV (Linux 5.19) is only valid together with NEW_LISTENER, which is older (5.0).
    let needed = match u64::from(flags) & libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV {
        0 => 0,
        _ => libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as usize,
    };
    let operation = libc::SECCOMP_SET_MODE_FILTER as usize;
    // SAFETY: the kernel takes a null pointer for a program that can't be read.
    let result = unsafe { call(libc::SYS_seccomp, [operation, flags as usize | needed, 0, 0, 0, 0]) };
    result == Err(Errno(libc::EFAULT))
}

#[cfg(test)]
mod tests {
    use super::seccomp_knows_flags;

    #[test]
    fn flags_are_told_apart() {
        // Older than the oldest kernel that Orlop runs on: TSYNC 3.17, LOG 4.14, SPEC_ALLOW 4.17.
        for flag in [1, 1 << 1, 1 << 2] {
            assert!(seccomp_knows_flags(flag), "{flag:#x}");
        }
        assert!(!seccomp_knows_flags(1 << 31));
    }
}
