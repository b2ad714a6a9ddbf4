//! Cgroups: where a container is, and its resources.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::case;
use crate::ctx::{args, ensure, eq, namespace, skip};
use crate::frame::Case;

pub(super) fn cgroups() -> Vec<Case> {
    const PATH: &str = "config-linux.md Cgroups Path";
    let mut all = vec![
        case("cgroup/absolute-path", PATH, |x| {
            let live = x.live(|_| ())?;
            let text = fs::read_to_string(format!("/proc/{}/cgroup", live.pid))?;
            let there: Vec<_> = text.lines().filter(|l| x.in_group(l, &live.id)).collect();
            if x.job.v2 {
                return eq("lines", there.len(), 1);
            }
            for controller in ["memory", "pids", "cpu", "devices", "freezer"] {
                ensure(
                    there.iter().any(|l| l.split(':').nth(1).is_some_and(|c| c.split(',').any(|c| c == controller))),
                    format_args!("{controller} is elsewhere: {text}"),
                )?;
            }
            Ok(())
        }),
        case("cgroup/no-path", "config-linux.md Cgroups Path: the runtime's default", |x| {
            let live = x.live(|c| {
                if let Some(l) = c["linux"].as_object_mut() {
                    l.remove("cgroupsPath");
                }
            })?;
            let text = fs::read_to_string(format!("/proc/{}/cgroup", live.pid))?;
            ensure(text.contains(&live.id), format_args!("no cgroup is named after the container: {text}"))
        }),
        case("cgroup/relative-path", "config-linux.md Cgroups Path: relative", |x| {
            x.needs_cgroupfs()?;
            let live = x.live(|c| {
                let at = c["linux"]["cgroupsPath"].as_str().unwrap_or_default().trim_start_matches('/').to_owned();
                c["linux"]["cgroupsPath"] = json!(at);
            })?;
            let text = fs::read_to_string(format!("/proc/{}/cgroup", live.pid))?;
            ensure(text.contains(&format!("{}/{}", x.job.cgroup, live.id)), text)
        }),
        case("cgroup/dots-in-path", "security: cgroupsPath does not leave the hierarchy", |x| {
            let b = x.bundle(|c| {
                let id = c["linux"]["cgroupsPath"]
                    .as_str()
                    .and_then(|p| p.rsplit('/').next())
                    .unwrap_or_default()
                    .to_owned();
                c["linux"]["cgroupsPath"] = json!(format!("/../../../../../..{}", x.job.dir.join(id).display()));
                args(c, "exit 3");
            })?;
            let before = fs::read_dir(&b.dir)?.count();
            let out = x.run(&b)?;
            ensure(out.status == 3 || !out.stderr.trim().is_empty(), "neither the program's status nor a message")?;
            eq("files in the bundle", fs::read_dir(&b.dir)?.count(), before)
        }),
        case("cgroup/removed", "runtime.md Delete: what create made is deleted", |x| {
            let live = x.live(|_| ())?;
            let dir = if x.job.v2 { x.cgroup(&live.id, "") } else { x.cgroup(&live.id, "pids") };
            ensure(dir.is_dir(), format_args!("no {}", dir.display()))?;
            x.kill(&live)?;
            x.rt(["delete", &live.id])?.ok()?;
            ensure(!dir.exists(), format_args!("{} is still there", dir.display()))
        }),
        case("cgroup/namespace", "config-linux.md Namespaces: cgroup, an isolated view", |x| {
            let f = x.facts(|c| namespace(c, "cgroup", Some(json!({"type": "cgroup"}))))?;
            let text = f["cgroup"].as_str().unwrap_or_default();
            let outside: Vec<_> = text.lines().filter(|l| !l.ends_with(":/")).collect();
            ensure(outside.is_empty(), format_args!("it sees {outside:?}"))
        }),
        case("cgroup/pids-limit-holds", "config-linux.md PIDs", |x| {
            x.needs("pids")?;
            let b = x.bundle(|c| {
                c["linux"]["resources"]["pids"] = json!({"limit": 6});
                args(c, "spawn 20");
            })?;
            let got = x.run(&b)?.ok()?.results();
            eq("started", &got[0], &json!({"started": 5, "error": "EAGAIN"}))
        }),
        case("cgroup/memory-limit-holds", "config-linux.md Memory: limit", |x| {
            x.needs("memory")?;
            let b = x.bundle(|c| {
                c["linux"]["resources"]["memory"] = json!({"limit": 33_554_432, "swap": 33_554_432});
                args(c, "eat 134217728");
            })?;
            x.run(&b)?.exits(137).map(drop)
        }),
    ];
    // resources, controller, v1 file, v1 value, v2 file, v2 value
    type Knob = (&'static str, fn() -> Value, &'static str, &'static str, &'static str, &'static str, &'static str);
    let knobs: [Knob; 18] = [
        (
            "memory-limit",
            || json!({"memory": {"limit": 67_108_864}}),
            "memory",
            "memory.limit_in_bytes",
            "67108864",
            "memory.max",
            "67108864",
        ),
        (
            "memory-unlimited",
            || json!({"memory": {"limit": -1}}),
            "memory",
            "memory.limit_in_bytes",
            "9223372036854771712",
            "memory.max",
            "max",
        ),
        (
            "memory-reservation",
            || json!({"memory": {"reservation": 33_554_432}}),
            "memory",
            "memory.soft_limit_in_bytes",
            "33554432",
            "memory.low",
            "33554432",
        ),
        (
            "memory-swap",
            || json!({"memory": {"limit": 67_108_864, "swap": 134_217_728}}),
            "memory",
            "memory.memsw.limit_in_bytes",
            "134217728",
            "memory.swap.max",
            "67108864",
        ),
        ("memory-swappiness", || json!({"memory": {"swappiness": 30}}), "memory", "memory.swappiness", "30", "", ""),
        ("pids-limit", || json!({"pids": {"limit": 50}}), "pids", "pids.max", "50", "pids.max", "50"),
        // Until 1.3; podman 4 writes it for `--pids-limit -1`.
        ("pids-zero", || json!({"pids": {"limit": 0}}), "pids", "pids.max", "max", "pids.max", "max"),
        ("pids-unlimited", || json!({"pids": {"limit": -1}}), "pids", "pids.max", "max", "pids.max", "max"),
        ("cpu-shares", || json!({"cpu": {"shares": 512}}), "cpu", "cpu.shares", "512", "cpu.weight", "59"),
        (
            "cpu-quota",
            || json!({"cpu": {"quota": 20_000, "period": 50_000}}),
            "cpu",
            "cpu.cfs_quota_us",
            "20000",
            "cpu.max",
            "20000 50000",
        ),
        (
            "cpu-period",
            || json!({"cpu": {"quota": 20_000, "period": 50_000}}),
            "cpu",
            "cpu.cfs_period_us",
            "50000",
            "cpu.max",
            "20000 50000",
        ),
        (
            "cpu-burst",
            || json!({"cpu": {"quota": 20_000, "period": 50_000, "burst": 5000}}),
            "cpu",
            "cpu.cfs_burst_us",
            "5000",
            "cpu.max.burst",
            "5000",
        ),
        ("cpu-idle", || json!({"cpu": {"idle": 1}}), "cpu", "cpu.idle", "1", "cpu.idle", "1"),
        ("cpuset-cpus", || json!({"cpu": {"cpus": "0"}}), "cpuset", "cpuset.cpus", "0", "cpuset.cpus", "0"),
        (
            "net-class-id",
            || json!({"network": {"classID": 1_048_577}}),
            "net_cls",
            "net_cls.classid",
            "1048577",
            "",
            "",
        ),
        (
            "net-priorities",
            || json!({"network": {"priorities": [{"name": "lo", "priority": 7}]}}),
            "net_prio",
            "net_prio.ifpriomap",
            "lo 7",
            "",
            "",
        ),
        ("cpuset-mems", || json!({"cpu": {"mems": "0"}}), "cpuset", "cpuset.mems", "0", "cpuset.mems", "0"),
        (
            "io-throttle",
            || json!({"blockIO": {"throttleReadBpsDevice": [{"major": 254, "minor": 0, "rate": 1_048_576}]}}),
            "blkio",
            "blkio.throttle.read_bps_device",
            "254:0 1048576",
            "io.max",
            "254:0 rbps=1048576 wbps=max riops=max wiops=max",
        ),
    ];
    for (name, resources, controller, file1, want1, file2, want2) in knobs {
        all.push(case(&format!("resources/{name}"), "config-linux.md Control groups: resources", move |x| {
            // Where none is given systemd has one of its own.
            if name == "pids-zero" {
                x.needs_cgroupfs()?;
            }
            let (file, want) = if x.job.v2 { (file2, want2) } else { (file1, want1) };
            if file.is_empty() {
                return skip("not in this hierarchy");
            }
            if want.starts_with("254:0") && !Path::new("/sys/dev/block/254:0").exists() {
                return skip("no block device 254:0");
            }
            if x.job.v2 {
                let controller = if controller == "blkio" { "io" } else { controller };
                x.needs_v2(controller)?;
            } else {
                x.needs_v1(controller)?;
                let root = Path::new("/sys/fs/cgroup").join(controller);
                // Some knobs are not at the root; any child will do, and there is none before the first container.
                if file.contains("memsw") && !root.join(file).exists() {
                    return skip(format!("the kernel has no {file}"));
                }
            }
            let live = x.live(|c| {
                if let (Some(to), Some(from)) = (c["linux"]["resources"].as_object_mut(), resources().as_object()) {
                    to.extend(from.clone());
                }
            })?;
            let at = x.cgroup(&live.id, controller).join(file);
            if !at.exists() {
                return skip(format!("the kernel has no {file}"));
            }
            eq(file, fs::read_to_string(at)?.trim_end(), want)
        }));
    }
    all
}
