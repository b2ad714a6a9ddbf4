//! Limits as writes: one table, `config.json` on the left, control files on the right.
//!
//! The meaning of every value is runc's, so that an engine gets what it gets from runc: 0 is "not set" where runc
//! says so (docker writes zeros for what the user did not ask for), weights are converted for v2 by the same formulas.
//! Where a value has no counterpart, runc silently ignores it; here it is on the list [`Limits::ignored`].

use std::fmt::Display;

use super::{Dir, OnFailure, Value, Write};
use crate::spec::{BlockIo, Cpu, Memory, Resources, ThrottleDevice};
use crate::{Error, Result};

/// What becomes of [`Resources`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// In the order in which they are made.
    pub(super) writes: Vec<Write>,
    /// JSON pointer and reason of what was asked for and has no effect.
    pub(super) ignored: Vec<(String, String)>,
}

pub(super) const ROOT: &str = "/linux/resources";

/// The limits for a container with these directories. `available` are the controllers of the v2 hierarchy, where
/// they are known: a limit for another one is refused by name rather than by the absence of a file.
pub(super) fn limits(resources: &Resources, dirs: &[Dir], available: Option<&[String]>) -> Result<Limits> {
    let mut table = Table { dirs, available, limits: Limits::default() };
    match dirs {
        [dir] if dir.is_unified() => v2(resources, &mut table)?,
        _ => v1(resources, &mut table)?,
    }
    for (value, name) in [(resources.memory.kernel, "kernel"), (resources.memory.kernel_tcp, "kernelTCP")] {
        if value.is_some() {
            table.ignore(&format!("memory/{name}"), "deprecated: kernel memory limits are not set");
        }
    }
    Ok(table.limits)
}

struct Table<'a> {
    dirs: &'a [Dir],
    available: Option<&'a [String]>,
    limits: Limits,
}

impl Table<'_> {
    /// Adds the write of `value` into `file` of `controller`. `pointer` is below `/linux/resources`.
    fn put(&mut self, controller: &str, file: &str, value: &dyn Display, pointer: &str) -> Result<&mut Write> {
        let pointer = format!("{ROOT}/{pointer}");
        let dir = self.dirs.iter().position(|dir| dir.is_unified() || dir.has(controller));
        // In a hybrid layout the unified directory is the last one, and no limit belongs there.
        let dir = dir.filter(|dir| self.dirs.len() == 1 || !self.dirs[*dir].is_unified());
        let Some(dir) = dir else {
            return Err(Error::unsupported(
                pointer,
                format_args!("no cgroup hierarchy has the {controller} controller"),
            ));
        };
        let has = |available: &[String]| available.iter().any(|name| name == controller);
        if controller != "cgroup" && self.dirs[dir].is_unified() && !self.available.is_none_or(has) {
            return Err(Error::unsupported(pointer, format_args!("cgroup v2 has no {controller} controller here")));
        }
        if file.is_empty() || file.contains(['/', '\0']) || file.starts_with('.') {
            return Err(Error::refused(pointer, format_args!("{file:?} is not the name of a control file")));
        }
        let value = Value::Text(value.to_string());
        self.limits.writes.push(Write { dir, file: file.to_owned(), value, pointer, on_failure: OnFailure::Fail });
        Ok(self.limits.writes.last_mut().expect("one was just added"))
    }

    fn ignore(&mut self, pointer: &str, reason: &str) {
        self.limits.ignored.push((format!("{ROOT}/{pointer}"), reason.to_owned()));
    }
}

/// A value for which 0 means "not set".
pub(super) fn set<T: Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|value| *value != T::default())
}

