//! Engines' own command lines, word for word and in their order.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{case, records};
use crate::ctx::{Bundle, Cmd, Console, Ctx, Driver, Out, Outcome, Stop, args, contains, ensure, eq, skip};
use crate::frame::Case;

/// A container and what an engine's lines name: ROOT, BUNDLE, ID, LOG, PID, EXECPID, PROCESS, SOCKET.
struct Lines<'a> {
    x: &'a Ctx,
    b: Bundle,
    root: String,
    console: Console,
}

impl<'a> Lines<'a> {
    /// Its program waits. The process for `exec` does what `process` says.
    fn new(x: &'a Ctx, terminal: bool, process: &str) -> Result<Lines<'a>, Stop> {
        let b = x.bundle(|c| {
            args(c, "wait");
            c["process"]["terminal"] = json!(terminal);
        })?;
        let words: Vec<&str> = std::iter::once("/probe").chain(process.split(' ')).collect();
        let process = json!({"user": {"uid": 0, "gid": 0}, "args": words, "cwd": "/", "terminal": terminal});
        fs::write(b.path("process.json"), process.to_string())?;
        let root = x.state_root().to_string_lossy().into_owned();
        Ok(Lines { x, b, root, console: x.console()? })
    }

    fn cmd(&self, line: &str) -> Cmd<'a> {
        let b = &self.b;
        let at = |word: &str| match word {
            "BUNDLE" => b.dir().to_owned(),
            "ID" => b.id.clone(),
            "PID" => b.path("init.pid"),
            "EXECPID" => b.path("exec.pid"),
            "PROCESS" => b.path("process.json"),
            "LOG" => b.path("log.json"),
            "SOCKET" => self.console.path.clone(),
            "ROOT" => self.root.clone(),
            word => word.to_owned(),
        };
        let words = line.split(' ').map(|word| match word.split_once('=') {
            Some((flag, value)) => format!("{flag}={}", at(value)),
            None => at(word),
        });
        self.x.bare(words.collect::<Vec<_>>())
    }

    fn go(&self, line: &str) -> Result<Out, Stop> {
        self.cmd(line).cwd(&self.b.dir).go()
    }

    fn ok(&self, line: &str) -> Result<Out, Stop> {
        self.go(line)?.ok()
    }

    fn pid(&self, file: &str) -> Result<i32, Stop> {
        Ok(fs::read_to_string(self.b.path(file))?.parse()?)
    }

    fn is(&self, status: &str) -> Outcome {
        self.x.status(&self.b.id, status)
    }

    /// What a failed command leaves in the log: one record.
    fn said(&self, text: &str) -> Outcome {
        let all = records(&fs::read_to_string(self.b.path("log.json"))?)?;
        let last = all.last().map(|r| r["msg"].to_string()).unwrap_or_default();
        contains("the last record", &last, &[text])
    }
}

/// containerd's shim, in the bundle's directory; docker has another root.
fn containerd(x: &Ctx) -> Outcome {
    let l = Lines::new(x, false, "wait")?;
    let global = "--root ROOT --log LOG --log-format json";
    let ok = |line: &str| l.ok(&format!("{global} {line}"));
    let mut out = l.cmd(&format!("{global} create --bundle BUNDLE --pid-file PID ID")).cwd(&l.b.dir).spawn()?;
    out.started()?;
    ok("start ID")?;
    out.expect("ready")?;
    let mut exec = l.cmd(&format!("{global} exec --process PROCESS --detach --pid-file EXECPID ID")).spawn()?;
    exec.started()?;
    fs::remove_file(l.b.path("process.json"))?;
    exec.expect("ready")?;
    let mut pids: Vec<i32> = serde_json::from_value(ok("ps --format json ID")?.json()?)?;
    pids.sort_unstable();
    let mut want = vec![l.pid("init.pid")?, l.pid("exec.pid")?];
    want.sort_unstable();
    eq("pids", pids, want)?;
    l.cmd(&format!("{global} update --resources=- ID")).input("{}")?.go()?.ok()?;
    ok("pause ID")?;
    l.is("paused")?;
    ok("resume ID")?;
    ok("kill ID 15")?;
    x.gone(l.pid("init.pid")?)?;
    l.go(&format!("{global} kill ID 9"))?.exits(1)?;
    l.said("container not running")?;
    ok("kill --all ID 9")?;
    ok("delete ID")?;
    l.go(&format!("{global} delete ID"))?.exits(1)?;
    l.said("does not exist")?;
    ok("delete --force ID")?;
    x.bare(["features"]).go()?.ok().map(drop)
}

