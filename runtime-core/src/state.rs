//! What is known of a container on disk: the only writer below the state directory (`--root`).
//!
//! Each container has a directory of its own, named by its id:
//!
//! | file | written | holds |
//! |---|---|---|
//! | `state.json` | before the first effect, and again when `created` is true | [`Record`]: enough to undo every effect |
//! | `config.json` | with the first | the configuration as it was: later changes in the bundle do not count |
//! | `seccomp.bpf` | with the first | the compiled filter, for `exec` |
//! | `start`, `verdict` | by the launch | the FIFOs between `start` and init |
//! | `notify/` | by the launch, if wished | where the socket of sd_notify(3) is made, which the container sees |
//! | `network`, `devices.json` | before network devices are moved | a mount that keeps the container's network namespace, and the devices; gone when it is created |
//! | `clock` | by a traced launch | when init's steps ended, for a traced `start` |
//!
//! Whether the container runs is never written: it is read off the process, its FIFO and its freezer, so no kill at any
//! instant can make the file lie.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::cgroup;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{self, c_path};
use crate::intel_rdt;
use crate::namespace::net_devices::Loan;
use crate::sys::{self, Errno};
use crate::trace;

/// Where a container is in its life (`runtime.md`, *State*; `paused` is every runtime's).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is being made, or its making was broken off.
    Creating,
    /// Its first process waits for `start`.
    Created,
    /// Its program runs.
    Running,
    /// Its cgroup is frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// Of this format.
    pub(crate) version: u32,
    pub(crate) oci_version: String,
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// RFC 3339, UTC, nanoseconds.
    pub(crate) created: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    /// The user who made it.
    pub(crate) owner: u32,
    pub(crate) cgroup: cgroup::Record,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rdt: Option<intel_rdt::Record>,
    /// The names of the namespaces that it does not share with the host.
    pub(crate) namespaces: Vec<String>,
    pub(crate) no_new_keyring: bool,
    pub(crate) personality: Option<u32>,
    /// Mode and nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory_policy: Option<(u32, Vec<u64>)>,
    pub(crate) has_process: bool,
    pub(crate) has_poststart: bool,
    pub(crate) has_poststop: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) has_net_devices: bool,
    /// The steps after `start`, for its errors.
    pub(crate) late_steps: Vec<(u32, String)>,
    /// `None`: creating.
    pub(crate) init: Option<Init>,
}

/// The first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Init {
    pub(crate) pid: i32,
    /// Clock ticks since boot, proc_pid_stat(5) field 22: a pid is used again, a pid with its start time is not.
    pub(crate) start_time: u64,
}

/// Of `state.json`'s format.
pub(crate) const VERSION: u32 = 1;

