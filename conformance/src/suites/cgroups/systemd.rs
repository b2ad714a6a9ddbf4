//! The systemd driver: names and properties of units, what a daemon-reload leaves, and a systemd that does not answer.
//!
//! With `--driver systemd` every case of every suite runs under it; here is what is to be seen in systemd alone.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

use crate::ctx::{Ctx, Driver, Live, Outcome, Stop, args, contains, ensure, eq, fail, patience, skip};
use crate::frame::Case;

fn case(name: &str, checks: &'static str, run: impl Fn(&Ctx) -> Outcome + Send + Sync + 'static) -> Case {
    Case::new("cgroups", format!("systemd/{name}"), checks, move |x| {
        if x.job.driver != Driver::Systemd {
            return skip("takes --driver systemd");
        }
        run(x)
    })
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = places();
    all.extend(properties());
    all.extend(life());
    all.extend(silence());
    all
}

fn systemctl(args: &[&str]) -> Result<String, Stop> {
    let out = Command::new("systemctl").args(args).stdin(Stdio::null()).output()?;
    ensure(
        out.status.success(),
        format_args!("systemctl {args:?}: {}", String::from_utf8_lossy(&out.stderr).trim_end()),
    )?;
    Ok(String::from_utf8_lossy(&out.stdout).trim_end().to_owned())
}

/// The default unit of a container.
fn unit(live: &Live) -> String {
    format!("conformance-{}.scope", live.id)
}

/// `NAME=VALUE` of a unit.
fn show(unit: &str, names: &str) -> Result<Vec<String>, Stop> {
    Ok(systemctl(&["show", unit, "-p", names])?.lines().map(str::to_owned).collect())
}

/// Whether process `pid` is in the group `path`, which is below all others; where the runtime makes groups below, in one.
fn is_in(pid: i32, path: &str) -> Outcome {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let group = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let inside = group == path || group.starts_with(&format!("{path}/"));
    ensure(inside, format_args!("the process is in {group:?}, not in {path:?}"))
}

