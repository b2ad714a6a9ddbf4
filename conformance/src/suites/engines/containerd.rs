//! containerd alone, with its client `ctr`.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::{
    BY_CHANCE, OF_CONTAINERD, Terminal, compared_log, complaints, daemon, engine, knob, namespace_of, prepare,
    reference, sized, staged, tool, until,
};
use crate::ctx::{Cmd, Ctx, Driver, Out, Outcome, Stop, contains, ensure, eq, fail, skip};
use crate::fixture::{Fixture, slice};
use crate::frame::Case;

static CONTAINERD: Fixture = Fixture { name: "containerd", start };

/// For what it logs, with the reference too.
static LOG: Fixture = Fixture { name: "containerd-log", start };

/// The name that the image has.
pub(super) const IMAGE: &str = "example.test/box:1";

/// What the image executes where nothing else is asked for: it ends at SIGTERM, and reaps what is orphaned meanwhile.
pub(super) const IDLE: &str = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";

fn start(x: &Ctx) -> Outcome {
    // Containers are in cgroups named after the namespace.
    let disabled = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"];
    Service { namespace: x.job.tag.trim_end_matches('-'), disabled: &disabled, tables: "", kept: false }.start(x)
}

/// A containerd that a fixture runs.
pub(super) struct Service<'a> {
    /// Where the image is.
    pub namespace: &'a str,
    /// Plugins that do not run.
    pub disabled: &'a [&'a str],
    /// What its configuration ends with.
    pub tables: &'a str,
    /// Whether it is started again whenever it ended.
    pub kept: bool,
}

impl Service<'_> {
    /// Starts it, with the image; its socket is `c.sock` of the fixture's directory.
    pub(super) fn start(&self, x: &Ctx) -> Outcome {
        prepare(x)?;
        let dir = &x.job.dir;
        let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let file = at("config.toml");
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = {:?}\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n{}",
            at("root"),
            at("state"),
            self.disabled,
            at("c.sock"),
            at("c.sock.ttrpc"),
            self.tables
        );
        fs::write(&file, config)?;
        fs::write(dir.join("namespace"), self.namespace)?;
        tool("containerd")?;
        let c = Containerd::of(x, dir.clone())?;
        let answers = || Ok(c.go("version")?.status == 0);
        if self.kept {
            daemon(x, "sh", &["-c", "while :; do containerd --config \"$1\"; done", "sh", &file], answers)?;
        } else {
            daemon(x, "containerd", &["--config", &file], answers)?;
        }
        archive(x)?;
        c.words(&["images", "import", "--snapshotter", "overlayfs", &at("archive.tar")])?.ok().map(drop)
    }
}

/// The sha256 of a file, as text.
fn digest(x: &Ctx, file: &str) -> Result<String, Stop> {
    let out = engine(x, &x.job.dir, "busybox", ["sha256sum", file])?.go()?.ok()?;
    Ok(out.stdout.split(' ').next().unwrap_or_default().to_owned())
}

/// The image as an OCI archive.
fn archive(x: &Ctx) -> Outcome {
    let dir = &x.job.dir;
    let blobs = dir.join("oci/blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let put = |file: PathBuf| -> Result<(String, u64), Stop> {
        let name = digest(x, &file.to_string_lossy())?;
        let size = fs::metadata(&file)?.len();
        fs::rename(&file, blobs.join(&name))?;
        Ok((format!("sha256:{name}"), size))
    };
    let written = |value: serde_json::Value| -> Result<(String, u64), Stop> {
        let file = x.fresh("blob");
        fs::write(&file, serde_json::to_vec(&value)?)?;
        put(file)
    };
    let layer = put(dir.join("image.tar"))?;
    let config = written(json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
        "os": "linux",
        "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh", "-c", IDLE]},
        "rootfs": {"type": "layers", "diff_ids": [layer.0]}
    }))?;
    let manifest = written(json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.0, "size": config.1},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.0, "size": layer.1}]
    }))?;
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": manifest.0,
            "size": manifest.1,
            "annotations": {"io.containerd.image.name": IMAGE, "org.opencontainers.image.ref.name": "1"}
        }]
    });
    fs::write(dir.join("oci/index.json"), serde_json::to_vec(&index)?)?;
    fs::write(dir.join("oci/oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}")?;
    let (tar, from) = (dir.join("archive.tar"), dir.join("oci"));
    let (tar, from) = (tar.to_string_lossy(), from.to_string_lossy());
    engine(x, dir, "busybox", ["tar", "-c", "-f", &tar, "-C", &from, "."])?.go()?.ok().map(drop)
}

