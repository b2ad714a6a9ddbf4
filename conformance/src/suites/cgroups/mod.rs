//! Resources: what is asked for is in the control files, can be changed while the container runs, is reported, and holds.
//! The suites `cli` and `spec` have the flags and the properties one by one; here is what takes a container at work
//! (`measured`: what a limit does, not what its file says), whole lists of device rules (`devices`), and documents made
//! up at random, which another runtime must take in the same way (`compared`).

mod bus;
mod compared;
mod devices;
mod measured;
mod stubborn;
mod systemd;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

use crate::ctx::{Bundle, Ctx, Live, Outcome, Stop, args, contains, ensure, eq, fail, namespace, patience, push, skip};
use crate::frame::Case;

fn case(name: &str, checks: &'static str, run: impl Fn(&Ctx) -> Outcome + Send + Sync + 'static) -> Case {
    Case::new("cgroups", name, checks, run)
}

/// A case that takes longer than most.
fn long(seconds: u64, case: Case) -> Case {
    Case { timeout: Duration::from_secs(seconds), ..case }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = settings();
    all.extend(updates());
    all.extend(events());
    all.extend(measured::cases());
    all.extend(systemd::cases());
    all.extend(bus::cases());
    all.extend(devices::cases());
    all.extend(compared::cases());
    all.extend(life());
    all.extend(stubborn::cases());
    all.extend(delegation());
    all
}

/// How often to do what `--rounds` counts, where the machine is slow less often.
fn rounds(x: &Ctx) -> u32 {
    (x.job.rounds / x.job.slow.min(5)).max(4)
}

/// Numbers that are the same in every run (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn one<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

/// A control file of the container, by its names on v1 and v2.
fn read(x: &Ctx, id: &str, controller: &str, [v1, v2]: [&str; 2]) -> Result<String, Stop> {
    let path = x.cgroup(id, controller).join(if x.job.v2 { v2 } else { v1 });
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(e) => fail(format!("read {}: {e}", path.display())),
    }
}

/// Skips unless the hierarchy of this run has the controller, by its names on v1 and v2.
fn needs(x: &Ctx, [v1, v2]: [&str; 2]) -> Outcome {
    if x.job.v2 { x.needs_v2(v2) } else { x.needs_v1(v1) }
}

/// Adds resources to those of the configuration.
fn with(config: &mut Value, resources: &Value) {
    if let (Some(to), Some(from)) = (config["linux"]["resources"].as_object_mut(), resources.as_object()) {
        to.extend(from.clone());
    }
}

/// `update --resources -` with this document.
fn update(x: &Ctx, live: &Live, resources: &Value) -> Result<crate::ctx::Out, Stop> {
    x.cmd(["update", "--resources", "-", &live.id]).input(&resources.to_string())?.go()
}

/// Processor time that the container used, in nanoseconds.
fn used(x: &Ctx, id: &str) -> Result<u64, Stop> {
    if x.job.v2 {
        let text = read(x, id, "", ["", "cpu.stat"])?;
        let line = text.lines().find_map(|l| l.strip_prefix("usage_usec "));
        return Ok(line.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1000);
    }
    Ok(read(x, id, "cpuacct", ["cpuacct.usage", ""])?.parse()?)
}

