//! Pseudo-terminals, ioctl_tty(2).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::{Result, call, call_fd};

/// A terminal's size, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Winsize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// TIOCSPTLCK off: the peer of a pty master may be opened.
pub fn unlock_pty(master: BorrowedFd<'_>) -> Result<()> {
    let unlock = 0i32;
    // SAFETY: the request reads one int.
    unsafe { ioctl(master, libc::TIOCSPTLCK, &raw const unlock as usize) }
}

/// TIOCGPTPEER, kernel 4.13: opens the peer of a pty master without any path (CVE-2025-52565: a path below /dev/pts may
/// be anything).
pub fn open_pty_peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = (libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) as usize;
    let args = [master.as_raw_fd() as usize, libc::TIOCGPTPEER as usize, flags, 0, 0, 0];
    // SAFETY: the argument is a number; the result is a new descriptor.
    unsafe { call_fd(libc::SYS_ioctl, args) }
}

/// TIOCSWINSZ.
pub fn set_window_size(terminal: BorrowedFd<'_>, size: Winsize) -> Result<()> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request reads one struct winsize.
    unsafe { ioctl(terminal, libc::TIOCSWINSZ, &raw const size as usize) }
}

/// TIOCGWINSZ. ENOTTY: not a terminal.
pub fn window_size(terminal: BorrowedFd<'_>) -> Result<Winsize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request writes one struct winsize.
    unsafe { ioctl(terminal, libc::TIOCGWINSZ, &raw mut size as usize) }?;
    Ok(Winsize { rows: size.ws_row, columns: size.ws_col })
}

/// TIOCSCTTY: the terminal becomes the controlling one of the caller, a session leader without any.
pub fn set_controlling_terminal(terminal: &OwnedFd) -> Result<()> {
    // SAFETY: the argument is a number.
    unsafe { ioctl(terminal.as_fd(), libc::TIOCSCTTY, 0) }
}

/// # Safety
/// `argument` must be what `request` takes.
unsafe fn ioctl(fd: BorrowedFd<'_>, request: libc::Ioctl, argument: usize) -> Result<()> {
    // SAFETY: the caller vouches for the argument.
    unsafe { call(libc::SYS_ioctl, [fd.as_raw_fd() as usize, request as usize, argument, 0, 0, 0]) }.map(drop)
}