/// The client.
struct Containerd<'a> {
    x: &'a Ctx,
    dir: PathBuf,
    namespace: String,
    /// The runtime of what is run from now on.
    runtime: RefCell<PathBuf>,
    count: Cell<u32>,
}

impl<'a> Containerd<'a> {
    fn of(x: &'a Ctx, dir: PathBuf) -> Result<Containerd<'a>, Stop> {
        let namespace = fs::read_to_string(dir.join("namespace"))?;
        Ok(Containerd { x, dir, namespace, runtime: x.job.runtime.clone().into(), count: Cell::new(0) })
    }

    /// `ctr ARGS`.
    fn cmd(&self, args: &[&str]) -> Result<Cmd<'a>, Stop> {
        let socket = self.dir.join("c.sock");
        let socket = socket.to_string_lossy();
        let mut all = vec!["--address", &socket, "--namespace", &self.namespace];
        all.extend(args);
        engine(self.x, &self.dir, "ctr", all)
    }

    fn words(&self, args: &[&str]) -> Result<Out, Stop> {
        self.cmd(args)?.go()
    }

    fn go(&self, words: &str) -> Result<Out, Stop> {
        self.words(&words.split_whitespace().collect::<Vec<_>>())
    }

    fn get(&self, words: &str) -> Result<String, Stop> {
        Ok(self.go(words)?.ok()?.stdout.trim().to_owned())
    }

    fn id(&self) -> String {
        self.count.set(self.count.get() + 1);
        format!("{}{}", self.x.job.tag, self.count.get())
    }

    /// Where systemd is to make the cgroup `name`, in the form of the runtimes.
    fn scope(&self, name: &str) -> String {
        format!("{}.slice:ctr:{name}", slice(&self.namespace))
    }

    /// `run OPTIONS --runc-binary RUNTIME IMAGE ID PROGRAM`.
    fn run_cmd(&self, options: &str, program: &[&str]) -> Result<(String, Cmd<'a>), Stop> {
        let id = self.id();
        let runtime = self.runtime.borrow().to_string_lossy().into_owned();
        let mut args = vec!["run", "--runc-binary", &runtime];
        let scope = self.scope(&id);
        if self.x.job.driver == Driver::Systemd {
            args.extend(["--runc-systemd-cgroup", "--cgroup", &scope]);
        }
        args.extend(options.split_whitespace());
        args.extend([IMAGE, &id]);
        args.extend(program);
        Ok((id.clone(), self.cmd(&args)?))
    }

    /// `run --rm OPTIONS sh -c SCRIPT` to its end.
    fn sh(&self, options: &str, script: &str) -> Result<Out, Stop> {
        self.run_cmd(&format!("--rm {options}"), &["sh", "-c", script])?.1.go()
    }

    /// `run -d OPTIONS sh -c SCRIPT`; its id.
    fn up(&self, options: &str, script: &str) -> Result<String, Stop> {
        let (id, cmd) = self.run_cmd(&format!("--detach --null-io {options}"), &["sh", "-c", script])?;
        cmd.go()?.ok()?;
        Ok(id)
    }

    fn idle(&self, options: &str) -> Result<String, Stop> {
        self.up(options, IDLE)
    }

    /// `tasks exec --exec-id .. ID sh -c SCRIPT` to its end.
    fn exec(&self, options: &str, id: &str, script: &str) -> Result<Out, Stop> {
        let exec = self.id();
        let mut args = vec!["tasks", "exec", "--exec-id", &exec];
        args.extend(options.split_whitespace());
        args.extend([id, "sh", "-c", script]);
        self.words(&args)
    }

