//! The virtual machine as user-mode Linux: its kernel is a program, its processes run on this machine's processors at their
//! speed, and its disk is the same image. It has another kernel than this machine and cgroup v2 with all the controllers that
//! this kernel was built with (cpu, io, memory, pids), in which the image's systemd is at home.
//!
//! The guest has no network. A unit of the image (`vm/build`) mounts the directory that the kernel's command line names, runs
//! what is there, and powers off; what it prints comes by a serial line.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::ctx::{Outcome, fail};
use crate::vm::{HOME, Wanted, Watch, last_words, quoted};

/// What the guest prints last, before the exit status.
const ENDED: &str = "conformance ended with ";

/// Runs conformance with these arguments in the guest; `hear` gets each line that it prints. `payload` holds what is to be in
/// [`HOME`].
pub(crate) fn conformance(
    wanted: &Wanted,
    disk: &Path,
    payload: &Path,
    scratch: &Path,
    args: &[String],
    mut hear: impl FnMut(&str) -> Outcome,
) -> Outcome {
    let watch = Watch::until(wanted.end)?;
    let words: Vec<String> = args.iter().map(|word| quoted(word)).collect();
    let program = format!("{HOME}/conformance {}\necho {ENDED}$?\n", words.join(" "));
    fs::write(payload.join("run"), program)?;
    let log = scratch.join("uml.log");
    let mut child = Command::new(std::env::current_exe()?)
        .args(["__exec", &format!("die-with={}", std::process::id()), "--"])
        .arg(wanted.dir.join("uml/linux.uml"))
        .args(["mem=4096M", "root=/dev/ubda", "rw", "quiet", "seccomp=auto", "con=null", "ssl=null", "panic=-1"])
        // Writes go to a file of their own; the image stays as it is.
        .arg(format!("ubd0={},{}", scratch.join("disk.cow").display(), disk.display()))
        .arg(format!("uml_dir={}", scratch.display()))
        .args(["con0=null,fd:2", "ssl1=null,fd:1"])
        .arg(format!("harness.dir={}", payload.display()))
        .args(wanted.kernel.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&log)?)
        .spawn()?;
    let mut status = None;
    let heard = watch.lines(&mut child, &mut |line| match line.strip_prefix(ENDED) {
        Some(number) => {
            status = Some(number.to_owned());
            Ok(())
        }
        None => hear(line),
    });
    // Powered off it has ended by itself.
    if heard.is_err() {
        child.kill()?;
    }
    child.wait()?;
    heard?;
    match status.as_deref() {
        Some("0") => Ok(()),
        Some(status) => fail(format!("conformance ended with {status} in the machine")),
        None => fail(format!("the machine ended before its time{}", last_words(&log))),
    }
}