/// Sets every limit that a controller has, beside those of the suite `spec`, and reads the files back.
fn settings() -> Vec<Case> {
    const NO: [&str; 2] = ["", ""];
    // resources, controller, v1 file and content, v2 file and content
    type Setting = (&'static str, fn() -> Value, [&'static str; 2], [&'static str; 2], [&'static str; 2]);
    let blkio = ["blkio", "io"];
    let settings: [Setting; 10] = [
        (
            "write-bps",
            || json!({"blockIO": {"throttleWriteBpsDevice": [{"major": 254, "minor": 0, "rate": 2_097_152}]}}),
            blkio,
            ["blkio.throttle.write_bps_device", "254:0 2097152"],
            ["io.max", "254:0 rbps=max wbps=2097152 riops=max wiops=max"],
        ),
        (
            "read-iops",
            || json!({"blockIO": {"throttleReadIOPSDevice": [{"major": 254, "minor": 0, "rate": 100}]}}),
            blkio,
            ["blkio.throttle.read_iops_device", "254:0 100"],
            ["io.max", "254:0 rbps=max wbps=max riops=100 wiops=max"],
        ),
        (
            "write-iops",
            || json!({"blockIO": {"throttleWriteIOPSDevice": [{"major": 254, "minor": 0, "rate": 200}]}}),
            blkio,
            ["blkio.throttle.write_iops_device", "254:0 200"],
            ["io.max", "254:0 rbps=max wbps=max riops=max wiops=200"],
        ),
        (
            "blkio-weight",
            || json!({"blockIO": {"weight": 300}}),
            blkio,
            ["blkio.bfq.weight", "300"],
            ["io.bfq.weight", "default 300"],
        ),
        (
            "memory-and-swap-equal",
            || json!({"memory": {"limit": 67_108_864, "swap": 67_108_864}}),
            ["memory", "memory"],
            ["memory.memsw.limit_in_bytes", "67108864"],
            ["memory.swap.max", "0"],
        ),
        (
            "oom-killer-off",
            || json!({"memory": {"limit": 67_108_864, "disableOOMKiller": true}}),
            ["memory", "memory"],
            ["memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 0"],
            NO,
        ),
        (
            "cpu-unlimited",
            || json!({"cpu": {"quota": -1, "period": 50_000}}),
            ["cpu", "cpu"],
            ["cpu.cfs_quota_us", "-1"],
            ["cpu.max", "max 50000"],
        ),
        (
            "cpu-period-alone",
            || json!({"cpu": {"period": 50_000}}),
            ["cpu", "cpu"],
            ["cpu.cfs_period_us", "50000"],
            ["cpu.max", "max 50000"],
        ),
        (
            "hugepages",
            || json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]}),
            ["hugetlb", "hugetlb"],
            ["hugetlb.2MB.limit_in_bytes", "4194304"],
            ["hugetlb.2MB.max", "4194304"],
        ),
        (
            "unified",
            || json!({"unified": {"hugetlb.2MB.max": "8388608"}}),
            ["", "hugetlb"],
            NO,
            ["hugetlb.2MB.max", "8388608"],
        ),
    ];
    let check = |(name, resources, controllers, v1, v2): Setting| {
        case(&format!("set/{name}"), "config-linux.md Control groups", move |x| {
            let [file, want] = if x.job.v2 { v2 } else { v1 };
            if file.is_empty() {
                return skip("not in this hierarchy");
            }
            needs(x, controllers)?;
            if want.starts_with("254:0") && !Path::new("/sys/dev/block/254:0").exists() {
                return skip("no block device 254:0");
            }
            if file.contains("bfq") && !has_file(x, file) {
                return skip(format!("the kernel has no {file}"));
            }
            let live = x.live(|c| with(c, &resources()))?;
            let got = read(x, &live.id, controllers[0], [file, file])?;
            eq(file, got, want)
        })
    };
    let zeros = case("set/zeros-set-nothing", "what dockerd sends for what nobody asked for", |x| {
        needs(x, ["memory", "memory"])?;
        needs(x, ["cpu", "cpu"])?;
        let live = x.live(|c| with(c, &ZEROS()))?;
        eq("shares", read(x, &live.id, "cpu", ["cpu.shares", "cpu.weight"])?, if x.job.v2 { "100" } else { "1024" })?;
        let unlimited = if x.job.v2 { "max" } else { "9223372036854771712" };
        eq("memory", read(x, &live.id, "memory", ["memory.limit_in_bytes", "memory.max"])?, unlimited)
    });
    settings.into_iter().map(check).chain([zeros]).collect()
}

/// Whether groups of v2 have weights for block devices, BFQ's or iocost's.
pub(super) fn has_weights(x: &Ctx) -> bool {
    ["io.bfq.weight", "io.weight"].iter().any(|file| has_file(x, file))
}

/// Whether groups have this file of the controller for block devices, which the root may not have.
fn has_file(x: &Ctx, file: &str) -> bool {
    let root = if x.job.v2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/blkio" };
    // On v2 a group has them only where its parent passes the controller on, as a runtime would have it do.
    let _ = fs::write(Path::new(root).join("cgroup.subtree_control"), "+io");
    let dir = Path::new(root).join(format!("{}io", x.job.tag));
    let found = fs::create_dir(&dir).is_ok() && dir.join(file).exists();
    let _ = fs::remove_dir(&dir);
    found
}

/// The document that dockerd sends for a container without limits.
const ZEROS: fn() -> Value = || {
    json!({
        "memory": {"limit": 0, "reservation": 0, "swap": 0},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": "", "mems": ""},
        "blockIO": {"weight": 0}
    })
};

