//! Sending a descriptor to a unix socket: `--pidfd-socket`.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use runtime_core::sys::{self, Errno};
use runtime_core::{Error, Result};

/// Connects and sends one message: `name`, and the descriptor. Nobody has to have accepted the connection yet.
pub(crate) fn send_fd(path: &Path, name: &str, fd: BorrowedFd<'_>) -> Result<()> {
    let failed = |errno| Error::system(format!("send a descriptor to {}", path.display()), errno);
    let socket = connect(path).map_err(|error| failed(Errno::from(error)))?;
    sys::send_with_fd(socket.as_fd(), name.as_bytes(), fd).map(drop).map_err(failed)
}

/// connect(2) takes paths of at most 107 bytes: a longer one is reached through its directory's descriptor.
fn connect(path: &Path) -> std::io::Result<UnixStream> {
    const LONGEST: usize = 107;
    if path.as_os_str().len() <= LONGEST {
        return UnixStream::connect(path);
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    let dir = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(parent)?;
    let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string());
    UnixStream::connect(short.join(path.file_name().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn short_and_long_paths() {
        let base = std::env::temp_dir().join(format!("orlop-socket-{}", std::process::id()));
        for dir in [base.clone(), base.join("long".repeat(40))] {
            std::fs::create_dir_all(&dir).unwrap();
            let here = std::fs::File::open(&dir).unwrap();
            let short = format!("/proc/self/fd/{}/socket", here.as_raw_fd());
            let listener = UnixListener::bind(short).unwrap();
            let null = std::fs::File::open("/dev/null").unwrap();
            send_fd(&dir.join("socket"), "standard", null.as_fd()).unwrap();
            let (stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let (count, fd) = sys::receive_with_fd(stream.as_fd(), &mut buffer).unwrap();
            assert_eq!(&buffer[..count], b"standard");
            assert!(fd.is_some());
        }
        std::fs::remove_dir_all(&base).unwrap();
    }
}