fn v1(resources: &Resources, table: &mut Table<'_>) -> Result<()> {
    let Resources { memory, cpu, block_io, network, .. } = resources;
    if let Some((name, _)) = resources.unified.first() {
        let pointer = format!("{ROOT}/unified/{}", escape(name));
        return Err(Error::unsupported(pointer, "cannot use unified resources with cgroup v1"));
    }

    cpuset(cpu, table)?;

    // The kernel wants limit <= memory+swap limit at any time. Where the old limits forbid this order, the refused
    // write is tried again after the others. runc finds the order out by reading the old limits.
    let unlimited = memory.limit == Some(-1) && set(memory.swap).is_none();
    if let Some(limit) = set(memory.limit) {
        table.put("memory", "memory.limit_in_bytes", &limit, "memory/limit")?.on_failure = OnFailure::Later;
    }
    if let Some(swap) = set(memory.swap).or(unlimited.then_some(-1)) {
        let write = table.put("memory", "memory.memsw.limit_in_bytes", &swap, "memory/swap")?;
        // Without swap accounting there is no limit that would have to be lifted.
        write.on_failure = if unlimited { OnFailure::Skip } else { OnFailure::Fail };
    }
    if let Some(reservation) = set(memory.reservation) {
        table.put("memory", "memory.soft_limit_in_bytes", &reservation, "memory/reservation")?;
    }
    if memory.disable_oom_killer {
        table.put("memory", "memory.oom_control", &1, "memory/disableOOMKiller")?;
    }
    if let Some(swappiness) = swappiness(memory)? {
        table.put("memory", "memory.swappiness", &swappiness, "memory/swappiness")?;
    }
    if memory.use_hierarchy == Some(false) {
        table.ignore("memory/useHierarchy", "the memory controller is always hierarchical since kernel 5.11");
    }

    if let Some(shares) = set(cpu.shares) {
        // The kernel would silently take the nearest one.
        if !(2..=262_144).contains(&shares) {
            let (end, bound) = if shares < 2 { ("minimum", 2) } else { ("maximum", 262_144) };
            let reason = format!("the {end} allowed cpu-shares is {bound}");
            return Err(Error::refused(format_args!("{ROOT}/cpu/shares"), reason));
        }
    }
    cpu_share(cpu, "cpu.shares", set(cpu.shares), table)?;
    if let Some(period) = set(cpu.period) {
        table.put("cpu", "cpu.cfs_period_us", &period, "cpu/period")?.on_failure = OnFailure::Later;
    }
    if let Some(burst) = cpu.burst {
        table.put("cpu", "cpu.cfs_burst_us", &burst, "cpu/burst")?.on_failure = OnFailure::Later;
    }
    if let Some(quota) = set(cpu.quota) {
        table.put("cpu", "cpu.cfs_quota_us", &quota, "cpu/quota")?;
    }
    if let Some(period) = set(cpu.realtime_period) {
        table.put("cpu", "cpu.rt_period_us", &period, "cpu/realtimePeriod")?.on_failure = OnFailure::Later;
    }
    if let Some(runtime) = set(cpu.realtime_runtime) {
        table.put("cpu", "cpu.rt_runtime_us", &runtime, "cpu/realtimeRuntime")?;
    }

    pids(resources, table)?;
    block_io_v1(block_io, table)?;
    hugepages(resources, "limit_in_bytes", table)?;
    if let Some(class) = set(network.class_id) {
        table.put("net_cls", "net_cls.classid", &class, "network/classID")?;
    }
    for (index, (interface, priority)) in network.priorities.iter().enumerate() {
        let pointer = format!("network/priorities/{index}");
        table.put("net_prio", "net_prio.ifpriomap", &format!("{interface} {priority}"), &pointer)?;
    }
    rdma(resources, table)
}

