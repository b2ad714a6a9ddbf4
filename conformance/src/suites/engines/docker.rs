//! dockerd with its own containerd, twice: the runtime as the default, and as a named runtime of a daemon that remaps
//! user ids.

use std::cell::RefCell;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};

use super::{
    BY_CHANCE, OF_CONTAINERD, Terminal, cgroup_of, compared_log, complaints, daemon, engine, namespace_of, prepare,
    reference, sized, staged, translates, until,
};
use crate::ctx::{Cmd, Ctx, Driver, Out, Outcome, Stop, contains, ensure, eq, fail, skip};
use crate::fixture::{Fixture, slice};
use crate::frame::Case;
use crate::suites::cgroups::has_weights;

static DEFAULT: Fixture = Fixture { name: "docker", start: |x| start(x, &json!({"default-runtime": "tested"})) };
/// With the reference beside it, for what it logs.
static LOG: Fixture = Fixture {
    name: "docker-log",
    start: |x| {
        let runtimes = json!({"tested": {"path": x.job.runtime}, "reference": {"path": reference(x)?}});
        start(x, &json!({"runtimes": runtimes}))
    },
};
static REMAP: Fixture = Fixture { name: "remap", start: |x| start(x, &json!({"userns-remap": "probe"})) };

/// dockerd with `extra` in its daemon.json, and the image `box`.
fn start(x: &Ctx, extra: &Value) -> Outcome {
    prepare(x)?;
    let dir = &x.job.dir;
    let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let mut config = json!({
        "data-root": at("data"),
        "exec-root": at("exec"),
        "pidfile": at("docker.pid"),
        "hosts": [format!("unix://{}", at("docker.sock"))],
        "cgroup-parent": match x.job.driver {
            Driver::Cgroupfs => format!("/{}", x.job.tag),
            Driver::Systemd => format!("{}.slice", slice(&x.job.tag)),
        },
        "exec-opts": [match x.job.driver {
            Driver::Cgroupfs => "native.cgroupdriver=cgroupfs",
            Driver::Systemd => "native.cgroupdriver=systemd",
        }],
        "runtimes": {"tested": {"path": x.job.runtime}},
        "log-level": "info",
        "max-concurrent-downloads": 1
    });
    if !translates(x)? {
        for key in ["iptables", "ip6tables"] {
            config[key] = json!(false);
        }
    }
    for (key, value) in extra.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    // dockerd gives its own containerd 15 seconds to begin, which is too little for an emulated machine.
    if x.job.slow > 1 {
        let (socket, text) = (at("containerd.sock"), {
            format!(
                "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
                at("containerd"),
                at("containerd-state"),
                at("containerd.sock")
            )
        });
        fs::write(dir.join("containerd.toml"), text)?;
        daemon(x, "containerd", &["--config", &at("containerd.toml")], || {
            Ok(engine(x, dir, "ctr", ["--address", &socket, "version"])?.go()?.status == 0)
        })?;
        config["containerd"] = json!(socket);
    }
    fs::write(dir.join("daemon.json"), serde_json::to_vec(&config)?)?;
    let d = Docker::of(x, dir.clone(), "");
    daemon(x, "dockerd", &["--config-file", &at("daemon.json")], || Ok(d.go("version")?.status == 0))?;
    let path = "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    d.words(&["import", "--change", path, "--change", "CMD [\"sh\"]", &at("image.tar"), "box"])?.ok().map(drop)
}

/// The client, and the containers that the case made with it.
struct Docker<'a> {
    x: &'a Ctx,
    dir: std::path::PathBuf,
    /// Options of every `run`.
    always: &'static str,
    names: RefCell<Vec<String>>,
}

impl<'a> Docker<'a> {
    fn of(x: &'a Ctx, dir: std::path::PathBuf, always: &'static str) -> Docker<'a> {
        Docker { x, dir, always, names: RefCell::default() }
    }

    /// `docker ARGS`.
    fn cmd(&self, args: &[&str]) -> Result<Cmd<'a>, Stop> {
        engine(self.x, &self.dir, "docker", args)
    }

    /// `docker ARGS` to its end.
    fn words(&self, args: &[&str]) -> Result<Out, Stop> {
        self.cmd(args)?.go()
    }

    /// `docker WORDS` to its end; the words are separated by spaces.
    fn go(&self, words: &str) -> Result<Out, Stop> {
        self.words(&words.split_whitespace().collect::<Vec<_>>())
    }

    /// The output of a command that succeeds.
    fn get(&self, words: &str) -> Result<String, Stop> {
        Ok(self.go(words)?.ok()?.stdout.trim().to_owned())
    }

    /// A name that nobody used; its container is removed at the end.
    fn name(&self) -> String {
        let name = format!("{}{}", self.x.job.tag, self.names.borrow().len());
        self.names.borrow_mut().push(name.clone());
        name
    }

    /// `run OPTIONS box PROGRAM` with a name of its own.
    fn run_cmd(&self, options: &str, program: &[&str]) -> Result<(String, Cmd<'a>), Stop> {
        let name = self.name();
        let mut args = vec!["run", "--name", &name];
        args.extend(self.always.split_whitespace());
        args.extend(options.split_whitespace());
        args.push("box");
        args.extend(program);
        Ok((name.clone(), self.cmd(&args)?))
    }

    /// `run --rm OPTIONS box PROGRAM` to its end.
    fn run(&self, options: &str, program: &[&str]) -> Result<Out, Stop> {
        self.run_cmd(&format!("--rm {options}"), program)?.1.go()
    }

    /// `run --rm OPTIONS box sh -c SCRIPT` to its end.
    fn sh(&self, options: &str, script: &str) -> Result<Out, Stop> {
        self.run(options, &["sh", "-c", script])
    }

    /// `run -d OPTIONS box PROGRAM`; its name.
    fn up(&self, options: &str, program: &[&str]) -> Result<String, Stop> {
        let (name, cmd) = self.run_cmd(&format!("-d {options}"), program)?;
        cmd.go()?.ok()?;
        Ok(name)
    }

    /// A container that waits.
    fn idle(&self, options: &str) -> Result<String, Stop> {
        self.up(options, &["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"])
    }

    /// `exec OPTIONS NAME sh -c SCRIPT` to its end.
    fn exec(&self, options: &str, name: &str, script: &str) -> Result<Out, Stop> {
        let mut args = vec!["exec"];
        args.extend(options.split_whitespace());
        args.extend([name, "sh", "-c", script]);
        self.words(&args)
    }

    fn inspect(&self, name: &str, format: &str) -> Result<String, Stop> {
        Ok(self.words(&["inspect", "--format", format, name])?.ok()?.stdout.trim().to_owned())
    }

    fn is(&self, name: &str, format: &str, want: &str) -> Outcome {
        eq(format, self.inspect(name, format)?.as_str(), want)
    }

    /// Waits until the log of the container contains `text`.
    fn says(&self, name: &str, text: &str) -> Outcome {
        until(&format!("output {text:?}"), || {
            let out = self.words(&["logs", name])?;
            Ok(out.stdout.contains(text) || out.stderr.contains(text))
        })
    }

    fn tidy(&self) -> Outcome {
        let names = self.names.borrow();
        if names.is_empty() {
            return Ok(());
        }
        let all = self.get("ps --all --format {{.Names}}")?;
        let left: Vec<&str> = all.lines().filter(|n| names.iter().any(|m| m == n)).collect();
        if left.is_empty() {
            return Ok(());
        }
        let mut args = vec!["rm", "--force", "--volumes"];
        args.extend(left);
        self.words(&args)?.ok().map(drop)
    }
}

fn with(
    fixture: &'static Fixture,
    name: &str,
    checks: &'static str,
    always: &'static str,
    run: impl Fn(&Docker<'_>) -> Outcome + Send + Sync + 'static,
) -> Case {
    staged(fixture, name, checks, move |x, dir| {
        let d = Docker::of(x, dir, always);
        let outcome = run(&d);
        outcome.and(d.tidy())
    })
}

fn case(name: &str, checks: &'static str, run: impl Fn(&Docker<'_>) -> Outcome + Send + Sync + 'static) -> Case {
    with(&DEFAULT, name, checks, "", run)
}

fn remap(name: &str, checks: &'static str, run: impl Fn(&Docker<'_>) -> Outcome + Send + Sync + 'static) -> Case {
    with(&REMAP, name, checks, "--runtime tested", run)
}

/// `docker run --rm OPTIONS box sh -c SCRIPT` and all that it prints: name, options, script, output.
type Row = (&'static str, &'static str, &'static str, &'static str);

