//! The program inside the container. It prints facts and does single deeds; it never judges: the harness asserts.
//!
//! `/probe VERB ARGS [, VERB ARGS]...` runs the verbs in order. `report` prints the facts of the process as one line of
//! JSON; every other verb prints one line `{"verb": ..., "result": ...}` where the result is `"ok"`, a value, or the name
//! of the errno. The exit status is 0 unless the verb `exit` says otherwise.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::{Map, Value, json};

/// Names of the capabilities in the order of their numbers (capabilities(7), Linux 5.9 and later).
pub(crate) const CAPS: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

const RLIMITS: [(&str, Resource); 16] = [
    ("RLIMIT_AS", Resource::RLIMIT_AS),
    ("RLIMIT_CORE", Resource::RLIMIT_CORE),
    ("RLIMIT_CPU", Resource::RLIMIT_CPU),
    ("RLIMIT_DATA", Resource::RLIMIT_DATA),
    ("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE),
    ("RLIMIT_LOCKS", Resource::RLIMIT_LOCKS),
    ("RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK),
    ("RLIMIT_MSGQUEUE", Resource::RLIMIT_MSGQUEUE),
    ("RLIMIT_NICE", Resource::RLIMIT_NICE),
    ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE),
    ("RLIMIT_NPROC", Resource::RLIMIT_NPROC),
    ("RLIMIT_RSS", Resource::RLIMIT_RSS),
    ("RLIMIT_RTPRIO", Resource::RLIMIT_RTPRIO),
    ("RLIMIT_RTTIME", Resource::RLIMIT_RTTIME),
    ("RLIMIT_SIGPENDING", Resource::RLIMIT_SIGPENDING),
    ("RLIMIT_STACK", Resource::RLIMIT_STACK),
];

/// Runs the verbs of `args` (without the program's name) and returns the exit status.
pub(crate) fn main(args: &[String]) -> u8 {
    for verb in args.split(|a| a == ",") {
        let Some((name, rest)) = verb.split_first() else { continue };
        if name == "exit" {
            return rest.first().and_then(|n| n.parse().ok()).unwrap_or(0);
        }
        let result = match run(name, rest) {
            Ok(Value::Null) => continue,
            Ok(facts) if name == "report" => facts,
            Ok(value) => json!({"verb": name, "result": value}),
            Err(errno) => json!({"verb": name, "result": errno_name(&errno)}),
        };
        say(&result.to_string());
    }
    0
}

/// Writes a line in one call; a closed standard output is no reason to die.
fn say(line: &str) {
    let _ = io::stdout().write_all(format!("{line}\n").as_bytes());
    let _ = io::stdout().flush();
}

fn errno_name(e: &io::Error) -> String {
    e.raw_os_error().map_or_else(|| e.to_string(), |n| format!("{:?}", Errno::from_raw(n)))
}

fn run(name: &str, args: &[String]) -> io::Result<Value> {
    let arg = |i: usize| -> io::Result<&str> {
        args.get(i).map(String::as_str).ok_or_else(|| io::Error::other(format!("{name}: argument {i} is missing")))
    };
    let num = |i: usize| -> io::Result<u64> {
        arg(i)?.parse().map_err(|_| io::Error::other(format!("{name}: argument {i} is not a number")))
    };
    let ok = json!("ok");
    Ok(match name {
        "report" => report(args),
        "wait" => wait()?,
        "sleep" => {
            say("ready");
            loop {
                std::thread::park();
            }
        }
        "echo" => {
            say(&args.join(" "));
            Value::Null
        }
        "err" => {
            eprintln!("{}", args.join(" "));
            Value::Null
        }
        "cat" => json!(fs::read_to_string(arg(0)?)?),
        "stdin" => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text)?;
            json!(text)
        }
        "write" => {
            let mut f = fs::OpenOptions::new().write(true).create(true).truncate(true).open(arg(0)?)?;
            f.write_all(args[1..].join(" ").as_bytes())?;
            ok
        }
        "write-direct" => write_direct(arg(0)?, num(1)? as usize)?,
        "open" => {
            let mode = args.get(1).map_or("r", String::as_str);
            fs::OpenOptions::new()
                .read(mode.contains('r'))
                .write(mode.contains('w'))
                .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
                .open(arg(0)?)?;
            ok
        }
        "mknod" => {
            let kind = match arg(1)? {
                "b" => SFlag::S_IFBLK,
                "p" => SFlag::S_IFIFO,
                _ => SFlag::S_IFCHR,
            };
            mknod(arg(0)?, kind, Mode::from_bits_truncate(0o666), makedev(num(2)?, num(3)?))?;
            ok
        }
        "mkdir" => {
            fs::create_dir(arg(0)?)?;
            ok
        }
        "mkdir-mode" => {
            fs::DirBuilder::new().mode(0o777).create(arg(0)?)?;
            ok
        }
        "rm" => {
            fs::remove_file(arg(0)?)?;
            ok
        }
        "chmod" => {
            fs::set_permissions(arg(0)?, std::os::unix::fs::PermissionsExt::from_mode(num(1)? as u32))?;
            ok
        }
        "stat" => stat(Path::new(arg(0)?)),
        "getcwd" => json!(std::env::current_dir()?),
        "uname" => json!(nix::sys::utsname::uname()?.machine().to_str()),
        "sethostname" => {
            nix::unistd::sethostname(arg(0)?)?;
            ok
        }
        "mount" => {
            let none: Option<&str> = None;
            nix::mount::mount(Some(arg(0)?), arg(1)?, Some(arg(2)?), nix::mount::MsFlags::empty(), none)?;
            ok
        }
        "socket" => {
            use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
            let family = match arg(0)? {
                "inet" => AddressFamily::Inet,
                "packet" => AddressFamily::Packet,
                _ => AddressFamily::Unix,
            };
            socket(
                family,
                if arg(0)? == "packet" { SockType::Raw } else { SockType::Stream },
                SockFlag::empty(),
                None,
            )?;
            ok
        }
        "notify" => {
            let address = std::env::var_os("NOTIFY_SOCKET").ok_or_else(|| io::Error::other("no NOTIFY_SOCKET"))?;
            std::os::unix::net::UnixDatagram::unbound()?.send_to(arg(0)?.as_bytes(), address)?;
            Value::Null
        }
        "personality" => {
            let p = nix::sys::personality::Persona::from_bits_retain(num(0)? as i32);
            nix::sys::personality::set(p)?;
            ok
        }
        "raise" => {
            let signal: Signal = arg(0)?.parse().map_err(io::Error::from)?;
            nix::sys::signal::raise(signal)?;
            ok
        }
        "chroot" => {
            nix::unistd::chroot(arg(0)?)?;
            ok
        }
        "setuid" => {
            nix::unistd::setuid(nix::unistd::Uid::from_raw(num(0)? as u32))?;
            ok
        }
        "chown" => {
            std::os::unix::fs::chown(arg(0)?, Some(num(1)? as u32), None)?;
            ok
        }
        "setrlimit-nofile" => {
            nix::sys::resource::setrlimit(Resource::RLIMIT_NOFILE, num(0)?, num(1)?)?;
            ok
        }
        "eat" => {
            let mut v = vec![0u8; num(0)? as usize];
            for i in (0..v.len()).step_by(4096) {
                v[i] = 1;
            }
            json!(v.len())
        }
        // Keeps a processor busy until it is killed.
        "burn" => {
            say("ready");
            loop {
                std::hint::spin_loop();
            }
        }
        "hammer" => hammer(arg(0)?)?,
        "spawn" => spawn(num(0)?),
        // Children that outlive their parent, in a session of their own.
        "daemon" => {
            let child = Command::new("/proc/self/exe")
                .args(["probe", "sleep"])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .process_group(0)
                .spawn()?;
            let id = child.id();
            // Its "ready" line, so that it is known to be running.
            let mut byte = [0];
            if let Some(mut out) = child.stdout {
                out.read_exact(&mut byte)?;
            }
            json!(id)
        }
        // A process that keeps this one's streams.
        "leave" => {
            let child = Command::new("/proc/self/exe").args(["probe", "linger"]).spawn()?;
            json!(child.id())
        }
        "linger" => loop {
            std::thread::park();
        },
        "bind" => {
            let none: Option<&str> = None;
            nix::mount::mount(Some(arg(0)?), arg(1)?, none, nix::mount::MsFlags::MS_BIND, none)?;
            ok
        }
        "symlink" => {
            std::os::unix::fs::symlink(arg(0)?, arg(1)?)?;
            ok
        }
        "spy" => spy(),
        "bytes" => {
            let chunk = vec![b'x'; num(0)? as usize];
            io::stdout().write_all(&chunk)?;
            Value::Null
        }
        "hook" => {
            hook(arg(0)?, args.get(1).map_or("", String::as_str))?;
            Value::Null
        }
        _ => return Err(io::Error::other(format!("unknown verb {name}"))),
    })
}

