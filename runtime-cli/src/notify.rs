//! sd_notify(3) for a container: who supervises this command set NOTIFY_SOCKET, and is to hear from the container's program that
//! it is ready.
//!
//! The supervisor's own socket is not given to the container: it takes orders (WATCHDOG=, FDSTORE=1, MAINPID=), and believes
//! whoever is in the service's cgroup. The container gets a socket of its own, of which one thing is passed on: `READY=`. What
//! follows is runc's: `MAINPID=` with the process that is to be watched, and `BARRIER=1`, so that the supervisor has read both
//! before this command ends.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use runtime_core::sys::{self, Errno};
use runtime_core::{Container, Error, Result};

/// Where the supervisor listens. `None`: nobody asked.
fn supervisor() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())
}

/// Whether a container that is made now gets a socket.
pub(crate) fn is_wanted() -> bool {
    supervisor().is_some()
}

/// The container's socket, and the supervisor's.
pub(crate) struct Proxy {
    own: UnixDatagram,
    host: UnixDatagram,
}

impl Proxy {
    /// Makes the container's socket, before its program can look for it. `None`: no supervisor, or the container was created
    /// without one and would not see the socket.
    pub(crate) fn bind(container: &Container) -> Result<Option<Proxy>> {
        let (Some(address), Some(path)) = (supervisor(), container.notify_socket()) else { return Ok(None) };
        let failed = |error: io::Error| Error::system(format!("listen on {}", path.display()), Errno::from(error));
        let own = bind(&path).map_err(failed)?;
        let failed = |error: io::Error| {
            Error::system(format!("connect to NOTIFY_SOCKET {}", address.display()), Errno::from(error))
        };
        let host = UnixDatagram::unbound().map_err(failed)?;
        match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name).and_then(|name| host.connect_addr(&name)),
            _ => host.connect(&address),
        }
        .map_err(failed)?;
        Ok(Some(Proxy { own, host }))
    }

    /// Waits until the program is ready, or has ended, and tells the supervisor that it is ready and that `main` is its main
    /// process. `init` is the container's first process.
    pub(crate) fn pass_on(&self, init: BorrowedFd<'_>, main: i32) -> Result<()> {
        match self.ready(init).map_err(|error| Error::system("wait for READY=1", Errno::from(error)))? {
            Some(ready) => tell(&self.host, &ready, main)
                .map_err(|error| Error::system("tell NOTIFY_SOCKET that the container is ready", Errno::from(error))),
            None => Ok(()),
        }
    }

    /// The line of the program that says that it is ready. `None`: it has ended without.
    fn ready(&self, init: BorrowedFd<'_>) -> io::Result<Option<Vec<u8>>> {
        // A datagram that does not come is none that is late: who has ended has sent all.
        self.own.set_nonblocking(true)?;
        let mut buffer = [0; 4096];
        loop {
            let mut wait = [PollFd::new(self.own.as_fd(), PollFlags::POLLIN), PollFd::new(init, PollFlags::POLLIN)];
            match poll(&mut wait, PollTimeout::NONE) {
                Err(nix::Error::EINTR) => continue,
                result => result?,
            };
            let ended = wait[1].any() == Some(true);
            match self.own.recv(&mut buffer) {
                Ok(length) => {
                    if let Some(line) = ready_line(&buffer[..length]) {
                        return Ok(Some(line.to_owned()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && ended => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// bind(2) takes paths of at most 107 bytes: this goes through the directory's descriptor.
fn bind(path: &Path) -> io::Result<UnixDatagram> {
    let dir = File::open(path.parent().unwrap_or(Path::new("/")))?;
    let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string());
    let short = short.join(path.file_name().unwrap_or_default());
    // A `start` that failed has left its own.
    match fs::remove_file(&short) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixDatagram::bind(&short)?;
    // Whatever user of the container is ready.
    fs::set_permissions(&short, Permissions::from_mode(0o777))?;
    Ok(socket)
}

/// The assignment to READY of a datagram.
fn ready_line(datagram: &[u8]) -> Option<&[u8]> {
    datagram.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"READY="))
}

/// Tells the supervisor, and waits until it has read it: its copy of the pipe is then closed.
fn tell(host: &UnixDatagram, ready: &[u8], main: i32) -> io::Result<()> {
    host.send(&[ready, b"\n"].concat())?;
    host.send(format!("MAINPID={main}\n").as_bytes())?;
    let (reader, writer) = io::pipe()?;
    sys::send_with_fd(host.as_fd(), b"BARRIER=1", writer.as_fd())
        .map_err(|errno| io::Error::from_raw_os_error(errno.0))?;
    drop(writer);
    wait_for_end(&reader)
}

/// Who does not know the barrier keeps the pipe: that is no failure, and as long as with runc.
fn wait_for_end(pipe: &PipeReader) -> io::Result<()> {
    const LONGEST_MS: u16 = 30_000;
    loop {
        let mut wait = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
        match poll(&mut wait, PollTimeout::from(LONGEST_MS)) {
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_line_says_it() {
        let check = |datagram: &str, expect: Option<&str>| {
            assert_eq!(ready_line(datagram.as_bytes()), expect.map(str::as_bytes), "{datagram:?}");
        };
        check("READY=1", Some("READY=1"));
        check("READY=1\n", Some("READY=1"));
        check("STATUS=up\nREADY=1\nMAINPID=7", Some("READY=1"));
        check("STATUS=READY=1", None);
        check("", None);
    }

    /// What the supervisor gets, in order; and that it is waited for.
    #[test]
    fn what_is_told() {
        let (host, supervisor) = UnixDatagram::pair().unwrap();
        let telling = std::thread::spawn(move || tell(&host, b"READY=1", 7));
        let mut buffer = [0; 100];
        let mut next = || {
            let (length, fd) = sys::receive_with_fd(supervisor.as_fd(), &mut buffer).unwrap();
            (String::from_utf8(buffer[..length].to_vec()).unwrap(), fd)
        };
        assert_eq!(next().0, "READY=1\n");
        assert_eq!(next().0, "MAINPID=7\n");
        let (text, barrier) = next();
        assert_eq!(text, "BARRIER=1");
        assert!(!telling.is_finished());
        drop(barrier.expect("a descriptor"));
        telling.join().unwrap().unwrap();
    }
}