fn updates() -> Vec<Case> {
    let mut all = vec![
        case("update/memory-and-swap", "runc update: in whatever order the kernel wants", |x| {
            needs(x, ["memory", "memory"])?;
            let live = x.live(|c| with(c, &json!({"memory": {"limit": 67_108_864, "swap": 67_108_864}})))?;
            for (memory, swap) in [(128, 256), (32, 40), (100, 100), (64, 512)] {
                let (memory, swap) = (memory * 1_048_576, swap * 1_048_576);
                update(x, &live, &json!({"memory": {"limit": memory, "swap": swap}}))?.ok()?;
                let swap = if x.job.v2 { swap - memory } else { swap };
                let limit = read(x, &live.id, "memory", ["memory.limit_in_bytes", "memory.max"])?;
                eq("memory", limit, memory.to_string())?;
                let limit = read(x, &live.id, "memory", ["memory.memsw.limit_in_bytes", "memory.swap.max"])?;
                eq("swap", limit, swap.to_string())?;
            }
            Ok(())
        }),
        case("update/unlimited", "runc update: -1 lifts a limit", |x| {
            needs(x, ["memory", "memory"])?;
            needs(x, ["pids", "pids"])?;
            let limits = json!({"memory": {"limit": 67_108_864, "swap": 67_108_864}, "pids": {"limit": 9}});
            let live = x.live(|c| with(c, &limits))?;
            x.rt(["update", "--memory=-1", "--memory-swap=-1", "--pids-limit=-1", &live.id])?.ok()?;
            let unlimited = if x.job.v2 { "max" } else { "9223372036854771712" };
            eq("memory", read(x, &live.id, "memory", ["memory.limit_in_bytes", "memory.max"])?, unlimited)?;
            eq("pids", read(x, &live.id, "pids", ["pids.max"; 2])?, "max")
        }),
        case("update/keeps-the-rest", "runc update: unchanged values can be omitted", |x| {
            needs(x, ["memory", "memory"])?;
            needs(x, ["cpu", "cpu"])?;
            let limits = json!({"memory": {"limit": 67_108_864}, "cpu": {"quota": 20_000, "period": 50_000}});
            let live = x.live(|c| with(c, &limits))?;
            let cpu = || {
                let period =
                    if x.job.v2 { String::new() } else { read(x, &live.id, "cpu", ["cpu.cfs_period_us", ""])? };
                let quota = read(x, &live.id, "cpu", ["cpu.cfs_quota_us", "cpu.max"])?;
                Ok::<_, Stop>(format!("{quota} {period}").trim_end().to_owned())
            };
            x.rt(["update", "--cpu-quota", "30000", &live.id])?.ok()?;
            eq("quota and period", cpu()?, "30000 50000")?;
            x.rt(["update", "--cpu-period", "60000", &live.id])?.ok()?;
            eq("quota and period", cpu()?, "30000 60000")?;
            update(x, &live, &ZEROS())?.ok()?;
            update(x, &live, &json!({}))?.ok()?;
            eq("quota and period", cpu()?, "30000 60000")?;
            eq("memory", read(x, &live.id, "memory", ["memory.limit_in_bytes", "memory.max"])?, "67108864")
        }),
        case("update/paused", "runc update: also a paused container", |x| {
            needs(x, ["pids", "pids"])?;
            let live = x.live(|_| ())?;
            x.rt(["pause", &live.id])?.ok()?;
            x.rt(["update", "--pids-limit", "33", &live.id])?.ok()?;
            eq("pids", read(x, &live.id, "pids", ["pids.max"; 2])?, "33")?;
            x.status(&live.id, "paused")?;
            x.rt(["resume", &live.id])?.ok().map(drop)
        }),
        case("update/hugepages", "runc update: what has no flag comes as a document", |x| {
            needs(x, ["hugetlb", "hugetlb"])?;
            let live = x.live(|c| with(c, &json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]})))?;
            let files = ["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"];
            update(x, &live, &json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 6_291_456}]}))?.ok()?;
            eq("limit", read(x, &live.id, "hugetlb", files)?, "6291456")
        }),
        case("update/created", "runc update: also a container that waits for start", |x| {
            needs(x, ["pids", "pids"])?;
            let b = x.bundle(|_| ())?;
            x.create(&b)?;
            x.rt(["update", "--pids-limit", "33", &b.id])?.ok()?;
            eq("pids", read(x, &b.id, "pids", ["pids.max"; 2])?, "33")
        }),
        case("update/stopped", "contract 5.3: container not running", |x| {
            let live = x.live(|_| ())?;
            x.kill(&live)?;
            x.rt(["update", "--pids-limit", "33", &live.id])?.fails(1, &["container not running"]).map(drop)
        }),
        case("update/refused", "a refusal says which file, which value and why, and nothing has changed", |x| {
            needs(x, ["pids", "pids"])?;
            needs(x, ["cpuset", "cpuset"])?;
            needs(x, ["cpu", "cpu"])?;
            let limits = json!({"pids": {"limit": 50}, "cpu": {"shares": 500, "cpus": "0"}});
            let live = x.live(|c| with(c, &limits))?;
            let now = || -> Result<Vec<String>, Stop> {
                Ok(vec![
                    read(x, &live.id, "cpuset", ["cpuset.cpus"; 2])?,
                    read(x, &live.id, "cpu", ["cpu.shares", "cpu.weight"])?,
                    read(x, &live.id, "pids", ["pids.max"; 2])?,
                ])
            };
            let before = now()?;
            // One of them is wrong, and it is not known which is tried first.
            let flags = ["--cpu-share", "700", "--pids-limit", "60", "--cpu-quota", "1"];
            let out = x.rt([&["update"], &flags[..], &[&live.id]].concat())?;
            ensure(out.status != 0, "it succeeded")?;
            let file = if x.job.v2 { "cpu.max" } else { "cpu.cfs_quota_us" };
            contains("stderr", &out.stderr, &[file, "1", "invalid argument"])?;
            eq("limits", now()?, before.clone())?;
            let out = x.rt(["update", "--pids-limit", "60", "--cpuset-cpus", "4000", &live.id])?;
            ensure(out.status != 0, "it succeeded")?;
            contains("stderr", &out.stderr, &["cpuset.cpus", "4000"])?;
            eq("limits", now()?, before)
        }),
        case("update/refused-device", "limits of single devices, too, are set back when another one is refused", |x| {
            needs(x, ["blkio", "io"])?;
            needs(x, ["cpu", "cpu"])?;
            let Some((major, minor)) = [(254, 0), (253, 0), (8, 0)]
                .into_iter()
                .find(|(major, minor)| Path::new(&format!("/sys/dev/block/{major}:{minor}")).exists())
            else {
                return skip("no block device");
            };
            let rates = |read: u64, write: Option<u64>| {
                let device = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
                let mut block_io = json!({"throttleReadBpsDevice": device(read)});
                if let Some(write) = write {
                    block_io["throttleWriteBpsDevice"] = device(write);
                }
                block_io
            };
            let live = x.live(|c| with(c, &json!({"blockIO": rates(1_048_576, None)})))?;
            let now = || -> Result<Vec<String>, Stop> {
                ["blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device"]
                    .map(|file| read(x, &live.id, "blkio", [file, "io.max"]))
                    .into_iter()
                    .collect()
            };
            let before = now()?;
            contains("limit", &before[0], &["1048576"])?;
            // The order is the runtime's; both kinds of what is refused leave both of what may have been set before it.
            for refused in [json!({"cpu": {"quota": 1}}), json!({"pids": {"limit": 5}, "unified": {"no.such": "1"}})] {
                let mut all = json!({"blockIO": rates(2_097_152, Some(4_194_304))});
                all.as_object_mut().into_iter().zip(refused.as_object()).for_each(|(to, from)| to.extend(from.clone()));
                let out = update(x, &live, &all)?;
                ensure(out.status != 0, format_args!("{all} was taken"))?;
                eq("limits", now()?, before.clone())?;
            }
            Ok(())
        }),
        case("update/check-before-update", "config-linux.md checkBeforeUpdate: v2 would kill", |x| {
            if !x.job.v2 {
                return skip("v1 refuses by itself");
            }
            x.needs_v2("memory")?;
            let live = x.live(|_| ())?;
            let before = read(x, &live.id, "", ["", "memory.max"])?;
            let out = update(x, &live, &json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}}))?;
            ensure(out.status != 0, "it was taken")?;
            contains("stderr", &out.stderr, &["rejecting memory limit 4096 <= usage"])?;
            eq("limit", read(x, &live.id, "", ["", "memory.max"])?, before)?;
            x.status(&live.id, "running")
        }),
        case("update/below-the-use", "v1: the kernel refuses a memory limit below the use", |x| {
            x.needs_v1("memory")?;
            let live = x.live(|_| ())?;
            let out = x.rt(["update", "--memory", "4096", &live.id])?;
            ensure(out.status != 0, "it succeeded")?;
            contains("stderr", &out.stderr, &["4096", "current usage", "peak usage"])
        }),
        case("update/bad-flags", "runc update: the flag is named, nothing is done", |x| {
            let live = x.live(|_| ())?;
            for (flag, value) in [("memory", "12x"), ("memory-swap", "M"), ("cpu-period", "-1"), ("cpu-quota", "x")] {
                let out = x.rt(["update", &format!("--{flag}={value}"), &live.id])?;
                ensure(out.status != 0, format_args!("--{flag}={value} was accepted"))?;
                contains("stderr", &out.stderr, &[flag, value])?;
            }
            for (flag, text) in [("l3-cache-schema", "L3:0=f"), ("mem-bw-schema", "MB:0=50")] {
                let out = x.rt(["update", &format!("--{flag}={text}"), &live.id])?;
                ensure(out.status != 0, format_args!("--{flag} was accepted"))?;
                contains("stderr", &out.stderr, &["Intel RDT"])?;
            }
            x.status(&live.id, "running")
        }),
    ];
    // flag, value, controllers, v1 file and content, v2 file and content
    type Flag = (&'static str, &'static str, [&'static str; 2], [&'static str; 2], [&'static str; 2]);
    let memory = ["memory", "memory"];
    let cpu = ["cpu", "cpu"];
    let flags: [Flag; 8] = [
        ("memory", "1.5g", memory, ["memory.limit_in_bytes", "1610612736"], ["memory.max", "1610612736"]),
        ("memory", "64MiB", memory, ["memory.limit_in_bytes", "67108864"], ["memory.max", "67108864"]),
        (
            "memory-swap",
            "-1",
            memory,
            ["memory.memsw.limit_in_bytes", "9223372036854771712"],
            ["memory.swap.max", "max"],
        ),
        ("cpu-period", "20000", cpu, ["cpu.cfs_period_us", "20000"], ["cpu.max", "max 20000"]),
        ("cpu-burst", "5000", cpu, ["cpu.cfs_burst_us", "5000"], ["cpu.max.burst", "5000"]),
        ("cpu-idle", "1", cpu, ["cpu.idle", "1"], ["cpu.idle", "1"]),
        ("cpu-rt-period", "500000", cpu, ["cpu.rt_period_us", "500000"], ["", ""]),
        ("blkio-weight", "600", ["blkio", "io"], ["blkio.bfq.weight", "600"], ["io.bfq.weight", "default 600"]),
    ];
    for (flag, value, controllers, v1, v2) in flags {
        all.push(case(&format!("update/{flag}={value}"), "runc update flags", move |x| {
            needs(x, controllers)?;
            let [file, want] = if x.job.v2 { v2 } else { v1 };
            // A burst is at most the quota; the values before are not those that are asked for.
            let quota = if flag == "cpu-burst" { 50_000 } else { -1 };
            let live = x.live(|c| with(c, &json!({"cpu": {"quota": quota, "period": 100_000}})))?;
            if file.is_empty() || !x.cgroup(&live.id, controllers[0]).join(file).exists() {
                return skip(format!("no file for {flag} here"));
            }
            x.rt(["update", &format!("--{flag}={value}"), &live.id])?.ok()?;
            eq(file, read(x, &live.id, controllers[0], [file, file])?, want)
        }));
    }
    all
}

/// Processor time of a process, in hundredths of a second.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum()
}