/// What the options do, seen from inside; cgroup files are those of v1, or of v2.
const ROWS: &[Row] = &[
    ("run/exit-0", "", "true", ""),
    ("run/environment", "-e A=1 -e B", "echo $A$B $HOME $HOSTNAME | sed s/[0-9a-f]\\\\{12\\\\}/ID/", "1 /root ID"),
    (
        "run/hostname",
        "--hostname somehost --domainname somewhere.test",
        "hostname; cat /proc/sys/kernel/domainname",
        "somehost\nsomewhere.test",
    ),
    ("run/hostname-short", "-h somehost", "hostname; grep -c somehost /etc/hosts", "somehost\n1"),
    (
        "run/dns",
        "--dns 10.9.8.7 --dns-search some.test --dns-option ndots:3",
        "sort /etc/resolv.conf | grep -v '^#'",
        "nameserver 10.9.8.7\noptions ndots:3\nsearch some.test",
    ),
    ("run/add-host", "--add-host other:10.1.2.3", "grep -c 10.1.2.3 /etc/hosts", "1"),
    ("run/workdir", "-w /made/here", "pwd", "/made/here"),
    ("run/user", "--user 1000:1000", "id -u; id -g; echo $HOME", "1000\n1000\n/tmp"),
    ("run/user-by-name", "--user someone --group-add others --group-add 3000", "id -u; id -G", "1000\n1000 2000 3000"),
    ("run/pid-1", "", "echo $$; set -- /proc/[0-9]*; echo $#", "1\n1"),
    (
        "run/masked",
        "",
        "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c; ls /proc/scsi 2>/dev/null | wc -l; (echo 1 >/proc/sysrq-trigger) 2>/dev/null || echo refused; (echo 1 >/proc/sys/net/ipv4/ip_forward) 2>/dev/null || echo refused",
        "0\n0\nrefused\nrefused",
    ),
    (
        "run/unmasked",
        "--security-opt systempaths=unconfined",
        "grep -cE ' /proc/(sys|kcore|keys) ' /proc/mounts; true",
        "0",
    ),
    (
        "limit/memory",
        "--memory 64m",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max",
        "67108864",
    ),
    (
        "limit/memory-reservation",
        "--memory 64m --memory-reservation 32m",
        "cat /sys/fs/cgroup/memory/memory.soft_limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.low",
        "33554432",
    ),
    (
        "limit/memory-swap",
        "--memory 64m --memory-swap 96m",
        "cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes 2>/dev/null || echo $(($(cat /sys/fs/cgroup/memory.swap.max) + 67108864))",
        "100663296",
    ),
    (
        "limit/cpus",
        "--cpus 0.5",
        "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d ' ' -f 1 /sys/fs/cgroup/cpu.max",
        "50000",
    ),
    (
        "limit/cpu-period",
        "--cpu-period 50000 --cpu-quota 20000",
        "cat /sys/fs/cgroup/cpu/cpu.cfs_period_us 2>/dev/null || cut -d ' ' -f 2 /sys/fs/cgroup/cpu.max",
        "50000",
    ),
    (
        "limit/pids",
        "--pids-limit 17",
        "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max",
        "17",
    ),
    ("limit/cpuset", "--cpuset-cpus 0 --cpuset-mems 0", "grep Cpus_allowed_list: /proc/self/status | cut -f 2", "0"),
    ("limit/ulimit", "--ulimit nofile=100:200 --ulimit core=0", "ulimit -n; ulimit -Hn; ulimit -c", "100\n200\n0"),
    ("limit/oom-score-adj", "--oom-score-adj 500", "cat /proc/self/oom_score_adj", "500"),
    ("limit/shm-size", "--shm-size 8m", "grep -c ' /dev/shm .*size=8192k' /proc/mounts", "1"),
    (
        "sysctl",
        "--sysctl net.ipv4.ip_unprivileged_port_start=77 --sysctl kernel.msgmax=4096",
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax",
        "77\n4096",
    ),
    (
        "mount/tmpfs",
        "--tmpfs /t:size=1m,mode=1770,exec",
        "grep -c '^tmpfs /t .*size=1024k' /proc/mounts; stat -c %a /t; grep ' /t ' /proc/mounts | grep -c noexec; true",
        "1\n1770\n0",
    ),
    (
        "mount/read-only",
        "--read-only --tmpfs /tmp",
        "touch /x 2>/dev/null || echo refused; touch /tmp/x /dev/shm/x && echo fine",
        "refused\nfine",
    ),
    ("mount/named-volume", "-v VOLUME:/data", "cat /data/from-image", "of the image"),
    (
        "mount/proc",
        "",
        "grep -c '^proc /proc proc rw,nosuid,nodev,noexec' /proc/mounts; grep -c '^sysfs /sys sysfs ro,' /proc/mounts; ls /dev | grep -v core | sort | tr '\\n' ' '",
        "1\n1\nfd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero",
    ),
    (
        "device/default",
        "",
        "mknod /tmp/k c 1 2; cat /tmp/k 2>&1 | grep -c 'not permitted'; mknod /tmp/n c 1 3; echo x >/tmp/n && echo fine",
        "1\nfine",
    ),
    ("caps/default", "", "grep CapEff /proc/self/status | cut -f 2", "00000000a80425fb"),
    (
        "caps/drop-all",
        "--cap-drop ALL",
        "grep CapEff /proc/self/status | cut -f 2; chown 1:1 /tmp 2>/dev/null || echo refused",
        "0000000000000000\nrefused",
    ),
    (
        "caps/add",
        "--cap-drop ALL --cap-add NET_ADMIN --cap-add CHOWN",
        "grep CapBnd /proc/self/status | cut -f 2",
        "0000000000001001",
    ),
    (
        "caps/user",
        "--user 1000",
        "grep CapEff /proc/self/status | cut -f 2; grep CapBnd /proc/self/status | cut -f 2",
        "0000000000000000\n00000000a80425fb",
    ),
    (
        "security/seccomp-default",
        "",
        "grep Seccomp: /proc/self/status | cut -f 2; unshare -U true 2>/dev/null || echo refused",
        "2\nrefused",
    ),
    (
        "security/seccomp-unconfined",
        "--security-opt seccomp=unconfined",
        "grep Seccomp: /proc/self/status | cut -f 2; unshare -U true && echo fine",
        "0\nfine",
    ),
    (
        "security/no-new-privileges",
        "--security-opt no-new-privileges",
        "grep NoNewPrivs /proc/self/status | cut -f 2",
        "1",
    ),
    ("init", "--init", "cat /proc/1/comm; test $$ != 1 && echo child", "docker-init\nchild"),
    ("net/none", "--network none", "ls /sys/class/net", "lo"),
    (
        "net/bridge",
        "",
        "ls /sys/class/net; ip -4 -o addr show dev eth0 | wc -l; ip route | grep -c ^default",
        "eth0\nlo\n1\n1",
    ),
    ("cgroupns/private", "--cgroupns private", "cut -d : -f 3 /proc/self/cgroup | sort -u", "/"),
];

type Refusal = (&'static str, &'static str, &'static [&'static str], i32, &'static [&'static str]);