fn v2(resources: &Resources, table: &mut Table<'_>) -> Result<()> {
    let Resources { memory, cpu, block_io, network, .. } = resources;
    pids(resources, table)?;

    if let Some(swap) = swap_v2(memory)? {
        let write = table.put("memory", "memory.swap.max", &or_max(swap), "memory/swap")?;
        if swap <= 0 {
            // A kernel without swap accounting has no swap to forbid or to allow.
            write.on_failure = OnFailure::Skip;
        }
    }
    if let Some(limit) = set(memory.limit) {
        table.put("memory", "memory.max", &or_max(limit), "memory/limit")?;
    }
    if let Some(reservation) = set(memory.reservation) {
        table.put("memory", "memory.low", &or_max(reservation), "memory/reservation")?;
    }
    if swappiness(memory)?.is_some() {
        table.ignore("memory/swappiness", "cgroup v2 has no swappiness");
    }
    if memory.disable_oom_killer {
        table.ignore("memory/disableOOMKiller", "cgroup v2 can't disable the OOM killer");
    }
    if memory.use_hierarchy == Some(false) {
        table.ignore("memory/useHierarchy", "cgroup v2 is always hierarchical");
    }

    block_io_v2(block_io, table)?;

    cpu_share(cpu, "cpu.weight", set(cpu.shares).map(weight_of_shares), table)?;
    if let Some(burst) = cpu.burst {
        table.put("cpu", "cpu.max.burst", &burst, "cpu/burst")?.on_failure = OnFailure::Later;
    }
    let (quota, period) = (set(cpu.quota), set(cpu.period));
    if quota.is_some() || period.is_some() {
        let quota = quota.filter(|quota| *quota > 0).unwrap_or(-1);
        let pointer = if cpu.quota.is_some() { "cpu/quota" } else { "cpu/period" };
        table.put("cpu", "cpu.max", &format!("{} {}", or_max(quota), period.unwrap_or(100_000)), pointer)?;
    }
    if set(cpu.realtime_period).is_some() || set(cpu.realtime_runtime).is_some() {
        table.ignore("cpu/realtimeRuntime", "cgroup v2 has no realtime bandwidth");
    }

    cpuset(cpu, table)?;
    hugepages(resources, "max", table)?;
    rdma(resources, table)?;
    if set(network.class_id).is_some() || !network.priorities.is_empty() {
        table.ignore("network", "cgroup v2 has no network controllers");
    }

    for (file, value) in &resources.unified {
        let pointer = format!("unified/{}", escape(file));
        let Some((controller, _)) = file.split_once('.') else {
            let reason = "must be in the form CONTROLLER.PARAMETER";
            return Err(Error::refused(format_args!("{ROOT}/{pointer}"), reason));
        };
        // The kernel takes one setting a write: `io.max` for two devices is two of them.
        for line in value.lines() {
            table.put(controller, file, &line, &pointer)?;
        }
    }
    Ok(())
}

fn pids(resources: &Resources, table: &mut Table<'_>) -> Result<()> {
    let value = match resources.pids_limit {
        None => return Ok(()),
        // systemd can't express 0, so runc takes 1 with either driver; a cgroup that is never forked in has one task.
        Some(0) => "1".to_owned(),
        Some(limit) => or_max(limit.max(-1)),
    };
    table.put("pids", "pids.max", &value, "pids/limit").map(drop)
}

fn cpuset(cpu: &Cpu, table: &mut Table<'_>) -> Result<()> {
    for (value, file, pointer) in [(&cpu.cpus, "cpuset.cpus", "cpu/cpus"), (&cpu.mems, "cpuset.mems", "cpu/mems")] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            table.put("cpuset", file, &value, pointer)?;
        }
    }
    Ok(())
}

/// Shares or weight, and `idle`. The kernel refuses a weight for a group that is idle: so idle is taken away before,
/// and given after.
fn cpu_share(cpu: &Cpu, file: &str, share: Option<u64>, table: &mut Table<'_>) -> Result<()> {
    if let Some(idle @ 0) = cpu.idle {
        table.put("cpu", "cpu.idle", &idle, "cpu/idle")?;
    }
    if let Some(share) = share {
        table.put("cpu", file, &share, "cpu/shares")?;
    }
    if let Some(idle) = cpu.idle.filter(|idle| *idle != 0) {
        table.put("cpu", "cpu.idle", &idle, "cpu/idle")?;
    }
    Ok(())
}

fn block_io_v1(block_io: &BlockIo, table: &mut Table<'_>) -> Result<()> {
    if let Some(weight) = set(block_io.weight) {
        let write = table.put("blkio", "blkio.weight", &weight, "blockIO/weight")?;
        write.on_failure = instead("blkio.bfq.weight", &weight);
    }
    if let Some(weight) = set(block_io.leaf_weight) {
        table.put("blkio", "blkio.leaf_weight", &weight, "blockIO/leafWeight")?;
    }
    for (index, device) in block_io.weight_device.iter().enumerate() {
        let number = format!("{}:{}", device.major, device.minor);
        if let Some(weight) = set(device.weight) {
            let (value, pointer) = (format!("{number} {weight}"), format!("blockIO/weightDevice/{index}/weight"));
            let write = table.put("blkio", "blkio.weight_device", &value, &pointer)?;
            write.on_failure = instead("blkio.bfq.weight_device", &value);
        }
        if let Some(weight) = set(device.leaf_weight) {
            let (value, pointer) = (format!("{number} {weight}"), format!("blockIO/weightDevice/{index}/leafWeight"));
            table.put("blkio", "blkio.leaf_weight_device", &value, &pointer)?;
        }
    }
    for (devices, _, file, pointer) in throttles(block_io) {
        for (index, ThrottleDevice { major, minor, rate }) in devices.iter().enumerate() {
            let file = format!("blkio.throttle.{file}_device");
            table.put("blkio", &file, &format!("{major}:{minor} {rate}"), &format!("blockIO/{pointer}/{index}"))?;
        }
    }
    Ok(())
}