/// go-runc's other commands.
fn go_runc(x: &Ctx) -> Outcome {
    let l = Lines::new(x, false, "wait")?;
    l.cmd("--root ROOT --debug=false run --bundle BUNDLE --pid-file PID --detach ID").spawn()?.started()?;
    eq("id", l.ok("--root ROOT state ID")?.json()?["id"].as_str(), Some(l.b.id.as_str()))?;
    eq("list", l.ok("--root ROOT list --format=json")?.json()?.as_array().map(Vec::len), Some(1))?;
    contains("ps", &l.ok("--root ROOT ps --format table ID -e -o pid,args")?.stdout, &["PID", "/probe wait"])?;
    let stats = l.ok("--root ROOT events --stats ID")?.json()?;
    eq("type", stats["type"].as_str(), Some("stats"))
}

/// conmon for podman, which gives no `--root`: here one is given. The failure is what podman reads of the log.
fn conmon(x: &Ctx) -> Outcome {
    let l = Lines::new(x, true, "echo here")?;
    let global = "--root ROOT --log-format=json --log LOG";
    l.ok(&format!("{global} create --bundle BUNDLE --pid-file PID --console-socket SOCKET ID"))?;
    let first = l.console.accept()?;
    l.ok("--root ROOT start ID")?;
    l.ok(&format!("{global} exec --pid-file EXECPID --process PROCESS --detach --console-socket SOCKET ID"))?;
    contains("the terminal", &l.console.accept()?.read_all(), &["here"])?;
    // As the line of `exec` is without a terminal.
    let process = json!({"user": {"uid": 0, "gid": 0}, "args": ["/probe", "exit", "0"], "cwd": "/"});
    fs::write(l.b.path("process.json"), process.to_string())?;
    l.ok(&format!("{global} exec --pid-file EXECPID --process PROCESS --detach --preserve-fds 0 ID"))?;
    fs::write(l.b.path("process.json"), process.to_string().replace("/probe", "nosuch"))?;
    fs::remove_file(l.b.path("exec.pid"))?;
    l.go(&format!("{global} exec --pid-file EXECPID --process PROCESS --detach ID"))?.exits(255)?;
    ensure(!Path::new(&l.b.path("exec.pid")).exists(), "a pid file was written")?;
    l.said("executable file not found in $PATH")?;
    l.ok("--root ROOT kill ID 9")?;
    x.gone(l.pid("init.pid")?)?;
    l.ok("--root ROOT kill --all ID 9")?;
    l.ok("--root ROOT delete --force ID")?;
    drop(first);
    Ok(())
}

/// conmon-rs, which writes `--root=` and another order.
fn conmon_rs(x: &Ctx) -> Outcome {
    let l = Lines::new(x, true, "echo here")?;
    l.ok("--root=ROOT create --bundle BUNDLE --pid-file PID --console-socket=SOCKET ID")?;
    let first = l.console.accept()?;
    l.ok("--root=ROOT start ID")?;
    l.ok("--root=ROOT exec --detach --pid-file EXECPID --process PROCESS --console-socket=SOCKET ID")?;
    contains("the terminal", &l.console.accept()?.read_all(), &["here"])?;
    ensure(l.pid("exec.pid")? > l.pid("init.pid")?, "the pid files are not those of the two processes")?;
    drop(first);
    l.ok("--root=ROOT delete --force ID").map(drop)
}

fn crio(x: &Ctx) -> Outcome {
    let l = Lines::new(x, false, "echo here , exit 5")?;
    let ok = |line: &str| l.ok(&format!("--root ROOT {line}"));
    let mut out = l.cmd("--root=ROOT create --bundle BUNDLE --pid-file PID ID").spawn()?;
    out.started()?;
    ok("start ID")?;
    out.expect("ready")?;
    let created = ok("state ID")?.json()?["created"].as_str().map(super::is_rfc3339);
    eq("created is a time", created, Some(true))?;
    let exec = l.go("--root ROOT exec --process PROCESS ID")?.exits(5)?;
    eq("output", exec.stdout.as_str(), "here\n")?;
    l.cmd("--root ROOT update --resources - ID").input("{}")?.go()?.ok()?;
    ok("pause ID")?;
    ok("resume ID")?;
    ok("kill ID TERM")?;
    out.expect("signal SIGTERM")?;
    x.gone(l.pid("init.pid")?)?;
    // Case-sensitive, and any of them does.
    let late = l.go("--root ROOT kill ID KILL")?.exits(1)?;
    let texts = ["container not running", "no such process", "invalid process"];
    ensure(texts.iter().any(|t| late.stderr.contains(t)), late.stderr)?;
    ok("kill -a ID KILL")?;
    ok("delete --force ID")?;
    // Both streams are read as one.
    for word in ["features", "--version"] {
        let out = x.bare([word]).go()?.ok()?;
        eq(format_args!("standard error of {word}"), out.stderr.as_str(), "")?;
    }
    Ok(())
}