impl Record {
    /// Reads the text of a `state.json`.
    pub(crate) fn from_slice(text: &[u8]) -> Result<Self> {
        let record: Record = serde_json::from_slice(text).map_err(|e| Error::new(ErrorKind::System, e.to_string()))?;
        if record.version != VERSION {
            let text = format!("written by another version ({})", record.version);
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        Ok(record)
    }
}

/// A container's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    /// Makes it. Fails where it exists.
    pub(crate) fn create(parent: &Path, id: &str) -> Result<Self> {
        let path = parent.join(id);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Directory(path)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::new(ErrorKind::Exists, "container with given ID already exists"))
            }
            Err(e) => Err(Error::system(format!("make directory {}", path.display()), e.into())),
        }
    }

    /// A file's path, for calls that want a C string.
    pub(crate) fn as_cstring(&self) -> CString {
        CString::new(self.0.as_os_str().as_bytes()).unwrap_or_default()
    }

    /// Writes a file that is read as a whole or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let _span = trace::span(|| format!("write {name}"));
        let path = self.0.join(name);
        let failed = |e: io::Error| Error::system(format!("write {}", path.display()), e.into());
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(failed)
    }

    pub(crate) fn write_config(&self, bytes: &[u8]) -> Result<()> {
        self.write("config.json", bytes)
    }

    pub(crate) fn read_config(&self) -> Result<Vec<u8>> {
        let path = self.0.join("config.json");
        files::read(&path).map_err(|errno| Error::system(format!("read {}", path.display()), errno))
    }

    pub(crate) fn write_seccomp(&self, program: &crate::seccomp::Program) -> Result<()> {
        self.write("seccomp.bpf", &program.to_bytes())
    }

    pub(crate) fn read_seccomp(&self) -> Result<Option<crate::seccomp::Program>> {
        let path = self.0.join("seccomp.bpf");
        match files::read(&path) {
            Ok(bytes) => crate::seccomp::Program::from_bytes(&bytes).map(Some),
            Err(Errno(libc::ENOENT)) => Ok(None),
            Err(errno) => Err(Error::system(format!("read {}", path.display()), errno)),
        }
    }

    /// Over a temporary name: a reader sees the old text or the new one.
    pub(crate) fn write_state(&self, record: &Record) -> Result<()> {
        self.prepare_state(record)?;
        self.commit_state()
    }

    /// Writes what will be the state when it is committed.
    pub(crate) fn prepare_state(&self, record: &Record) -> Result<()> {
        let text =
            serde_json::to_vec(record).map_err(|e| Error::new(ErrorKind::System, format!("write state.json: {e}")))?;
        self.write("state.json.new", &text)
    }

    /// Makes what was prepared the state.
    pub(crate) fn commit_state(&self) -> Result<()> {
        let _span = trace::span(|| "write state.json");
        let (from, to) = (self.0.join("state.json.new"), self.0.join("state.json"));
        fs::rename(&from, &to).map_err(|e| Error::system(format!("rename {}", from.display()), e.into()))
    }

    /// Reads `state.json`. [`ErrorKind::NotFound`]: there is none.
    pub(crate) fn read_state(&self) -> Result<Record> {
        let _span = trace::span(|| "read state.json");
        let path = self.0.join("state.json");
        let bytes = files::read(&path).map_err(|errno| match errno {
            Errno(libc::ENOENT | libc::ENOTDIR) => not_found(),
            _ => Error::system(format!("read {}", path.display()), errno),
        })?;
        Record::from_slice(&bytes).map_err(|error| error.context(format_args!("read {}", path.display())))
    }

    /// Keeps a network namespace, whatever becomes of its processes, with what is to be moved into it: with the namespace a
    /// virtual device would end.
    pub(crate) fn keep_network(&self, namespace: BorrowedFd<'_>, loan: &Loan) -> Result<()> {
        let text =
            serde_json::to_vec(loan).map_err(|e| Error::new(ErrorKind::System, format!("write devices.json: {e}")))?;
        self.write("devices.json", &text)?;
        self.write("network", b"")?;
        let source = CString::new(format!("/proc/self/fd/{}", namespace.as_raw_fd())).unwrap_or_default();
        let target = self.0.join("network");
        let mounted = c_path(&target).and_then(|path| sys::mount(Some(&source), &path, None, libc::MS_BIND, None));
        mounted.map_err(|errno| Error::system(format!("keep the network namespace on {}", target.display()), errno))
    }

    /// What is kept. `None`: no device was moved, or nothing is to be given back any more.
    pub(crate) fn kept_network(&self) -> Result<Option<(OwnedFd, Loan)>> {
        let Ok(text) = files::read(self.0.join("devices.json")) else { return Ok(None) };
        // It is whole before the first device is moved.
        let Ok(loan) = serde_json::from_slice(&text) else { return Ok(None) };
        let path = self.0.join("network");
        let file = match c_path(&path).and_then(|path| sys::openat(sys::CWD, &path, libc::O_RDONLY, 0)) {
            Err(Errno(libc::ENOENT)) => return Ok(None),
            file => file.map_err(|errno| Error::system(format!("open {}", path.display()), errno))?,
        };
        // What is not mounted yet, or any more, is an empty file.
        Ok(sys::namespace_kind(file.as_fd()).is_ok().then_some((file, loan)))
    }

    /// The devices are the container's, or are given back.
    pub(crate) fn forget_network(&self) {
        let path = self.0.join("network");
        let _ = c_path(&path).and_then(|path| sys::umount(&path, libc::MNT_DETACH));
        let _ = fs::remove_file(self.0.join("devices.json"));
        let _ = fs::remove_file(path);
    }

    /// Removes it with all that is in it.
    pub(crate) fn remove(&self) -> Result<()> {
        let _span = trace::span(|| "remove the state directory");
        let removed = match fs::remove_dir_all(&self.0) {
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
                self.forget_network();
                fs::remove_dir_all(&self.0)
            }
            removed => removed,
        };
        match removed {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::system(format!("remove {}", self.0.display()), e.into()))
            }
            _ => Ok(()),
        }
    }

    /// The directory of the socket for sd_notify(3).
    pub(crate) fn notify(&self) -> PathBuf {
        self.0.join("notify")
    }

    /// The same, for a mount.
    pub(crate) fn notify_directory(&self) -> Result<CString> {
        let path = self.notify();
        c_path(&path).map_err(|errno| Error::system(format!("mount {}", path.display()), errno))
    }

    /// Makes it. Every user of the container may enter it; the container's directory keeps the host's users out.
    pub(crate) fn create_notify(&self) -> Result<()> {
        let path = self.notify();
        let made = fs::DirBuilder::new().mode(0o755).create(&path);
        // Whatever the umask is.
        let made = made.and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
        made.map_err(|e| Error::system(format!("make directory {}", path.display()), e.into()))
    }

    /// Where init notes when its steps ended, when it is traced.
    pub(crate) fn clock(&self) -> PathBuf {
        self.0.join("clock")
    }

    /// The end of init's FIFO that says `start`. `None`: init does not wait (any more).
    pub(crate) fn open_start(&self) -> Result<Option<OwnedFd>> {
        let path = self.0.join("start");
        // Without a reader ENXIO, fifo(7). Init's own descriptor is close-on-exec, so the kernel answers whether the program
        // has been executed.
        match c_path(&path).and_then(|path| sys::openat(sys::CWD, &path, libc::O_WRONLY | libc::O_NONBLOCK, 0)) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno(libc::ENXIO | libc::ENOENT)) => Ok(None),
            Err(errno) => Err(Error::system(format!("open {}", path.display()), errno)),
        }
    }

    /// The end of init's FIFO that says why the program was not executed.
    pub(crate) fn open_verdict(&self) -> Result<OwnedFd> {
        let path = self.0.join("verdict");
        let failed = |errno| Error::system(format!("open {}", path.display()), errno);
        // Not blocking while it is opened: init may have ended.
        let opened = c_path(&path).and_then(|path| sys::openat(sys::CWD, &path, libc::O_RDONLY | libc::O_NONBLOCK, 0));
        let fd = opened.map_err(failed)?;
        sys::set_blocking(fd.as_fd()).map_err(failed)?;
        Ok(fd)
    }
}

