//! What the command line adds to the library, with real containers: exit codes, signals, terminals, files and sockets for
//! the caller, the log of a failure, the program's own file. Needs root and a static busybox.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::Pid;
use runtime_core::sys;
use serde_json::{Value, json};

const ORLOP: &str = env!("CARGO_BIN_EXE_orlop");

/// A bundle, a state directory and the containers in it, until the test ends, whatever happens.
struct Place {
    dir: PathBuf,
    /// Beginning of all ids.
    name: String,
}

impl Place {
    /// `None`, with the reason on standard error: this machine can't run it.
    fn new(name: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
            eprintln!("SKIPPED: needs root and /bin/busybox");
            return None;
        }
        let name = format!("orlop-test-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(&name);
        fs::create_dir_all(dir.join("rootfs/proc")).unwrap();
        fs::create_dir_all(dir.join("rootfs/dev")).unwrap();
        fs::create_dir_all(dir.join("rootfs/sys")).unwrap();
        fs::create_dir_all(dir.join("rootfs/bin")).unwrap();
        fs::copy("/bin/busybox", dir.join("rootfs/bin/busybox")).unwrap();
        for applet in ["sh", "sleep", "true", "tty", "cat", "stty"] {
            std::os::unix::fs::symlink("busybox", dir.join("rootfs/bin").join(applet)).unwrap();
        }
        Some(Place { dir, name })
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    fn id(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.name)
    }