/// What cannot be run: name, options, program, exit status, what standard error says.
const REFUSED: &[Refusal] = &[
    ("not-found", "", &["nosuch"], 127, &["exec: \"nosuch\": executable file not found in $PATH"]),
    ("path-not-found", "", &["/no/such"], 127, &["exec: \"/no/such\": stat /no/such: no such file or directory"]),
    ("not-executable", "", &["/etc/passwd"], 126, &["exec: \"/etc/passwd\": permission denied"]),
    ("directory", "", &["/etc"], 126, &["exec: \"/etc\": "]),
    ("sysctl", "--sysctl kernel.nonsense=1", &["true"], 125, &["kernel.nonsense"]),
    (
        "file-over-directory",
        "-v /etc/passwd:/data",
        &["true"],
        125,
        &["not a directory", "Are you trying to mount a directory onto a file"],
    ),
    ("client", "--no-such-flag", &["true"], 125, &["no-such-flag"]),
    ("status", "", &["sh", "-c", "exit 3"], 3, &[]),
    ("signal", "--init", &["sh", "-c", "kill -9 $$"], 137, &[]),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = ROWS
        .iter()
        .map(|(name, options, script, want)| {
            case(name, "what a program sees of `docker run` with these options", move |d| {
                let volume = format!("{}v", d.x.job.tag);
                let out = d.sh(&options.replace("VOLUME", &volume), script)?.ok()?;
                if options.contains("VOLUME") {
                    d.get(&format!("volume rm {volume}"))?;
                }
                eq(format_args!("output ({})", out.stderr.trim()), out.stdout.trim(), *want)
            })
        })
        .collect();
    all.extend(REFUSED.iter().map(|(name, options, program, status, texts)| {
        case(&format!("refused/{name}"), "contract 5.3: exit status and text of a failure", move |d| {
            d.run(options, program)?.fails(*status, texts).map(drop)
        })
    }));
    all.extend(lifecycle());
    all.extend(exec());
    all.extend(resources());
    all.extend(files());
    all.extend(namespaces());
    all.extend(terminals());
    all.extend(remapped());
    all.extend(building());
    all.push(case("crowd", "20 containers at once (200 with --full)", crowd));
    all.push(with(&LOG, "beside", "no complaint of the same deeds that the reference does not cause", "", |d| {
        compared_log(d.x, &d.dir.join("dockerd.log"), &[BY_CHANCE, CHANCE].concat(), |reference| {
            deeds(d, if reference { "reference" } else { "tested" })
        })
    }));
    for (fixture, always) in [(&DEFAULT, ""), (&REMAP, "--runtime tested")] {
        all.push(with(fixture, "log", "no complaint in the daemon's log of all cases that is not known", always, log));
    }
    all
}

/// Complaints that dockerd 20.10 and 28 have with runc too, beside those of containerd, in the cases of this file.
const ALLOWED: &[&str] = &[
    "Your kernel does not support",
    "containerd config version",
    "grpc: addrConn.createTransport failed to connect",
    // What a case provokes, and looks at.
    "returned error: ",
    "Error running exec",
    "Error setting up exec command",
    "did not complete successfully: exit code",
    // BuildKit, of a RUN that has ended already.
    "failed to read oom_kill event",
    // After every container that cannot be created.
    "cleanup: failed to delete container from containerd: no such container",
    "stream copy error: reading from a closed fifo",
    // After the removal of a paused one.
    "Cannot unpause container",
    "cannot unpause container",
    "resuming exited container from paused state",
    // dockerd 28, of a container that ends while it is looked at, stopped or removed.
    "copy stream failed",
    "failed to delete process",
    "ShouldRestart failed",
    "is already in progress",
    // Of a kernel without cpuset, and without translation of addresses.
    "No cpuset support",
    "Resolver Start failed",
    // dockerd 28 looks for a bridge's ports in a /sys of another network namespace.
    "Failed to open port state file",
    "Failed to read stp_state file",
];

/// What dockerd complains of by chance, or with the machine, whichever the runtime.
const CHANCE: &[&str] = &[
    "Your kernel does not support",
    "stream copy error: reading from a closed fifo",
    "copy stream failed",
    // When a paused container is removed: the shim says so, or the runtime, whichever hears first that it is gone.
    "Cannot unpause container",
    "cannot unpause container",
];

/// A bit of everything that the daemon logs something of.
fn deeds(d: &Docker<'_>, runtime: &str) -> Outcome {
    let runtime = format!("--runtime {runtime}");
    let name = d.idle(&runtime)?;
    d.exec("", &name, "exit 3")?.exits(3)?;
    d.exec("", &name, "nosuch")?.exits(127)?;
    for refused in [["/tmp", "nosuch"], ["/etc/passwd", "true"]] {
        let out = d.words(&["exec", "-w", refused[0], &name, refused[1]])?;
        ensure(out.status != 0, format_args!("{refused:?} was executed"))?;
    }
    for words in [
        "pause",
        "unpause",
        "top",
        "update --memory 64m --memory-swap 128m",
        "stats --no-stream",
        "restart",
        "kill",
        "start",
        "stop",
    ] {
        d.get(&format!("{words} {name}"))?;
    }
    d.run(&runtime, &["nosuch"])?.exits(127)?;
    d.run(&runtime, &["/etc/passwd"])?.exits(126)?;
    for refused in ["--sysctl net.no.such=1", "-v /etc/passwd:/etc"] {
        d.run(&format!("{runtime} {refused}"), &["true"])?.errs()?;
    }
    d.run(&format!("{runtime} --memory 16m --memory-swap 16m"), &["tail", "/dev/zero"])?.exits(137)?;
    let paused = d.idle(&runtime)?;
    d.get(&format!("pause {paused}"))?;
    d.get(&format!("rm --force {paused}"))?;
    let killed = d.idle(&runtime)?;
    let pid = d.inspect(&killed, "{{.State.Pid}}")?.parse()?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)?;
    eq("wait", d.get(&format!("wait {killed}"))?.as_str(), "137")?;
    d.get(&format!("rm {killed} {name}"))?;
    // By the end of another one all has been said of those before.
    d.run(&runtime, &["true"])?.ok().map(drop)
}

fn log(d: &Docker<'_>) -> Outcome {
    let allowed = [OF_CONTAINERD, ALLOWED].concat();
    let found = complaints(&fs::read_to_string(d.dir.join("dockerd.log"))?, &allowed);
    ensure(found.is_empty(), format_args!("complaints: {}", found.join("\n")))
}

