//! The file in which an engine finds a container's or a process's pid.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use runtime_core::sys::Errno;
use runtime_core::{Error, Result};

/// Writes the pid in decimal, without a line feed: go-runc and BuildKit give the whole content to Go's `Atoi`. The file
/// appears with its content or not at all, and replaces one that is there (CRI-O makes an empty one before).
pub(crate) fn write(path: &Path, pid: i32) -> Result<()> {
    let failed =
        |error: std::io::Error| Error::system(format!("write pid file {}", path.display()), Errno::from(error));
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o666).open(&temporary)?;
        file.write_all(pid.to_string().as_bytes())?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failed(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_or_not_at_all() {
        let dir = std::env::temp_dir().join(format!("orlop-pid-file-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let file = dir.join("pid");
        write(&file, 4711).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"4711");
        write(&file, 1).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"1");
        // A directory can't be replaced; nothing is left beside it.
        let blocked = dir.join("blocked");
        fs::create_dir(&blocked).unwrap();
        let error = write(&blocked, 1).unwrap_err().to_string();
        assert_eq!(error, format!("write pid file {}: is a directory", blocked.display()));
        let mut names: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["blocked", "pid"]);
        fs::remove_dir_all(&dir).unwrap();
    }
}