/// Prints "ready", then a line for each signal that arrives; SIGTERM ends it.
fn wait() -> io::Result<Value> {
    let mut set = SigSet::empty();
    for signal in Signal::iterator() {
        if !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP | Signal::SIGCHLD) {
            set.add(signal);
        }
    }
    set.thread_block()?;
    say("ready");
    loop {
        let signal = set.wait()?;
        say(&format!("signal {}", signal.as_str()));
        if signal == Signal::SIGWINCH {
            say(&json!(tty(io::stdin().as_fd())).to_string());
        }
        if signal == Signal::SIGTERM {
            return Ok(Value::Null);
        }
    }
}

/// Opens a file and writes into it, again and again until SIGTERM; tells how often, and how often that failed.
fn hammer(file: &str) -> io::Result<Value> {
    use nix::sys::signal::{SigmaskHow, sigprocmask};
    let mut term = SigSet::empty();
    term.add(Signal::SIGTERM);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&term), None)?;
    let signal = nix::sys::signalfd::SignalFd::with_flags(&term, nix::sys::signalfd::SfdFlags::SFD_NONBLOCK)?;
    say("ready");
    let (mut done, mut failed) = (0, 0);
    while signal.read_signal()?.is_none() {
        match fs::OpenOptions::new().write(true).open(file).and_then(|mut f| f.write_all(b"x")) {
            Ok(()) => done += 1,
            Err(_) => failed += 1,
        }
    }
    Ok(json!({"done": done, "failed": failed}))
}

