//! execve(2) and the arrays that it takes.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char};
use std::fmt;

use super::{Errno, Result, call};

/// Strings as execve(2) wants them: an array of pointers that ends with a null, built before the clone.
///
/// One slot before the first string is kept free for a string that is known only in the child (`HOME`).
pub struct CStringArray {
    strings: Vec<CString>,
    /// `[free slot, strings..., null]`.
    pointers: Box<[Cell<*const c_char>]>,
}

impl CStringArray {
    /// Takes the strings and builds the array.
    #[must_use]
    pub fn new(strings: Vec<CString>) -> Self {
        let null = std::iter::once(std::ptr::null());
        let pointers = null.clone().chain(strings.iter().map(|s| s.as_ptr())).chain(null).map(Cell::new).collect();
        CStringArray { strings, pointers }
    }

    /// The strings.
    #[must_use]
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

impl PartialEq for CStringArray {
    fn eq(&self, other: &Self) -> bool {
        self.strings == other.strings
    }
}

impl Eq for CStringArray {}

impl Clone for CStringArray {
    fn clone(&self) -> Self {
        CStringArray::new(self.strings.clone())
    }
}

impl fmt::Debug for CStringArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.strings.fmt(f)
    }
}

/// execve(2). Returns only when it failed. `extra` goes before the environment's first string.
pub fn execve(path: &CStr, argv: &CStringArray, envp: &CStringArray, extra: Option<&CStr>) -> Errno {
    let environment = match extra {
        Some(extra) => {
            envp.pointers[0].set(extra.as_ptr());
            &envp.pointers[..]
        }
        None => &envp.pointers[1..],
    };
    let args = [path.as_ptr() as usize, argv.pointers[1..].as_ptr() as usize, environment.as_ptr() as usize, 0, 0, 0];
    // SAFETY: `path` ends with a NUL; both arrays end with a null pointer, and their strings live as long as they do;
    // a Cell has the layout of what it holds.
    match unsafe { call(libc::SYS_execve, args) } {
        Ok(_) => Errno(libc::EIO),
        Err(errno) => errno,
    }
}

/// exit_group(2): ends the process without running anything of the program's.
pub fn exit(code: i32) -> ! {
    // SAFETY: no pointers. The call returns only where a filter of the container's refuses it.
    let _: Result<usize> = unsafe { call(libc::SYS_exit_group, [code as usize, 0, 0, 0, 0, 0]) };
    // Ends in a fault, for which no call is needed.
    std::process::abort()
}