fn events() -> Vec<Case> {
    vec![
        case("events/shape", "contract 5.5: every part is there, and engines' types", |x| {
            let live = x.live(|c| {
                if !x.job.v2 {
                    with(c, &json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 20}}));
                }
            })?;
            let e = x.rt(["events", "--stats", &live.id])?.ok()?.json()?;
            let parts = ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt"];
            for part in parts {
                ensure(e["data"][part].is_object(), format_args!("{part}: {}", e["data"][part]))?;
            }
            ensure(e["data"].get("network_interfaces").is_some_and(Value::is_null), "network_interfaces")?;
            for pointer in ["/cpu/usage/kernel", "/cpu/usage/user", "/memory/usage/limit", "/memory/usage/failcnt"] {
                let value = e.pointer(&format!("/data{pointer}"));
                ensure(value.is_some_and(Value::is_u64), format_args!("{pointer}: {value:?}"))?;
            }
            ensure(e.pointer("/data/cpu/throttling").is_some_and(Value::is_object), "throttling")?;
            if x.job.v2 {
                if Path::new("/proc/pressure/cpu").exists() && !x.job.version.starts_with("runc version 1.1") {
                    ensure(
                        e.pointer("/data/cpu/psi/some/avg10").is_some_and(Value::is_number),
                        "no pressure of the cpu",
                    )?;
                }
                return Ok(());
            }
            if x.cgroup(&live.id, "memory").is_dir() {
                eq("limit", e.pointer("/data/memory/usage/limit"), Some(&json!(67_108_864)))?;
                ensure(e.pointer("/data/memory/raw/rss").is_some_and(Value::is_u64), "no raw figures")?;
            }
            if x.cgroup(&live.id, "pids").is_dir() {
                eq("pids", &e["data"]["pids"], &json!({"current": 1, "limit": 20}))?;
            }
            if x.cgroup(&live.id, "cpuset").is_dir() {
                ensure(e.pointer("/data/cpuset/cpus/0").is_some_and(Value::is_u64), "no list of processors")?;
            }
            Ok(())
        }),
        case("events/ends-with-the-container", "runc events: until the container ends, without a busy loop", |x| {
            let live = x.live(|_| ())?;
            let interval = format!("{}ms", 200 * x.job.slow);
            let mut events = x.cmd(["events", "--interval", &interval, &live.id]).spawn()?;
            let begin = Instant::now();
            let lines = (0..3).map(|_| events.line()).collect::<Result<Vec<_>, _>>()?;
            let (wall, ticks) = (begin.elapsed(), ticks(events.child.id()));
            for line in lines {
                let e: Value = serde_json::from_str(&line)?;
                eq("type", e["type"].as_str(), Some("stats"))?;
                eq("id", e["id"].as_str(), Some(live.id.as_str()))?;
            }
            ensure(wall > patience(Duration::from_millis(500)), format_args!("three reports in {wall:?}"))?;
            ensure(ticks < 30 * u64::from(x.job.slow), format_args!("{ticks} ticks of processor time in {wall:?}"))?;
            x.kill(&live)?;
            x.rt(["delete", &live.id])?.ok()?;
            eq("exit status", events.wait()?, 0)
        }),
        case("events/oom", "contract 5.5: {\"type\":\"oom\"}", |x| {
            needs(x, ["memory", "memory"])?;
            let live = x.live(|c| with(c, &json!({"memory": {"limit": 33_554_432, "swap": 33_554_432}})))?;
            let mut events = x.cmd(["events", "--interval", "200ms", &live.id]).spawn()?;
            // The first report says that it listens.
            contains("first event", &events.line()?, &["\"stats\""])?;
            x.rt(["exec", &live.id, "/probe", "eat", "134217728"])?.exits(137)?;
            let mut line = events.line()?;
            let end = Instant::now() + patience(Duration::from_secs(5));
            while !line.contains("\"oom\"") && Instant::now() < end {
                line = events.line()?;
            }
            let e: Value = serde_json::from_str(&line)?;
            eq("event", e, json!({"type": "oom", "id": live.id}))?;
            x.kill(&live)?;
            x.rt(["delete", &live.id])?.ok()?;
            eq("exit status", events.wait()?, 0)
        }),
        case("events/bad-interval", "runc events: an interval is longer than nothing", |x| {
            let live = x.live(|_| ())?;
            for interval in ["0", "5", "x", "4000000000000000h"] {
                let out = x.rt(["events", "--interval", interval, &live.id])?;
                ensure(out.status != 0, format_args!("{interval} was accepted"))?;
                contains("stderr", &out.stderr, &["interval"])?;
                ensure(!out.stderr.contains("panicked"), format_args!("{interval}: {}", out.stderr))?;
            }
            Ok(())
        }),
        case("events/stopped", "runc events: not of a stopped container", |x| {
            let live = x.live(|_| ())?;
            x.kill(&live)?;
            for flags in [&["events"][..], &["events", "--stats"]] {
                let out = x.rt([flags, &[&live.id]].concat())?;
                ensure(out.status != 0, "it succeeded")?;
                contains("stderr", &out.stderr, &["not running"])?;
            }
            Ok(())
        }),
    ]
}