/// Writes past the page cache, 64 KiB at a time; how long that took.
fn write_direct(file: &str, bytes: usize) -> io::Result<Value> {
    const CHUNK: usize = 65536;
    let mut file = fs::OpenOptions::new().write(true).custom_flags(nix::libc::O_DIRECT).open(file)?;
    // Memory for direct I/O must be aligned as the device's blocks are.
    let buffer = vec![0x55; CHUNK + 4096];
    let start = buffer.as_ptr().align_offset(4096);
    let begin = std::time::Instant::now();
    for _ in 0..bytes / CHUNK {
        file.write_all(&buffer[start..start + CHUNK])?;
    }
    Ok(json!({"seconds": begin.elapsed().as_secs_f64()}))
}

/// Starts up to `n` sleeping children; tells how many could be started and why the next could not; ends them again.
fn spawn(n: u64) -> Value {
    let mut children = Vec::new();
    let mut error = Value::Null;
    for _ in 0..n {
        match Command::new("/proc/self/exe").args(["probe", "sleep"]).stdout(Stdio::null()).spawn() {
            Ok(child) => children.push(child),
            Err(e) => {
                error = json!(errno_name(&e));
                break;
            }
        }
    }
    let count = children.len();
    for mut child in children {
        let _ = child.kill();
        let _ = child.wait();
    }
    json!({"started": count, "error": error})
}