/// The text that containerd and the Rust shim take for "gone".
pub(crate) fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "container does not exist")
}

/// The id's alphabet is runc's. An id is a directory's name below the state directory and must stay one.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let valid = !id.is_empty()
        && id.len() <= 1024
        && id != "."
        && id != ".."
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-.".contains(&b));
    if valid { Ok(()) } else { Err(Error::new(ErrorKind::InvalidId, "invalid container ID format")) }
}

impl Init {
    /// The process that has this pid now.
    pub(crate) fn of(pid: i32) -> Result<Self> {
        match process_stat(pid)? {
            Some((_, start_time)) => Ok(Init { pid, start_time }),
            None => Err(Error::system(format!("read the start time of process {pid}"), Errno(libc::ESRCH))),
        }
    }

    /// A handle of it. `None`: it has ended, also when nobody has waited for it yet.
    pub(crate) fn open(&self) -> Result<Option<OwnedFd>> {
        let pidfd = match sys::pidfd_open(self.pid) {
            Ok(pidfd) => pidfd,
            // EINVAL: the pid is now a thread's.
            Err(Errno(libc::ESRCH | libc::EINVAL)) => return Ok(None),
            Err(errno) => return Err(Error::system(format!("open process {}", self.pid), errno)),
        };
        // After the handle: what is read now is about the process that the handle keeps, or about none.
        Ok(self.is_alive()?.then_some(pidfd))
    }

