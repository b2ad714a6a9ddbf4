//! podman with conmon, as root and without, and buildah.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Terminal, engine, namespace_of, no_worse, prepare, reference, sized, staged, tool, translates, until};
use crate::ctx::{Cmd, Ctx, Driver, Out, Outcome, Stop, contains, ensure, eq, fail, patience, skip};
use crate::fixture::{Fixture, slice};
use crate::frame::Case;

static ROOT: Fixture = Fixture { name: "podman", start: |x| start(x, false) };
static ROOTLESS: Fixture = Fixture { name: "rootless", start: |x| start(x, true) };

/// buildah 1.43 asks for a million otherwise, which takes CAP_SYS_RESOURCE.
const LIMITS: [&str; 2] = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];

/// No daemon: a storage with the image `box`, and for the user `probe` a directory of its own.
fn start(x: &Ctx, rootless: bool) -> Outcome {
    prepare(x)?;
    tool("podman")?;
    tool("conmon")?;
    if !translates(x)? {
        fs::create_dir_all("/etc/containers/containers.conf.d")?;
        fs::write("/etc/containers/containers.conf.d/harness.conf", "[network]\nfirewall_driver = \"none\"\n")?;
    }
    let dir = &x.job.dir;
    if rootless {
        fs::write(dir.join("rootless"), "")?;
        for d in ["home", "tmp", "user"] {
            let d = dir.join(d);
            fs::create_dir_all(&d)?;
            std::os::unix::fs::chown(d, Some(1999), Some(1999))?;
        }
    }
    let p = Podman::of(x, dir.clone());
    let tar = dir.join("image.tar").to_string_lossy().into_owned();
    let path = "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    p.words(&["import", "--change", path, "--change", "CMD sh", &tar, "box"])?.ok()?;
    // What a pod's namespaces live in.
    p.words(&["import", "--change", path, "--change", "CMD sleep 1000", &tar, "idle"])?.ok().map(drop)
}

/// podman, and the containers that the case made with it.
struct Podman<'a> {
    x: &'a Ctx,
    dir: PathBuf,
    /// As the user `probe`.
    rootless: bool,
    runtime: RefCell<PathBuf>,
    names: RefCell<Vec<String>>,
}

impl<'a> Podman<'a> {
    fn of(x: &'a Ctx, dir: PathBuf) -> Podman<'a> {
        let rootless = dir.join("rootless").exists();
        Podman { x, dir, rootless, runtime: x.job.runtime.clone().into(), names: RefCell::default() }
    }

    fn cmd(&self, args: &[&str]) -> Result<Cmd<'a>, Stop> {
        self.tool("podman", args)
    }

    /// podman or buildah on the fixture's storage.
    fn tool(&self, program: &str, args: &[&str]) -> Result<Cmd<'a>, Stop> {
        let at = |name: &str| self.dir.join("user").join(name).to_string_lossy().into_owned();
        let (root, run, tmp) = (at("root"), at("run"), at("t"));
        let runtime = self.runtime.borrow().to_string_lossy().into_owned();
        // Without root systemd is the user's own, which nobody has started here.
        let systemd = self.x.job.driver == Driver::Systemd && !self.rootless;
        let manager = if systemd { "systemd" } else { "cgroupfs" };
        let mut all = vec!["--root", &root, "--runroot", &run, "--cgroup-manager", manager];
        if program == "podman" {
            all.extend(["--tmpdir", &tmp, "--events-backend", "file", "--runtime", &runtime]);
        }
        all.extend(args);
        if !self.rootless {
            return engine(self.x, &self.dir, program, all);
        }
        let program = tool(program)?.to_string_lossy().into_owned();
        let runtime_dir = format!("XDG_RUNTIME_DIR={}", at("xdg"));
        fs::create_dir_all(at("xdg"))?;
        std::os::unix::fs::chown(at("xdg"), Some(1999), Some(1999))?;
        let mut words = vec![
            "--reuid",
            "1999",
            "--regid",
            "1999",
            "--clear-groups",
            "--inh-caps=-all",
            "env",
            &runtime_dir,
            "USER=probe",
            &program,
        ];
        words.extend(all);
        Ok(engine(self.x, &self.dir, "setpriv", words)?.cwd(&self.dir))
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

    fn name(&self) -> String {
        let name = format!("{}{}", self.x.job.tag, self.names.borrow().len());
        self.names.borrow_mut().push(name.clone());
        name
    }