fn lifecycle() -> Vec<Case> {
    vec![
        case("info", "docker info and version show the runtime", |d| {
            eq("default runtime", d.get("info --format {{.DefaultRuntime}}")?.as_str(), "tested")?;
            let runtimes = d.words(&["info", "--format", "{{json .Runtimes}}"])?.ok()?.stdout;
            contains("runtimes", &runtimes, &["tested", &d.x.job.runtime.to_string_lossy()])?;
            // As they show it, for the report.
            d.x.measure(d.get("info")?);
            d.x.measure(d.get("version")?);
            let version = d.words(&["version", "--format", "{{json .Server.Components}}"])?.ok()?.stdout;
            let number = d.x.job.version.split(' ').nth(2).unwrap_or_default();
            if d.x.job.version.starts_with("runc ") || d.x.job.version.starts_with("orlop ") {
                contains("version of the runtime called runc", &version, &[number])?;
            }
            Ok(())
        }),
        case("run/detached", "run -d, inspect, logs, wait, rm", |d| {
            let name = d.up("", &["sh", "-c", "echo out; echo err >&2; exit 4"])?;
            eq("wait", d.get(&format!("wait {name}"))?.as_str(), "4")?;
            d.is(&name, "{{.State.Status}} {{.State.ExitCode}}", "exited 4")?;
            let out = d.go(&format!("logs {name}"))?.ok()?;
            eq("logs", (out.stdout.as_str(), out.stderr.as_str()), ("out\n", "err\n"))?;
            d.is(&name, "{{.HostConfig.Runtime}}", "tested")?;
            d.get(&format!("rm {name}")).map(drop)
        }),
        case("run/rm", "run --rm leaves no container", |d| {
            d.sh("", "true")?.ok()?;
            let name = d.names.borrow()[0].clone();
            until("removal", || Ok(d.go(&format!("inspect {name}"))?.status != 0))
        }),
        case("run/named-runtime", "run --runtime NAME", |d| {
            d.run("--runtime tested", &["echo", "here"])?.ok()?;
            d.run("--runtime runc", &["echo", "here"])?.ok().map(drop)
        }),
        case("run/stdin", "run -i reads standard input", |d| {
            let (_, cmd) = d.run_cmd("--rm -i", &["cat"])?;
            let text = "line\n".repeat(20000);
            let out = cmd.input(&text)?.go()?.ok()?;
            ensure(out.stdout == text, format_args!("{} bytes came back of {}", out.stdout.len(), text.len()))
        }),
        case("run/output", "all output of a short life arrives", |d| {
            let out = d.sh("", "seq 30000; echo done >&2")?.ok()?;
            eq("lines", out.stdout.lines().count(), 30000)?;
            eq("stderr", out.stderr.as_str(), "done\n")
        }),
        case("kill/names", "kill with every way to name a signal", |d| {
            let script = "trap 'echo got HUP' HUP; trap 'echo got USR1' USR1; trap 'echo got INT' INT; \
                          echo up; while :; do sleep 0.05; done";
            let name = d.up("", &["sh", "-c", script])?;
            d.says(&name, "up")?;
            for (word, signal) in [("HUP", "HUP"), ("SIGUSR1", "USR1"), ("2", "INT")] {
                d.get(&format!("kill -s {word} {name}"))?;
                d.says(&name, &format!("got {signal}"))?;
            }
            d.get(&format!("kill {name}"))?;
            eq("wait", d.get(&format!("wait {name}"))?.as_str(), "137")?;
            d.go(&format!("kill {name}"))?.fails(1, &["is not running"]).map(drop)
        }),
        case("kill/from-outside", "kill -9 of init on the host: Exited (137)", |d| {
            let name = d.idle("")?;
            kill(&d.inspect(&name, "{{.State.Pid}}")?)?;
            eq("wait", d.get(&format!("wait {name}"))?.as_str(), "137")?;
            d.is(&name, "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}", "exited 137 false")
        }),
        case("kill/shared-pid-namespace", "kill ends every process where the pid namespace is the host's", |d| {
            let name = d.up("--pid host", &["sh", "-c", "sleep 987 & sleep 987 & echo up; wait"])?;
            d.says(&name, "up")?;
            let pids = d.get(&format!("top {name} -o pid"))?;
            let pids: Vec<&str> = pids.lines().skip(1).map(str::trim).collect();
            eq("processes", pids.len(), 3)?;
            d.get(&format!("kill {name}"))?;
            until("end of all processes", || Ok(pids.iter().all(|p| !alive(p))))
        }),
        case("stop", "stop lets the program end", |d| {
            let name = d.idle("")?;
            d.get(&format!("stop {name}"))?;
            d.is(&name, "{{.State.Status}} {{.State.ExitCode}}", "exited 0")
        }),
        case("stop/timeout", "stop kills a program that does not listen", |d| {
            let name = d.up("--stop-signal USR2", &["sh", "-c", "trap '' USR2; while :; do sleep 1; done"])?;
            d.get(&format!("stop -t 1 {name}"))?;
            d.is(&name, "{{.State.ExitCode}}", "137")
        }),
        case("restart", "restart gives a new process", |d| {
            let name = d.idle("")?;
            let before = d.inspect(&name, "{{.State.Pid}}")?;
            d.get(&format!("restart {name}"))?;
            d.is(&name, "{{.State.Status}}", "running")?;
            ensure(d.inspect(&name, "{{.State.Pid}}")? != before, "the same pid")
        }),
        case("restart/policy", "--restart on-failure:2", |d| {
            let name = d.up("--restart on-failure:2", &["sh", "-c", "exit 5"])?;
            until("two restarts", || Ok(d.inspect(&name, "{{.RestartCount}} {{.State.Status}}")? == "2 exited"))?;
            d.is(&name, "{{.State.ExitCode}}", "5")
        }),
        case("restart/always", "--restart always after a kill from outside", |d| {
            let name = d.idle("--restart always")?;
            let before = d.inspect(&name, "{{.State.Pid}}")?;
            kill(&before)?;
            until("a restart", || {
                let now = d.inspect(&name, "{{.State.Status}} {{.State.Pid}}")?;
                Ok(now.starts_with("running") && now != format!("running {before}"))
            })
        }),
        case("create-start", "create, start, start again", |d| {
            let name = d.name();
            d.words(&["create", "--name", &name, "box", "sh", "-c", "echo once"])?.ok()?;
            d.is(&name, "{{.State.Status}}", "created")?;
            for _ in 0..2 {
                eq("start -a", d.get(&format!("start -a {name}"))?.as_str(), "once")?;
            }
            Ok(())
        }),
        case("pause", "pause stops every process, unpause lets them go on", |d| {
            let name = d.up("", &["sh", "-c", "while :; do echo tick; usleep 20000; done"])?;
            d.says(&name, "tick")?;
            d.get(&format!("pause {name}"))?;
            d.is(&name, "{{.State.Status}}", "paused")?;
            let pid = d.inspect(&name, "{{.State.Pid}}")?;
            let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
            let frozen = cgroup.lines().find_map(|l| l.split_once(":freezer:")).map(|(_, p)| p.to_owned());
            if let Some(path) = frozen {
                let state = fs::read_to_string(format!("/sys/fs/cgroup/freezer{path}/freezer.state"))?;
                eq("freezer.state", state.trim(), "FROZEN")?;
            }
            d.exec("", &name, "true")?.fails(1, &["is paused"])?;
            d.get(&format!("unpause {name}"))?;
            d.is(&name, "{{.State.Status}}", "running")?;
            d.exec("", &name, "true")?.ok().map(drop)
        }),
        case("pause/kill", "a paused container can be removed by force", |d| {
            let name = d.idle("")?;
            d.get(&format!("pause {name}"))?;
            d.get(&format!("rm -f {name}")).map(drop)
        }),
        case("rename", "rename a running container", |d| {
            let name = d.idle("")?;
            let new = d.name();
            d.get(&format!("rename {name} {new}"))?;
            d.exec("", &new, "true")?.ok().map(drop)
        }),
        case("wait", "wait for a running container", |d| {
            let (name, cmd) = d.run_cmd("-d -i", &["sh", "-c", "read x; exit 6"])?;
            cmd.go()?.ok()?;
            let mut waiting = d.cmd(&["wait", &name])?.spawn()?;
            let attached = d.cmd(&["attach", &name])?.input("go\n")?.go()?;
            eq("attach", attached.status, 6)?;
            waiting.expect("6")
        }),
        case("top", "top shows the processes of the container, and no other", |d| {
            let name = d.up("", &["sh", "-c", "sleep 4321 & echo up; wait"])?;
            d.says(&name, "up")?;
            let out = d.get(&format!("top {name} -o pid,args"))?;
            eq("lines", out.lines().count(), 3)?;
            contains("top", &out, &["PID", "sleep 4321", "sh -c"])
        }),
        case("stats", "stats --no-stream has every figure", |d| {
            let name = d.idle("--memory 64m")?;
            let out = d.words(&[
                "stats",
                "--no-stream",
                "--format",
                "{{.Name}}|{{.CPUPerc}}|{{.MemUsage}}|{{.PIDs}}|{{.NetIO}}",
                &name,
            ])?;
            let out = out.ok()?.stdout;
            let fields: Vec<&str> = out.trim().split('|').collect();
            eq("fields", fields.len(), 5)?;
            ensure(fields[1].ends_with('%') && fields[2].ends_with("/ 64MiB"), &out)?;
            eq("pids", fields[3], "2")
        }),
        case("events", "the life of a container as events", |d| {
            let since = now()?;
            let (name, cmd) = d.run_cmd("--rm", &["sh", "-c", "exit 7"])?;
            cmd.go()?.exits(7)?;
            until("destroy", || {
                let until = now()?;
                let filter = format!("container={name}");
                let out = d.words(&[
                    "events",
                    "--since",
                    &since,
                    "--until",
                    &until,
                    "--filter",
                    &filter,
                    "--format",
                    "{{.Action}} {{.Actor.Attributes.exitCode}}",
                ])?;
                let all: Vec<&str> = out.stdout.lines().map(|l| l.trim_end_matches(" <no value>").trim()).collect();
                let order: Vec<&&str> =
                    all.iter().filter(|a| ["create", "start", "die 7", "destroy"].contains(*a)).collect();
                Ok(order == [&"create", &"start", &"die 7", &"destroy"])
            })
        }),
        case("health", "a health check runs by exec", |d| {
            let (name, cmd) = d.run_cmd("-d --health-interval 1s --health-cmd true", &["sleep", "1000"])?;
            cmd.go()?.ok()?;
            until("healthy", || Ok(d.inspect(&name, "{{.State.Health.Status}}")? == "healthy"))
        }),
        case("oom", "out of memory: 137 and OOMKilled", |d| {
            // Whether containerd's shim hears of it in time is chance there: so another process wants too much, and init stays.
            let scope = d.x.goes_with_last_process();
            let script = if scope { "tail /dev/zero; sleep 1000" } else { "exec tail /dev/zero" };
            let since = now()?;
            let name = d.up("--memory 16m --memory-swap 16m", &["sh", "-c", script])?;
            if scope {
                let filter = format!("--filter event=oom --filter container={name}");
                until("an event of it", || {
                    Ok(!d.get(&format!("events --since {since} --until {} {filter}", now()?))?.is_empty())
                })?;
                d.get(&format!("kill {name}"))?;
            }
            eq("wait", d.get(&format!("wait {name}"))?.as_str(), "137")?;
            d.is(&name, "{{.State.OOMKilled}} {{.State.ExitCode}}", "true 137")
        }),
    ]
}

/// Seconds since 1970.
fn now() -> Result<String, Stop> {
    let t = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(format!("{}.{:09}", t.as_secs(), t.subsec_nanos()))
}