fn places() -> Vec<Case> {
    // cgroupsPath with ID for the container's id (none: missing), unit, slice, directory
    type Place = (&'static str, Option<&'static str>, &'static str, &'static str, &'static str);
    let places: [Place; 4] = [
        ("missing", None, "runc-ID.scope", "system.slice", "/system.slice/runc-ID.scope"),
        ("default-slice", Some(":p:ID"), "p-ID.scope", "system.slice", "/system.slice/p-ID.scope"),
        (
            "nested-slices",
            Some("conformance-a-b.slice:p:ID"),
            "p-ID.scope",
            "conformance-a-b.slice",
            "/conformance.slice/conformance-a.slice/conformance-a-b.slice/p-ID.scope",
        ),
        ("root-slice", Some("-.slice:p:ID"), "p-ID.scope", "-.slice", "/p-ID.scope"),
    ];
    let mut all: Vec<Case> = Vec::new();
    for (name, path, unit, slice, dir) in places {
        all.push(case(&format!("place/{name}"), "runc docs/systemd.md: slice:prefix:name", move |x| {
            let b = x.bundle(|c| args(c, "wait"))?;
            let config = fs::read_to_string(b.path("config.json"))?;
            let mut config: Value = serde_json::from_str(&config)?;
            config["linux"]["cgroupsPath"] = path.map_or(Value::Null, |path| json!(path.replace("ID", &b.id)));
            if path.is_none()
                && let Some(linux) = config["linux"].as_object_mut()
            {
                linux.remove("cgroupsPath");
            }
            fs::write(b.path("config.json"), config.to_string())?;
            let live = x.live_bundle(b)?;
            let unit = unit.replace("ID", &live.id);
            let shown = show(&unit, "Slice,Delegate,ActiveState")?;
            for want in [&format!("Slice={slice}"), "Delegate=yes", "ActiveState=active"] {
                ensure(shown.iter().any(|line| line == want), format_args!("{unit}: no {want} in {shown:?}"))?;
            }
            is_in(live.pid, &dir.replace("ID", &live.id))?;
            x.rt(["delete", "--force", &live.id])?.ok().map(drop)
        }));
    }
    all.push(case("place/wrong", "refused by name, and nothing is left", |x| {
        for path in ["/a/b", "a", "a:b", "a.slice/b.slice:p:n", "x:p:n", ":p:a/b", ":p:a b"] {
            let b = x.bundle(|c| c["linux"]["cgroupsPath"] = json!(path))?;
            let out = x.cmd(["create", "--bundle", b.dir(), &b.id]).go()?.exits(1)?;
            ensure(!out.stderr.trim().is_empty(), format_args!("{path:?}: no reason"))?;
        }
        Ok(())
    }));
    all.push(case("place/exec", "an exec is in the scope too", |x| {
        let live = x.live(|_| ())?;
        let mut other = x.cmd(["exec", &live.id, "/probe", "wait"]).spawn()?;
        other.expect("ready")?;
        let pids = x.rt(["ps", "-f", "json", &live.id])?.ok()?.json()?;
        let pids: Vec<i32> = serde_json::from_value(pids)?;
        eq("processes", pids.len(), 2)?;
        pids.iter().try_for_each(|pid| is_in(*pid, &x.group(&live.id)))?;
        x.rt(["kill", &live.id, "KILL"])?.ok()?;
        other.wait().map(drop)
    }));
    all
}

/// Limits as systemd tells them: controller, resources, properties. The figures are those of both v1 and v2.
fn properties() -> Vec<Case> {
    type Limit = (&'static str, [&'static str; 2], fn() -> Value, &'static [&'static str], &'static [&'static str]);
    let limits: [Limit; 7] = [
        ("pids", ["pids"; 2], || json!({"pids": {"limit": 77}}), &["TasksMax=77"], &["TasksMax=77"]),
        (
            "memory",
            ["memory"; 2],
            || json!({"memory": {"limit": 67_108_864, "reservation": 33_554_432}}),
            &["MemoryLimit=67108864"],
            &["MemoryMax=67108864", "MemoryLow=33554432"],
        ),
        (
            "swap",
            ["memory"; 2],
            || json!({"memory": {"limit": 67_108_864, "swap": 134_217_728}}),
            &["MemoryLimit=67108864"],
            &["MemoryMax=67108864", "MemorySwapMax=67108864"],
        ),
        ("cpu-shares", ["cpu"; 2], || json!({"cpu": {"shares": 512}}), &["CPUShares=512"], &[]),
        (
            "cpu-quota",
            ["cpu"; 2],
            || json!({"cpu": {"quota": 12345, "period": 50_000}}),
            &["CPUQuotaPerSecUSec=250ms", "CPUQuotaPeriodUSec=50ms"],
            &["CPUQuotaPerSecUSec=250ms", "CPUQuotaPeriodUSec=50ms"],
        ),
        (
            "cpuset",
            ["cpuset"; 2],
            || json!({"cpu": {"cpus": "0", "mems": "0"}}),
            &["AllowedCPUs=0", "AllowedMemoryNodes=0"],
            &["AllowedCPUs=0", "AllowedMemoryNodes=0"],
        ),
        (
            "unified",
            ["", "memory"],
            || json!({"unified": {"memory.high": "50331648", "memory.min": "1048576", "pids.max": "55"}}),
            &[],
            &["MemoryHigh=50331648", "MemoryMin=1048576", "TasksMax=55"],
        ),
    ];
    let mut all: Vec<Case> = Vec::new();
    for (name, [v1, v2], resources, on_v1, on_v2) in limits {
        all.push(case(&format!("property/{name}"), "systemd.resource-control(5), runc's conversions", move |x| {
            if x.job.v2 {
                x.needs_v2(v2)?;
            } else if v1.is_empty() {
                return skip("v2 alone");
            } else {
                x.needs_v1(v1)?;
            }
            let live = x.live(|c| {
                if let (Some(to), Value::Object(from)) = (c["linux"]["resources"].as_object_mut(), resources()) {
                    to.extend(from);
                }
            })?;
            let wanted = if x.job.v2 { on_v2 } else { on_v1 };
            let names: Vec<_> = wanted.iter().filter_map(|line| line.split('=').next()).collect();
            let shown = show(&unit(&live), &names.join(","))?;
            for want in wanted {
                ensure(shown.iter().any(|line| line == want), format_args!("no {want} in {shown:?}"))?;
            }
            // Whatever systemd writes again is what was there.
            let before = files(x, &live)?;
            systemctl(&["daemon-reload"])?;
            let after = files(x, &live)?;
            let same = |(name, text): &&(PathBuf, String)| after.iter().any(|(n, t)| n == name && t == text);
            let changed: Vec<_> = before.iter().filter(|file| !same(file)).collect();
            // systemd keeps a quota as a whole percentage.
            let rounded = name == "cpu-quota";
            ensure(changed.is_empty() || rounded, format_args!("a daemon-reload changed {changed:?} to {after:?}"))
        }));
    }
    all.push(case("property/devices", "the list of devices is the unit's as well", |x| {
        let live = x.live(|_| ())?;
        let shown = show(&unit(&live), "DevicePolicy,DeviceAllow")?;
        // Runtimes may name a major as in /proc/devices.
        let shown: Vec<_> = shown.iter().map(|line| line.replace("char-pts", "char-136")).collect();
        for want in
            ["DevicePolicy=strict", "DeviceAllow=/dev/char/1:3 rwm", "DeviceAllow=char-136 rwm", "DeviceAllow=char-* m"]
        {
            ensure(shown.iter().any(|line| line == want), format_args!("no {want} in {shown:?}"))?;
        }
        Ok(())
    }));
    all.push(case("property/annotations", "runc docs/systemd-properties.md", |x| {
        let live = x.live(|c| {
            c["annotations"] = json!({
                "org.systemd.property.TimeoutStopUSec": "uint64 123456789",
                "org.systemd.property.CollectMode": "'inactive-or-failed'",
                "org.systemd.property.Documentation": "['man:a(1)']",
            });
        })?;
        let shown = show(&unit(&live), "TimeoutStopUSec,CollectMode,Documentation")?;
        for want in ["TimeoutStopUSec=2min 3.456789s", "CollectMode=inactive-or-failed", "Documentation=\"man:a(1)\""] {
            ensure(shown.iter().any(|line| line == want), format_args!("no {want} in {shown:?}"))?;
        }
        for (name, value) in [("TimeoutStopUSec", "x"), ("a1", "1"), ("Nothing", "1"), ("TimeoutStopSec", "'1'")] {
            let b = x.bundle(|c| c["annotations"] = json!({format!("org.systemd.property.{name}"): value}))?;
            x.cmd(["create", "--bundle", b.dir(), &b.id]).go()?.exits(1)?;
        }
        Ok(())
    }));
    all
}