    /// `--cgroup-parent`: what is left there is found.
    fn cgroup_parent(&self) -> String {
        let parent = format!("/{}", self.dir.file_name().unwrap_or_default().to_string_lossy());
        let parent = format!("/{}{}", self.x.job.run.trim_end_matches('-'), parent.replace('/', "-"));
        match self.x.job.driver {
            Driver::Cgroupfs => parent,
            Driver::Systemd => format!("{}.slice", slice(parent.trim_start_matches('/'))),
        }
    }

    fn run_cmd(&self, options: &str, program: &[&str]) -> Result<(String, Cmd<'a>), Stop> {
        let (name, parent) = (self.name(), self.cgroup_parent());
        let mut args = vec!["run", "--name", &name];
        if !options.contains("--pod ") && !self.rootless {
            args.extend(["--cgroup-parent", &parent]);
        }
        if self.rootless && !options.contains("--net") {
            args.extend(["--net", "none"]);
        }
        args.extend(options.split_whitespace());
        args.push("box");
        args.extend(program);
        Ok((name.clone(), self.cmd(&args)?))
    }

    fn run(&self, options: &str, program: &[&str]) -> Result<Out, Stop> {
        self.run_cmd(&format!("--rm {options}"), program)?.1.go()
    }

    fn sh(&self, options: &str, script: &str) -> Result<Out, Stop> {
        self.run(options, &["sh", "-c", script])
    }

    fn up(&self, options: &str, program: &[&str]) -> Result<String, Stop> {
        let (name, cmd) = self.run_cmd(&format!("-d {options}"), program)?;
        cmd.go()?.ok()?;
        Ok(name)
    }

    fn idle(&self, options: &str) -> Result<String, Stop> {
        self.up(options, &["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"])
    }

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

    fn tidy(&self) -> Outcome {
        // Those that use others' namespaces before those.
        for name in self.names.borrow().iter().rev() {
            if self.go(&format!("container exists {name}"))?.status == 0 {
                self.get(&format!("rm --force --time 0 {name}"))?;
            }
        }
        Ok(())
    }
}

fn with(
    fixture: &'static Fixture,
    name: &str,
    checks: &'static str,
    run: impl Fn(&Podman<'_>) -> Outcome + Send + Sync + 'static,
) -> Case {
    staged(fixture, name, checks, move |x, dir| {
        let p = Podman::of(x, dir);
        let outcome = run(&p);
        outcome.and(p.tidy())
    })
}

fn case(name: &str, checks: &'static str, run: impl Fn(&Podman<'_>) -> Outcome + Send + Sync + 'static) -> Case {
    with(&ROOT, name, checks, run)
}

/// `podman run --rm OPTIONS box sh -c SCRIPT` and all that it prints: name, options, script, output.
type Row = (&'static str, &'static str, &'static str, &'static str);