    /// Pid and status of the task, as `tasks ls` has them.
    fn task(&self, id: &str) -> Result<(String, String), Stop> {
        let all = self.get("tasks ls")?;
        let found = all.lines().map(|l| l.split_whitespace().collect::<Vec<_>>()).find(|w| w.first() == Some(&id));
        match found.as_deref() {
            Some([_, pid, status]) => Ok(((*pid).to_owned(), (*status).to_owned())),
            _ => fail(format!("no task {id} in {all}")),
        }
    }

    fn becomes(&self, id: &str, status: &str) -> Outcome {
        until(status, || Ok(self.task(id)?.1 == status))
    }

    fn tidy(&self) -> Outcome {
        for n in 1..=self.count.get() {
            let id = format!("{}{n}", self.x.job.tag);
            if self.go(&format!("containers info {id}"))?.status == 0 {
                self.go(&format!("tasks delete --force {id}"))?;
                self.get(&format!("containers delete {id}"))?;
            }
        }
        Ok(())
    }
}

fn case(name: &str, checks: &'static str, run: impl Fn(&Containerd<'_>) -> Outcome + Send + Sync + 'static) -> Case {
    with(&CONTAINERD, name, checks, run)
}

fn with(
    fixture: &'static Fixture,
    name: &str,
    checks: &'static str,
    run: impl Fn(&Containerd<'_>) -> Outcome + Send + Sync + 'static,
) -> Case {
    staged(fixture, name, checks, move |x, dir| {
        let c = Containerd::of(x, dir)?;
        let outcome = run(&c);
        outcome.and(c.tidy())
    })
}

/// `ctr run --rm OPTIONS sh -c SCRIPT` and all that it prints: name, options, script, output.
type Row = (&'static str, &'static str, &'static str, &'static str);

const ROWS: &[Row] = &[
    ("run/plain", "", "echo $$; id -u; pwd", "1\n0\n/"),
    ("run/environment", "--env A=b --cwd /data", "echo $A; pwd", "b\n/data"),
    ("run/read-only", "--read-only", "touch /x 2>/dev/null || echo refused", "refused"),
    (
        "run/mount",
        "--mount type=bind,src=/etc/passwd,dst=/file,options=rbind:ro --mount type=tmpfs,src=tmpfs,dst=/data,options=size=64k",
        "grep -c ^probe: /file; echo x 2>/dev/null >>/file || echo refused; grep -c ' /data .*size=64k' /proc/mounts",
        "1\nrefused\n1",
    ),
    (
        "run/caps",
        "--cap-drop CAP_CHOWN --cap-add CAP_SYS_TIME",
        "chown 1:1 /tmp 2>/dev/null || echo refused; grep CapEff /proc/self/status | cut -f 2",
        "refused\n00000000aa0425fa",
    ),
    (
        "run/seccomp",
        "--seccomp",
        "grep Seccomp: /proc/self/status | cut -f 2; unshare -U true 2>/dev/null || echo refused",
        "2\nrefused",
    ),
    ("run/no-new-privileges", "", "grep NoNewPrivs /proc/self/status | cut -f 2", "1"),
    ("run/new-privileges", "--allow-new-privs", "grep NoNewPrivs /proc/self/status | cut -f 2", "0"),
    ("run/device", "--device /dev/zero", "head -c 2 /dev/zero | wc -c", "2"),
    (
        "run/userns",
        "--uidmap 0:400000:1000 --gidmap 0:400000:1000 --snapshotter native",
        "cat /proc/self/uid_map | tr -s ' '",
        "0 400000 1000",
    ),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = ROWS
        .iter()
        .map(|(name, options, script, want)| {
            case(name, "what a program sees of `ctr run` with these options", move |c| {
                let out = c.sh(options, script)?.ok()?;
                eq(format_args!("output ({})", out.stderr.trim()), out.stdout.trim(), *want)
            })
        })
        .collect();
    all.extend([
        case("run/status", "the status of the program is that of ctr", |c| c.sh("", "exit 7")?.exits(7).map(drop)),
        case("run/output", "all output of a short life arrives", |c| {
            let out = c.sh("", "seq 30000; echo done >&2")?.ok()?;
            eq("lines", out.stdout.lines().count(), 30000)?;
            eq("stderr", out.stderr.as_str(), "done\n")
        }),
        case("run/missing", "a missing program", |c| {
            let (_, cmd) = c.run_cmd("--rm", &["nosuch"])?;
            cmd.go()?.fails(1, &["OCI runtime create failed", "exec: \"nosuch\": executable file not found in $PATH"]).map(drop)
        }),
        case("run/privileged", "--privileged with every capability of this machine", |c| {
            let out = c.sh("--privileged", "grep Seccomp: /proc/self/status | cut -f 2; mount -t tmpfs none /tmp && echo mounted; test -w /sys/kernel && echo rw")?;
            eq("output", out.ok()?.stdout.trim(), "0\nmounted\nrw")
        }),
        case("run/net-host", "--net-host", |c| {
            let id = c.idle("--net-host")?;
            eq("net", namespace_of(&c.task(&id)?.0, "net")?, namespace_of("self", "net")?)
        }),
        case("run/with-ns", "--with-ns joins namespaces of another container", |c| {
            let first = c.idle("")?;
            let pid = c.task(&first)?.0;
            let second = c.idle(&format!("--with-ns network:/proc/{pid}/ns/net --with-ns ipc:/proc/{pid}/ns/ipc --with-ns pid:/proc/{pid}/ns/pid"))?;
            let other = c.task(&second)?.0;
            for kind in ["net", "ipc", "pid"] {
                eq(kind, namespace_of(&other, kind)?, namespace_of(&pid, kind)?)?;
            }
            Ok(())
        }),
        case("run/pid-file", "--pid-file has the task's pid", |c| {
            let file = c.x.fresh("pid");
            let id = c.idle(&format!("--pid-file {}", file.display()))?;
            eq("pid", fs::read_to_string(file)?.trim(), c.task(&id)?.0.as_str())
        }),
        case("run/cgroup", "--cgroup, and nothing left of it", |c| {
            let (asked, path, name) = match c.x.job.driver {
                Driver::Cgroupfs => {
                    let path = format!("/{}/of/its/own", c.namespace);
                    (path.clone(), path, "own".to_owned())
                }
                Driver::Systemd => {
                    let (own, slice) = (format!("{}own", c.x.job.tag), slice(&c.namespace));
                    (c.scope(&own), format!("/{slice}.slice/ctr-{own}.scope"), format!("ctr-{own}"))
                }
            };
            let id = c.idle(&format!("--cgroup {asked}"))?;
            let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", c.task(&id)?.0))?;
            ensure(cgroup.lines().any(|l| l.ends_with(&path)), &cgroup)?;
            c.get(&format!("tasks delete --force {id}"))?;
            let left = crate::frame::cgroups_named(&name);
            ensure(!left.iter().any(|p| p.to_string_lossy().ends_with(&path)), format_args!("left: {left:?}"))
        }),
        case("run/limits", "--memory-limit and --cpus", |c| {
            let id = c.idle("--memory-limit 33554432 --cpus 0.5")?;
            let pid = c.task(&id)?.0;
            let memory = knob(&pid, "memory", &["memory.limit_in_bytes", "memory.max"])?;
            let cpu = knob(&pid, "cpu", &["cpu.cfs_quota_us", "cpu.max"])?;
            eq("limits", (memory.as_str(), cpu.split(' ').next()), ("33554432", Some("50000")))
        }),
        case("lifecycle", "detached: ls, kill, the status of the end, delete", |c| {
            let id = c.idle("")?;
            eq("status", c.task(&id)?.1.as_str(), "RUNNING")?;
            c.get(&format!("tasks kill -s SIGTERM {id}"))?;
            c.becomes(&id, "STOPPED")?;
            c.go(&format!("tasks delete {id}"))?.exits(0)?;
            c.get(&format!("containers delete {id}")).map(drop)
        }),
        case("kill", "kill -s 9, --all, and of one that has ended", |c| {
            let id = c.up("", "trap '' TERM; sleep 1000 & sleep 1000 & while :; do sleep 1; done")?;
            c.get(&format!("tasks kill -s TERM {id}"))?;
            eq("status", c.task(&id)?.1.as_str(), "RUNNING")?;
            c.get(&format!("tasks kill --all -s SIGKILL {id}"))?;
            c.becomes(&id, "STOPPED")?;
            ensure(c.go(&format!("tasks kill -s 9 {id}"))?.status != 0, "a process that ended was killed")?;
            c.go(&format!("tasks delete {id}"))?.fails(0, &["exit code 137"]).map(drop)
        }),
        case("pause", "pause and resume", |c| {
            let id = c.idle("")?;
            c.get(&format!("tasks pause {id}"))?;
            c.becomes(&id, "PAUSED")?;
            ensure(c.exec("", &id, "true")?.status != 0, "exec in a paused task")?;
            c.get(&format!("tasks resume {id}"))?;
            c.becomes(&id, "RUNNING")?;
            c.exec("", &id, "true")?.ok().map(drop)
        }),
        case("checkpoint", "a checkpoint that can't be made is refused clearly, and the task runs on", |c| {
            if tool("criu").is_ok() && !c.x.job.version.starts_with("orlop ") {
                return skip("criu is installed: runc can make one");
            }
            let id = c.idle("")?;
            let out = c.go(&format!("tasks checkpoint {id}"))?.errs()?;
            if c.x.job.version.starts_with("orlop ") {
                contains("stderr", &out.stderr, &["checkpoint", "not supported"])?;
            }
            c.becomes(&id, "RUNNING")?;
            c.exec("", &id, "true")?.ok().map(drop)
        }),
        case("exec", "tasks exec: output, status, user, directory", |c| {
            let id = c.idle("")?;
            let out = c.exec("--cwd /data --user 1000:1000", &id, "id -u; pwd; cat /proc/1/comm; exit 5")?.exits(5)?;
            eq("output", out.stdout.as_str(), "1000\n/data\nsh\n")?;
            let exec = c.id();
            let out = c.words(&["tasks", "exec", "--exec-id", &exec, &id, "nosuch"])?;
            out.fails(1, &["exec: \"nosuch\": executable file not found in $PATH"]).map(drop)
        }),
        case("exec/many", "10 at once in one task", |c| {
            let id = c.idle("")?;
            let mut all = Vec::new();
            for i in 0..10 {
                let (exec, script) = (c.id(), format!("echo {i}; exit {i}"));
                all.push((i, c.cmd(&["tasks", "exec", "--exec-id", &exec, &id, "sh", "-c", &script])?.spawn()?));
            }
            for (i, mut running) in all {
                running.expect(&i.to_string())?;
                eq("exit status", running.wait()?, i)?;
            }
            Ok(())
        }),
        case("metrics", "tasks metrics has figures", |c| {
            let id = c.idle("")?;
            let out = c.get(&format!("tasks metrics {id}"))?;
            contains("metrics", &out, &[&id, "memory.usage_in_bytes"]).or_else(|_| contains("metrics", &out, &[&id, "memory.usage"]))
        }),
        case("ps", "tasks ps lists every process", |c| {
            let id = c.up("", "sleep 1000 & sleep 1000 & wait")?;
            until("three processes", || Ok(c.get(&format!("tasks ps {id}"))?.lines().count() == 4))
        }),
        case("tty", "run -t: size, resize, interrupt", |c| {
            let script = format!(
                "{}; echo sized; {}; echo resized; trap 'exit 8' INT; echo wai\"\"ting; while :; do usleep 20000; done",
                sized("33 77"),
                sized("44 88")
            );
            let (_, cmd) = c.run_cmd("--rm -t", &["sh", "-c", &script])?;
            let mut t = Terminal::start(cmd, 33, 77)?;
            t.expect("sized")?;
            t.resize(44, 88, "resized")?;
            t.expect("waiting")?;
            t.send("\x03")?;
            eq("exit status", t.end()?, 8)
        }),
        case("tty/exec", "tasks exec -t", |c| {
            let id = c.idle("")?;
            let exec = c.id();
            let script = format!("{}; echo sized; tty; exit 6", sized("33 77"));
            let cmd = c.cmd(&["tasks", "exec", "-t", "--exec-id", &exec, &id, "sh", "-c", &script])?;
            let mut t = Terminal::start(cmd, 33, 77)?;
            t.expect("sized")?;
            t.expect("/dev/pts/0")?;
            eq("exit status", t.end()?, 6)
        }),
        case("crowd", "10 containers at once", |c| {
            let mut all = Vec::new();
            for i in 0..10 {
                let (_, cmd) = c.run_cmd("--rm", &["sh", "-c", &format!("echo {i}; exit {i}")])?;
                all.push((i, cmd.spawn()?));
            }
            for (i, mut running) in all {
                running.expect(&i.to_string())?;
                eq("exit status", running.wait()?, i)?;
            }
            Ok(())
        }),
        with(&LOG, "beside", "no complaint of the same deeds that the reference does not cause", |c| {
            let reference = reference(c.x)?;
            compared_log(c.x, &c.dir.join("containerd.log"), BY_CHANCE, |with_reference| {
                let runtime = if with_reference { &reference } else { &c.x.job.runtime };
                c.runtime.replace(runtime.clone());
                deeds(c)
            })
        }),
        case("log", "no complaint in the daemon's log of all cases that is not known", |c| {
            let allowed = [OF_CONTAINERD, OF_CHECKPOINTS, if c.x.job.slow > 1 { LATE } else { &[] }].concat();
            let found = complaints(&fs::read_to_string(c.dir.join("containerd.log"))?, &allowed);
            ensure(found.is_empty(), format_args!("complaints: {}", found.join("\n")))
        }),
    ]);
    all
}

/// A bit of everything that the daemon logs something of.
fn deeds(c: &Containerd<'_>) -> Outcome {
    let id = c.idle("--memory-limit 33554432")?;
    c.exec("", &id, "exit 3")?.exits(3)?;
    let exec = c.id();
    c.words(&["tasks", "exec", "--exec-id", &exec, &id, "nosuch"])?.exits(1)?;
    for words in ["pause", "resume", "metrics", "ps", "kill -s SIGKILL"] {
        c.get(&format!("tasks {words} {id}"))?;
    }
    c.becomes(&id, "STOPPED")?;
    c.go(&format!("tasks kill -s 9 {id}"))?.errs()?;
    c.go(&format!("tasks delete {id}"))?;
    c.run_cmd("--rm", &["nosuch"])?.1.go()?.exits(1)?;
    c.run_cmd("--rm --mount type=bind,src=/etc/passwd,dst=/etc,options=rbind", &["true"])?.1.go()?.errs()?;
    c.sh("--memory-limit 16777216", "tail /dev/zero")?;
    let paused = c.idle("")?;
    c.get(&format!("tasks pause {paused}"))?;
    c.go(&format!("tasks delete --force {paused}"))?;
    let killed = c.idle("")?;
    let pid = c.task(&killed)?.0.parse()?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)?;
    c.becomes(&killed, "STOPPED")?;
    c.go(&format!("tasks delete {killed}"))?;
    // By the end of another one all has been said of those before.
    c.sh("", "true")?.ok().map(drop)
}

/// Of every checkpoint that could not be made: criu has written no log.
const OF_CHECKPOINTS: &[&str] = &["failed to copy dump.log"];

/// What it says further on an emulated machine, where a shim needs longer than the seconds that it is given to clean up.
const LATE: &[&str] = &[
    "context deadline exceeded",
    "signal: killed",
    "broken pipe",
    "received message on inactive stream",
    // Of a shim that did not say in time.
    "unknown status",
];