fn block_io_v2(block_io: &BlockIo, table: &mut Table<'_>) -> Result<()> {
    // The file of the BFQ scheduler exists while its module is loaded; else the weight is that of iocost.
    if let Some(weight) = set(block_io.weight) {
        let write = table.put("io", "io.bfq.weight", &weight, "blockIO/weight")?;
        write.on_failure = instead("io.weight", &io_weight(weight));
    }
    for (index, device) in block_io.weight_device.iter().enumerate() {
        let number = format!("{}:{}", device.major, device.minor);
        if let Some(weight) = set(device.weight) {
            let pointer = format!("blockIO/weightDevice/{index}/weight");
            let write = table.put("io", "io.bfq.weight", &format!("{number} {weight}"), &pointer)?;
            write.on_failure = instead("io.weight", &format!("{number} {}", io_weight(weight)));
        }
        if set(device.leaf_weight).is_some() {
            table.ignore(&format!("blockIO/weightDevice/{index}/leafWeight"), "cgroup v2 has no leaf weight");
        }
    }
    if set(block_io.leaf_weight).is_some() {
        table.ignore("blockIO/leafWeight", "cgroup v2 has no leaf weight");
    }
    for (devices, key, _, pointer) in throttles(block_io) {
        for (index, ThrottleDevice { major, minor, rate }) in devices.iter().enumerate() {
            // v1 takes 0 for "no limit", v2 refuses it.
            let rate = if *rate == 0 { "max".to_owned() } else { rate.to_string() };
            table.put(
                "io",
                "io.max",
                &format!("{major}:{minor} {key}={rate}"),
                &format!("blockIO/{pointer}/{index}"),
            )?;
        }
    }
    Ok(())
}

/// Devices, key of `io.max`, part of the name on v1, name in `config.json`.
fn throttles(block_io: &BlockIo) -> [(&[ThrottleDevice], &'static str, &'static str, &'static str); 4] {
    [
        (&block_io.throttle_read_bps, "rbps", "read_bps", "throttleReadBpsDevice"),
        (&block_io.throttle_write_bps, "wbps", "write_bps", "throttleWriteBpsDevice"),
        (&block_io.throttle_read_iops, "riops", "read_iops", "throttleReadIOPSDevice"),
        (&block_io.throttle_write_iops, "wiops", "write_iops", "throttleWriteIOPSDevice"),
    ]
}

fn hugepages(resources: &Resources, suffix: &str, table: &mut Table<'_>) -> Result<()> {
    for (index, (size, limit)) in resources.hugepage_limits.iter().enumerate() {
        let pointer = format!("hugepageLimits/{index}/limit");
        table.put("hugetlb", &format!("hugetlb.{size}.{suffix}"), &limit, &pointer)?;
        // Reservations are limited apart from use since kernel 5.7, where the kernel is built so.
        table.put("hugetlb", &format!("hugetlb.{size}.rsvd.{suffix}"), &limit, &pointer)?.on_failure = OnFailure::Skip;
    }
    Ok(())
}

fn rdma(resources: &Resources, table: &mut Table<'_>) -> Result<()> {
    for (device, limits) in &resources.rdma {
        let mut value = device.clone();
        for (key, limit) in [("hca_handle", limits.hca_handles), ("hca_object", limits.hca_objects)] {
            if let Some(limit) = limit {
                value += &format!(" {key}={limit}");
            }
        }
        table.put("rdma", "rdma.max", &value, &format!("rdma/{}", escape(device)))?;
    }
    Ok(())
}

/// 0 to 100; -1, which arrives as the largest number, is "not set".
fn swappiness(memory: &Memory) -> Result<Option<u64>> {
    match memory.swappiness {
        None | Some(u64::MAX) => Ok(None),
        Some(value @ 0..=100) => Ok(Some(value)),
        Some(value) => {
            let pointer = format!("{ROOT}/memory/swappiness");
            Err(Error::refused(pointer, format_args!("{value} is not between 0 and 100")))
        }
    }
}

/// `memory.swap.max`: v1 counts memory and swap together, v2 swap alone. 0: no swap, -1: no limit.
pub(super) fn swap_v2(memory: &Memory) -> Result<Option<i64>> {
    let refused = |reason: &str| Err(Error::refused(format_args!("{ROOT}/memory/swap"), reason));
    match (set(memory.limit), set(memory.swap)) {
        // As on v1, where memory without limit means swap without limit.
        (Some(-1), None) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (_, Some(-1)) => Ok(Some(-1)),
        (Some(-1), swap) => Ok(swap),
        (None, _) => refused("unable to set swap limit without memory limit"),
        (Some(limit), _) if limit < 0 => {
            Err(Error::refused(format_args!("{ROOT}/memory/limit"), format_args!("invalid memory value: {limit}")))
        }
        (Some(limit), Some(swap)) if swap < limit => refused("memory+swap limit should be >= memory limit"),
        (Some(limit), Some(swap)) => Ok(Some(swap - limit)),
    }
}

/// `cpu.shares` (2 to 262144, 1024 by default) as `cpu.weight` (1 to 10000, 100 by default): the quadratic curve
/// through the three points, runc 1.3.1 (earlier: a straight line, which made 39 of the default).
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0).ceil() as u64
        }
    }
}