const ROWS: &[Row] = &[
    ("run/plain", "", "echo $$; id -u; pwd", "1\n0\n/"),
    ("run/hostname", "--hostname somehost --env A=b --workdir /data", "hostname; echo $A; pwd", "somehost\nb\n/data"),
    ("run/user", "--user 1000:1000 --group-add 2000", "id -u; id -G", "1000\n1000 2000"),
    ("run/init", "--init --init-path /usr/bin/tini-static", "test $$ != 1 && echo child", "child"),
    (
        "mount/read-only",
        "--read-only",
        "touch /x 2>/dev/null || echo refused; touch /tmp/x && echo fine",
        "refused\nfine",
    ),
    ("mount/tmpfs", "--tmpfs /t:size=1m", "grep -c ' /t .*size=1024k' /proc/mounts", "1"),
    (
        "mount/volume",
        "-v /etc/passwd:/file:ro -v /etc:/e:ro,rslave",
        "grep -c ^probe: /file /e/passwd; (echo x >>/file) 2>/dev/null || echo refused",
        "/file:1\n/e/passwd:1\nrefused",
    ),
    ("net/none", "--net none", "ls /sys/class/net", "lo"),
    ("net/bridge", "", "ls /sys/class/net", "eth0\nlo"),
    ("security/caps", "--cap-drop all --cap-add chown", "grep CapEff /proc/self/status | cut -f 2", "0000000000000001"),
    (
        "security/no-new-privileges",
        "--security-opt no-new-privileges",
        "grep NoNewPrivs /proc/self/status | cut -f 2",
        "1",
    ),
    ("security/seccomp", "", "grep Seccomp: /proc/self/status | cut -f 2", "2"),
    (
        "security/privileged",
        "--privileged",
        "grep Seccomp: /proc/self/status | cut -f 2; mount -t tmpfs none /tmp && echo mounted",
        "0\nmounted",
    ),
    ("limit/ulimit", "--ulimit nofile=100:200 --ulimit nproc=1000:1000", "ulimit -n; ulimit -Hn", "100\n200"),
    ("limit/shm", "--shm-size 8m", "grep -c ' /dev/shm .*size=8192k' /proc/mounts", "1"),
    ("sysctl", "--sysctl net.core.somaxconn=77", "cat /proc/sys/net/core/somaxconn", "77"),
    (
        "device",
        "--device /dev/fuse:/dev/mine:r",
        "(: </dev/mine) && echo fine; (: >/dev/mine) 2>/dev/null || echo refused",
        "fine\nrefused",
    ),
    (
        "systemd",
        "--systemd always",
        "for d in /run /run/lock /tmp; do grep -c \"^tmpfs $d tmpfs rw\" /proc/mounts; done; echo $container; test -w /sys/fs/cgroup/systemd || test -w /sys/fs/cgroup && echo writable",
        "1\n1\n1\npodman\nwritable",
    ),
    ("userns/auto", "--userns auto:size=1000", "tr -s ' ' </proc/self/uid_map | cut -d ' ' -f 4; id -u", "1000\n0"),
    (
        "userns/map",
        "--uidmap 0:400000:1000 --gidmap 0:400000:1000",
        "tr -s ' ' </proc/self/uid_map; touch /tmp/x && stat -c %u /tmp/x",
        " 0 400000 1000\n0",
    ),
];

/// What a user without rights may ask.
const ROOTLESS_ROWS: &[Row] = &[
    ("run/plain", "", "echo $$; id -u; touch /x && stat -c %u /x", "1\n0\n0"),
    ("run/user", "--user 1000:1000", "id -u; id -g", "1000\n1000"),
    ("run/keep-id", "--userns keep-id", "id -u; id -g", "1999\n1999"),
    ("run/net-host", "--net host", "ls /sys/class/net | grep -c lo", "1"),
    (
        "run/read-only",
        "--read-only --tmpfs /t",
        "touch /x 2>/dev/null || echo refused; touch /t/x && echo fine",
        "refused\nfine",
    ),
    ("run/volume", "-v VOLUME:/data", "touch /data/x && stat -c %u /data/x", "0"),
    ("run/privileged", "--privileged", "mount -t tmpfs none /tmp && echo mounted", "mounted"),
    ("run/sysctl", "--sysctl net.core.somaxconn=77", "cat /proc/sys/net/core/somaxconn", "77"),
    ("run/device", "--device /dev/null:/dev/mine", "echo x >/dev/mine && echo fine", "fine"),
    (
        "run/security",
        "--cap-drop all --security-opt no-new-privileges",
        "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status | cut -f 2",
        "0000000000000000\n1\n2",
    ),
];

pub(crate) fn cases() -> Vec<Case> {
    let checks = "what a program sees of `podman run` with these options";
    let row = |fixture: &'static Fixture, row: &'static Row| {
        let (name, options, script, want) = row;
        with(fixture, name, checks, move |p| {
            let options = options.replace("VOLUME", &format!("{}v", p.x.job.tag));
            let out = p.sh(&options, script)?.ok()?;
            eq(format_args!("output ({})", out.stderr.trim()), out.stdout.trim_end(), *want)
        })
    };
    let mut all: Vec<Case> = ROWS.iter().map(|r| row(&ROOT, r)).collect();
    all.extend(ROOTLESS_ROWS.iter().map(|r| row(&ROOTLESS, r)));
    for fixture in [&ROOT, &ROOTLESS] {
        all.extend(common(fixture));
    }
    all.extend(root());
    all
}

