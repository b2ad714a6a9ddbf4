//! The systemd driver: names and properties of units, and what a daemon-reload leaves.
//!
//! With `--driver systemd` every case of every suite runs under it; here is what is to be seen in systemd alone.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::ctx::{Ctx, Driver, Live, Outcome, Stop, args, ensure, eq, patience, push, skip};
use crate::frame::Case;

pub(super) fn case(name: &str, checks: &'static str, run: impl Fn(&Ctx) -> Outcome + Send + Sync + 'static) -> Case {
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
    all
}

/// The default unit of a container.
fn unit(live: &Live) -> String {
    format!("conformance-{}.scope", live.id)
}

/// Whether process `pid` is in the group `path`, which is below all others; where the runtime makes groups below, in one.
fn is_in(pid: i32, path: &str) -> Outcome {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let group = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let inside = group == path || group.starts_with(&format!("{path}/"));
    ensure(inside, format_args!("the process is in {group:?}, not in {path:?}"))
}

fn places() -> Vec<Case> {
    // cgroupsPath with ID for the container's id (none: missing), unit, slice (none: the default), directory
    type Place = (&'static str, Option<&'static str>, &'static str, Option<&'static str>, &'static str);
    let places: [Place; 4] = [
        ("missing", None, "runc-ID.scope", None, "/SLICE/runc-ID.scope"),
        ("default-slice", Some(":p:ID"), "p-ID.scope", None, "/SLICE/p-ID.scope"),
        (
            "nested-slices",
            Some("conformance-a-b.slice:p:ID"),
            "p-ID.scope",
            Some("conformance-a-b.slice"),
            "/conformance.slice/conformance-a.slice/conformance-a-b.slice/p-ID.scope",
        ),
        ("root-slice", Some("-.slice:p:ID"), "p-ID.scope", Some("-.slice"), "/p-ID.scope"),
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
            let slice = slice.unwrap_or(x.manager().slice());
            let shown = x.manager().show(&unit, "Slice,Delegate,ActiveState")?;
            for want in [&format!("Slice={slice}"), "Delegate=yes", "ActiveState=active"] {
                ensure(shown.iter().any(|line| line == want), format_args!("{unit}: no {want} in {shown:?}"))?;
            }
            let dir = dir.replace("SLICE", slice).replace("ID", &live.id);
            is_in(live.pid, &format!("{}{dir}", x.manager().root()))?;
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
    all.push(case("place/shared-slice", "a slice is its containers' together, and whose limits are its own", |x| {
        let slice = format!("{}.slice", x.id().replace('-', "_"));
        let start = || -> Result<Live, Stop> {
            let b = x.bundle(|c| args(c, "wait"))?;
            let config = fs::read_to_string(b.path("config.json"))?;
            let path = x.cgroups_path(&b.id);
            fs::write(b.path("config.json"), config.replace(&path, &format!("{slice}:p:{}", b.id)))?;
            x.live_bundle(b)
        };
        let root = x.manager().root();
        let there = |live: &Live| is_in(live.pid, &format!("{root}/{slice}/p-{}.scope", live.id));
        let systemctl = |args: &[&str]| x.manager().systemctl(args);
        let of_slice = || x.manager().show(&slice, "ActiveState,TasksMax");
        let (one, two) = (start()?, start()?);
        systemctl(&["set-property", "--runtime", &slice, "TasksMax=4321"])?;
        let before = of_slice()?;
        // Whoever came first goes first, and others come and go meanwhile, not all of them by a way that is foreseen.
        x.rt(["delete", "--force", &one.id])?.ok()?;
        there(&two)?;
        let three = start()?;
        there(&three)?;
        x.kill(&two)?;
        x.rt(["delete", &two.id])?.ok()?;
        x.status(&three.id, "running")?;
        there(&three)?;
        let failing = x.bundle(|c| {
            c["linux"]["cgroupsPath"] = json!(format!("{slice}:p:failing"));
            c["process"]["args"] = json!(["/nowhere"]);
        })?;
        ensure(x.rt(["run", "--bundle", failing.dir(), &failing.id])?.status != 0, "it ran")?;
        x.status(&three.id, "running")?;
        eq("the slice", of_slice()?, before.clone())?;
        // An engine that made the slice finds it as it was, also empty.
        x.rt(["delete", "--force", &three.id])?.ok()?;
        eq("the empty slice", of_slice()?, before)?;
        let inside = systemctl(&["list-units", "--plain", "--no-legend", "p-*"])?;
        ensure(!inside.contains(&x.job.tag), format_args!("units are left: {inside}"))?;
        systemctl(&["revert", &slice])?;
        systemctl(&["stop", &slice]).map(drop)
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
    all.push(case(
        "place/exec-below",
        "a cgroup that gives its controllers away takes no process: exec is beside init",
        |x| {
            const CGROUP: &str = "/sys/fs/cgroup";
            if !x.job.v2 {
                return skip("of v2");
            }
            x.needs_v2("pids")?;
            // As systemd in a container does.
            let b = x.bundle(|c| {
                let mount =
                    json!({"destination": CGROUP, "type": "cgroup", "source": "cgroup", "options": ["nosuid", "rw"]});
                push(&mut c["mounts"], mount);
                let moves = format!("mkdir {CGROUP}/below , write {CGROUP}/below/cgroup.procs 0");
                args(c, &format!("{moves} , write {CGROUP}/cgroup.subtree_control +pids , wait"));
            })?;
            let mut out = x.cmd(["run", "--detach", "--bundle", b.dir(), &b.id]).spawn()?;
            out.started()?;
            for _ in 0..3 {
                let line: Value = serde_json::from_str(&out.line()?)?;
                eq("result", &line["result"], &json!("ok"))?;
            }
            out.expect("ready")?;
            let mut other = x.cmd(["exec", &b.id, "/probe", "wait"]).spawn()?;
            other.expect("ready")?;
            let file = x.cgroup(&b.id, "pids").join("below/cgroup.procs");
            eq("processes beside init", fs::read_to_string(file)?.lines().count(), 2)?;
            x.rt(["kill", &b.id, "KILL"])?.ok()?;
            other.wait().map(drop)
        },
    ));
    all
}

/// Limits as systemd tells them: controller, resources, properties. The figures are those of both v1 and v2.
fn properties() -> Vec<Case> {
    type Limit = (&'static str, [&'static str; 2], fn() -> Value, &'static [&'static str], &'static [&'static str]);
    let limits: [Limit; 8] = [
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
            "blkio-weight",
            ["blkio", "io"],
            || json!({"blockIO": {"weight": 300}}),
            &["BlockIOWeight=300"],
            // Of which systemd makes a BFQ weight of 300.
            &["IOWeight=2300"],
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
            if name == "blkio-weight" && x.job.v2 && !super::has_file(x, "io.bfq.weight") {
                return skip("the kernel has no BFQ");
            }
            let live = x.live(|c| {
                if let (Some(to), Value::Object(from)) = (c["linux"]["resources"].as_object_mut(), resources()) {
                    to.extend(from);
                }
            })?;
            let wanted = if x.job.v2 { on_v2 } else { on_v1 };
            let names: Vec<_> = wanted.iter().filter_map(|line| line.split('=').next()).collect();
            let shown = x.manager().show(&unit(&live), &names.join(","))?;
            for want in wanted {
                ensure(shown.iter().any(|line| line == want), format_args!("no {want} in {shown:?}"))?;
            }
            // Whatever systemd writes again is what was there.
            let before = files(x, &live)?;
            x.manager().systemctl(&["daemon-reload"])?;
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
        let shown = x.manager().show(&unit(&live), "DevicePolicy,DeviceAllow")?;
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
        let shown = x.manager().show(&unit(&live), "TimeoutStopUSec,CollectMode,Documentation")?;
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
                x.manager().systemctl(&["daemon-reload"])?;
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
            x.needs("pids")?;
            let live = x.live(|c| c["linux"]["resources"]["pids"] = json!({"limit": 50}))?;
            x.rt(["update", "--pids-limit", "60", &live.id])?.ok()?;
            let file = x.cgroup(&live.id, "pids").join("pids.max");
            eq("pids.max", fs::read_to_string(&file)?.trim(), "60")?;
            eq("property", x.manager().show(&unit(&live), "TasksMax")?, vec!["TasksMax=60".to_owned()])?;
            x.manager().systemctl(&["daemon-reload"])?;
            eq("pids.max after a daemon-reload", fs::read_to_string(&file)?.trim(), "60")?;
            // What the kernel or systemd refuses changes neither.
            let refused = if x.job.v2 { ["--cpuset-cpus", "4095"] } else { ["--memory", "1"] };
            x.rt(["update", "--pids-limit", "70", refused[0], refused[1], &live.id])?;
            let both =
                [fs::read_to_string(&file)?.trim().to_owned(), x.manager().show(&unit(&live), "TasksMax")?.concat()];
            let same = both[1] == format!("TasksMax={}", both[0]);
            ensure(same, format_args!("file and property differ: {both:?}"))
        }),
        case("reload/paused", "a daemon-reload leaves a paused container paused", |x| {
            let live = x.live(|_| ())?;
            x.rt(["pause", &live.id])?.ok()?;
            x.manager().systemctl(&["daemon-reload"])?;
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
            let words = ["--scope", "--quiet", &format!("--unit={unit}"), "-p", "RuntimeMaxSec=50ms", "sleep", "100"];
            let failed = x.manager().command("systemd-run").args(words).output()?;
            ensure(!failed.status.success(), "the scope did not fail")?;
            let end = Instant::now() + patience(Duration::from_secs(10));
            while x.manager().show(&unit, "ActiveState")? != ["ActiveState=failed"] {
                ensure(
                    Instant::now() < end,
                    format_args!("the unit did not fail: {:?}", x.manager().show(&unit, "ActiveState,Result")?),
                )?;
            }
            let live = x.live_bundle(b)?;
            is_in(live.pid, &x.group(&live.id))
        }),
        case("unit/ends-with-init", "the unit goes with its last process, and delete is content", |x| {
            let live = x.live(|_| ())?;
            x.kill(&live)?;
            let end = Instant::now() + patience(Duration::from_secs(10));
            while x.manager().show(&unit(&live), "ActiveState")? == ["ActiveState=active"] {
                ensure(Instant::now() < end, "the unit is still active")?;
            }
            x.rt(["delete", &live.id])?.ok().map(drop)
        }),
        case("unit/out-of-memory", "a unit that failed for memory is not left behind", |x| {
            x.needs("memory")?;
            let b = x.bundle(|c| {
                args(c, "eat 67108864");
                c["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
            })?;
            let out = x.run(&b)?;
            ensure(out.status != 0, "it was not killed")?;
            eq("units", x.manager().units(&x.job.tag)?, Vec::<String>::new())
        }),
        case("unit/slice", "a name that ends in .slice is a slice", |x| {
            let b = x.bundle(|c| args(c, "wait"))?;
            let slice = format!("{}.slice", b.id.replace('-', "_"));
            let config = fs::read_to_string(b.path("config.json"))?;
            let path = x.cgroups_path(&b.id);
            fs::write(b.path("config.json"), config.replace(&path, &format!("{}:p:{slice}", x.manager().slice())))?;
            let live = x.live_bundle(b)?;
            is_in(live.pid, &format!("{}/{slice}", x.manager().root()))?;
            x.rt(["delete", "--force", &live.id])?.ok()?;
            eq("state", x.manager().show(&slice, "ActiveState")?, vec!["ActiveState=inactive".to_owned()])
        }),
    ]
}