/// The control files of a container that a limit can be read from, with what they hold.
fn files(x: &Ctx, live: &Live) -> Result<Vec<(PathBuf, String)>, Stop> {
    let names: &[(&str, &[&str])] = if x.job.v2 {
        let all: &[&str] = &[
            "pids.max",
            "memory.max",
            "memory.low",
            "memory.high",
            "memory.min",
            "memory.swap.max",
            "cpu.weight",
            "cpu.max",
            "cpuset.cpus",
            "cpuset.mems",
            "io.weight",
            "io.bfq.weight",
        ];
        &[("", all)]
    } else {
        &[
            ("pids", &["pids.max"]),
            ("memory", &["memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes"]),
            ("cpu", &["cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us"]),
            ("cpuset", &["cpuset.cpus", "cpuset.mems"]),
            ("devices", &["devices.list"]),
        ]
    };
    let mut all = Vec::new();
    for (controller, names) in names {
        let dir = x.cgroup(&live.id, controller);
        for name in *names {
            if let Ok(text) = fs::read_to_string(dir.join(name)) {
                // Some lists are in no order.
                let mut lines: Vec<_> = text.lines().collect();
                lines.sort_unstable();
                all.push((dir.join(name), lines.join("\n")));
            }
        }
    }
    Ok(all)
}

