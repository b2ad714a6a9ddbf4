//! The channel between parent and child, descriptors over sockets, and the loopback device.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Result, call, call_fd, raw, retry};

/// socketpair(2): AF_UNIX, SOCK_SEQPACKET, close-on-exec. A message arrives whole or not at all, and the end of the
/// other side reads as an empty one.
pub fn socketpair() -> Result<(OwnedFd, OwnedFd)> {
    let mut pair = [0i32; 2];
    let kind = (libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC) as usize;
    // SAFETY: the kernel writes two ints.
    unsafe { call(libc::SYS_socketpair, [libc::AF_UNIX as usize, kind, 0, pair.as_mut_ptr() as usize, 0, 0]) }?;
    // SAFETY: both are fresh descriptors.
    Ok(unsafe { (OwnedFd::from_raw_fd(pair[0]), OwnedFd::from_raw_fd(pair[1])) })
}

/// sendto(2) without an address. MSG_NOSIGNAL: a reader that is gone gives EPIPE, never a signal.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> Result<()> {
    let args = [raw(socket), bytes.as_ptr() as usize, bytes.len(), libc::MSG_NOSIGNAL as usize, 0, 0];
    // SAFETY: the kernel reads at most the slice's length.
    retry(|| unsafe { call(libc::SYS_sendto, args) }).map(drop)
}

/// recvfrom(2) without an address: how many bytes came; 0 when the other side is closed.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    let args = [raw(socket), buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0];
    // SAFETY: the kernel writes at most the buffer's length.
    retry(|| unsafe { call(libc::SYS_recvfrom, args) })
}

/// Room for one descriptor in a control message, aligned as struct cmsghdr.
#[repr(C, align(8))]
struct Control {
    length: usize,
    level: i32,
    kind: i32,
    fd: i32,
    padding: i32,
}

/// sendmsg(2): the bytes, and one descriptor by SCM_RIGHTS in a control buffer of exactly one CMSG_SPACE(4). Returns how
/// many bytes were sent: fewer than all only where the socket has a timeout and they are too many for it.
pub fn send_with_fd(socket: BorrowedFd<'_>, bytes: &[u8], fd: BorrowedFd<'_>) -> Result<usize> {
    let control =
        Control { length: 20, level: libc::SOL_SOCKET, kind: libc::SCM_RIGHTS, fd: fd.as_raw_fd(), padding: 0 };
    let vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = (&raw const vector).cast_mut();
    message.msg_iovlen = 1;
    message.msg_control = (&raw const control).cast_mut().cast();
    message.msg_controllen = size_of::<Control>() as _;
    let args = [raw(socket), &raw const message as usize, libc::MSG_NOSIGNAL as usize, 0, 0, 0];
    // SAFETY: everything that `message` points to lives on this stack; the kernel only reads it.
    retry(|| unsafe { call(libc::SYS_sendmsg, args) })
}

/// recvmsg(2): how many bytes came, and the descriptor that came with them (close-on-exec).
pub fn receive_with_fd(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let mut control = Control { length: 0, level: 0, kind: 0, fd: -1, padding: 0 };
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    let args = [raw(socket), &raw mut message as usize, libc::MSG_CMSG_CLOEXEC as usize, 0, 0, 0];
    // SAFETY: everything that `message` points to lives on this stack and is as long as it says.
    let length = retry(|| unsafe { call(libc::SYS_recvmsg, args) })?;
    let has_fd = control.length == 20 && control.level == libc::SOL_SOCKET && control.kind == libc::SCM_RIGHTS;
    // SAFETY: the kernel installed this descriptor for us.
    Ok((length, has_fd.then(|| unsafe { OwnedFd::from_raw_fd(control.fd) })))
}

/// Sets the loopback device of the caller's network namespace up, netdevice(7).
pub fn loopback_up() -> Result<()> {
    /// struct ifreq with its flags member.
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: i16,
        rest: [u8; 22],
    }
    let kind = (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC) as usize;
    // SAFETY: no pointers; the result is a new descriptor.
    let socket = unsafe { call_fd(libc::SYS_socket, [libc::AF_INET as usize, kind, 0, 0, 0, 0]) }?;
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    let mut request = Request { name: [0; 16], flags, rest: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    let args = [socket.as_raw_fd() as usize, libc::SIOCSIFFLAGS as usize, &raw mut request as usize, 0, 0, 0];
    // SAFETY: `request` has the size of struct ifreq.
    unsafe { call(libc::SYS_ioctl, args) }.map(drop)
}