/// Mounts that are taken away again.
struct Covered(Vec<PathBuf>);

impl Drop for Covered {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            let _ = umount2(path, MntFlags::MNT_DETACH);
        }
    }
}

/// What the container makes in its cgroup, and what `exec` finds there.
fn life() -> Vec<Case> {
    vec![
        case("life/kill-all", "contract 5.8: a shared pid namespace, groups below, paused", |x| {
            let b = x.bundle(|c| {
                args(c, "daemon , wait");
                namespace(c, "pid", None);
            })?;
            let mut out = x.cmd(["run", "-d", "--bundle", b.dir(), &b.id]).spawn()?;
            out.started()?;
            let daemon: Value = serde_json::from_str(&out.line()?)?;
            out.expect("ready")?;
            let controller = if x.job.v2 { "" } else { "freezer" };
            let below = x.cgroup(&b.id, controller).join("below");
            fs::create_dir(&below)?;
            fs::write(below.join("cgroup.procs"), daemon["result"].to_string())?;
            x.rt(["pause", &b.id])?.ok()?;
            x.rt(["kill", "--all", &b.id, "KILL"])?.ok()?;
            x.rt(["resume", &b.id])?;
            x.rt(["delete", "--force", &b.id])?.ok()?;
            x.alone()
        }),
        case("life/delete-nested", "runtime.md Delete: with the groups that the container made", |x| {
            let live = x.live(|_| ())?;
            let controllers: &[&str] = if x.job.v2 { &[""] } else { &["memory", "pids", "devices", "freezer"] };
            for controller in controllers {
                let dir = x.cgroup(&live.id, controller);
                if dir.is_dir() {
                    fs::create_dir_all(dir.join("a/b"))?;
                    fs::create_dir_all(dir.join("c"))?;
                    x.give(&dir)?;
                }
            }
            x.kill(&live)?;
            x.rt(["delete", &live.id])?.ok()?;
            for controller in controllers {
                let dir = x.cgroup(&live.id, controller);
                ensure(!dir.exists(), format_args!("{} is still there", dir.display()))?;
            }
            Ok(())
        }),
        case("life/occupied", "contract 4: a cgroup in which somebody lives is not taken over", |x| {
            x.needs_cgroupfs()?;
            let live = x.live(|_| ())?;
            let b = x.bundle(|c| c["linux"]["cgroupsPath"] = json!(format!("{}/{}", x.job.cgroup, live.id)))?;
            let text = "container's cgroup is not empty: 1 process(es) found";
            let out = x.rt(["create", "--bundle", b.dir(), &b.id])?;
            ensure(out.status != 0, "it was taken over")?;
            contains("stderr", &out.stderr, &[text])?;
            x.status(&live.id, "running")
        }),
        case("life/frozen", "contract 4: neither is one that is frozen", |x| {
            x.needs_cgroupfs()?;
            let b = x.bundle(|_| ())?;
            let (controller, file, frozen) =
                if x.job.v2 { ("", "cgroup.freeze", "1") } else { ("freezer", "freezer.state", "FROZEN") };
            let dir = x.cgroup(&b.id, controller);
            fs::create_dir_all(&dir)?;
            fs::write(dir.join(file), frozen)?;
            let out = x.rt(["create", "--bundle", b.dir(), &b.id])?;
            fs::write(dir.join(file), if x.job.v2 { "0" } else { "THAWED" })?;
            fs::remove_dir(&dir)?;
            ensure(out.status != 0, "it was taken over")?;
            contains("stderr", &out.stderr, &["container's cgroup unexpectedly frozen"])
        }),
        case("life/below-frozen", "neither is one below: nothing would ever happen in it", |x| {
            x.needs_cgroupfs()?;
            let b = x.bundle(|_| ())?;
            let (controller, file, frozen) =
                if x.job.v2 { ("", "cgroup.freeze", "1") } else { ("freezer", "freezer.state", "FROZEN") };
            let (outer, below) = (format!("{}outer", x.job.tag), format!("{}outer/a/b", x.job.tag));
            let path = format!("{}/{below}", x.job.cgroup);
            let config = fs::read_to_string(b.path("config.json"))?;
            let mut config: Value = serde_json::from_str(&config)?;
            config["linux"]["cgroupsPath"] = json!(path);
            fs::write(b.path("config.json"), config.to_string())?;
            let dir = x.cgroup(&outer, controller);
            fs::create_dir_all(&dir)?;
            fs::write(dir.join(file), frozen)?;
            // A runtime that waits for the process is ended, and what it began must still be possible to remove.
            let mut create = x.cmd(["create", "--bundle", b.dir(), &b.id]).spawn()?;
            let pid = rustix::process::Pid::from_child(&create.child);
            let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
            let ended = crate::ctx::wait_fd(&pidfd, Duration::from_secs(8));
            fs::write(dir.join(file), if x.job.v2 { "0" } else { "THAWED" })?;
            let status = create.wait()?;
            let stderr = create.stderr();
            x.rt(["delete", "--force", &b.id])?;
            let left = dir.join("a").exists();
            for dir in ["a/b", "a", ""] {
                let _ = fs::remove_dir(x.cgroup(&outer, controller).join(dir));
            }
            ended?;
            ensure(status != 0, "it was made")?;
            contains("stderr", &stderr, &["container's cgroup unexpectedly frozen"])?;
            ensure(!left, "parents are left")
        }),
        case("life/parents-go", "parents that were made for a container go with it", |x| {
            x.needs_cgroupfs()?;
            let path = format!("{}/{}outer/a/b", x.job.cgroup, x.job.tag);
            let b = x.bundle(|c| {
                args(c, "wait");
                c["linux"]["cgroupsPath"] = json!(path);
            })?;
            let live = x.live_bundle(b)?;
            let controller = if x.job.v2 { "" } else { "freezer" };
            let outer = x.cgroup(&format!("{}outer", x.job.tag), controller);
            ensure(outer.join("a/b").is_dir(), format_args!("no {}/a/b", outer.display()))?;
            x.kill(&live)?;
            x.rt(["delete", &live.id])?.ok()?;
            ensure(!outer.exists(), format_args!("{} is still there", outer.display()))
        }),
        case("life/controller-taken", "what is taken back above while the cgroup is made is asked for again", taken),
        case("life/born-inside", "CLONE_INTO_CGROUP, for exec too: nobody is moved", |x| {
            if !x.job.v2 {
                return skip("nobody is born in a cgroup of v1");
            }
            // Who writes a pid writes it here, and stays where he is.
            let written = x.fresh("procs");
            fs::write(&written, "")?;
            let cover = |id: &str| -> Result<Covered, Stop> {
                let file = x.cgroup(id, "").join("cgroup.procs");
                mount(Some(&written), &file, Some("none"), MsFlags::MS_BIND, Some(""))?;
                Ok(Covered(vec![file]))
            };
            let b = x.bundle(|c| args(c, "wait"))?;
            let inside = |pid: i32, id: &str| -> Outcome {
                let group = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
                ensure(group.lines().any(|line| x.in_group(line, id)), format_args!("process {pid} is in {group:?}"))
            };
            // systemd moves who is started.
            let covered = if x.needs_cgroupfs().is_ok() {
                fs::create_dir_all(x.cgroup(&b.id, ""))?;
                x.give(&x.cgroup(&b.id, ""))?;
                Some(cover(&b.id)?)
            } else {
                None
            };
            let live = x.live_bundle(b)?;
            inside(live.pid, &live.id)?;
            let _covered = covered.map_or_else(|| cover(&live.id), Ok)?;
            let file = live.bundle.path("exec");
            x.rt(["exec", "--detach", "--pid-file", &file, &live.id, "/probe", "linger"])?.ok()?;
            inside(fs::read_to_string(file)?.trim().parse()?, &live.id)?;
            eq("written to cgroup.procs", fs::read_to_string(&written)?, "")
        }),
        case("life/exec-below", "runc exec --cgroup", |x| {
            x.needs_v1("pids")?;
            let live = x.live(|_| ())?;
            let below = x.cgroup(&live.id, "pids").join("below");
            fs::create_dir(&below)?;
            x.give(&below)?;
            let out = x.rt(["exec", "--cgroup", "pids:below", &live.id, "/probe", "report"])?.ok()?;
            let facts = crate::ctx::facts_of(&out)?;
            let text = facts["cgroup"].as_str().unwrap_or_default();
            ensure(text.lines().any(|l| l.contains(":pids:") && l.ends_with("/below")), text)?;
            ensure(!text.lines().any(|l| l.contains(":memory:") && l.ends_with("/below")), text)?;
            for wrong in ["pids:missing", "nothing:below", "pids:../../.."] {
                let out = x.rt(["exec", "--cgroup", wrong, &live.id, "/probe", "report"])?;
                ensure(out.status != 0, format_args!("{wrong} was accepted"))?;
            }
            Ok(())
        }),
    ]
}

