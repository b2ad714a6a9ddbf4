//! Hooks of the runtime's namespaces, in the parent.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::{OUTPUT_SHOWN, quoted};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::Hook;
use crate::sys::{self, Errno};
use crate::trace;

/// The state document that hooks get on their standard input (`runtime.md`, *State*).
pub type StateOnStdin<'a> = &'a str;

/// Runs the hooks of one point in their order. The first failure ends it: its error names the point, the hook, how it
/// ended and the end of what it printed, on one line.
///
/// # Errors
/// [`ErrorKind::Hook`].
pub fn run(point: &str, hooks: &[Hook], state: StateOnStdin<'_>) -> Result<()> {
    hooks.iter().enumerate().try_for_each(|(index, hook)| {
        let _span = trace::span(|| format!("run {point} hook #{index}"));
        one(hook, state).map_err(|(why, errno)| {
            let path = hook.path.to_string_lossy();
            let error = Error::new(ErrorKind::Hook, format!("error running {point} hook #{index}: {path}: {why}"));
            match errno {
                Some(errno) => error.with_errno(errno),
                None => error,
            }
        })
    })
}

/// Files instead of pipes for the streams: no reader or writer can block or break the other.
fn one(hook: &Hook, state: &str) -> std::result::Result<(), (String, Option<Errno>)> {
    let system = |what: &'static str| move |errno: Errno| (format!("{what}: {errno}"), Some(errno));
    let mut input = File::from(sys::memfd(c"state").map_err(system("make its input"))?);
    let written = input.write_all(state.as_bytes()).and_then(|()| input.rewind());
    written.map_err(|e| system("write its input")(e.into()))?;
    let mut output = File::from(sys::memfd(c"output").map_err(system("make its output"))?);
    let copy = |file: &File| file.try_clone().map(Stdio::from).map_err(|e| system("copy its output")(e.into()));

    let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    let mut command = Command::new(text(hook.path.as_bytes()));
    if let Some((first, rest)) = hook.args.split_first() {
        command.arg0(text(first.as_bytes())).args(rest.iter().map(|a| text(a.as_bytes())));
    }
    command.env_clear();
    for variable in &hook.env {
        let bytes = variable.as_bytes();
        let (name, value) = match bytes.iter().position(|&b| b == b'=') {
            Some(at) => (&bytes[..at], &bytes[at + 1..]),
            None => (bytes, &b""[..]),
        };
        command.env(text(name), text(value));
    }
    command.stdin(Stdio::from(input)).stdout(copy(&output)?).stderr(copy(&output)?);
    let mut child = command.spawn().map_err(|e| {
        let errno = Errno::from(e);
        (errno.to_string(), Some(errno))
    })?;
    let pidfd = sys::pidfd_open(child.id() as i32).map_err(system("open its process"))?;
    let timeout = hook.timeout.map(|seconds| u64::from(seconds) * 1000);
    let ended = sys::poll([(pidfd.as_fd(), libc::POLLIN)], timeout).map_err(system("wait for it"))?;
    if ended == 0 {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| system("wait for it")(e.into()))?;
    if ended == 0 {
        return Err((
            format!("timeout of {} s exceeded", hook.timeout.unwrap_or_default()),
            Some(Errno(libc::ETIMEDOUT)),
        ));
    }
    if status.success() {
        return Ok(());
    }
    let shown = OUTPUT_SHOWN as u64;
    let length = output.seek(std::io::SeekFrom::End(0)).unwrap_or_default();
    let _ = output.seek(std::io::SeekFrom::Start(length.saturating_sub(shown)));
    let mut printed = Vec::new();
    let _ = output.take(shown).read_to_end(&mut printed);
    Err((format!("{status}, {}", quoted(&printed)), None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    fn shell(script: &str, timeout: Option<u32>) -> Hook {
        let args = ["sh", "-c", script].map(|a| CString::new(a).unwrap()).to_vec();
        Hook { path: c"/bin/sh".to_owned(), args, env: vec![c"A=b".to_owned()], timeout }
    }

    #[test]
    fn hooks_run_in_order_and_the_first_failure_ends_them() {
        let error = |hooks: &[Hook]| run("createRuntime", hooks, "{\"id\":\"x\"}").unwrap_err().to_string();
        run("poststop", &[shell("test \"$A$HOME$(cat)\" = 'b{\"id\":\"x\"}'", None)], "{\"id\":\"x\"}").unwrap();
        assert_eq!(
            error(&[shell("true", None), shell("echo one; echo two >&2; exit 3", None), shell("kill $$", None)]),
            "error running createRuntime hook #1: /bin/sh: exit status: 3, output: \"one two\""
        );
        assert_eq!(
            error(&[shell("sleep 100", Some(1))]),
            "error running createRuntime hook #0: /bin/sh: timeout of 1 s exceeded"
        );
        let missing = Hook { path: c"/no/such".to_owned(), ..shell("", None) };
        assert_eq!(error(&[missing]), "error running createRuntime hook #0: /no/such: no such file or directory");
    }
}