/// What root and others may do alike.
fn common(fixture: &'static Fixture) -> Vec<Case> {
    let case = |name: &str, checks: &'static str, run: fn(&Podman<'_>) -> Outcome| with(fixture, name, checks, run);
    vec![
        case("status", "the statuses of programs and of failures", |p| {
            p.sh("", "exit 3")?.exits(3)?;
            p.run("", &["nosuch"])?.fails(127, &["executable file `nosuch` not found in $PATH"]).map(drop).or_else(
                |_| {
                    p.run("", &["nosuch"])?
                        .fails(127, &["exec: \"nosuch\": executable file not found in $PATH"])
                        .map(drop)
                },
            )?;
            p.run("", &["/etc"])?.exits(126)?;
            p.run("", &["/etc/passwd"])?.fails(126, &["permission denied"])?;
            p.run("--no-such-flag", &["true"])?.exits(125).map(drop)
        }),
        case("lifecycle", "run -d, inspect, logs, stop, start, kill, wait, rm", |p| {
            let name = p.up("", &["sh", "-c", "echo up; trap 'exit 4' TERM; while :; do sleep 1000 & wait; done"])?;
            p.is(&name, "{{.State.Status}}", "running")?;
            until("output", || Ok(p.get(&format!("logs {name}"))? == "up"))?;
            p.get(&format!("stop {name}"))?;
            p.is(&name, "{{.State.Status}} {{.State.ExitCode}}", "exited 4")?;
            p.get(&format!("start {name}"))?;
            p.get(&format!("kill {name}"))?;
            eq("wait", p.get(&format!("wait {name}"))?.as_str(), "137")?;
            p.get(&format!("rm {name}")).map(drop)
        }),
        case("kill", "kill with a signal's name", |p| {
            let name = p.up("", &["sh", "-c", "trap 'echo got HUP' HUP; echo up; while :; do usleep 20000; done"])?;
            until("output", || Ok(p.get(&format!("logs {name}"))? == "up"))?;
            p.get(&format!("kill -s HUP {name}"))?;
            until("the signal", || Ok(p.get(&format!("logs {name}"))?.contains("got HUP")))
        }),
        case("exec", "exec: output, status, user, directory, a missing program", |p| {
            let name = p.idle("")?;
            let out = p.exec("--user 1000 --workdir /data -e A=b", &name, "id -u; pwd; echo $A; exit 5")?.exits(5)?;
            eq("output", out.stdout.as_str(), "1000\n/data\nb\n")?;
            p.words(&["exec", &name, "nosuch"])?.fails(127, &["executable file not found in $PATH"])?;
            p.words(&["exec", &name, "/etc/passwd"])?.fails(126, &["permission denied"]).map(drop)
        }),
        case("exec/stdin", "exec -i reads standard input", |p| {
            let name = p.idle("")?;
            let out = p.cmd(&["exec", "-i", &name, "cat"])?.input("through\n")?.go()?.ok()?;
            eq("output", out.stdout.as_str(), "through\n")
        }),
        case("top", "top of every process", |p| {
            let name = p.up("", &["sh", "-c", "sleep 4321 & wait"])?;
            until("two processes", || Ok(p.get(&format!("top {name} pid args"))?.lines().count() == 3))
        }),
        case("tty/run", "run -it: size, resize, interrupt", |p| {
            let script = format!(
                "{}; echo sized; {}; echo resized; trap 'exit 8' INT; echo wai\"\"ting; while :; do usleep 20000; done",
                sized("33 77"),
                sized("44 88")
            );
            let (_, cmd) = p.run_cmd("--rm -it", &["sh", "-c", &script])?;
            let mut t = Terminal::start(cmd, 33, 77)?;
            t.expect("sized\r\n")?;
            t.resize(44, 88, "resized\r\n")?;
            t.expect("waiting")?;
            t.send("\x03")?;
            eq("exit status", t.end()?, 8)
        }),
        case("tty/exec", "exec -it", |p| {
            let name = p.idle("")?;
            let script = format!("{}; echo sized; tty; exit 6", sized("33 77"));
            let mut t = Terminal::start(p.cmd(&["exec", "-it", &name, "sh", "-c", &script])?, 33, 77)?;
            t.expect("sized\r\n")?;
            t.expect("/dev/pts/0")?;
            eq("exit status", t.end()?, 6)
        }),
        case("health", "a health check runs by exec", |p| {
            let name = p.name();
            let net = if p.rootless { "--net=none" } else { "--hostname=x" };
            p.words(&[
                "run",
                "-d",
                net,
                "--name",
                &name,
                "--health-cmd",
                "cat /data/from-image",
                "--health-interval",
                "disable",
                "box",
                "sleep",
                "1000",
            ])?
            .ok()?;
            p.get(&format!("healthcheck run {name}")).map(drop)
        }),
        case("container-namespaces", "--net, --pid and --ipc of another container", |p| {
            let first = p.idle("--ipc shareable")?;
            let second = p.idle(&format!("--net container:{first} --pid container:{first} --ipc container:{first}"))?;
            let pids = [p.inspect(&first, "{{.State.Pid}}")?, p.inspect(&second, "{{.State.Pid}}")?];
            for kind in ["net", "pid", "ipc"] {
                eq(kind, namespace_of(&pids[1], kind)?, namespace_of(&pids[0], kind)?)?;
            }
            p.exec("", &second, "true")?.ok().map(drop)
        }),
        case("info", "podman info shows the runtime", |p| {
            // As it shows it, for the report.
            p.x.measure(p.get("info")?);
            let path = p.get("info --format {{.Host.OCIRuntime.Path}}")?;
            eq("path", path.as_str(), p.x.job.runtime.to_string_lossy().as_ref())?;
            let version = p.x.job.version.lines().next().unwrap_or_default().to_owned();
            contains("version", &p.get("info --format {{.Host.OCIRuntime.Version}}")?, &[&version])
        }),
        case("pod", "a pod of two containers", |p| {
            let pod = format!("{}pod", p.x.job.tag);
            let net = if p.rootless { "--net none" } else { "" };
            p.get(&format!("pod create --name {pod} {net} --infra-image localhost/idle"))
                .or_else(|_| p.get(&format!("pod create --name {pod} {net} --infra=false")))?;
            let seen = (|| {
                let name = p.name();
                p.words(&[
                    "run",
                    "-d",
                    "--pod",
                    &pod,
                    "--name",
                    &name,
                    "box",
                    "sh",
                    "-c",
                    "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done",
                ])?
                .ok()?;
                let other = p.name();
                p.words(&["run", "--rm", "--pod", &pod, "--name", &other, "box", "true"])?.ok()?;
                p.exec("", &name, "true")?.ok()?;
                contains("pod ps", &p.get("pod ps --format {{.Name}}|{{.Status}}")?, &[&format!("{pod}|")])
            })();
            p.get(&format!("pod rm --force --time 0 {pod}"))?;
            seen
        }),
        case("buildah", "buildah run and build", |p| {
            let runtime = p.x.job.runtime.to_string_lossy().into_owned();
            let container = p
                .tool("buildah", &["from", LIMITS[0], LIMITS[1], "localhost/box"])?
                .go()?
                .ok()?
                .stdout
                .trim()
                .to_owned();
            let seen = (|| {
                let isolation = if p.rootless { "rootless" } else { "oci" };
                let run = |script: &str| {
                    p.tool(
                        "buildah",
                        &[
                            "run",
                            "--isolation",
                            isolation,
                            "--net",
                            "host",
                            "--runtime",
                            &runtime,
                            &container,
                            "sh",
                            "-c",
                            script,
                        ],
                    )?
                    .go()
                };
                eq("output", run("echo x >/made; cat /made; id -u")?.ok()?.stdout.as_str(), "x\n0\n")?;
                ensure(run("exit 3")?.status == 3, "the status of the program")
            })();
            p.tool("buildah", &["rm", &container])?.go()?.ok()?;
            seen
        }),
    ]
}