/// To whom the container's cgroup belongs, on v2.
fn delegation() -> Vec<Case> {
    const CGROUP: &str = "/sys/fs/cgroup";
    /// Fails unless the container's cgroup and each of its files that the kernel lists as delegated belong to `inside`, and all
    /// others to root.
    fn owned(x: &Ctx, id: &str, inside: u32) -> Outcome {
        use std::os::unix::fs::MetadataExt;
        let list = fs::read_to_string("/sys/kernel/cgroup/delegate")?;
        let dir = x.cgroup(id, "");
        eq("owner of the cgroup", fs::metadata(&dir)?.uid(), inside)?;
        let (mut delegated, mut others) = (Vec::new(), 0);
        for entry in fs::read_dir(&dir)?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let listed = list.lines().any(|line| line == name);
            eq(format_args!("owner of {name}"), entry.metadata()?.uid(), if listed { inside } else { 0 })?;
            if listed { delegated.push(name) } else { others += 1 }
        }
        delegated.sort();
        x.measure(format!("{} are delegated, {others} others are not", delegated.join(", ")));
        for name in ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
            ensure(delegated.iter().any(|n| n == name), format_args!("the kernel does not list {name}"))?;
        }
        Ok(())
    }
    fn config(c: &mut Value, user_namespace: bool, option: &str) {
        let mount = json!({"destination": CGROUP, "type": "cgroup", "source": "cgroup", "options": ["nosuid", option]});
        push(&mut c["mounts"], mount);
        if user_namespace {
            push(&mut c["linux"]["namespaces"], json!({"type": "user"}));
            for ids in ["uidMappings", "gidMappings"] {
                c["linux"][ids] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
            }
        }
    }
    fn own(b: &Bundle) -> Outcome {
        for dir in ["", "proc", "sys", "dev", "tmp", "etc", "dir"] {
            std::os::unix::fs::chown(b.rootfs.join(dir), Some(100_000), Some(100_000))?;
        }
        Ok(())
    }
    let only_v2 = |x: &Ctx| if x.job.v2 { Ok(()) } else { skip("v1 can't be delegated") };
    vec![
        case("delegation/user-namespace", "runc: the container's root manages what is below its cgroup", move |x| {
            only_v2(x)?;
            let b = x.bundle(|c| {
                config(c, true, "rw");
                args(
                    c,
                    &format!(
                        "mkdir {CGROUP}/below , write {CGROUP}/below/cgroup.procs 0 , cat {CGROUP}/below/cgroup.procs , \
                         write {CGROUP}/cgroup.max.depth 5 , write {CGROUP}/cgroup.procs 0 , wait"
                    ),
                );
            })?;
            own(&b)?;
            let mut out = x.cmd(["run", "-d", "--bundle", b.dir(), &b.id]).spawn()?;
            out.started()?;
            let mut next = || Ok::<Value, Stop>(serde_json::from_str::<Value>(&out.line()?)?["result"].take());
            eq("mkdir", next()?, json!("ok"))?;
            eq("move", next()?, json!("ok"))?;
            eq("who is there", next()?, json!("1\n"))?;
            eq("the limits of the whole", next()?, json!("EACCES"))?;
            eq("move back", next()?, json!("ok"))?;
            owned(x, &b.id, 100_000)?;
            x.rt(["delete", "--force", &b.id])?.ok()?;
            ensure(!x.cgroup(&b.id, "").exists(), "its cgroup is still there")
        }),
        case("delegation/read-only", "runc: not where the container can't write there", move |x| {
            only_v2(x)?;
            let b = x.bundle(|c| {
                config(c, true, "ro");
                args(c, "wait");
            })?;
            own(&b)?;
            let live = x.live_bundle(b)?;
            owned(x, &live.id, 0)
        }),
        case("delegation/without-user-namespace", "runc: to the user of the container's process", move |x| {
            only_v2(x)?;
            let live = x.live(|c| {
                config(c, false, "rw");
                c["process"]["user"]["uid"] = json!(1234);
            })?;
            owned(x, &live.id, 1234)
        }),
    ]
}

