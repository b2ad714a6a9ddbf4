//! Stopping and continuing all processes of a container.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Dir, Record, files};
use crate::files::read_record;
use crate::sys::Errno;
use crate::{Error, ErrorKind, Result};

/// Freezing ends at once unless a process sleeps uninterruptibly.
const DEADLINE: Duration = Duration::from_secs(10);

impl Record {
    /// The directory whose freezer is used, the file, and the words for "frozen" and "thawed".
    fn freezer(&self) -> Result<(&Dir, &'static str, [&'static str; 2])> {
        if let Some(dir) = self.v1("freezer") {
            return Ok((dir, "freezer.state", ["FROZEN", "THAWED"]));
        }
        match self.unified() {
            Some(dir) => Ok((dir, "cgroup.freeze", ["1", "0"])),
            None => Err(Error::new(ErrorKind::Unsupported, "no cgroup hierarchy of the container has a freezer")),
        }
    }

    /// Freezes all processes and returns when they are frozen. Where that fails, all are thawed again: a group that is
    /// frozen by halves can be neither used nor removed.
    pub fn freeze(&self) -> Result<()> {
        let (dir, file, [frozen, thawed]) = self.freezer()?;
        let path = dir.path.join(file);
        let deadline = Instant::now() + DEADLINE;
        let result = if dir.is_unified() {
            files::write(&path, frozen)
                .and_then(|()| files::wait_for_event(&dir.path.join("cgroup.events"), "frozen", 1, deadline))
        } else {
            freeze_v1(&path, deadline)
        };
        let error = match result {
            Ok(true) => return Ok(()),
            Ok(false) => {
                let what = format!("freeze {}: not all processes froze in {DEADLINE:?}", dir.path.display());
                Error::new(ErrorKind::Timeout, what)
            }
            Err(errno) => Error::system(format_args!("freeze {}", dir.path.display()), errno),
        };
        let _ = files::write(&path, thawed);
        Err(error)
    }

    /// Lets all processes continue.
    pub fn thaw(&self) -> Result<()> {
        let (dir, file, [_, thawed]) = self.freezer()?;
        let path = dir.path.join(file);
        files::write(&path, thawed).map_err(|errno| Error::system(format_args!("thaw {}", dir.path.display()), errno))
    }

    /// Lets all processes continue, and returns when they do. Normally there is nothing to wait for.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] where they do not, because a cgroup around the container's is frozen.
    pub fn resume(&self) -> Result<()> {
        self.thaw()?;
        let (dir, ..) = self.freezer()?;
        let failed = |errno| Error::system(format_args!("thaw {}", dir.path.display()), errno);
        let events = dir.path.join("cgroup.events");
        let moves = match dir.is_unified() {
            true => files::wait_for_event(&events, "frozen", 0, Instant::now() + DEADLINE).map_err(failed)?,
            // The v1 freezer has let go of everybody when the write returns.
            false => !self.stands_still()?,
        };
        if moves {
            return Ok(());
        }
        let what = format!("thaw {}: a cgroup around it is frozen", dir.path.display());
        Err(Error::new(ErrorKind::Timeout, what))
    }

    /// Whether processes in the container's cgroup stand still: it is frozen, or a cgroup around it is.
    pub(super) fn stands_still(&self) -> Result<bool> {
        let Ok((dir, file, [_, thawed])) = self.freezer() else { return Ok(false) };
        let path = dir.path.join(if dir.is_unified() { "cgroup.events" } else { file });
        match files::read(&path) {
            Ok(text) if dir.is_unified() => Ok(files::value_of(&text, "frozen") == Some(1)),
            Ok(text) => Ok(text.trim() != thawed),
            Err(Errno(libc::ENOENT | libc::ENODEV)) => Ok(false),
            Err(errno) => Err(Error::system(format_args!("read {}", path.display()), errno)),
        }
    }

    /// Whether the container itself was frozen (not a cgroup around it). A container without freezer, or whose cgroup
    /// is gone, is not frozen.
    pub fn is_frozen(&self) -> Result<bool> {
        let Ok((dir, file, _)) = self.freezer() else { return Ok(false) };
        let file = if dir.is_unified() { file } else { "freezer.self_freezing" };
        match read_record(dir.path.join(file)) {
            Ok(text) => Ok(text.trim_ascii() == b"1"),
            Err(Errno(libc::ENOENT | libc::ENODEV)) => Ok(false),
            Err(errno) => Err(Error::system(format_args!("read {}", dir.path.join(file).display()), errno)),
        }
    }

    /// Thaws the v1 freezers in the container's cgroup and below it, where the container may have made some: a frozen
    /// process does not die there of SIGKILL. (The v2 freezer lets it die.)
    pub(super) fn thaw_v1_tree(&self) {
        if let Some(dir) = self.v1("freezer") {
            super::processes::walk(&dir.path, &mut |path| {
                let _ = files::write(&path.join("freezer.state"), "THAWED");
            });
        }
    }
}

/// The v1 freezer misses processes that are being forked, and stays in the state FREEZING. Then freezing again helps,
/// and now and then thawing before, so that what hangs in between can move on; runc found out the same.
fn freeze_v1(path: &Path, deadline: Instant) -> std::result::Result<bool, Errno> {
    let mut pause = Duration::from_micros(10);
    for attempt in 1.. {
        files::write(path, "FROZEN")?;
        if files::read(path)?.trim() == "FROZEN" {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            break;
        }
        if attempt % 32 == 0 {
            files::write(path, "THAWED")?;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        // The kernel does not tell when the state changes.
        std::thread::sleep(pause);
    }
    Ok(false)
}
