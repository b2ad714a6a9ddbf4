//! Error numbers.

use std::fmt;

/// An error number of the kernel, errno(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// The calling thread's last error number.
    #[must_use]
    pub fn last() -> Self {
        Errno(nix::errno::Errno::last_raw())
    }
}

/// Result of a system call.
pub type Result<T> = std::result::Result<T, Errno>;

impl fmt::Display for Errno {
    /// The text of strerror(3) in lower case, as Go prints it: engines match on `no such file or directory` and
    /// `permission denied`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            // nix says "on transport endpoint", and it is files as often.
            libc::EOPNOTSUPP => f.write_str("operation not supported"),
            raw => f.write_str(&nix::errno::Errno::from_raw(raw).desc().to_lowercase()),
        }
    }
}

impl From<std::io::Error> for Errno {
    /// An error of `std` that did not come from the kernel counts as EIO.
    fn from(error: std::io::Error) -> Self {
        Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}