/// Somebody takes a controller back that the runtime has just had passed on, as systemd does where none of its units needs it.
fn taken(x: &Ctx) -> Outcome {
    x.needs_cgroupfs()?;
    needs(x, ["pids", "pids"])?;
    if !x.job.v2 {
        return skip("v1 passes no controllers on");
    }
    let outer = x.cgroup(&format!("{}outer", x.job.tag), "");
    fs::create_dir_all(&outer)?;
    let control = outer.join("cgroup.subtree_control");
    // As often as somebody can who does something else too.
    let interval = Duration::from_micros(100) * x.job.slow;
    let (done, taken) = (AtomicBool::new(false), AtomicU32::new(0));
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                thread::sleep(interval);
                let passed_on = fs::read_to_string(&control).is_ok_and(|text| text.contains("pids"));
                if passed_on && fs::write(&control, "-pids").is_ok() {
                    taken.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let result = (0..30).try_for_each(|_| {
            let bundle = x.bundle(|c| {
                args(c, "exit 3");
                c["linux"]["cgroupsPath"] = json!(format!("{}/{}outer/a", x.job.cgroup, x.job.tag));
                c["linux"]["resources"] = json!({"pids": {"limit": 20}});
            })?;
            x.run(&bundle)?.exits(3).map(drop)
        });
        done.store(true, Ordering::Relaxed);
        result
    });
    x.measure(format!("taken back {} times", taken.into_inner()));
    let _ = fs::remove_dir(outer.join("a"));
    fs::remove_dir(&outer)?;
    result
}