fn kill(pid: &str) -> Outcome {
    let Some(p) = rustix::process::Pid::from_raw(pid.parse()?) else { return fail(format!("pid {pid}")) };
    Ok(rustix::process::kill_process(p, rustix::process::Signal::KILL)?)
}

fn alive(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|s| s.rsplit_once(')').is_some_and(|(_, r)| !r.trim_start().starts_with(['Z', 'X'])))
}

fn exec() -> Vec<Case> {
    let one = |name: &'static str, options: &'static str, script: &'static str, status: i32, want: &'static str| {
        case(&format!("exec/{name}"), "what a program sees of `docker exec` with these options", move |d| {
            let name = d.idle("-e OUTER=1 --cap-drop CHOWN")?;
            let out = d.exec(options, &name, script)?.exits(status)?;
            eq(format_args!("output ({})", out.stderr.trim()), out.stdout.trim(), want)
        })
    };
    vec![
        one("plain", "", "echo $OUTER; id -u; pwd; exit 9", 9, "1\n0\n/"),
        one(
            "user",
            "-u someone",
            "id -u; id -G; grep CapEff /proc/self/status | cut -f 2",
            0,
            "1000\n1000\n0000000000000000",
        ),
        one("workdir", "-w /data", "pwd", 0, "/data"),
        one("environment", "-e A=b -e OUTER=2", "echo $A $OUTER", 0, "b 2"),
        one("caps", "", "grep CapEff /proc/self/status | cut -f 2", 0, "00000000a80425fa"),
        one("own-signal", "", "kill -9 $$", 137, ""),
        one("namespaces", "", "test \"$(cat /proc/1/comm)\" = sh && ls /sys/class/net | wc -l", 0, "2"),
        case("exec/privileged", "exec --privileged gives every capability of the bounding set of the engine", |d| {
            let name = d.idle("")?;
            let out = d.exec("--privileged", &name, "grep CapEff /proc/self/status | cut -f 2")?.ok()?;
            every_capability(out.stdout.trim())
        }),
        case("exec/refused", "contract 5.3: texts of exec; dockerd 20.10 says 126 to all, 28 tells them apart", |d| {
            let name = d.idle("")?;
            let text = "exec: \"nosuch\": executable file not found in $PATH";
            let out = d.words(&["exec", &name, "nosuch"])?;
            ensure([126, 127].contains(&out.status), format_args!("exit status {}", out.status))?;
            contains("output", &(out.stdout + &out.stderr), &[text])?;
            d.words(&["exec", &name, "/etc/passwd"])?
                .exits(126)
                .and_then(|o| contains("output", &(o.stdout + &o.stderr), &["permission denied"]))
        }),
        case("exec/detached", "exec -d", |d| {
            let name = d.idle("")?;
            eq("output", d.exec("-d", &name, "echo x >/tmp/there; sleep 100")?.ok()?.stdout.as_str(), "")?;
            until("the file", || Ok(d.exec("", &name, "cat /tmp/there")?.status == 0))
        }),
        case("exec/stdin", "exec -i reads standard input", |d| {
            let name = d.idle("")?;
            let out = d.cmd(&["exec", "-i", &name, "cat"])?.input("through\n")?.go()?.ok()?;
            eq("output", out.stdout.as_str(), "through\n")
        }),
        case("exec/stopped", "exec in a stopped container", |d| {
            let name = d.up("", &["true"])?;
            d.get(&format!("wait {name}"))?;
            d.exec("", &name, "true")?.fails(1, &["is not running"]).map(drop)
        }),
        case("exec/killed", "a process of exec killed from outside: 137", |d| {
            let name = d.idle("")?;
            let mut running = d.cmd(&["exec", &name, "sh", "-c", "echo up; sleep 4999; true"])?.spawn()?;
            running.expect("up")?;
            let top = d.get(&format!("top {name} -o pid,args"))?;
            let Some(pid) = top.lines().find(|l| l.contains("sh -c echo up")).and_then(|l| l.split_whitespace().next())
            else {
                return fail(format!("no such process: {top}"));
            };
            kill(pid)?;
            // Its child holds the output.
            d.exec("", &name, "kill $(pidof sleep)")?;
            eq("exit status", running.wait()?, 137)
        }),
        case("exec/many", "10 at once in one container", |d| {
            let name = d.idle("")?;
            let mut all = Vec::new();
            for i in 0..10 {
                all.push((i, d.cmd(&["exec", &name, "sh", "-c", &format!("echo {i}; exit {i}")])?.spawn()?));
            }
            for (i, mut running) in all {
                running.expect(&i.to_string())?;
                eq("exit status", running.wait()?, i)?;
            }
            Ok(())
        }),
        case("exec/in-init", "exec ends when its container does", |d| {
            let name = d.idle("")?;
            let mut running = d.cmd(&["exec", &name, "sh", "-c", "echo up; sleep 4998"])?.spawn()?;
            running.expect("up")?;
            d.get(&format!("kill {name}"))?;
            eq("exit status", running.wait()?, 137)
        }),
    ]
}

/// Fails unless `got`, as /proc writes it, is what the harness has of the capabilities that dockerd 20.10 knows.
fn every_capability(got: &str) -> Outcome {
    let status = fs::read_to_string("/proc/self/status")?;
    let own = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap_or_default();
    let known = |mask: &str| u64::from_str_radix(mask.trim(), 16).map(|m| m & 0x3f_ffff_ffff);
    eq("capabilities", format!("{:x}", known(got)?), format!("{:x}", known(own)?))
}

/// A value in the container's cgroup.
fn knob(d: &Docker<'_>, name: &str, controller: &str, files: &[&str]) -> Result<String, Stop> {
    super::knob(&d.inspect(name, "{{.State.Pid}}")?, controller, files)
}

/// A character device that no container has by default.
fn spare_device() -> Result<&'static str, Stop> {
    match ["/dev/fuse", "/dev/net/tun"].into_iter().find(|d| fs::File::open(d).is_ok()) {
        Some(device) => Ok(device),
        None => skip("no device to spare"),
    }
}

/// A limit on a block device that is here; `option` without its value, and the file where it is found, of v1.
fn device_rate(d: &Docker<'_>, option: &str, file: &str) -> Outcome {
    let devices = fs::read_dir("/sys/block")?.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    let Some(device) = devices.into_iter().find(|n| Path::new("/dev").join(n).exists() && !n.starts_with("loop"))
    else {
        return skip("no block device");
    };
    let name = d.idle(&format!("{option} /dev/{device}:1mb"))?;
    let got = knob(d, &name, "blkio", &[file, "io.max"])?;
    ensure(got.contains("1048576"), got)
}