fn life() -> Vec<Case> {
    vec![
        case("reload/devices", "nvidia-docker#1730: devices outlive a daemon-reload", |x| {
            let mut live = x.live(|c| args(c, "hammer /dev/null"))?;
            let before = files(x, &live)?;
            for _ in 0..5 {
                systemctl(&["daemon-reload"])?;
                x.rt(["exec", &live.id, "/probe", "open", "/dev/urandom", "r"])?.ok()?;
            }
            eq("control files", files(x, &live)?, before)?;
            x.rt(["kill", &live.id, "TERM"])?.ok()?;
            let result: Value = serde_json::from_str(&live.out.line()?)?;
            ensure(result.pointer("/result/done").and_then(Value::as_u64) > Some(100), "it hardly wrote")?;
            // On v1 systemd makes the list anew, beginning with one that denies all.
            if x.job.v2 { eq("failed writes", result.pointer("/result/failed"), Some(&json!(0))) } else { Ok(()) }
        }),
        case("reload/update", "a daemon-reload does not revert an update", |x| {
            if x.job.v2 {
                x.needs_v2("pids")?;
            } else {
                x.needs_v1("pids")?;
            }
            let live = x.live(|c| c["linux"]["resources"]["pids"] = json!({"limit": 50}))?;
            x.rt(["update", "--pids-limit", "60", &live.id])?.ok()?;
            let file = x.cgroup(&live.id, "pids").join("pids.max");
            eq("pids.max", fs::read_to_string(&file)?.trim(), "60")?;
            eq("property", show(&unit(&live), "TasksMax")?, vec!["TasksMax=60".to_owned()])?;
            systemctl(&["daemon-reload"])?;
            eq("pids.max after a daemon-reload", fs::read_to_string(&file)?.trim(), "60")?;
            // What the kernel or systemd refuses changes neither.
            x.rt(["update", "--pids-limit", "70", "--memory", "1", &live.id])?;
            let both = [fs::read_to_string(&file)?.trim().to_owned(), show(&unit(&live), "TasksMax")?.concat()];
            let same = both[1] == format!("TasksMax={}", both[0]);
            ensure(same, format_args!("file and property differ: {both:?}"))
        }),
        case("reload/paused", "a daemon-reload leaves a paused container paused", |x| {
            let live = x.live(|_| ())?;
            x.rt(["pause", &live.id])?.ok()?;
            systemctl(&["daemon-reload"])?;
            x.status(&live.id, "paused")?;
            x.rt(["resume", &live.id])?.ok()?;
            x.status(&live.id, "running")
        }),
        case("unit/exists", "runc UnitExists: the unit of another container is not touched", |x| {
            let live = x.live(|_| ())?;
            let b = x.bundle(|c| c["linux"]["cgroupsPath"] = json!(x.cgroups_path(&live.id)))?;
            let out = x.cmd(["create", "--bundle", b.dir(), &b.id]).go()?.exits(1)?;
            ensure(
                out.stderr.contains("not empty") || out.stderr.contains("UnitExists") || out.stderr.contains("exist"),
                "the error does not say that it exists",
            )?;
            x.status(&live.id, "running")?;
            is_in(live.pid, &x.group(&live.id))
        }),
        case("unit/failed-before", "runc ResetFailedUnit: a unit that has failed does not keep its name", |x| {
            let b = x.bundle(|c| args(c, "wait"))?;
            let unit = format!("conformance-{}.scope", b.id);
            let failed = Command::new("systemd-run")
                .args(["--scope", "--quiet", &format!("--unit={unit}"), "-p", "RuntimeMaxSec=50ms", "sleep", "100"])
                .stdin(Stdio::null())
                .output()?;
            ensure(!failed.status.success(), "the scope did not fail")?;
            let end = Instant::now() + patience(Duration::from_secs(10));
            while show(&unit, "ActiveState")? != ["ActiveState=failed"] {
                ensure(
                    Instant::now() < end,
                    format_args!("the unit did not fail: {:?}", show(&unit, "ActiveState,Result")?),
                )?;
            }
            let live = x.live_bundle(b)?;
            is_in(live.pid, &x.group(&live.id))
        }),
        case("unit/ends-with-init", "the unit goes with its last process, and delete is content", |x| {
            let live = x.live(|_| ())?;
            x.kill(&live)?;
            let end = Instant::now() + patience(Duration::from_secs(10));
            while show(&unit(&live), "ActiveState")? == ["ActiveState=active"] {
                ensure(Instant::now() < end, "the unit is still active")?;
            }
            x.rt(["delete", &live.id])?.ok().map(drop)
        }),
        case("unit/out-of-memory", "a unit that failed for memory is not left behind", |x| {
            if x.job.v2 {
                x.needs_v2("memory")?;
            } else {
                x.needs_v1("memory")?;
            }
            let b = x.bundle(|c| {
                args(c, "eat 67108864");
                c["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
            })?;
            let out = x.run(&b)?;
            ensure(out.status != 0, "it was not killed")?;
            eq("units", crate::ctx::units(&x.job.tag)?, Vec::<String>::new())
        }),
        case("unit/slice", "a name that ends in .slice is a slice", |x| {
            let b = x.bundle(|c| args(c, "wait"))?;
            let slice = format!("{}.slice", b.id.replace('-', "_"));
            let config = fs::read_to_string(b.path("config.json"))?;
            let path = x.cgroups_path(&b.id);
            fs::write(b.path("config.json"), config.replace(&path, &format!("system.slice:p:{slice}")))?;
            let live = x.live_bundle(b)?;
            is_in(live.pid, &format!("/{slice}"))?;
            x.rt(["delete", "--force", &live.id])?.ok()?;
            eq("state", show(&slice, "ActiveState")?, vec!["ActiveState=inactive".to_owned()])
        }),
    ]
}

/// The sockets by which systemd is reached.
const SOCKETS: [&str; 2] = ["/run/dbus/system_bus_socket", "/run/systemd/private"];

/// Mounts that are taken away again.
struct Covered(Vec<PathBuf>);

impl Drop for Covered {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            let _ = umount2(path, MntFlags::MNT_DETACH);
        }
    }
}