/// What a container's process that is bad could do with those that come in from outside, until a file `/stop` is there:
/// it looks for what it may reach through their /proc, takes them as a debugger, and keeps their executables to
/// write to them as soon as that is possible.
fn spy() -> Value {
    use nix::fcntl::{OFlag, open};
    use nix::sys::ptrace;
    use nix::unistd::Pid;
    let own = std::process::id() as i32;
    let mut kept = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut breaches = std::collections::BTreeSet::new();
    let mut refused = BTreeMap::<String, u64>::new();
    say("ready");
    while !Path::new("/stop").exists() {
        let Ok(dir) = fs::read_dir("/proc") else { break };
        for pid in dir.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok()).filter(|p| *p != own) {
            seen.insert(pid);
            let of = |name: &str| format!("/proc/{pid}/{name}");
            let program = |exe: &Path| exe == Path::new("/probe");
            if let Ok(fds) = fs::read_dir(of("fd")) {
                for fd in fds.flatten() {
                    // The process may be the container's own program by now: it has only what it was given.
                    let Ok(target) = fs::read_link(fd.path()) else { continue };
                    if fs::metadata(fd.path()).is_ok_and(|m| m.is_dir()) && !target.starts_with("/proc") {
                        breaches.insert(format!(
                            "descriptor {} is the directory {}",
                            fd.path().display(),
                            target.display()
                        ));
                    }
                }
            }
            for name in ["cwd", "root"] {
                if let (Ok(there), Ok(own)) = (fs::metadata(of(name)), fs::metadata("/"))
                    && (there.dev(), there.ino()) != (own.dev(), own.ino())
                {
                    breaches.insert(format!("its {name} is not the container's"));
                }
            }
            let Ok(exe) = fs::read_link(of("exe")) else { continue };
            if program(&exe) {
                continue;
            }
            if ptrace::seize(Pid::from_raw(pid), ptrace::Options::empty()).is_ok() {
                if fs::read_link(of("exe")).is_ok_and(|e| !program(&e)) && fs::metadata(of("fd/3")).is_ok() {
                    breaches.insert(format!("traced while it was {}", exe.display()));
                }
                // Only a stopped one can be let go, and one that ends meanwhile stays a zombie until its tracer has looked.
                let _ = ptrace::interrupt(Pid::from_raw(pid));
                let _ = nix::sys::wait::waitpid(Pid::from_raw(pid), Some(nix::sys::wait::WaitPidFlag::__WALL));
                let _ = ptrace::detach(Pid::from_raw(pid), None);
            }
            if let Ok(fd) = open(of("exe").as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
                kept.insert(pid, (fd, exe));
            }
        }
        for (fd, exe) in kept.values() {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(fd));
            match fs::OpenOptions::new().write(true).open(path) {
                Ok(_) => drop(breaches.insert(format!("{} can be written to", exe.display()))),
                Err(e) => *refused.entry(errno_name(&e)).or_default() += 1,
            }
        }
        // Few are enough: those of long ago are as writable as those of now.
        while kept.len() > 16 {
            kept.pop_first();
        }
    }
    json!({"seen": seen.len(), "kept": kept.len(), "refused": refused, "breaches": breaches})
}

/// Appends one line of what a hook sees to `file`.
fn hook(file: &str, tag: &str) -> io::Result<()> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME)?;
    let line = json!({
        "tag": tag,
        "time": (now.tv_sec() as u64) * 1_000_000_000 + now.tv_nsec() as u64,
        "args": std::env::args().collect::<Vec<_>>(),
        "env": environment(),
        "cwd": std::env::current_dir().ok(),
        "stdin": text,
        "state": serde_json::from_str::<Value>(&text).unwrap_or(Value::Null),
        "ns": namespaces(),
        "root_probe": fs::metadata("/probe").is_ok(),
        "seen_probe": fs::metadata("/seen").is_ok(),
        "pid": std::process::id(),
    });
    let mut f = fs::OpenOptions::new().append(true).create(true).open(file)?;
    f.write_all(format!("{line}\n").as_bytes())
}

/// What of `PATH`: type, mode, owner, device, link target. Null if it does not exist.
fn stat(path: &Path) -> Value {
    let Ok(m) = fs::symlink_metadata(path) else { return Value::Null };
    let t = m.file_type();
    let kind = match () {
        () if t.is_dir() => "dir",
        () if t.is_symlink() => "link",
        () if t.is_char_device() => "char",
        () if t.is_block_device() => "block",
        () if t.is_fifo() => "fifo",
        () if t.is_socket() => "socket",
        () => "file",
    };
    json!({
        "type": kind,
        "mode": format!("{:04o}", m.mode() & 0o7777),
        "uid": m.uid(),
        "gid": m.gid(),
        "size": m.size(),
        "rdev": format!("{}:{}", nix::sys::stat::major(m.rdev()), nix::sys::stat::minor(m.rdev())),
        "dev": m.dev(),
        "ino": m.ino(),
        "link": fs::read_link(path).ok(),
    })
}