fn root() -> Vec<Case> {
    vec![
        case("pause", "pause and unpause", |p| {
            let name = p.idle("")?;
            p.get(&format!("pause {name}"))?;
            p.is(&name, "{{.State.Status}}", "paused")?;
            ensure(p.exec("", &name, "true")?.status != 0, "exec in a paused container")?;
            p.get(&format!("unpause {name}"))?;
            p.exec("", &name, "true")?.ok().map(drop)
        }),
        case("limit/memory", "--memory, --pids-limit, --cpus", |p| {
            let out = p.sh("--memory 64m --pids-limit 17 --cpus 0.5", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || \
                cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max")?.ok()?;
            contains("limits", &out.stdout, &["67108864\n17\n"])
        }),
        case("oom", "out of memory: 137 (conmon 2.1.6 sees no cause on cgroup v1)", |p| {
            let name = p.up("--memory 16m --memory-swap 16m", &["tail", "/dev/zero"])?;
            eq("wait", p.get(&format!("wait {name}"))?.as_str(), "137")
        }),
        case("stats", "stats has figures", |p| {
            let name = p.idle("--memory 64m")?;
            let out = p.words(&["stats", "--no-stream", "--format", "{{.MemUsage}}|{{.PIDs}}", &name])?.ok()?.stdout;
            contains("stats", &out, &["67.11MB|2"])
        }),
        case("build", "podman build with RUN", |p| {
            let dir = p.x.fresh("context");
            fs::create_dir(&dir)?;
            fs::write(
                dir.join("Containerfile"),
                "FROM localhost/box\nRUN echo made >/made\nUSER someone\nRUN id -u >/tmp/who\n",
            )?;
            let (tag, dir) = (format!("{}image", p.x.job.tag), dir.to_string_lossy().into_owned());
            p.words(&["build", LIMITS[0], LIMITS[1], "--network", "host", "-t", &tag, &dir])?.ok()?;
            let out = p.words(&["run", "--rm", &tag, "cat", "/made", "/tmp/who"]);
            p.get(&format!("rmi {tag}"))?;
            eq("output", out?.ok()?.stdout.as_str(), "made\n1000\n")
        }),
        case("update", "podman update of a running container", |p| {
            let name = p.idle("--memory 64m")?;
            p.get(&format!("update --cpus 0.25 --pids-limit 30 {name}"))
                .or_else(|_| p.get(&format!("update --cpus 0.25 {name}")))?;
            let out = p
                .exec("", &name, "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cat /sys/fs/cgroup/cpu.max")?
                .ok()?;
            let quota: Vec<u64> = out.stdout.split_whitespace().filter_map(|w| w.parse().ok()).collect();
            ensure(quota.first() == Some(&25000), &out.stdout)
        }),
        case("systemd/boot", "--systemd=always: systemd boots, and says so", boots),
        case("sdnotify", "--sdnotify=container: what the container says reaches who started podman", |p| {
            let path = p.x.fresh("notify.sock");
            let supervisor = std::os::unix::net::UnixDatagram::bind(&path)?;
            supervisor.set_read_timeout(Some(patience(super::PATIENCE)))?;
            let ready = ["/probe", "notify", "READY=1", ",", "wait"];
            let probe = p.x.job.probe.display();
            let (_, cmd) =
                p.run_cmd(&format!("-d --pids-limit -1 --sdnotify container -v {probe}:/probe:ro"), &ready)?;
            let mut run = cmd.and_env("NOTIFY_SOCKET", &path.to_string_lossy()).spawn()?;
            let mut text = [0; 4096];
            let mut heard = Vec::new();
            while !["READY=1", "MAINPID="].iter().all(|what| heard.iter().any(|m: &String| m.contains(what))) {
                match supervisor.recv(&mut text) {
                    Ok(n) => heard.push(String::from_utf8_lossy(&text[..n]).into_owned()),
                    Err(e) => return fail(format!("{e}: only {heard:?} was heard; podman: {}", run.stderr())),
                }
            }
            eq("exit status of podman", run.wait()?, 0)
        }),
        case("host-pid", "kill ends every process where the pid namespace is the host's", |p| {
            let name = p.up("--pid host", &["sh", "-c", "sleep 986 & sleep 986 & wait"])?;
            let mut pids = Vec::new();
            until("three processes", || {
                let cgroup = super::cgroup_of(&p.inspect(&name, "{{.State.Pid}}")?, "pids")?;
                pids = fs::read_to_string(format!("{cgroup}/cgroup.procs"))?.lines().map(str::to_owned).collect();
                Ok(pids.len() == 3)
            })?;
            p.get(&format!("rm --force --time 0 {name}"))?;
            until("end of all processes", || Ok(pids.iter().all(|p| !fs::exists(format!("/proc/{p}")).unwrap_or(true))))
        }),
        case("log", "podman and conmon say nothing that they don't say with the reference", |p| {
            p.runtime.replace(reference(p.x)?);
            let usual = said(p)?;
            // Of a runtime with another name podman asks for no log as JSON, unless it is told so.
            p.runtime.replace(p.dir.join("bin/runc"));
            no_worse(p.x, &usual, &said(p)?)
        }),
        case("crowd", "10 containers at once", |p| {
            let mut all = Vec::new();
            for i in 0..10 {
                let (_, cmd) = p.run_cmd("--rm --net none", &["sh", "-c", &format!("echo {i}; exit {i}")])?;
                all.push((i, cmd.spawn()?));
            }
            for (i, mut running) in all {
                running.expect(&i.to_string())?;
                eq("exit status", running.wait()?, i)?;
            }
            Ok(())
        }),
    ]
}

/// A system made of the machine's own /usr, with nothing to start but what every system has.
fn boots(p: &Podman<'_>) -> Outcome {
    const SYSTEMD: &str = "/usr/lib/systemd/systemd";
    if !Path::new(SYSTEMD).exists() {
        return skip("no systemd on this machine");
    }
    let version = p.x.program(Path::new(SYSTEMD), ["--version"]).go()?.ok()?.stdout;
    let number = version.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    if !p.x.job.v2 && number >= 258 {
        return skip(format!("systemd {number} knows no cgroup v1"));
    }
    let root = p.x.fresh("system");
    for dir in ["usr", "proc", "sys", "dev", "run", "tmp", "var", "root", "etc/systemd/system"] {
        fs::create_dir_all(root.join(dir))?;
    }
    for dir in ["bin", "sbin", "lib", "lib64"].iter().filter(|dir| Path::new("/usr").join(dir).exists()) {
        std::os::unix::fs::symlink(format!("usr/{dir}"), root.join(dir))?;
    }
    for (file, text) in [
        ("passwd", "root:x:0:0::/root:/bin/sh\n"),
        ("group", "root:x:0:\n"),
        ("machine-id", "\n"),
        ("systemd/system/default.target", "[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n"),
    ] {
        fs::write(root.join("etc").join(file), text)?;
    }
    let (name, parent, root) = (p.name(), p.cgroup_parent(), root.to_string_lossy().into_owned());
    let words = ["run", "-d", "--name", &name, "--cgroup-parent", &parent, "--systemd", "always", "--net", "none"];
    // Without a limit also where the v2 hierarchy has no pids controller.
    let system = ["--pids-limit", "-1", "-v", "/usr:/usr:ro", "--rootfs", &root, SYSTEMD];
    p.words(&[&words[..], &system].concat())?.ok()?;
    // It waits until systemd has come to an end with it.
    let mut said = Out { status: 0, stdout: String::new(), stderr: String::new() };
    until("systemd", || {
        said = p.words(&["exec", &name, "systemctl", "is-system-running", "--wait"])?;
        Ok(!said.stdout.trim().is_empty() && said.stdout.trim() != "offline")
    })?;
    let failed = p.words(&["exec", &name, "systemctl", "--failed", "--plain", "--no-legend"])?.stdout;
    ensure(["running", "degraded"].contains(&said.stdout.trim()), format_args!("{}, {failed}", said.stdout))?;
    p.x.measure(format!("is-system-running: {} {failed}", said.stdout.trim()));
    eq("init", p.words(&["exec", &name, "cat", "/proc/1/comm"])?.ok()?.stdout.as_str(), "systemd\n")?;
    p.words(&["stop", "--time", "20", &name])?.ok()?;
    p.is(&name, "{{.State.Status}}", "exited")
}

/// What is said, from warnings on, during a bit of everything. Commands that use a container know its runtime.
fn said(p: &Podman<'_>) -> Result<String, Stop> {
    let mut said = String::new();
    let mut hear = |out: Out, status: i32| -> Outcome {
        said.push_str(&out.stderr);
        out.exits(status).map(drop)
    };
    let (name, cmd) =
        p.run_cmd("-d --memory 64m", &["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"])?;
    hear(cmd.go()?, 0)?;
    hear(p.exec("", &name, "exit 3")?, 3)?;
    hear(p.words(&["exec", &name, "nosuch"])?, 127)?;
    for words in ["pause", "unpause", "top", "stats --no-stream", "restart", "kill", "start", "stop", "rm"] {
        hear(p.go(&format!("{words} {name}"))?, 0)?;
    }
    hear(p.run("", &["nosuch"])?, 127)?;
    hear(p.run("", &["/etc/passwd"])?, 126)?;
    hear(p.run("--memory 16m --memory-swap 16m", &["tail", "/dev/zero"])?, 137)?;
    hear(p.run("", &["true"])?, 0)?;
    Ok(said)
}