fn resources() -> Vec<Case> {
    vec![
        case("limit/cpu-shares", "-c", |d| {
            let name = d.idle("-c 512")?;
            let got = knob(d, &name, "cpu", &["cpu.shares", "cpu.weight"])?;
            ensure(["512", "20", "59"].contains(&got.as_str()), got)
        }),
        case("limit/blkio-weight", "--blkio-weight", |d| {
            if d.x.job.v2 && !has_weights(d.x) {
                return skip("this kernel has no weights of block devices");
            }
            let (name, cmd) = d.run_cmd("-d --blkio-weight 300", &["sleep", "1000"])?;
            let out = cmd.go()?.ok()?;
            if out.stderr.contains("Weight discarded") {
                return skip("this kernel has no blkio.weight, and dockerd 20.10 knows no other");
            }
            let got = knob(d, &name, "blkio", &["blkio.weight", "io.bfq.weight", "io.weight"])?;
            ensure(got.contains("300"), got)
        }),
        case("limit/device-rate", "--device-read-bps", |d| {
            device_rate(d, "--device-read-bps", "blkio.throttle.read_bps_device")
        }),
        case("limit/device-write-rate", "--device-write-bps", |d| {
            device_rate(d, "--device-write-bps", "blkio.throttle.write_bps_device")
        }),
        case("limit/update", "docker update of a running container", |d| {
            let name = d.idle("--memory 64m --memory-swap 64m --pids-limit 50")?;
            let cpuset = d.x.needs("cpuset").is_ok();
            let cpus = if cpuset { "--cpuset-cpus 0" } else { "" };
            d.get(&format!("update --memory 32m --memory-swap 40m --pids-limit 30 --cpus 0.25 {cpus} {name}"))?;
            eq("memory", knob(d, &name, "memory", &["memory.limit_in_bytes", "memory.max"])?.as_str(), "33554432")?;
            eq("pids", knob(d, &name, "pids", &["pids.max"])?.as_str(), "30")?;
            if cpuset {
                eq("cpus", knob(d, &name, "cpuset", &["cpuset.cpus"])?.as_str(), "0")?;
            }
            let quota = knob(d, &name, "cpu", &["cpu.cfs_quota_us", "cpu.max"])?;
            ensure(quota.starts_with("25000"), quota)?;
            d.get(&format!("update --memory 128m --memory-swap 256m {name}"))?;
            eq("memory", knob(d, &name, "memory", &["memory.limit_in_bytes", "memory.max"])?.as_str(), "134217728")
        }),
        case("limit/oom-kill-disable", "--oom-kill-disable", |d| {
            if !Path::new("/sys/fs/cgroup/memory").is_dir() {
                return skip("cgroup v2 has no such thing");
            }
            let name = d.idle("--memory 64m --oom-kill-disable")?;
            contains("oom_control", &knob(d, &name, "memory", &["memory.oom_control"])?, &["oom_kill_disable 1"])
        }),
        case("limit/swappiness", "--memory-swappiness", |d| {
            if !Path::new("/sys/fs/cgroup/memory").is_dir() {
                return skip("cgroup v2 has no such thing");
            }
            let name = d.idle("--memory-swappiness 10")?;
            eq("swappiness", knob(d, &name, "memory", &["memory.swappiness"])?.as_str(), "10")
        }),
        case("cgroup/parent", "--cgroup-parent, and no cgroup of the runtime's own below", |d| {
            let Some(stage) = &d.x.job.stage else { return fail("no fixture") };
            let config: Value = serde_json::from_slice(&fs::read(stage.dir.join("daemon.json"))?)?;
            let given = config["cgroup-parent"].as_str().unwrap_or_default();
            // The name of a slice says what it is below.
            let parent = match d.x.job.driver {
                Driver::Cgroupfs => format!("{given}/below"),
                Driver::Systemd => format!("{}-below.slice", given.trim_end_matches(".slice")),
            };
            let name = d.idle(&format!("--cgroup-parent {parent}"))?;
            let id = d.inspect(&name, "{{.Id}}")?;
            let pid = d.inspect(&name, "{{.State.Pid}}")?;
            let own = match d.x.job.driver {
                Driver::Cgroupfs => format!("{parent}/{id}"),
                Driver::Systemd => format!("{given}/{parent}/docker-{id}.scope"),
            };
            for controller in ["memory", "pids", "cpu", "devices", "freezer"] {
                let dir = cgroup_of(&pid, controller)?;
                ensure(dir.ends_with(&own), format_args!("{controller}: {dir}"))?;
            }
            let dirs: Vec<String> =
                ["memory", "pids", "devices"].iter().map(|c| cgroup_of(&pid, c)).collect::<Result<_, _>>()?;
            d.get(&format!("rm -f {name}"))?;
            match dirs.iter().find(|d| Path::new(d).exists()) {
                Some(left) => fail(format!("left behind: {left}")),
                None => Ok(()),
            }
        }),
        case("caps/privileged", "--privileged gives every capability that there is", |d| {
            let out = d.sh("--privileged", "grep CapEff /proc/self/status | cut -f 2; grep Seccomp: /proc/self/status | cut -f 2; \
                grep -c '^sysfs /sys sysfs rw' /proc/mounts; test -c /dev/kmsg && echo kmsg; mknod /tmp/k c 1 2 && echo made; \
                mount -t tmpfs none /tmp && echo mounted")?;
            let out = out.ok()?;
            let (caps, rest) = out.stdout.trim().split_once('\n').unwrap_or_default();
            every_capability(caps)?;
            eq("output", rest, "0\n1\nkmsg\nmade\nmounted")?;
            eq("stderr", out.stderr.as_str(), "")
        }),
        case("security/seccomp-file", "--security-opt seccomp=FILE", |d| {
            let file = d.x.fresh("profile.json");
            let profile = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]
            });
            fs::write(&file, serde_json::to_vec(&profile)?)?;
            let out = d.sh(&format!("--security-opt seccomp={}", file.display()), "mkdir /tmp/x 2>&1; true")?.ok()?;
            contains("mkdir", &out.stdout, &["not supported"])
        }),
        case("device/given", "--device with rights", |d| {
            let device = spare_device()?;
            let script = "(: </dev/mine) && echo fine; (: >/dev/mine) 2>/dev/null || echo refused; mknod /tmp/k c 1 1; (: </tmp/k) 2>/dev/null || echo refused";
            let out = d.sh(&format!("--device {device}:/dev/mine:r"), script)?;
            eq("output", out.ok()?.stdout.trim(), "fine\nrefused\nrefused")
        }),
        case("device/rule", "--device-cgroup-rule", |d| {
            let number = rustix::fs::stat(spare_device()?)?.st_rdev;
            let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
            let script = format!(
                "mknod /tmp/k c {major} {minor}; (: </tmp/k) && echo fine; (: >/tmp/k) 2>/dev/null || echo refused"
            );
            let (rule, name) = (format!("c {major}:{minor} r"), d.name());
            let out =
                d.words(&["run", "--rm", "--name", &name, "--device-cgroup-rule", &rule, "box", "sh", "-c", &script])?;
            eq("output", out.ok()?.stdout.trim(), "fine\nrefused")
        }),
    ]
}

fn files() -> Vec<Case> {
    vec![
        case("mount/volume", "-v, read-write and read-only, and a single file", |d| {
            let dir = d.x.fresh("volume");
            fs::create_dir(&dir)?;
            fs::write(dir.join("in"), "from the host\n")?;
            let dir = dir.to_string_lossy().into_owned();
            let out = d.sh(
                &format!("-v {dir}:/rw -v {dir}:/ro:ro -v {dir}/in:/file"),
                "cat /ro/in /file; echo back >/rw/out; touch /ro/x 2>/dev/null || echo refused",
            )?;
            eq("output", out.ok()?.stdout.as_str(), "from the host\nfrom the host\nrefused\n")?;
            eq("written", fs::read_to_string(format!("{dir}/out"))?.as_str(), "back\n")
        }),
        case("mount/volumes-from", "--volumes-from", |d| {
            let volume = format!("{}w", d.x.job.tag);
            let first = d.up(&format!("-v {volume}:/shared"), &["sh", "-c", "echo left >/shared/f"])?;
            d.get(&format!("wait {first}"))?;
            let out = d.sh(
                &format!("--volumes-from {first}:ro"),
                "cat /shared/f; touch /shared/x 2>/dev/null || echo refused",
            )?;
            eq("output", out.ok()?.stdout.as_str(), "left\nrefused\n")?;
            d.get(&format!("rm -f {first}"))?;
            d.get(&format!("volume rm {volume}")).map(drop)
        }),
        case("mount/propagation", "--mount with bind-propagation", |d| {
            let dir = d.x.fresh("shared");
            fs::create_dir(&dir)?;
            let none: Option<&str> = None;
            nix::mount::mount(Some("tmpfs"), &dir, Some("tmpfs"), nix::mount::MsFlags::empty(), none)?;
            nix::mount::mount(none, &dir, none, nix::mount::MsFlags::MS_SHARED, none)?;
            let seen = (|| {
                let path = dir.to_string_lossy();
                let name = d.idle(&format!("--mount type=bind,src={path},dst=/m,bind-propagation=rslave"))?;
                fs::create_dir(dir.join("late"))?;
                nix::mount::mount(Some("tmpfs"), &dir.join("late"), Some("tmpfs"), nix::mount::MsFlags::empty(), none)?;
                let out = d.exec(
                    "",
                    &name,
                    "grep -c ' /m/late ' /proc/mounts; grep ' /m ' /proc/self/mountinfo | grep -c master:",
                )?;
                nix::mount::umount2(&dir.join("late"), nix::mount::MntFlags::MNT_DETACH)?;
                d.get(&format!("rm -f {name}"))?;
                eq("output", out.stdout.trim(), "1\n1")
            })();
            nix::mount::umount2(&dir, nix::mount::MntFlags::MNT_DETACH)?;
            seen
        }),
        case("cp", "cp in both directions, running and stopped", |d| {
            let name = d.idle("")?;
            let (there, back) = (d.x.fresh("there"), d.x.fresh("back"));
            fs::write(&there, "content\n")?;
            for _ in 0..2 {
                d.get(&format!("cp {} {name}:/tmp/there", there.display()))?;
                d.get(&format!("cp {name}:/tmp/there {}", back.display()))?;
                eq("copy", fs::read_to_string(&back)?.as_str(), "content\n")?;
                d.get(&format!("stop {name}"))?;
            }
            Ok(())
        }),
        case("save-load", "save an image, remove it, load it, run it", |d| {
            let (tar, tag) = (d.x.fresh("saved"), format!("{}saved", d.x.job.tag));
            let tar = tar.to_string_lossy();
            d.get(&format!("tag box {tag}"))?;
            d.get(&format!("save -o {tar} {tag}"))?;
            d.get(&format!("rmi {tag}"))?;
            contains("load", &d.get(&format!("load -i {tar}"))?, &[&tag])?;
            let name = d.name();
            let out = d.words(&["run", "--rm", "--name", &name, &tag, "cat", "/data/from-image"]);
            d.get(&format!("rmi {tag}"))?;
            eq("output", out?.ok()?.stdout.trim(), "of the image")
        }),
        case("diff-commit-export", "diff, commit, export", |d| {
            let name = d.up("", &["sh", "-c", "echo new >/tmp/new; rm /data/from-image"])?;
            d.get(&format!("wait {name}"))?;
            let diff = d.get(&format!("diff {name}"))?;
            let mut lines: Vec<&str> = diff.lines().collect();
            lines.sort_unstable();
            eq("diff", lines, vec!["A /tmp/new", "C /data", "C /tmp", "D /data/from-image"])?;
            let image = format!("{name}-image");
            d.get(&format!("commit {name} {image}"))?;
            let again = d.name();
            let out = d.words(&["run", "--rm", "--name", &again, &image, "cat", "/tmp/new"]);
            d.get(&format!("rmi {image}"))?;
            eq("committed", out?.ok()?.stdout.as_str(), "new\n")?;
            let tar = d.x.fresh("tar");
            d.get(&format!("export -o {} {name}", tar.display()))?;
            let list = engine(d.x, &d.dir, "busybox", ["tar", "-t", "-f", &tar.to_string_lossy()])?.go()?.ok()?;
            contains("archive", &list.stdout, &["tmp/new", "bin/busybox"])
        }),
    ]
}