/// A named path: its `stat`, what reading and writing it give, and its content (64 KiB at most).
fn look(path: &str) -> Value {
    let p = Path::new(path);
    let mut v = stat(p);
    let Some(o) = v.as_object_mut() else { return v };
    let open = |write: bool| {
        fs::OpenOptions::new()
            .read(!write)
            .write(write)
            .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
            .open(p)
            .map_err(|e| errno_name(&e))
    };
    if p.is_dir() {
        let list = fs::read_dir(p).map(|d| {
            let mut l: Vec<_> = d.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            l.sort();
            l
        });
        o.insert("list".into(), list.map_or_else(|e| json!(errno_name(&e)), |l| json!(l)));
        let trial = p.join(".probe-trial");
        let made = fs::File::create(&trial).map_err(|e| errno_name(&e));
        let _ = fs::remove_file(&trial);
        o.insert("create".into(), made.map_or_else(|e| json!(e), |_| json!("ok")));
        return v;
    }
    let mut text = Vec::new();
    let read = open(false).and_then(|f| f.take(65536).read_to_end(&mut text).map_err(|e| errno_name(&e)));
    // Devices such as /dev/zero have no end: their 64 KiB are of no use to anybody.
    let regular = p.is_file();
    o.insert("read".into(), read.map_or_else(|e| json!(e), |_| json!("ok")));
    o.insert("text".into(), if regular { json!(String::from_utf8_lossy(&text)) } else { Value::Null });
    o.insert("write".into(), open(true).map_or_else(|e| json!(e), |_| json!("ok")));
    v
}

/// What stands between the address and the mapping in a line of numa_maps (numa(7)); it may hold a space.
fn memory_policy(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(' ')?;
    let end = [" file=", " anon=", " heap", " stack", " huge"].iter().filter_map(|word| rest.find(word)).min();
    Some(rest[..end.unwrap_or(rest.len())].to_owned())
}

fn environment() -> BTreeMap<String, String> {
    std::env::vars_os().map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned())).collect()
}

fn namespaces() -> BTreeMap<String, String> {
    ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"]
        .into_iter()
        .filter_map(|n| {
            Some((n.to_owned(), fs::read_link(format!("/proc/self/ns/{n}")).ok()?.to_string_lossy().into_owned()))
        })
        .collect()
}

/// Decodes the `\040` escapes of mountinfo.
fn unescape(s: &str) -> String {
    let mut out = Vec::new();
    let b = s.as_bytes();
    let mut i = 0;
    while i < b.len() {
        let octal = b.get(i + 1..i + 4).and_then(|d| std::str::from_utf8(d).ok()).filter(|_| b[i] == b'\\');
        if let Some(n) = octal.and_then(|d| u8::from_str_radix(d, 8).ok()) {
            out.push(n);
            i += 4;
        } else {
            out.push(b[i]);
            i += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// One entry a line of mountinfo (proc_pid_mountinfo(5)), in the order of the kernel.
pub(crate) fn mounts(mountinfo: &str) -> Vec<Value> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let l: Vec<&str> = left.split(' ').collect();
            let r: Vec<&str> = right.split(' ').collect();
            Some(json!({
                "root": unescape(l.get(3)?),
                "point": unescape(l.get(4)?),
                "options": l.get(5)?.split(',').collect::<Vec<_>>(),
                "propagation": l[6..].iter().filter(|s| !s.is_empty()).collect::<Vec<_>>(),
                "type": r.first()?,
                "source": unescape(r.get(1)?),
                "super": r.get(2)?.split(',').collect::<Vec<_>>(),
            }))
        })
        .collect()
}

fn tty(fd: std::os::fd::BorrowedFd<'_>) -> Value {
    if !rustix::termios::isatty(fd) {
        return Value::Null;
    }
    let size = rustix::termios::tcgetwinsize(fd).map(|w| json!([w.ws_row, w.ws_col])).unwrap_or_default();
    json!({"size": size})
}