/// Puts sockets in the place of systemd's that pass everything on until a client says `word`; from then on that client is
/// answered nothing. Without a word nobody is answered anything, and there need be no systemd.
fn cover(x: &Ctx, word: Option<&'static str>) -> Result<Covered, Stop> {
    let none: Option<&str> = None;
    let mut covered = Covered(Vec::new());
    let mut sockets = Vec::new();
    if word.is_none() {
        for dir in ["/run/systemd", "/run/dbus"] {
            fs::create_dir_all(dir)?;
            mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), none)?;
            covered.0.push(dir.into());
        }
        fs::create_dir("/run/systemd/system")?;
        sockets.extend(SOCKETS.map(|path| (PathBuf::from(path), None)));
    } else {
        for (index, path) in SOCKETS.iter().enumerate().filter(|(_, path)| Path::new(path).exists()) {
            let aside = x.job.dir.join(format!("aside-{index}"));
            fs::write(&aside, "")?;
            mount(Some(*path), &aside, none, MsFlags::MS_BIND, none)?;
            covered.0.push(aside.clone());
            sockets.push((x.job.dir.join(format!("relay-{index}")), Some(aside)));
        }
    }
    for (index, (path, aside)) in sockets.into_iter().enumerate() {
        let listener = UnixListener::bind(&path)?;
        if aside.is_some() {
            let real: Vec<_> = SOCKETS.iter().filter(|path| Path::new(path).exists()).collect();
            mount(Some(&path), *real[index], none, MsFlags::MS_BIND, none)?;
            covered.0.push(PathBuf::from(real[index]));
        }
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for client in listener.incoming().flatten() {
                let real = aside.as_ref().and_then(|path| UnixStream::connect(path).ok());
                if let (Some(real), Some(word)) = (&real, word)
                    && let (Ok(from), Ok(to)) = (client.try_clone(), real.try_clone())
                    && let (Ok(back), Ok(answer)) = (real.try_clone(), client.try_clone())
                {
                    std::thread::spawn(move || relay(from, to, Some(word)));
                    std::thread::spawn(move || relay(back, answer, None));
                }
                // Open, and never read.
                kept.push((client, real));
            }
        });
    }
    Ok(covered)
}