fn namespaces() -> Vec<Case> {
    let mut all = Vec::new();
    for (option, kind) in [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts"), ("--network", "net")] {
        all.push(case(&format!("host/{kind}"), "a namespace of the host", move |d| {
            let name = d.idle(&format!("{option} host"))?;
            let pid = d.inspect(&name, "{{.State.Pid}}")?;
            eq(kind, namespace_of(&pid, kind)?, namespace_of("self", kind)?)?;
            ensure(namespace_of(&pid, "mnt")? != namespace_of("self", "mnt")?, "the mount namespace is the host's")
        }));
        if kind == "uts" {
            continue;
        }
        all.push(case(&format!("container/{kind}"), "a namespace of another container", move |d| {
            let shareable = if kind == "ipc" { "--ipc shareable" } else { "" };
            let first = d.idle(shareable)?;
            let second = d.idle(&format!("{option} container:{first}"))?;
            let pids = [d.inspect(&first, "{{.State.Pid}}")?, d.inspect(&second, "{{.State.Pid}}")?];
            eq(kind, namespace_of(&pids[1], kind)?, namespace_of(&pids[0], kind)?)?;
            ensure(namespace_of(&pids[1], kind)? != namespace_of("self", kind)?, "it is the host's")?;
            d.exec("", &second, "true")?.ok()?;
            d.get(&format!("rm -f {second}"))?;
            d.exec("", &first, "true")?.ok().map(drop)
        }));
    }
    all.push(case("net/publish", "-p through docker-proxy and iptables", |d| {
        let name = d.up("-p 127.0.0.1::80", &["httpd", "-f", "-h", "/data"])?;
        let address = d.get(&format!("port {name} 80"))?;
        until("an answer", || {
            let Ok(mut stream) = TcpStream::connect(&address) else { return Ok(false) };
            let mut answer = String::new();
            stream.write_all(b"GET /from-image HTTP/1.0\r\n\r\n")?;
            let _ = stream.read_to_string(&mut answer);
            Ok(answer.contains("of the image"))
        })
    }));
    all.push(case("net/link", "--link: another container by a name", |d| {
        let first = d.idle("")?;
        let address = d.inspect(&first, "{{.NetworkSettings.IPAddress}}")?;
        let out =
            d.sh(&format!("--link {first}:other"), "ping -c 1 -W 5 other >/dev/null && grep -w other /etc/hosts")?;
        contains("/etc/hosts", &out.ok()?.stdout, &[&address])
    }));
    all.push(case("net/user-defined", "a network of its own, connected and disconnected while running", |d| {
        if !translates(d.x)? {
            return skip("this kernel translates no addresses, which dockerd's name server takes");
        }
        let net = format!("{}n", d.x.job.tag);
        d.get(&format!("network create {net}"))?;
        let seen = (|| {
            let first = d.idle(&format!("--network {net} --network-alias first"))?;
            d.sh(&format!("--network {net}"), "ping -c 1 -W 5 first")?.ok()?;
            d.get(&format!("network connect bridge {first}"))?;
            eq("interfaces", d.exec("", &first, "ls /sys/class/net | wc -l")?.stdout.trim(), "3")?;
            d.get(&format!("network disconnect bridge {first}"))?;
            d.get(&format!("rm -f {first}")).map(drop)
        })();
        d.get(&format!("network rm {net}"))?;
        seen
    }));
    all
}

fn terminals() -> Vec<Case> {
    vec![
        case("tty/run", "run -it: size, resize, input, exit status", |d| {
            let script = format!(
                "{}; echo sized; {}; echo resized; tty; read line; echo \"got $line\"; exit 8",
                sized("33 77"),
                sized("44 88")
            );
            let (_, cmd) = d.run_cmd("--rm -it", &["sh", "-c", &script])?;
            let mut t = Terminal::start(cmd, 33, 77)?;
            t.expect("sized\r\n")?;
            t.resize(44, 88, "resized\r\n")?;
            t.expect("/dev/pts/0")?;
            t.send("hello\r")?;
            t.expect("got hello")?;
            eq("exit status", t.end()?, 8)
        }),
        case("tty/interrupt", "ctrl-c reaches the program as SIGINT", |d| {
            let script = "trap 'echo interrupted; exit 9' INT; echo up; while :; do sleep 0.05; done";
            let (_, cmd) = d.run_cmd("--rm -it", &["sh", "-c", script])?;
            let mut t = Terminal::start(cmd, 24, 80)?;
            t.expect("up")?;
            t.send("\x03")?;
            t.expect("interrupted")?;
            eq("exit status", t.end()?, 9)
        }),
        case("tty/shell", "an interactive shell with job control", |d| {
            let (_, cmd) = d.run_cmd("--rm -it", &["sh"])?;
            let mut t = Terminal::start(cmd, 24, 80)?;
            t.expect("# ")?;
            // The quotes keep what is typed from being taken for what is printed. The job makes no processes: one that is
            // stopped before its execve has its parent wait instead of stop.
            let job = r#"sh -c 'trap "echo con\"\"tinued" CONT; echo re""ady; while :; do read line; done'"#;
            t.send(&format!("{job}\r"))?;
            t.expect("ready\r\n")?;
            t.send("\x1a")?;
            t.expect("Stopped")?;
            t.expect("# ")?;
            t.send("fg\r")?;
            t.expect("continued\r\n")?;
            t.send("\x03")?;
            t.expect("# ")?;
            t.send("test -c /dev/console && exit 5\r")?;
            eq("exit status", t.end()?, 5)
        }),
        case("tty/exec", "exec -it: size, resize, exit status", |d| {
            let name = d.idle("")?;
            let script = format!("{}; echo sized; {}; echo resized; exit 8", sized("33 77"), sized("44 88"));
            let cmd = d.cmd(&["exec", "-it", &name, "sh", "-c", &script])?;
            let mut t = Terminal::start(cmd, 33, 77)?;
            t.expect("sized\r\n")?;
            t.resize(44, 88, "resized\r\n")?;
            eq("exit status", t.end()?, 8)
        }),
        case("tty/attach", "run -dit, attach, detach keys, attach again", |d| {
            let (name, cmd) = d.run_cmd("-dit", &["sh"])?;
            cmd.go()?.ok()?;
            let mut t = Terminal::start(d.cmd(&["attach", &name])?, 24, 80)?;
            t.send("echo fi''rst\r")?;
            t.expect("first\r\n")?;
            t.send("\x10\x11")?;
            t.expect("read escape sequence")?;
            eq("detached", t.end()?, 1)?;
            d.is(&name, "{{.State.Status}}", "running")?;
            let mut t = Terminal::start(d.cmd(&["attach", &name])?, 24, 80)?;
            t.send("echo sec''ond; exit 4\r")?;
            t.expect("second\r\n")?;
            eq("exit status", t.end()?, 4)
        }),
        case("tty/missing", "a missing program with a terminal", |d| {
            let (_, cmd) = d.run_cmd("--rm -it", &["nosuch"])?;
            let mut t = Terminal::start(cmd, 24, 80)?;
            t.expect("exec: \"nosuch\": executable file not found in $PATH")?;
            eq("exit status", t.end()?, 127)
        }),
        case("tty/user", "the terminal belongs to the user", |d| {
            let (_, cmd) =
                d.run_cmd("--rm -it --user 1000", &["sh", "-c", "stat -c %u $(tty); echo x >$(tty) && echo fine"])?;
            let mut t = Terminal::start(cmd, 24, 80)?;
            t.expect("1000\r\n")?;
            t.expect("fine")?;
            eq("exit status", t.end()?, 0)
        }),
    ]
}