/// `blkio.weight` (10 to 1000) as `io.weight` (1 to 10000).
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

/// A limit of v2: "no limit" (-1) has a name there.
fn or_max(value: i64) -> String {
    if value == -1 { "max".to_owned() } else { value.to_string() }
}

fn instead(file: &str, value: &dyn Display) -> OnFailure {
    OnFailure::Instead { file: file.to_owned(), value: value.to_string() }
}

/// A key as a part of a JSON pointer, RFC 6901.
pub(super) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{NetworkResources, Rdma, WeightDevice};

    fn dir(hierarchy: &str) -> Dir {
        Dir { hierarchy: hierarchy.into(), mount: "/m".into(), path: "/m/c".into() }
    }

    /// `HIERARCHY/FILE=VALUE`, with what happens on failure behind it.
    fn lines(resources: &Resources, dirs: &[Dir]) -> Result<(Vec<String>, Vec<String>), String> {
        let limits = limits(resources, dirs, None).map_err(|e| e.to_string())?;
        let line = |write: &Write| {
            let Value::Text(value) = &write.value else { panic!("{write:?}") };
            let failure = match &write.on_failure {
                OnFailure::Fail => String::new(),
                OnFailure::SkipRefused => " skip-refused".into(),
                OnFailure::Skip => " skip".into(),
                OnFailure::Later => " later".into(),
                OnFailure::Instead { file, value } => format!(" else {file}={value}"),
            };
            format!("{}/{}={value}{failure}", dirs[write.dir].hierarchy, write.file)
        };
        let ignored = limits.ignored.iter().map(|(pointer, _)| pointer.replace("/linux/resources/", "")).collect();
        Ok((limits.writes.iter().map(line).collect(), ignored))
    }

    /// What becomes of it on v1 and on v2. A word in `<>` stands for what is ignored, `!` begins an error.
    fn check(resources: &Resources, v1: &[&str], v2: &[&str]) {
        let all = ["cpuset", "cpu,cpuacct", "memory", "pids", "blkio", "hugetlb", "net_cls,net_prio", "rdma"];
        let v1_dirs: Vec<_> = all.iter().map(|name| dir(name)).collect();
        for (dirs, expect) in [(v1_dirs.as_slice(), v1), (&[dir("")], v2)] {
            let result = match lines(resources, dirs) {
                Ok((writes, ignored)) => writes.into_iter().chain(ignored.iter().map(|i| format!("<{i}>"))).collect(),
                Err(error) => vec![format!("!{}", error.replace("/linux/resources/", ""))],
            };
            assert_eq!(result, expect, "{resources:?}");
        }
    }

    fn memory(memory: Memory) -> Resources {
        Resources { memory, ..Resources::default() }
    }

    fn cpu(cpu: Cpu) -> Resources {
        Resources { cpu, ..Resources::default() }
    }

    #[test]
    fn nothing_and_zeros_set_nothing() {
        check(&Resources::default(), &[], &[]);
        let zeros = Resources {
            memory: Memory { limit: Some(0), reservation: Some(0), swap: Some(0), ..Memory::default() },
            cpu: Cpu {
                shares: Some(0),
                quota: Some(0),
                period: Some(0),
                realtime_runtime: Some(0),
                realtime_period: Some(0),
                cpus: Some(String::new()),
                ..Cpu::default()
            },
            block_io: BlockIo { weight: Some(0), leaf_weight: Some(0), ..BlockIo::default() },
            network: NetworkResources { class_id: Some(0), ..NetworkResources::default() },
            ..Resources::default()
        };
        check(&zeros, &[], &[]);
    }

    #[test]
    fn memory_limits() {
        let m = |limit, swap| memory(Memory { limit, swap, ..Memory::default() });
        check(&m(Some(100), None), &["memory/memory.limit_in_bytes=100 later"], &["/memory.max=100"]);
        check(
            &m(Some(100), Some(300)),
            &["memory/memory.limit_in_bytes=100 later", "memory/memory.memsw.limit_in_bytes=300"],
            &["/memory.swap.max=200", "/memory.max=100"],
        );
        check(
            &m(Some(100), Some(100)),
            &["memory/memory.limit_in_bytes=100 later", "memory/memory.memsw.limit_in_bytes=100"],
            &["/memory.swap.max=0 skip", "/memory.max=100"],
        );
        check(
            &m(Some(100), Some(-1)),
            &["memory/memory.limit_in_bytes=100 later", "memory/memory.memsw.limit_in_bytes=-1"],
            &["/memory.swap.max=max skip", "/memory.max=100"],
        );
        check(
            &m(Some(-1), None),
            &["memory/memory.limit_in_bytes=-1 later", "memory/memory.memsw.limit_in_bytes=-1 skip"],
            &["/memory.swap.max=max skip", "/memory.max=max"],
        );
        check(
            &m(Some(-1), Some(50)),
            &["memory/memory.limit_in_bytes=-1 later", "memory/memory.memsw.limit_in_bytes=50"],
            &["/memory.swap.max=50", "/memory.max=max"],
        );
        check(
            &m(None, Some(300)),
            &["memory/memory.memsw.limit_in_bytes=300"],
            &["!memory/swap: unable to set swap limit without memory limit"],
        );
        check(
            &m(Some(300), Some(100)),
            &["memory/memory.limit_in_bytes=300 later", "memory/memory.memsw.limit_in_bytes=100"],
            &["!memory/swap: memory+swap limit should be >= memory limit"],
        );
        check(
            &memory(Memory {
                reservation: Some(50),
                swappiness: Some(60),
                disable_oom_killer: true,
                kernel: Some(1),
                kernel_tcp: Some(1),
                use_hierarchy: Some(false),
                check_before_update: true,
                ..Memory::default()
            }),
            &[
                "memory/memory.soft_limit_in_bytes=50",
                "memory/memory.oom_control=1",
                "memory/memory.swappiness=60",
                "<memory/useHierarchy>",
                "<memory/kernel>",
                "<memory/kernelTCP>",
            ],
            &[
                "/memory.low=50",
                "<memory/swappiness>",
                "<memory/disableOOMKiller>",
                "<memory/useHierarchy>",
                "<memory/kernel>",
                "<memory/kernelTCP>",
            ],
        );
        let error = "!memory/swappiness: 101 is not between 0 and 100";
        check(&memory(Memory { swappiness: Some(101), ..Memory::default() }), &[error], &[error]);
        check(&memory(Memory { swappiness: Some(u64::MAX), ..Memory::default() }), &[], &[]);
    }

    #[test]
    fn cpu_limits() {
        let shares = |shares| cpu(Cpu { shares: Some(shares), ..Cpu::default() });
        check(&shares(512), &["cpu,cpuacct/cpu.shares=512"], &["/cpu.weight=59"]);
        check(&shares(1), &["!cpu/shares: the minimum allowed cpu-shares is 2"], &["/cpu.weight=1"]);
        check(&shares(300_000), &["!cpu/shares: the maximum allowed cpu-shares is 262144"], &["/cpu.weight=10000"]);
        check(
            &cpu(Cpu { quota: Some(50_000), period: Some(20_000), burst: Some(0), ..Cpu::default() }),
            &[
                "cpu,cpuacct/cpu.cfs_period_us=20000 later",
                "cpu,cpuacct/cpu.cfs_burst_us=0 later",
                "cpu,cpuacct/cpu.cfs_quota_us=50000",
            ],
            &["/cpu.max.burst=0 later", "/cpu.max=50000 20000"],
        );
        check(
            &cpu(Cpu { quota: Some(50_000), ..Cpu::default() }),
            &["cpu,cpuacct/cpu.cfs_quota_us=50000"],
            &["/cpu.max=50000 100000"],
        );
        check(
            &cpu(Cpu { quota: Some(-1), ..Cpu::default() }),
            &["cpu,cpuacct/cpu.cfs_quota_us=-1"],
            &["/cpu.max=max 100000"],
        );
        check(
            &cpu(Cpu { period: Some(50_000), ..Cpu::default() }),
            &["cpu,cpuacct/cpu.cfs_period_us=50000 later"],
            &["/cpu.max=max 50000"],
        );
        check(
            &cpu(Cpu { shares: Some(2), idle: Some(1), ..Cpu::default() }),
            &["cpu,cpuacct/cpu.shares=2", "cpu,cpuacct/cpu.idle=1"],
            &["/cpu.weight=1", "/cpu.idle=1"],
        );
        check(
            &cpu(Cpu { shares: Some(2), idle: Some(0), ..Cpu::default() }),
            &["cpu,cpuacct/cpu.idle=0", "cpu,cpuacct/cpu.shares=2"],
            &["/cpu.idle=0", "/cpu.weight=1"],
        );
        check(
            &cpu(Cpu { realtime_period: Some(1_000_000), realtime_runtime: Some(1000), ..Cpu::default() }),
            &["cpu,cpuacct/cpu.rt_period_us=1000000 later", "cpu,cpuacct/cpu.rt_runtime_us=1000"],
            &["<cpu/realtimeRuntime>"],
        );
        check(
            &cpu(Cpu { cpus: Some("0-1".into()), mems: Some("0".into()), ..Cpu::default() }),
            &["cpuset/cpuset.cpus=0-1", "cpuset/cpuset.mems=0"],
            &["/cpuset.cpus=0-1", "/cpuset.mems=0"],
        );
    }

    #[test]
    fn pids_limits() {
        let pids = |limit| Resources { pids_limit: Some(limit), ..Resources::default() };
        check(&pids(50), &["pids/pids.max=50"], &["/pids.max=50"]);
        check(&pids(0), &["pids/pids.max=1"], &["/pids.max=1"]);
        check(&pids(-1), &["pids/pids.max=max"], &["/pids.max=max"]);
        check(&pids(-5), &["pids/pids.max=max"], &["/pids.max=max"]);
    }

    #[test]
    fn block_io_limits() {
        let io = |block_io| Resources { block_io, ..Resources::default() };
        check(
            &io(BlockIo {
                weight: Some(500),
                leaf_weight: Some(10),
                weight_device: vec![WeightDevice { major: 8, minor: 0, weight: Some(1000), leaf_weight: Some(20) }],
                ..BlockIo::default()
            }),
            &[
                "blkio/blkio.weight=500 else blkio.bfq.weight=500",
                "blkio/blkio.leaf_weight=10",
                "blkio/blkio.weight_device=8:0 1000 else blkio.bfq.weight_device=8:0 1000",
                "blkio/blkio.leaf_weight_device=8:0 20",
            ],
            &[
                "/io.bfq.weight=500 else io.weight=4950",
                "/io.bfq.weight=8:0 1000 else io.weight=8:0 10000",
                "<blockIO/weightDevice/0/leafWeight>",
                "<blockIO/leafWeight>",
            ],
        );
        let device = |rate| vec![ThrottleDevice { major: 8, minor: 16, rate }];
        check(
            &io(BlockIo {
                throttle_read_bps: device(1),
                throttle_write_bps: device(2),
                throttle_read_iops: device(3),
                throttle_write_iops: device(0),
                ..BlockIo::default()
            }),
            &[
                "blkio/blkio.throttle.read_bps_device=8:16 1",
                "blkio/blkio.throttle.write_bps_device=8:16 2",
                "blkio/blkio.throttle.read_iops_device=8:16 3",
                "blkio/blkio.throttle.write_iops_device=8:16 0",
            ],
            &["/io.max=8:16 rbps=1", "/io.max=8:16 wbps=2", "/io.max=8:16 riops=3", "/io.max=8:16 wiops=max"],
        );
    }

    #[test]
    fn other_limits() {
        let huge = |size: &str| Resources { hugepage_limits: vec![(size.into(), 7)], ..Resources::default() };
        check(
            &huge("2MB"),
            &["hugetlb/hugetlb.2MB.limit_in_bytes=7", "hugetlb/hugetlb.2MB.rsvd.limit_in_bytes=7 skip"],
            &["/hugetlb.2MB.max=7", "/hugetlb.2MB.rsvd.max=7 skip"],
        );
        let error =
            |suffix| format!("!hugepageLimits/0/limit: \"hugetlb./../x.{suffix}\" is not the name of a control file");
        check(&huge("/../x"), &[&error("limit_in_bytes")], &[&error("max")]);
        check(
            &Resources {
                network: NetworkResources { class_id: Some(0x10_0001), priorities: vec![("lo".into(), 3)] },
                ..Resources::default()
            },
            &["net_cls,net_prio/net_cls.classid=1048577", "net_cls,net_prio/net_prio.ifpriomap=lo 3"],
            &["<network>"],
        );
        let limits = Rdma { hca_handles: Some(3), hca_objects: None };
        check(
            &Resources { rdma: vec![("mlx5_1".into(), limits)], ..Resources::default() },
            &["rdma/rdma.max=mlx5_1 hca_handle=3"],
            &["/rdma.max=mlx5_1 hca_handle=3"],
        );
        let unified =
            |file: &str, value: &str| Resources { unified: vec![(file.into(), value.into())], ..Resources::default() };
        check(
            &unified("io.max", "8:0 rbps=1\n8:16 rbps=2"),
            &["!unified/io.max: cannot use unified resources with cgroup v1"],
            &["/io.max=8:0 rbps=1", "/io.max=8:16 rbps=2"],
        );
        check(
            &unified("a/b.c", "1"),
            &["!unified/a~1b.c: cannot use unified resources with cgroup v1"],
            &["!unified/a~1b.c: \"a/b.c\" is not the name of a control file"],
        );
        check(
            &unified("high", "1"),
            &["!unified/high: cannot use unified resources with cgroup v1"],
            &["!unified/high: must be in the form CONTROLLER.PARAMETER"],
        );
    }

    #[test]
    fn a_missing_controller_is_named() {
        let pids = Resources { pids_limit: Some(5), ..Resources::default() };
        let pointer = "/linux/resources/pids/limit";
        let error = |dirs: &[Dir], available: &[String]| limits(&pids, dirs, Some(available)).unwrap_err().to_string();
        let v1 = format!("{pointer}: no cgroup hierarchy has the pids controller");
        assert_eq!(error(&[dir("memory")], &[]), v1);
        assert_eq!(error(&[dir("memory"), dir("")], &["pids".into()]), v1);
        assert_eq!(error(&[dir("")], &["memory".into()]), format!("{pointer}: cgroup v2 has no pids controller here"));
        assert!(limits(&pids, &[dir("")], Some(&["pids".into()])).is_ok());
        let unified = Resources { unified: vec![("cgroup.max.depth".into(), "3".into())], ..Resources::default() };
        assert!(limits(&unified, &[dir("")], Some(&[])).is_ok());
    }

    #[test]
    fn weights_follow_runc() {
        let check = |shares, weight| assert_eq!(weight_of_shares(shares), weight, "{shares}");
        // The points of runc's own documentation of the curve, and its ends.
        check(0, 1);
        check(2, 1);
        check(1024, 100);
        check(262_144, 10_000);
        check(u64::MAX, 10_000);
        let mut last = 1;
        for shares in (2..262_144).step_by(101) {
            assert!(weight_of_shares(shares) >= last, "{shares}");
            last = weight_of_shares(shares);
        }
        assert_eq!((io_weight(10), io_weight(1000), io_weight(1)), (1, 10_000, 1));
    }
}