    /// Whether it runs.
    pub(crate) fn is_alive(&self) -> Result<bool> {
        Ok(process_stat(self.pid)?
            .is_some_and(|(state, start_time)| start_time == self.start_time && !matches!(state, b'Z' | b'X' | b'x')))
    }
}

/// Parent of a process, proc_pid_stat(5). `None`: there is no such process.
pub(crate) fn parent_of(pid: i32) -> Option<i32> {
    let text = files::read_record(format!("/proc/{pid}/stat")).ok()?;
    let end = text.iter().rposition(|&b| b == b')')?;
    let field = text.get(end + 1..)?.split(u8::is_ascii_whitespace).filter(|f| !f.is_empty()).nth(1)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// State and start time of a process, proc_pid_stat(5). `None`: there is no such process.
fn process_stat(pid: i32) -> Result<Option<(u8, u64)>> {
    let path = format!("/proc/{pid}/stat");
    match files::read_record(&path) {
        Ok(text) => match parse_stat(&text) {
            Some(stat) => Ok(Some(stat)),
            None => Err(Error::new(ErrorKind::System, format!("read {path}: not the text of a process"))),
        },
        Err(Errno(libc::ENOENT | libc::ESRCH)) => Ok(None),
        Err(errno) => Err(Error::system(format!("read {path}"), errno)),
    }
}

/// The name, in parentheses, may hold anything, also parentheses: what follows the last one counts.
fn parse_stat(text: &[u8]) -> Option<(u8, u64)> {
    let end = text.iter().rposition(|&b| b == b')')?;
    let mut fields = text.get(end + 1..)?.split(u8::is_ascii_whitespace).filter(|f| !f.is_empty());
    let state = *fields.next()?.first()?;
    // Field 3 was the state, 22 is the start time.
    let start = fields.nth(18)?;
    Some((state, std::str::from_utf8(start).ok()?.parse().ok()?))
}

/// The present time as RFC 3339 in UTC with nanoseconds.
pub(crate) fn now() -> String {
    rfc3339(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A time since the epoch as RFC 3339 in UTC with nanoseconds.
#[must_use]
pub fn rfc3339(since_epoch: Duration) -> String {
    let (days, second) = (since_epoch.as_secs() / 86400, since_epoch.as_secs() % 86400);
    // Days since 0000-03-01, in eras of 400 years: the leap day is then a year's last.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    format!(
        "{:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        era * 400 + year,
        second / 3600,
        second / 60 % 60,
        second % 60,
        since_epoch.subsec_nanos()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names() {
        for id in ["a", "A-1_2+3.4", "...", "-"] {
            check_id(id).unwrap();
        }
        for id in ["", ".", "..", "a/b", "a b", "ä", "a\0", "../x", "\n"] {
            assert_eq!(check_id(id).unwrap_err().kind(), ErrorKind::InvalidId, "{id:?}");
        }
    }

    #[test]
    fn times_are_rfc3339() {
        for (secs, nanos, expect) in [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, 5, "2000-02-29T00:00:00.000000005Z"),
            (1_709_251_199, 999_999_999, "2024-02-29T23:59:59.999999999Z"),
            (4_107_542_399, 0, "2100-02-28T23:59:59.000000000Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z"),
        ] {
            assert_eq!(rfc3339(Duration::new(secs, nanos)), expect);
        }
    }

    #[test]
    fn stat_is_read_behind_the_name() {
        let line = |name: &str| format!("7 ({name}) S 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0");
        for name in ["sh", ") Z 1 (", "a b"] {
            assert_eq!(parse_stat(line(name).as_bytes()), Some((b'S', 4711)));
        }
        assert_eq!(parse_stat(b"7 (x) S 1"), None);
        let own = Init::of(std::process::id() as i32).unwrap();
        assert!(own.is_alive().unwrap());
        assert!(!Init { start_time: own.start_time + 1, ..own }.is_alive().unwrap());
    }
}
