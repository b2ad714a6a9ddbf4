//! Directory entries without allocation, getdents64(2).

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use super::{Result, call, raw};

/// One entry of a directory.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'buffer> {
    /// Its name; `.` and `..` occur.
    pub name: &'buffer CStr,
    /// `DT_*`; DT_UNKNOWN where the file system does not say.
    pub kind: u8,
}

/// Calls `each` for the entries that the next getdents64(2) yields in `buffer`. False: the directory has no more.
pub fn read_entries<E: From<super::Errno>>(
    directory: BorrowedFd<'_>,
    buffer: &mut [u8],
    mut each: impl FnMut(Entry<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<bool, E> {
    let filled = fill(directory, buffer)?;
    let mut rest = &buffer[..filled.min(buffer.len())];
    // struct linux_dirent64: u64 inode, i64 offset, u16 length, u8 type, name with its NUL.
    while rest.len() > 19 {
        let length = usize::from(u16::from_ne_bytes([rest[16], rest[17]]));
        let (Some(record), kind) = (rest.get(19..length), rest[18]) else { break };
        if let Ok(name) = CStr::from_bytes_until_nul(record) {
            each(Entry { name, kind })?;
        }
        rest = &rest[length..];
    }
    Ok(filled > 0)
}

fn fill(directory: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes at most the buffer's length.
    unsafe { call(libc::SYS_getdents64, [raw(directory), buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]) }
}