    /// A configuration that runs a shell.
    fn bundle(&self, terminal: bool, args: &[&str]) {
        let _ = fs::remove_file(self.path("config.json"));
        let config = Command::new(ORLOP).args(["spec", "--bundle", &self.path("")]).output().unwrap();
        assert!(config.status.success());
        let file = self.path("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        config["process"]["terminal"] = json!(terminal);
        config["process"]["args"] = json!(args);
        fs::write(file, config.to_string()).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(ORLOP);
        command.arg("--root").arg(self.dir.join("state")).args(arguments).stdin(Stdio::null());
        command
    }

    /// A finished command.
    fn execute(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Without pipes, which a container that stays would keep open.
    fn start(&self, arguments: &[&str]) -> i32 {
        let status = self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        status.code().unwrap()
    }

    fn state(&self, id: &str) -> Value {
        let output = self.execute(&["state", id]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.dir.join("state")).into_iter().flatten().flatten() {
            self.execute(&["delete", "--force", &entry.file_name().to_string_lossy()]);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn run_and_exec_exit_as_their_process() {
    let Some(place) = Place::new("exit") else { return };
    let bundle = place.path("");
    let run = |suffix: &str, args: &[&str], flags: &[&str]| {
        place.bundle(false, args);
        let id = place.id(suffix);
        let output = place.execute(&[&["run", "--bundle", &bundle], flags, &[&id]].concat());
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    assert_eq!(run("a", &["sh", "-c", "echo out; exit 3"], &[]), (3, "out\n".into(), String::new()));
    assert_eq!(place.execute(&["state", &place.id("a")]).status.code(), Some(1), "deleted");
    assert_eq!(run("b", &["true"], &["--keep"]), (0, String::new(), String::new()));
    assert_eq!(place.state(&place.id("b"))["status"], "stopped");
    assert_eq!(place.start(&["delete", &place.id("b")]), 0);

    let (code, _, said) = run("c", &["no-such-program"], &[]);
    assert_eq!(code, 1);
    let expect = "runc run failed: unable to start container process: error during container init: exec: \
                  \\\"no-such-program\\\": executable file not found in $PATH";
    assert!(said.contains(expect), "{said}");
    assert_eq!(said.lines().count(), 1);

    place.bundle(false, &["sleep", "1000"]);
    let id = place.id("d");
    assert_eq!(place.start(&["run", "--detach", "--bundle", &bundle, &id]), 0);
    let exec = |args: &[&str]| place.execute(&[&["exec", &id], args].concat());
    assert_eq!(exec(&["sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(exec(&["sh", "-c", "kill -9 $$"]).status.code(), Some(128 + 9));
    let missing = exec(&["/no/such"]);
    assert_eq!(missing.status.code(), Some(255));
    let expect = "exec failed: unable to start container process: exec: \\\"/no/such\\\": stat /no/such: no such file or directory";
    assert!(text(&missing.stderr).contains(expect));
    for user in ["abc", "1:", ":1", "-1", "", "4294967295"] {
        let output = place.execute(&["exec", "--user", user, &id, "sh", "-c", "echo ran"]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(255), String::new()), "{user:?}");
    }
    let ids = place.execute(&["exec", "--user", "1:2", "-g", "3", &id, "busybox", "id"]);
    assert_eq!(text(&ids.stdout), "uid=1 gid=2 groups=3\n");
}

#[test]
fn signals_reach_the_process() {
    let Some(place) = Place::new("signals") else { return };
    place.bundle(false, &["sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 1000 & wait $!; done"]);
    let id = place.id("a");
    let mut child = place.command(&["run", "--bundle", &place.path(""), &id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert_eq!(place.start(&["state", &id]), 1);
}

/// A terminal like that of a user: what the program is started on, and the user's side.
fn user_terminal() -> (OwnedFd, OwnedFd) {
    let master = OwnedFd::from(fs::File::options().read(true).write(true).open("/dev/ptmx").unwrap());
    sys::unlock_pty(master.as_fd()).unwrap();
    let terminal = sys::open_pty_peer(master.as_fd()).unwrap();
    (master, terminal)
}

/// Reads on until the screen ends so.
fn read_to(user: &mut fs::File, screen: &mut String, end: &str) {
    while !screen.ends_with(end) {
        let mut buffer = [0; 256];
        let count = user.read(&mut buffer).unwrap();
        screen.push_str(&text(&buffer[..count]));
    }
}

#[test]
fn a_terminal_is_connected() {
    let Some(place) = Place::new("terminal") else { return };
    place.bundle(true, &["sh", "-c", "stty size; read line; echo got $line; exit 4"]);
    let (master, terminal) = user_terminal();
    sys::set_window_size(master.as_fd(), sys::Winsize { rows: 12, columns: 34 }).unwrap();
    let before = nix::sys::termios::tcgetattr(&terminal).unwrap();
    let stdio = || Stdio::from(terminal.try_clone().unwrap());
    let mut command = place.command(&["run", "--bundle", &place.path(""), &place.id("a")]);
    let mut child: Child = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
    drop(command);
    let mut user = fs::File::from(master);
    let mut screen = String::new();
    read_to(&mut user, &mut screen, "12 34\r\n");
    user.write_all(b"hello\r").unwrap();
    read_to(&mut user, &mut screen, "got hello\r\n");
    assert_eq!(child.wait().unwrap().code(), Some(4));
    assert_eq!(screen, "12 34\r\nhello\r\ngot hello\r\n");
    assert_eq!(nix::sys::termios::tcgetattr(&terminal).unwrap(), before);
}

#[test]
fn a_terminal_without_the_user() {
    let Some(place) = Place::new("no-user") else { return };
    place.bundle(true, &["sh", "-c", "tty; cat; exit 6"]);
    let id = place.id("a");
    let mut command = place.command(&["run", "--bundle", &place.path(""), &id]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // A line, and the terminal's end of file.
    child.stdin.take().unwrap().write_all(b"line\n\x04").unwrap();
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(6));
    // The echo, then what `cat` made of it; the echo may come before the first line.
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 3, "{output:?}");
    assert_eq!(lines.iter().filter(|line| **line == "line").count(), 2, "{output:?}");
    assert!(lines.contains(&"/dev/pts/0"), "{output:?}");
}

#[test]
fn the_caller_learns_the_pid() {
    let Some(place) = Place::new("pid") else { return };
    place.bundle(false, &["sleep", "1000"]);
    let (id, bundle) = (place.id("a"), place.path(""));
    let (pid_file, socket) = (place.path("pid"), place.path("socket"));
    // CRI-O makes it before.
    fs::write(&pid_file, "").unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    let create = ["create", "--bundle", &bundle, "--pid-file", &pid_file, "--pidfd-socket", &socket, &id];
    assert_eq!(place.start(&create), 0);
    let pid = place.state(&id)["pid"].as_i64().unwrap();
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), pid.to_string());
    // Nobody had accepted the connection until now.
    let (stream, _) = listener.accept().unwrap();
    let mut buffer = [0; 64];
    let (count, pidfd) = sys::receive_with_fd(stream.as_fd(), &mut buffer).unwrap();
    assert_eq!(&buffer[..count], b"standard");
    sys::pidfd_send_signal(pidfd.unwrap().as_fd(), 0).unwrap();

    assert_eq!(place.start(&["start", &id]), 0);
    let exec_file = place.path("exec");
    assert_eq!(place.start(&["exec", "--detach", "--pid-file", &exec_file, &id, "sleep", "1000"]), 0);
    let pid: u32 = fs::read_to_string(&exec_file).unwrap().parse().unwrap();
    assert!(text(&fs::read(format!("/proc/{pid}/cmdline")).unwrap()).starts_with("sleep\0"));
    let failed = place.path("failed");
    assert_eq!(place.start(&["exec", "--detach", "--pid-file", &failed, &id, "no-such-program"]), 255);
    assert!(!Path::new(&failed).exists());

    // Where the pid can't be told, there is no container.
    let (other, nowhere) = (place.id("b"), place.path("no/such/dir/pid"));
    assert_eq!(place.start(&["create", "--bundle", &bundle, "--pid-file", &nowhere, &other]), 1);
    assert_eq!(text(&place.execute(&["list", "-q"]).stdout), format!("{id}\n"));
}

#[test]
fn a_failure_is_one_record() {
    let Some(place) = Place::new("failure") else { return };
    place.bundle(false, &["no-such-program"]);
    let (log, pid_file) = (place.path("log.json"), place.path("pid"));
    let arguments =
        ["--log", &log, "--log-format", "json", "create", "--bundle", &place.path(""), "--pid-file", &pid_file];
    let output = place.execute(&[&arguments[..], &[&place.id("a")]].concat());
    let message = "runc create failed: unable to start container process: error during container init: exec: \
                   \"no-such-program\": executable file not found in $PATH";
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), format!("{message}\n")));
    // podman parses the whole file as one document.
    let record: Value = serde_json::from_slice(&fs::read(&log).unwrap()).unwrap();
    assert_eq!((&record["level"], &record["msg"]), (&json!("error"), &json!(message)));
    assert!(!Path::new(&pid_file).exists());
    assert_eq!(text(&place.execute(&["list", "-q"]).stdout), "");
}

#[test]
fn nobody_can_write_to_the_program() {
    let Some(place) = Place::new("own-binary") else { return };
    place.bundle(false, &["sleep", "1000"]);
    let id = place.id("a");
    // A copy on a file system that can be written to, under another name.
    let program = place.path("runc");
    // By another process: a child that another test makes meanwhile must not inherit a descriptor for writing (ETXTBSY).
    assert!(Command::new("cp").args([ORLOP, &program]).status().unwrap().success());
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    let before = mounts();
    let root = place.path("state");
    let status = Command::new(&program)
        .args(["--root", &root, "create", "--bundle", &place.path(""), &id])
        .stdin(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    assert_eq!(mounts(), before);
    let pid = place.state(&id)["pid"].as_i64().unwrap();
    let exe = format!("/proc/{pid}/exe");
    assert!(statvfs(exe.as_str()).unwrap().flags().contains(FsFlags::ST_RDONLY));
    let error = fs::File::options().write(true).open(&exe).unwrap_err();
    assert!(matches!(error.raw_os_error(), Some(libc::EROFS | libc::ETXTBSY)), "{error}");
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(), "runc\n");
}

/// The events of a trace, in its order: name, category, begin and end in microseconds.
fn events(file: &str) -> Vec<(String, String, f64, f64)> {
    let events: Vec<Value> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let complete = events.into_iter().filter(|event| event["ph"] == "X").map(|event| {
        let (text, number) =
            (|key: &str| event[key].as_str().unwrap().to_owned(), |key: &str| event[key].as_f64().unwrap());
        (text("name"), text("cat"), number("ts"), number("ts") + number("dur"))
    });
    complete.collect()
}

#[test]
fn a_trace_has_every_process_on_one_time_line() {
    let Some(place) = Place::new("trace") else { return };
    place.bundle(false, &["sleep", "1000"]);
    let (id, bundle, file) = (place.id("a"), place.path(""), place.path("trace.json"));
    let trace = |arguments: &[&str], expect: &[(&str, &str)]| {
        assert_eq!(place.start(&[&["--trace", &file], arguments].concat()), 0, "{arguments:?}");
        let events = events(&file);
        let mut rest = events.iter();
        for (name, by) in expect {
            assert!(rest.any(|event| event.0.starts_with(name) && event.1 == *by), "no {name} of {by}: {events:#?}");
        }
        assert!(events.is_sorted_by(|a, b| a.2 <= b.2), "{events:#?}");
        assert!(events.iter().all(|event| event.2 <= event.3), "{events:#?}");
        let steps: Vec<_> = events.iter().filter(|event| event.1 == "init").collect();
        assert!(steps.is_sorted_by(|a, b| a.3 <= b.2 + 0.01), "steps overlap: {steps:#?}");
    };
    let again = [("start of the process", "orlop"), ("protect the runtime's binary", "orlop"), ("protect", "orlop")];
    let create = [
        ("read config.json", "orlop"),
        ("probe the machine", "orlop"),
        ("plan", "orlop"),
        ("write config.json", "orlop"),
        ("write state.json", "orlop"),
        ("make cgroup", "orlop"),
        ("open mount tree", "orlop"),
        ("clone init", "orlop"),
        ("die with the parent", "init"),
        ("mount proc on /proc", "init"),
        ("pivot root", "init"),
        ("wait for the parent (ready)", "init"),
        // Then init is by itself: whether it notes more before the runtime ends is chance.
        ("write state.json", "orlop"),
    ];
    trace(&["create", "--bundle", &bundle, &id], &[&again[..], &create].concat());
    let start = [("read state.json", "orlop"), ("find out the status", "orlop"), ("exec sleep", "init")];
    trace(&["start", &id], &start);
    let exec = [("clone init", "orlop"), ("join the container's namespaces", "init"), ("execute true", "init")];
    trace(&["exec", &id, "true"], &[&again[..], &exec, &[("wait for the process", "orlop")]].concat());
    trace(&["kill", &id, "KILL"], &[("read state.json", "orlop")]);
    let gone = ["kill what runs", "remove cgroup", "remove the state directory"].map(|name| (name, "orlop"));
    trace(&["delete", "--force", &id], &gone);
    place.bundle(false, &["true"]);
    let end = [("execute true", "init"), ("wait for the process", "orlop"), ("remove cgroup", "orlop")];
    trace(&["run", "--bundle", &bundle, &place.id("b")], &[&again[..], &create, &end].concat());
    // A command that fails has a trace too.
    assert_eq!(place.start(&["--trace", &file, "start", &place.id("c")]), 1);
    assert_eq!(events(&file).last().unwrap().0, "read state.json");
    assert_eq!(place.start(&["--trace", "/no/such/file", "state", &place.id("c")]), 1);
}