/// Passes on what comes until `word` does.
fn relay(mut from: UnixStream, mut to: UnixStream, word: Option<&str>) {
    let mut buffer = [0; 65536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..length];
        if word.is_some_and(|word| bytes.windows(word.len()).any(|window| window == word.as_bytes())) {
            return;
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// What a command that meets silence says, and how long it may take: its deadline, and that of the cleaning up.
fn silent(x: &Ctx, args: &[&str], deadlines: u32) -> Outcome {
    if x.job.version.starts_with("runc version") {
        return skip("it has no deadline and would wait for ever");
    }
    let start = Instant::now();
    let out = x.cmd(args.iter().copied()).go()?.exits(1)?;
    x.measure(format!("{}: {:.1} s", args.last().unwrap_or(&""), start.elapsed().as_secs_f32()));
    contains("the error", &out.stderr, &["no answer on /run/", "within 30 s"])?;
    let limit = patience(Duration::from_secs(30)) * deadlines + patience(Duration::from_secs(10));
    ensure(start.elapsed() < limit, format_args!("it took {:?}", start.elapsed()))
}

/// A bus that accepts and never answers: every command ends in its deadline, with an error that says so, and leaves nothing.
fn silence() -> Vec<Case> {
    let mut never = Case::new("cgroups", "systemd/silence/from-the-start", "issue: a bus that never answers", |x| {
        if x.job.driver == Driver::Systemd {
            return skip("there need be no systemd");
        }
        let _covered = cover(x, None)?;
        let b = x.bundle(|c| c["linux"]["cgroupsPath"] = json!("system.slice:p:n"))?;
        silent(x, &["--systemd-cgroup", "create", "--bundle", b.dir(), &b.id], 1)?;
        ensure(!x.state_root().join(&b.id).exists(), "the container's directory is left")
    });
    let mut start = case("silence/start", "no answer to StartTransientUnit: no container, no unit", |x| {
        let covered = cover(x, Some("StartTransientUnit"))?;
        let b = x.bundle(|_| ())?;
        silent(x, &["create", "--bundle", b.dir(), &b.id], 2)?;
        drop(covered);
        ensure(!x.state_root().join(&b.id).exists(), "the container's directory is left")
    });
    let mut update = case("silence/update", "no answer to SetUnitProperties: the limits are as before", |x| {
        if x.job.v2 {
            x.needs_v2("pids")?;
        } else {
            x.needs_v1("pids")?;
        }
        let live = x.live(|c| c["linux"]["resources"]["pids"] = json!({"limit": 50}))?;
        let covered = cover(x, Some("SetUnitProperties"))?;
        silent(x, &["update", "--pids-limit", "60", &live.id], 1)?;
        drop(covered);
        let file = x.cgroup(&live.id, "pids").join("pids.max");
        eq("pids.max", fs::read_to_string(file)?.trim(), "50")
    });
    let mut delete = case("silence/delete", "no answer to StopUnit: nothing is left all the same", |x| {
        let live = x.live(|_| ())?;
        let covered = cover(x, Some("StopUnit"))?;
        silent(x, &["delete", "--force", &live.id], 1)?;
        drop(covered);
        x.gone(live.pid)?;
        ensure(!x.state_root().join(&live.id).exists(), "the container's directory is left")?;
        match x.rt(["state", &live.id])?.status {
            0 => fail("the container is still there"),
            _ => Ok(()),
        }
    });
    for case in [&mut never, &mut start, &mut update, &mut delete] {
        case.timeout = Duration::from_secs(100);
    }
    vec![never, start, update, delete]
}