fn remapped() -> Vec<Case> {
    vec![
        remap("run", "userns-remap: ids inside and outside", |d| {
            let name = d.idle("")?;
            let out = d.exec("", &name, "id -u; cat /proc/self/uid_map; stat -c %u /data")?.ok()?;
            let words: Vec<&str> = out.stdout.split_whitespace().collect();
            eq("ids", words, vec!["0", "0", "200000", "65536", "0"])?;
            let status = fs::read_to_string(format!("/proc/{}/status", d.inspect(&name, "{{.State.Pid}}")?))?;
            contains("uid on the host", &status, &["Uid:\t200000\t200000"])?;
            d.get(&format!("stop {name}"))?;
            d.is(&name, "{{.State.ExitCode}}", "0")
        }),
        remap("user", "userns-remap: --user", |d| {
            let out =
                d.sh("--user 1000:1000 --read-only --tmpfs /tmp", "id -u; touch /tmp/x && stat -c %u /tmp/x")?.ok()?;
            eq("output", out.stdout.as_str(), "1000\n1000\n")
        }),
        remap("rights", "userns-remap: what root inside may do", |d| {
            let out = d.sh("--cap-add SYS_ADMIN --security-opt seccomp=unconfined",
                "mount -t tmpfs none /tmp && echo mounted; mknod /root/k c 1 2 2>/dev/null || echo refused; cat /dev/null && echo null; hostname x && echo named")?.ok()?;
            eq("output", out.stdout.as_str(), "mounted\nrefused\nnull\nnamed\n")
        }),
        remap("volume", "userns-remap: a volume and a copy", |d| {
            let volume = format!("{}v", d.x.job.tag);
            let name = d.idle(&format!("-v {volume}:/data"))?;
            d.exec("", &name, "echo x >/data/x; stat -c %u /data/x")?.ok()?;
            let back = d.x.fresh("back");
            d.get(&format!("cp {name}:/data/x {}", back.display()))?;
            d.get(&format!("rm -f {name}"))?;
            d.get(&format!("volume rm {volume}"))?;
            eq("content", fs::read_to_string(back)?.as_str(), "x\n")
        }),
        remap("tty", "userns-remap: run -it and exec -it", |d| {
            let (name, cmd) = d.run_cmd("--rm -it", &["sh", "-c", "tty; stat -c %u $(tty); read x; exit 3"])?;
            let mut t = Terminal::start(cmd, 24, 80)?;
            t.expect("/dev/pts/0")?;
            t.expect("0\r\n")?;
            let mut e =
                Terminal::start(d.cmd(&["exec", "-it", &name, "sh", "-c", "stat -c %u $(tty); exit 4"])?, 24, 80)?;
            e.expect("0\r\n")?;
            eq("exit status of exec", e.end()?, 4)?;
            t.send("go\r")?;
            eq("exit status", t.end()?, 3)
        }),
        remap("host", "userns-remap: --userns host with --privileged and --network host", |d| {
            let out = d
                .sh("--userns host --network host", "cat /proc/self/uid_map; ls /sys/class/net | grep -c docker0")?
                .ok()?;
            eq("output", out.stdout.split_whitespace().collect::<Vec<_>>(), vec!["0", "0", "4294967295", "1"])
        }),
        remap("limits", "userns-remap: limits, pause, top, stats", |d| {
            let name = d.idle(
                "--memory 64m --pids-limit 20 --sysctl net.ipv4.ip_unprivileged_port_start=77 --ulimit nofile=64:64",
            )?;
            eq("memory", knob(d, &name, "memory", &["memory.limit_in_bytes", "memory.max"])?.as_str(), "67108864")?;
            d.get(&format!("pause {name}"))?;
            d.get(&format!("unpause {name}"))?;
            contains("top", &d.get(&format!("top {name}"))?, &["200000"])?;
            eq("nofile", d.exec("", &name, "ulimit -n")?.stdout.trim(), "64")
        }),
        remap("missing", "userns-remap: the text of a missing program", |d| {
            d.run("", &["nosuch"])?.fails(127, &["exec: \"nosuch\": executable file not found in $PATH"]).map(drop)
        }),
        remap("publish", "userns-remap: a bridge and a published port", |d| {
            let name = d.up(
                "-p 127.0.0.1::80 --sysctl net.ipv4.ip_unprivileged_port_start=0",
                &["httpd", "-f", "-h", "/data"],
            )?;
            let address = d.get(&format!("port {name} 80"))?;
            until("a connection", || Ok(TcpStream::connect(&address).is_ok()))
        }),
        remap("container-net", "userns-remap: --network and --pid of another container", |d| {
            let first = d.idle("")?;
            let second = d.idle(&format!("--network container:{first} --pid container:{first}"))?;
            d.exec("", &second, "ls /sys/class/net | wc -l")?.ok().map(drop)
        }),
    ]
}

fn building() -> Vec<Case> {
    let mut all = Vec::new();
    for (kit, on) in [("classic", "0"), ("buildkit", "1")] {
        let build = move |d: &Docker<'_>, file: &str, tag: &str| -> Result<Out, Stop> {
            let dir = d.x.fresh("context");
            fs::create_dir(&dir)?;
            fs::write(dir.join("Dockerfile"), file)?;
            fs::write(dir.join("given"), "given\n")?;
            let dir = dir.to_string_lossy();
            let client = super::tool("docker")?.to_string_lossy().into_owned();
            let kit = format!("DOCKER_BUILDKIT={on}");
            engine(
                d.x,
                &d.dir,
                "env",
                [&kit, "BUILDKIT_PROGRESS=plain", &client, "build", "--no-cache", "-t", tag, &dir],
            )?
            .go()
        };
        all.push(case(&format!("build/{kit}"), "docker build: COPY, RUN, USER, WORKDIR", move |d| {
            let tag = format!("{}image", d.x.job.tag);
            let file = "FROM box\nCOPY given /given\nENV X=y\nRUN cat /given >/made && echo $X >>/made && test -e /proc/self/exe\n\
                        WORKDIR /w\nUSER someone\nRUN id -u >/tmp/who\nRUN [\"sh\", \"-c\", \"pwd >>/tmp/who\"]\n";
            build(d, file, &tag)?.ok()?;
            let name = d.name();
            let out = d.words(&["run", "--rm", "--name", &name, &tag, "cat", "/made", "/tmp/who"]);
            d.get(&format!("rmi {tag}"))?;
            eq("output", out?.ok()?.stdout.as_str(), "given\ny\n1000\n/w\n")
        }));
        all.push(case(&format!("build/{kit}-failure"), "docker build: the status of a RUN that fails", move |d| {
            let out = build(d, "FROM box\nRUN exit 3\n", &format!("{}no", d.x.job.tag))?;
            ensure(out.status != 0, "it succeeded")?;
            let text = out.stdout + &out.stderr;
            ensure(text.contains("returned a non-zero code: 3") || text.contains("exit code: 3"), text)
        }));
    }
    all
}

fn crowd(d: &Docker<'_>) -> Outcome {
    let mut all = Vec::new();
    for i in 0..if d.x.job.full { 200 } else { 20 } {
        let (_, cmd) = d.run_cmd("--rm", &["sh", "-c", &format!("echo {i}; exit {i}")])?;
        all.push((i, cmd.spawn()?));
    }
    for (i, mut running) in all {
        running.expect(&i.to_string())?;
        eq("exit status", running.wait()?, i)?;
    }
    Ok(())
}
