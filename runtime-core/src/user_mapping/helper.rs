//! newuidmap(1) and newgidmap(1): what writes maps of subordinate ids for an ordinary user.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, ErrorKind, Result};
use crate::sys;

/// Where they may be: never where `PATH` says. Who runs them passes his user namespace on, and their names are in an
/// error that people believe.
const DIRECTORIES: [&str; 7] =
    ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin", "/usr/local/sbin", "/run/wrappers/bin"];

/// How long one may take, in milliseconds: it may ask a directory service whose ids are lent to whom.
const DEADLINE: u64 = 30_000;

/// How much of what one says goes into the error.
const OUTPUT_SHOWN: u64 = 1024;

/// Has `program` write a map, whose text is as for `/proc`, of a process that waits.
///
/// # Errors
/// [`ErrorKind::System`]: there is no such program, or it refuses, with what it says; [`ErrorKind::Timeout`].
pub(crate) fn write(program: &str, pid: i32, map: &str) -> Result<()> {
    let path = find(program, &DIRECTORIES.map(Path::new))?;
    let failed = |what: &str, e: std::io::Error| Error::system(format!("{what} {}", path.display()), e.into());
    let output = File::from(sys::memfd(c"output").map_err(|e| Error::system("make the output of a helper", e))?);
    let copy = || output.try_clone().map(Stdio::from).map_err(|e| failed("execute", e));
    let mut child = Command::new(&path)
        .arg(pid.to_string())
        .args(map.split_ascii_whitespace())
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(copy()?)
        .stderr(copy()?)
        .spawn()
        .map_err(|e| failed("execute", e))?;
    let ended = sys::pidfd_open(child.id() as i32)
        .and_then(|pidfd| sys::poll([(pidfd.as_fd(), libc::POLLIN)], Some(DEADLINE)))
        .unwrap_or_default();
    if ended == 0 {
        // It has the user's real id and can be killed by him; what can't be killed is not waited for.
        if child.kill().is_ok() {
            let _ = child.wait();
        }
        let text = format!("{}: no answer within {} s", path.display(), DEADLINE / 1000);
        return Err(Error::new(ErrorKind::Timeout, text));
    }
    let status = child.wait().map_err(|e| failed("wait for", e))?;
    if status.success() {
        return Ok(());
    }
    let mut said = Vec::new();
    let mut output = output;
    let _ = output.rewind();
    let _ = output.take(OUTPUT_SHOWN).read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" ");
    Err(Error::new(ErrorKind::System, format!("{}: {status}, output: {said:?}", path.display())))
}

/// The first that is root's and that nobody else may write to.
fn find(program: &str, directories: &[&Path]) -> Result<PathBuf> {
    let trusted = |path: &Path| std::fs::metadata(path).is_ok_and(|meta| meta.uid() == 0 && meta.mode() & 0o022 == 0);
    let found = directories.iter().filter(|dir| trusted(dir)).map(|dir| dir.join(program)).find(|path| trusted(path));
    found.ok_or_else(|| {
        let list: Vec<_> = directories.iter().map(|dir| dir.to_string_lossy()).collect();
        let text = format!("{program} is needed to map more than the own id, and it is not in {}", list.join(", "));
        Error::new(ErrorKind::Unsupported, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_are_found_where_only_root_may_write() {
        if sys::geteuid() != 0 {
            println!("SKIP helpers_are_found_where_only_root_may_write: takes root");
            return;
        }
        let base = std::env::temp_dir().join(format!("orlop-helper-{}", std::process::id()));
        let file = |dir: &str, mode: u32, owner: u32| {
            use std::os::unix::fs::PermissionsExt;
            let dir = base.join(dir);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
            let path = dir.join("helper");
            std::fs::write(&path, "").unwrap();
            std::os::unix::fs::chown(&path, Some(owner), None).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            dir
        };
        let (open, others, good) = (file("open", 0o777, 0), file("others", 0o755, 1), file("good", 0o4755, 0));
        let found = find("helper", &[&base.join("none"), &open, &others, &good]);
        let missing = find("helper", &[&open, &others]).map_err(|e| e.kind());
        std::fs::remove_dir_all(&base).ok();
        assert_eq!(found.unwrap(), good.join("helper"));
        assert_eq!(missing, Err(ErrorKind::Unsupported));
    }
}