/// It asks again and again, and takes no status but these.
fn buildah(x: &Ctx) -> Outcome {
    let l = Lines::new(x, false, "wait")?;
    let state = |want: &str| -> Outcome {
        let state = l.ok("state ID")?.json()?;
        eq("status", state["status"].as_str(), Some(want))
    };
    // As podman and buildah do, without `--root`.
    let state_root = tempfs(x)?;
    let mut out = l.cmd("create --bundle BUNDLE --pid-file PID ID").spawn()?;
    out.started()?;
    state("created")?;
    l.ok("start ID")?;
    out.expect("ready")?;
    state("running")?;
    l.ok("kill ID")?;
    x.gone(l.pid("init.pid")?)?;
    state("stopped")?;
    l.ok("delete ID")?;
    drop(state_root);
    Ok(())
}

/// Takes the mount away.
struct Mounted(&'static str);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// An empty /run: that of the machine is not to be written to.
fn tempfs(x: &Ctx) -> Result<Mounted, Stop> {
    if x.job.driver == Driver::Systemd {
        return skip("/run is somebody else's");
    }
    let none: Option<&str> = None;
    nix::mount::mount(Some("tmpfs"), "/run", Some("tmpfs"), nix::mount::MsFlags::empty(), none)?;
    Ok(Mounted("/run"))
}

fn buildkit(x: &Ctx) -> Outcome {
    let l = Lines::new(x, false, "exit 4")?;
    let global = "--root ROOT --log LOG --log-format json";
    let mut run = l.cmd(&format!("{global} run --bundle BUNDLE --keep ID")).spawn()?;
    run.expect("ready")?;
    let state = l.ok(&format!("{global} state ID"))?.json()?;
    for key in ["status", "bundle", "rootfs"] {
        ensure(state[key].as_str().is_some_and(|v| !v.is_empty()), format_args!("no {key}: {state}"))?;
    }
    l.go(&format!("{global} exec --process PROCESS --pid-file EXECPID ID"))?.exits(4)?;
    ensure(Path::new(&l.b.path("exec.pid")).exists(), "no pid file")?;
    l.ok(&format!("{global} kill ID 9"))?;
    eq("exit status of run", run.wait()?, 137)?;
    l.is("stopped")?;
    l.ok(&format!("{global} delete ID")).map(drop)
}

/// inspektor-gadget sees with fanotify that a file called runc is executed, reads the words of that execve(2), and waits for
/// the pid file, which must not be there yet.
fn observed(x: &Ctx) -> Outcome {
    let l = Lines::new(x, false, "wait")?;
    let dir = x.fresh("bin");
    fs::create_dir(&dir)?;
    let copy = dir.join("runc");
    fs::copy(&x.job.runtime, &copy)?;
    let systemd = Some("--systemd-cgroup").filter(|_| x.job.driver == Driver::Systemd);
    let flags = x.job.flags.iter().map(String::as_str).chain(systemd);
    let words = ["--root", &l.root, "create", "--bundle", l.b.dir(), "--pid-file", &l.b.path("init.pid"), &l.b.id];
    let all: Vec<&str> = flags.chain(words).collect();
    let traced = x.program(&copy, &all).faulty(None)?;
    traced.out.ok()?;
    let name = |path: &String| Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
    let again: Vec<_> =
        traced.executed.iter().filter(|path| name(path).is_some_and(|n| n == "runc" || n == "crun")).collect();
    ensure(again.is_empty(), format_args!("executed once more by its name: {again:?}"))?;
    // Who looks at the process instead finds the same words.
    let init = l.pid("init.pid")?;
    let config: Value = serde_json::from_str(&fs::read_to_string(l.b.path("config.json"))?)?;
    let mnt = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt"));
    ensure(config["process"].is_object(), "config.json is not the bundle's any more")?;
    ensure(mnt("self")? != mnt(&init.to_string())?, "the pid file was written before there was a mount namespace")
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("lines/containerd", "contract 5.2: the lines of containerd's shim", containerd),
        case("lines/go-runc", "contract 5.2: the other lines of go-runc", go_runc),
        case("lines/conmon", "contract 5.2: the lines of conmon and podman", conmon),
        case("lines/conmon-rs", "contract 5.2: the lines of conmon-rs", conmon_rs),
        case("lines/cri-o", "contract 5.2: the lines of CRI-O", crio),
        case("lines/buildah", "contract 5.2: the lines of buildah", buildah),
        case("lines/buildkit", "contract 5.2: the lines of BuildKit", buildkit),
        case("lines/inspektor-gadget", "contract 5.1.16: executed once by its name, with words of their own", observed),
    ]
}