/// The facts of this process; `paths` are looked at one by one.
fn report(paths: &[String]) -> Value {
    let mut fds = Map::new();
    if let Ok(dir) = fs::read_dir("/proc/self/fd") {
        for entry in dir.flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            // The descriptor that lists the directory is ours.
            let target = target.to_string_lossy().into_owned();
            if !(target.starts_with("/proc/") && target.ends_with("/fd")) {
                fds.insert(entry.file_name().to_string_lossy().into_owned(), json!(target));
            }
        }
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).map(str::trim).unwrap_or_default()
    };
    let ids = |name: &str| field(name).split_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<u32>>();
    let caps = |name: &str| {
        let mask = u64::from_str_radix(field(name), 16).unwrap_or(0);
        (0..64)
            .filter(|i| mask >> i & 1 == 1)
            .map(|i| CAPS.get(i).map_or_else(|| format!("CAP_{i}"), ToString::to_string))
            .collect::<Vec<_>>()
    };
    let stat_line = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields after the command's name, which may hold spaces; [0] is field 3 of proc_pid_stat(5).
    let after: Vec<&str> = stat_line.rsplit_once(')').map(|(_, r)| r.split_whitespace().collect()).unwrap_or_default();
    let number = |n: usize| after.get(n - 3).and_then(|s| s.parse::<i64>().ok());
    let read = |path: &str| fs::read_to_string(path).ok().map(|s| s.trim_end().to_owned());
    let umask = nix::sys::stat::umask(Mode::empty());
    nix::sys::stat::umask(umask);
    let uts = nix::sys::utsname::uname().ok();
    let rlimits: BTreeMap<_, _> =
        RLIMITS.iter().filter_map(|(n, r)| getrlimit(*r).ok().map(|(s, h)| (*n, json!([s, h])))).collect();
    let dev: BTreeMap<String, Value> = fs::read_dir("/dev")
        .map(|d| d.flatten().map(|e| (e.file_name().to_string_lossy().into_owned(), stat(&e.path()))).collect())
        .unwrap_or_default();
    let clock = |id| nix::time::clock_gettime(id).ok().map(|t| t.tv_sec());
    json!({
        "args": std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>(),
        "env": environment(),
        "env_list": read("/proc/self/environ").map(|s| s.split_terminator('\0').map(str::to_owned).collect::<Vec<_>>()),
        "cwd": std::env::current_dir().ok(),
        "uid": ids("Uid"),
        "gid": ids("Gid"),
        "groups": ids("Groups"),
        "umask": format!("{:04o}", umask.bits()),
        "caps": {
            "effective": caps("CapEff"),
            "permitted": caps("CapPrm"),
            "inheritable": caps("CapInh"),
            "bounding": caps("CapBnd"),
            "ambient": caps("CapAmb"),
        },
        "rlimits": rlimits,
        "ns": namespaces(),
        "mounts": mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()),
        "fds": fds,
        "hostname": uts.as_ref().and_then(|u| u.nodename().to_str()),
        "domainname": uts.as_ref().and_then(|u| u.domainname().to_str()),
        "machine": uts.as_ref().and_then(|u| u.machine().to_str()),
        "seccomp": field("Seccomp").parse::<u32>().ok(),
        "no_new_privs": field("NoNewPrivs").parse::<u32>().ok(),
        "thp": field("THP_enabled"),
        "oom_score_adj": read("/proc/self/oom_score_adj").and_then(|s| s.parse::<i64>().ok()),
        "pid": std::process::id(),
        "ppid": std::os::unix::process::parent_id(),
        "pgid": number(5),
        "sid": number(6),
        "nice": number(19),
        "rt_priority": number(40),
        "policy": number(41),
        "sig_blocked": field("SigBlk"),
        "sig_ignored": field("SigIgn"),
        "sig_pending": field("SigPnd"),
        "cpus": field("Cpus_allowed_list"),
        "mems": field("Mems_allowed_list"),
        "personality": read("/proc/self/personality").and_then(|s| u32::from_str_radix(&s, 16).ok()),
        "cgroup": read("/proc/self/cgroup"),
        "uid_map": read("/proc/self/uid_map"),
        "gid_map": read("/proc/self/gid_map"),
        "timens_offsets": read("/proc/self/timens_offsets"),
        "memory_policy": read("/proc/self/numa_maps").and_then(|s| memory_policy(s.lines().next()?)),
        "session_keyring": read("/proc/self/attr/current"),
        "keys": read("/proc/keys"),
        "boottime": clock(nix::time::ClockId::CLOCK_BOOTTIME),
        "monotonic": clock(nix::time::ClockId::CLOCK_MONOTONIC),
        "tty": {"0": tty(io::stdin().as_fd()), "1": tty(io::stdout().as_fd()), "2": tty(io::stderr().as_fd())},
        "ctty": fs::File::open("/dev/tty").map_or_else(|e| errno_name(&e), |_| "ok".to_owned()),
        "dev": dev,
        "paths": paths.iter().map(|p| (p.clone(), look(p))).collect::<BTreeMap<_, _>>(),
    })
}
