//! The file system of the virtual machine's image on this machine's kernel: its engines, its systemd and its runtimes at
//! native speed, with the kernel and the cgroup controllers that are here. What a machine is needed for, its own kernel and
//! all controllers of v2, is not there.
//!
//! The image is the lower layer of an overlay, so nothing is written to it; what the suites write lies where it always
//! does, in the run's own directory. The mount namespace, and with it the loop device, lives as long as the run.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;

use crate::ctx::{Outcome, Stop, ensure, fail};
use crate::vm::HOME;

/// Runs conformance with these arguments there; `hear` gets each line that it prints. `payload` holds what is brought along.
pub(crate) fn conformance(
    disk: &Path,
    payload: &Path,
    scratch: &Path,
    args: &[String],
    mut hear: impl FnMut(&str) -> Outcome,
) -> Outcome {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("__userland")
        .args([disk, payload, scratch])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let Some(out) = child.stdout.take() else { return fail("harness: no output") };
    let heard = BufReader::new(out).lines().try_for_each(|line| hear(&line?));
    if heard.is_err() {
        // Who is inside dies with its parent.
        child.kill()?;
    }
    let status = child.wait()?;
    heard?;
    ensure(status.success(), format_args!("conformance ended with {status} in the image's file system"))
}

/// Hidden command `__userland DISK PAYLOAD SCRATCH ARGUMENTS`: this program, with the image's file system for a root.
pub(crate) fn enter(words: &[String]) -> Result<u8, Stop> {
    let [disk, payload, scratch, arguments @ ..] = words else { return fail("three words") };
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let scratch = Path::new(scratch);
    let [lower, upper, work, root, tmp] = ["lower", "upper", "work", "root", "tmp"].map(|name| scratch.join(name));
    for dir in [&lower, &upper, &work, &root, &tmp] {
        fs::create_dir_all(dir)?;
    }
    // Which sets up the loop device, and has the kernel free it with the mount.
    let mounted = Command::new("mount").args(["-o", "loop,ro", disk]).arg(&lower).stdin(Stdio::null()).output()?;
    let why = String::from_utf8_lossy(&mounted.stderr);
    ensure(mounted.status.success(), format_args!("{disk} can't be mounted: {}", why.trim_end()))?;
    let layers = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(layers.as_str()))?;

    let bind = |from: &Path, to: &str| -> Outcome {
        let to = root.join(to.trim_start_matches('/'));
        fs::create_dir_all(&to)?;
        Ok(mount(Some(from), &to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?)
    };
    for kernels in ["/proc", "/sys", "/dev"] {
        bind(Path::new(kernels), kernels)?;
    }
    // Engines lay overlays in both, and an overlay can't be the upper layer of another. Ordinary users write there.
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777))?;
    bind(&tmp, "/var/tmp")?;
    bind(&tmp, "/tmp")?;
    bind(Path::new(payload), HOME)?;
    mount(Some("tmpfs"), &root.join("run"), Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
    std::env::set_current_dir(&root)?;
    nix::unistd::pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    std::env::set_current_dir("/root")?;
    let error = Command::new(Path::new(HOME).join("conformance"))
        .args(arguments)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("TMPDIR", "/var/tmp")
        .exec();
    Err(error.into())
}
