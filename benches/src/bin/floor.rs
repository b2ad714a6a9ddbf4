//! The floor of `run`: the kernel work that an engine's bundle asks for, and nothing else. No configuration is read, no
//! state is kept, nothing is checked, no filter is loaded.
//!
//! usage: floor ROOTFS CGROUP|- PROGRAM. CGROUP is a cgroup v2 directory, in which one is made for the run.
#![allow(unsafe_code)]

use std::error::Error;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;

use runtime_core::sys::{self, CStringArray, Errno};

/// Mounts: type, source, target, flags, data.
const MOUNTS: [(&CStr, &CStr, u64, Option<&CStr>); 6] = [
    (c"proc", c"proc", NOTHING, None),
    (c"tmpfs", c"dev", libc::MS_NOSUID | libc::MS_STRICTATIME, Some(c"mode=755,size=65536k")),
    (c"devpts", c"dev/pts", libc::MS_NOSUID | libc::MS_NOEXEC, Some(c"newinstance,ptmxmode=0666,mode=0620,gid=5")),
    (c"tmpfs", c"dev/shm", NOTHING, Some(c"mode=1777,size=65536k")),
    (c"mqueue", c"dev/mqueue", NOTHING, None),
    (c"sysfs", c"sys", NOTHING | libc::MS_RDONLY, None),
];
const NOTHING: u64 = libc::MS_NOSUID | libc::MS_NOEXEC | libc::MS_NODEV;
const NODES: [(&CStr, u32, u32); 6] = [
    (c"dev/null", 1, 3),
    (c"dev/zero", 1, 5),
    (c"dev/full", 1, 7),
    (c"dev/random", 1, 8),
    (c"dev/urandom", 1, 9),
    (c"dev/tty", 5, 0),
];
const LINKS: [(&CStr, &CStr); 5] = [
    (c"pts/ptmx", c"dev/ptmx"),
    (c"/proc/self/fd", c"dev/fd"),
    (c"/proc/self/fd/0", c"dev/stdin"),
    (c"/proc/self/fd/1", c"dev/stdout"),
    (c"/proc/self/fd/2", c"dev/stderr"),
];
const READ_ONLY: [&CStr; 5] = [c"proc/bus", c"proc/fs", c"proc/irq", c"proc/sys", c"proc/sysrq-trigger"];
const MASKED: [&CStr; 10] = [
    c"proc/acpi",
    c"proc/asound",
    c"proc/kcore",
    c"proc/keys",
    c"proc/latency_stats",
    c"proc/timer_list",
    c"proc/timer_stats",
    c"proc/sched_debug",
    c"proc/scsi",
    c"sys/firmware",
];

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code as u8),
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::from(111)
        }
    }
}

fn run() -> Result<i32, Box<dyn Error>> {
    let words: Vec<CString> = std::env::args().skip(1).map(CString::new).collect::<Result<_, _>>()?;
    let [root, cgroup, program] = words.as_slice() else { return Err("usage: floor ROOTFS CGROUP|- PROGRAM".into()) };
    let (argv, envp) = (
        CStringArray::new(vec![program.clone()]),
        CStringArray::new(vec![c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()]),
    );
    let mut made: Option<(CString, OwnedFd)> = None;
    if cgroup.as_c_str() != c"-" {
        let path = CString::new(format!("{}/floor-{}", cgroup.to_str()?, std::process::id()))?;
        sys::mkdirat(sys::CWD, &path, 0o755).map_err(|e| e.to_string())?;
        let fd = sys::openat(sys::CWD, &path, libc::O_PATH | libc::O_DIRECTORY, 0).map_err(|e| e.to_string())?;
        made = Some((path, fd));
    }
    let namespaces =
        libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWNS;
    // struct clone_args, version 2: flags, five pointers, the exit signal among them, and the cgroup at the end.
    let mut arguments = [0u64; 11];
    arguments[0] = namespaces as u64;
    arguments[4] = libc::SIGCHLD as u64;
    if let Some((_, fd)) = &made {
        arguments[0] |= 0x2_0000_0000;
        arguments[10] = fd.as_raw_fd() as u64;
    }
    // SAFETY: as fork(2), in a program of one thread; the kernel reads the arguments.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments)) };
    if pid == 0 {
        let failed = inside(root).err().unwrap_or_else(|| sys::execve(program, &argv, &envp, None));
        eprintln!("floor: in the container: {failed}");
        sys::exit(111);
    }
    let pidfd = sys::pidfd_open(pid as i32).map_err(|e| e.to_string())?;
    let code = sys::wait_exit(std::os::fd::AsFd::as_fd(&pidfd)).map_err(|e| e.to_string())?;
    if let Some((path, _)) = &made {
        sys::unlinkat(sys::CWD, path, libc::AT_REMOVEDIR).map_err(|e| e.to_string())?;
    }
    Ok(code)
}

fn inside(root: &CStr) -> Result<(), Errno> {
    let mount = |source, target: &CStr, kind, flags, data| sys::mount(source, target, kind, flags, data);
    mount(None, c"/", None, libc::MS_REC | libc::MS_SLAVE, None)?;
    mount(Some(root), root, None, libc::MS_BIND | libc::MS_REC, None)?;
    sys::chdir(root)?;
    sys::umask(0);
    for (kind, target, flags, data) in MOUNTS {
        if target.to_bytes().starts_with(b"dev/") {
            sys::mkdirat(sys::CWD, target, 0o755)?;
        }
        mount(Some(kind), target, Some(kind), flags, data)?;
    }
    // In the host's cgroup namespace: bound, as mounting the hierarchy anew may wait for 10 ms (benches/README.md).
    mount(Some(c"/sys/fs/cgroup"), c"sys/fs/cgroup", None, libc::MS_BIND | libc::MS_REC, None)?;
    for (path, major, minor) in NODES {
        sys::mknodat(sys::CWD, path, libc::S_IFCHR | 0o666, libc::makedev(major, minor))?;
    }
    for (target, link) in LINKS {
        sys::symlinkat(target, sys::CWD, link)?;
    }
    for path in READ_ONLY {
        if mount(Some(path), path, None, libc::MS_BIND | libc::MS_REC, None).is_ok() {
            mount(None, path, None, libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | NOTHING, None)?;
        }
    }
    for path in MASKED {
        match sys::fstatat(sys::CWD, path, 0) {
            Ok(stat) if stat.st_mode & libc::S_IFMT == libc::S_IFDIR => {
                mount(Some(c"tmpfs"), path, Some(c"tmpfs"), libc::MS_RDONLY, Some(c"nr_blocks=1,nr_inodes=1"))?;
            }
            Ok(_) => mount(Some(c"dev/null"), path, None, libc::MS_BIND, None)?,
            Err(_) => {}
        }
    }
    sys::sethostname(c"floor")?;
    sys::pivot_root(c".", c".")?;
    sys::umount(c".", libc::MNT_DETACH)?;
    sys::chdir(c"/")?;
    sys::set_no_new_privs()
}
