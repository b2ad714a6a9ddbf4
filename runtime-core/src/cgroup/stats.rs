//! What a container uses: the figures of its control files, in the shape that runc's `events` command prints and that
//! engines parse (runc, types/events.go).
//!
//! A file that this kernel or this hierarchy does not have leaves its figures at 0, as in runc; so does a "no limit" of
//! `pids.max`, while one of memory is 2^64-1 on v2 and the kernel's largest number of pages on v1.
//!
//! Sources: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/{cpuacct,memory,blkio-controller,hugetlb,cpusets}.rst and
//! accounting/psi.rst of the kernel.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::{Dir, Record, files};
use crate::sys::Errno;
use crate::{Error, Result};

/// The use of all resources at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// Where it may run.
    pub cpuset: CpusetStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Tasks.
    pub pids: PidsStats,
    /// Block devices.
    pub blkio: BlkioStats,
    /// Huge pages, by their size (`2MB`).
    pub hugetlb: BTreeMap<String, HugetlbStats>,
    /// Intel's resource director, which is not supported: always empty.
    pub intel_rdt: Empty,
    /// Always empty, as in runc, which has figures only for interfaces that it made itself.
    pub network_interfaces: Option<Empty>,
}

/// A JSON object without members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Empty {}

/// Processor time, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct CpuStats {
    /// Time used.
    pub usage: CpuUsage,
    /// What the quota did.
    pub throttling: Throttling,
    /// Pressure; only v2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Processor time used, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CpuUsage {
    /// All of it.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// For each processor; only v1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// For each processor, in the kernel; only v1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// For each processor, in programs; only v1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In programs.
    pub user: u64,
}

/// What the quota did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods that passed.
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    /// Periods in which the quota was used up.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// Nanoseconds that tasks had to wait.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// Where the container may run: the v1 cpuset; of v2 the two lists.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct CpusetStats {
    /// Numbers of processors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    /// Numbers of memory nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct MemoryStats {
    /// Cached files.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    /// Memory.
    pub usage: MemoryEntry,
    /// Memory and swap together, on v2 too.
    pub swap: MemoryEntry,
    /// The kernel's own; only v1.
    pub kernel: MemoryEntry,
    /// Buffers of TCP; only v1.
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// All of `memory.stat`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Pressure; only v2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// One kind of memory, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct MemoryEntry {
    /// The limit.
    pub limit: u64,
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most so far.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
}

/// Tasks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PidsStats {
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// The limit; 0 is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Block devices.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlkioStats {
    /// Bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    /// Pressure; only v2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// A figure of one device and one kind of operation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct BlkioEntry {
    /// The device's major number.
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    /// The device's minor number.
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard` or `Total`.
    pub op: String,
    /// How much.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct HugetlbStats {
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most so far; only v1.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
}

/// How long tasks waited for a resource (pressure stall information, kernel 4.20).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Pressure {
    /// At least one task waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub some: Option<PressureLine>,
    /// All tasks waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<PressureLine>,
}

/// One line of a pressure file.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct PressureLine {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
    /// Microseconds.
    pub total: u64,
}

/// For serde: Go's `omitempty`.
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Record {
    /// What the container uses now.
    ///
    /// # Errors
    /// [`crate::ErrorKind::System`] when a file that is there can't be read.
    pub fn stats(&self) -> Result<Stats> {
        match self.dirs.as_slice() {
            [dir] if dir.is_unified() => v2(&Files(Some(dir))),
            _ => v1(self),
        }
    }
}

/// The control files of one directory; none of a controller that is nowhere.
struct Files<'a>(Option<&'a Dir>);

impl Files<'_> {
    /// A file's text; empty when there is no such file.
    fn text(&self, name: &str) -> Result<String> {
        let Some(dir) = self.0 else { return Ok(String::new()) };
        let path = dir.path.join(name);
        match files::read(&path) {
            Ok(text) => Ok(text),
            // EOPNOTSUPP: pressure that was switched off (psi=0), and what threaded cgroups do not have. ENODEV: removed
            // while it was read.
            Err(Errno(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP)) => Ok(String::new()),
            Err(errno) => Err(Error::system(format_args!("read {}", path.display()), errno)),
        }
    }

    /// A file with one number; 0 when there is none. `max` is 2^64-1.
    fn number(&self, name: &str) -> Result<u64> {
        Ok(number(self.text(name)?.trim()))
    }

    fn pressure(&self, name: &str) -> Result<Option<Pressure>> {
        self.text(name).map(|text| pressure(&text))
    }

    /// A kind of memory on v1.
    fn memory(&self, kind: &str) -> Result<MemoryEntry> {
        let name = |what: &str| format!("memory.{kind}{what}");
        Ok(MemoryEntry {
            limit: self.number(&name("limit_in_bytes"))?,
            usage: self.number(&name("usage_in_bytes"))?,
            max: self.number(&name("max_usage_in_bytes"))?,
            failcnt: self.number(&name("failcnt"))?,
        })
    }
}

fn v1(record: &Record) -> Result<Stats> {
    let of = |controller: &str| Files(record.v1(controller));
    let (cpu, cpuacct, cpuset, memory, pids, blkio, hugetlb) =
        (of("cpu"), of("cpuacct"), of("cpuset"), of("memory"), of("pids"), of("blkio"), of("hugetlb"));
    let throttled = table(&cpu.text("cpu.stat")?);
    let split = table(&cpuacct.text("cpuacct.stat")?);
    let (percpu_user, percpu_kernel) = usage_all(&cpuacct.text("cpuacct.usage_all")?);
    let flag = |name: &str| cpuset.number(&format!("cpuset.{name}"));
    let raw = table(&memory.text("memory.stat")?);
    let blkio_of = |what: &str| -> Result<Vec<BlkioEntry>> {
        // A group has figures of BFQ only for the devices that BFQ schedules; the throttling layer sees them all.
        match blkio_v1(&blkio.text(&format!("blkio.bfq.{what}_recursive"))?) {
            entries if entries.is_empty() => {
                blkio.text(&format!("blkio.throttle.{what}_recursive")).map(|text| blkio_v1(&text))
            }
            entries => Ok(entries),
        }
    };
    Ok(Stats {
        cpu: CpuStats {
            usage: CpuUsage {
                total: cpuacct.number("cpuacct.usage")?,
                percpu: cpuacct.text("cpuacct.usage_percpu")?.split_whitespace().map(number).collect(),
                percpu_kernel,
                percpu_user,
                kernel: value(&split, "system") * TICK,
                user: value(&split, "user") * TICK,
            },
            throttling: Throttling {
                periods: value(&throttled, "nr_periods"),
                throttled_periods: value(&throttled, "nr_throttled"),
                throttled_time: value(&throttled, "throttled_time"),
            },
            psi: None,
        },
        cpuset: CpusetStats {
            cpus: list(&cpuset.text("cpuset.cpus")?),
            cpu_exclusive: flag("cpu_exclusive")?,
            mems: list(&cpuset.text("cpuset.mems")?),
            mem_hardwall: flag("mem_hardwall")?,
            mem_exclusive: flag("mem_exclusive")?,
            memory_migrate: flag("memory_migrate")?,
            memory_spread_page: flag("memory_spread_page")?,
            memory_spread_slab: flag("memory_spread_slab")?,
            memory_pressure: flag("memory_pressure")?,
            sched_load_balance: flag("sched_load_balance")?,
            sched_relax_domain_level: cpuset.text("cpuset.sched_relax_domain_level")?.trim().parse().unwrap_or(0),
        },
        memory: MemoryStats {
            cache: value(&raw, "cache"),
            usage: memory.memory("")?,
            swap: memory.memory("memsw.")?,
            kernel: memory.memory("kmem.")?,
            kernel_tcp: memory.memory("kmem.tcp.")?,
            raw,
            psi: None,
        },
        pids: pids_stats(&pids)?,
        blkio: BlkioStats {
            io_service_bytes_recursive: blkio_of("io_service_bytes")?,
            io_serviced_recursive: blkio_of("io_serviced")?,
            psi: None,
        },
        hugetlb: page_sizes(&hugetlb)?
            .into_iter()
            .map(|size| {
                let of = |what: &str| hugetlb.number(&format!("hugetlb.{size}.{what}"));
                let stats = HugetlbStats {
                    usage: of("usage_in_bytes")?,
                    max: of("max_usage_in_bytes")?,
                    failcnt: of("failcnt")?,
                };
                Ok((size, stats))
            })
            .collect::<Result<_>>()?,
        ..Stats::default()
    })
}

fn v2(files: &Files<'_>) -> Result<Stats> {
    let cpu = table(&files.text("cpu.stat")?);
    let microseconds = |name: &str| value(&cpu, name).saturating_mul(1000);
    let raw = table(&files.text("memory.stat")?);
    let usage = MemoryEntry {
        limit: files.number("memory.max")?,
        usage: files.number("memory.current")?,
        max: files.number("memory.peak")?,
        failcnt: value(&table(&files.text("memory.events")?), "max"),
    };
    // As on v1, with which engines grew up: memory and swap together.
    let swap = MemoryEntry {
        limit: files.number("memory.swap.max")?.saturating_add(usage.limit),
        usage: files.number("memory.swap.current")? + usage.usage,
        max: 0,
        failcnt: value(&table(&files.text("memory.swap.events")?), "max"),
    };
    let io = files.text("io.stat")?;
    Ok(Stats {
        cpu: CpuStats {
            usage: CpuUsage {
                total: microseconds("usage_usec"),
                kernel: microseconds("system_usec"),
                user: microseconds("user_usec"),
                ..CpuUsage::default()
            },
            throttling: Throttling {
                periods: value(&cpu, "nr_periods"),
                throttled_periods: value(&cpu, "nr_throttled"),
                throttled_time: microseconds("throttled_usec"),
            },
            psi: files.pressure("cpu.pressure")?,
        },
        cpuset: CpusetStats {
            cpus: list(&files.text("cpuset.cpus.effective")?),
            mems: list(&files.text("cpuset.mems.effective")?),
            ..CpusetStats::default()
        },
        memory: MemoryStats {
            cache: value(&raw, "file"),
            usage,
            swap,
            raw,
            psi: files.pressure("memory.pressure")?,
            ..MemoryStats::default()
        },
        pids: pids_stats(files)?,
        blkio: BlkioStats {
            io_service_bytes_recursive: io_v2(&io, [("rbytes", "Read"), ("wbytes", "Write"), ("dbytes", "Discard")]),
            io_serviced_recursive: io_v2(&io, [("rios", "Read"), ("wios", "Write"), ("dios", "Discard")]),
            psi: files.pressure("io.pressure")?,
        },
        hugetlb: page_sizes(files)?
            .into_iter()
            .map(|size| {
                let events = table(&files.text(&format!("hugetlb.{size}.events"))?);
                let usage = files.number(&format!("hugetlb.{size}.current"))?;
                Ok((size, HugetlbStats { usage, max: 0, failcnt: value(&events, "max") }))
            })
            .collect::<Result<_>>()?,
        ..Stats::default()
    })
}

fn pids_stats(files: &Files<'_>) -> Result<PidsStats> {
    let limit = files.number("pids.max")?;
    Ok(PidsStats { current: files.number("pids.current")?, limit: if limit == u64::MAX { 0 } else { limit } })
}

/// Nanoseconds of a clock tick as user space sees it (USER_HZ), 100 a second on every architecture that Linux has left.
const TICK: u64 = 10_000_000;

/// A number; `max` is the largest, and what is none is 0.
fn number(text: &str) -> u64 {
    if text == "max" { u64::MAX } else { text.parse().unwrap_or(0) }
}

/// Lines `key value`.
fn table(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

fn value(table: &BTreeMap<String, u64>, key: &str) -> u64 {
    table.get(key).copied().unwrap_or(0)
}

/// A list as `0-2,7`, cpuset(7).
fn list(text: &str) -> Vec<u16> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

/// `cpuacct.usage_all`: a line `cpu user system` for each processor, below a heading.
fn usage_all(text: &str) -> (Vec<u64>, Vec<u64>) {
    let line = |line: &str| {
        let mut fields = line.split_whitespace().map(str::parse::<u64>);
        let (_, user, system) = (fields.next()?.ok()?, fields.next()?.ok()?, fields.next()?.ok()?);
        Some((user, system))
    };
    text.lines().filter_map(line).unzip()
}

/// `major:minor`.
fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Lines `major:minor operation value`; the sum over all devices has no number and is left out.
fn blkio_v1(text: &str) -> Vec<BlkioEntry> {
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let (major, minor) = device(fields.next()?)?;
        let (op, value) = (fields.next()?.to_owned(), fields.next()?.parse().ok()?);
        Some(BlkioEntry { major, minor, op, value })
    };
    text.lines().filter_map(line).collect()
}

/// `io.stat`: lines `major:minor key=value ...`, of which these keys become these operations.
fn io_v2(text: &str, wanted: [(&str, &str); 3]) -> Vec<BlkioEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let Some((major, minor)) = fields.next().and_then(device) else { continue };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let op = wanted.iter().find(|(name, _)| *name == key);
            entries.extend(op.map(|(_, op)| BlkioEntry { major, minor, op: (*op).to_owned(), value: number(value) }));
        }
    }
    entries
}

/// A pressure file, accounting/psi.rst: `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same with `full`.
fn pressure(text: &str) -> Option<Pressure> {
    let of = |kind: &str| {
        let fields = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))?;
        let field = |name: &str| fields.split_whitespace().find_map(|f| f.strip_prefix(name)?.strip_prefix('='));
        let average = |name: &str| field(name)?.parse().ok();
        Some(PressureLine {
            avg10: average("avg10")?,
            avg60: average("avg60")?,
            avg300: average("avg300")?,
            total: field("total")?.parse().ok()?,
        })
    };
    let pressure = Pressure { some: of("some"), full: of("full") };
    (pressure != Pressure::default()).then_some(pressure)
}

/// The sizes of huge pages for which there are files, `hugetlb.SIZE.*`.
fn page_sizes(files: &Files<'_>) -> Result<Vec<String>> {
    let Some(dir) = files.0 else { return Ok(Vec::new()) };
    let failed = |path: &Path, error: io::Error| Error::system(format_args!("read {}", path.display()), error.into());
    // The kernel has a directory for each size; that is a shorter list than the control files.
    let list = Path::new("/sys/kernel/mm/hugepages");
    let entries = match std::fs::read_dir(list) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| failed(list, error))?,
    };
    let mut sizes = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| failed(list, error))?.file_name();
        let Some(size) = name.to_str().and_then(page_size) else { continue };
        let is_there = |what: &str| {
            let path = dir.path.join(format!("hugetlb.{size}.{what}"));
            path.try_exists().map_err(|error| failed(&path, error))
        };
        if is_there("usage_in_bytes")? || is_there("current")? {
            sizes.push(size);
        }
    }
    Ok(sizes)
}

/// `hugepages-2048kB` as the control files have it: `2MB`.
fn page_size(directory: &str) -> Option<String> {
    let kilobytes: u64 = directory.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kilobytes {
        1_048_576.. => format!("{}GB", kilobytes >> 20),
        1024.. => format!("{}MB", kilobytes >> 10),
        _ => format!("{kilobytes}KB"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's texts, cgroup-v2.rst.
    #[test]
    fn figures_of_v2() {
        let path = std::env::temp_dir().join(format!("orlop-stats-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        for (name, text) in [
            ("cpu.stat", "usage_usec 9\nuser_usec 5\nsystem_usec 4\nnr_periods 3\nnr_throttled 2\nthrottled_usec 1\n"),
            ("cpuset.cpus.effective", "0-1\n"),
            ("memory.current", "100\n"),
            ("memory.max", "max\n"),
            ("memory.peak", "120\n"),
            ("memory.swap.current", "7\n"),
            ("memory.swap.max", "50\n"),
            ("memory.events", "low 0\nhigh 0\nmax 6\noom 1\noom_kill 1\n"),
            ("memory.stat", "anon 1\nfile 2\n"),
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=0 rios=2 wios=0 dbytes=0 dios=0\n"),
        ] {
            std::fs::write(path.join(name), text).unwrap();
        }
        let dir = Dir { hierarchy: String::new(), mount: path.clone(), path: path.clone() };
        let stats = v2(&Files(Some(&dir))).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
        assert_eq!((stats.cpu.usage.total, stats.cpu.usage.kernel, stats.cpu.usage.user), (9000, 4000, 5000));
        assert_eq!(stats.cpu.throttling, Throttling { periods: 3, throttled_periods: 2, throttled_time: 1000 });
        assert_eq!(stats.cpuset.cpus, [0, 1]);
        assert_eq!(stats.memory.usage, MemoryEntry { limit: u64::MAX, usage: 100, max: 120, failcnt: 6 });
        assert_eq!(stats.memory.swap, MemoryEntry { limit: u64::MAX, usage: 107, max: 0, failcnt: 0 });
        assert_eq!((stats.memory.cache, stats.memory.raw["anon"]), (2, 1));
        assert_eq!(stats.pids, PidsStats { current: 3, limit: 0 });
        assert_eq!(stats.blkio.io_serviced_recursive[0].value, 2);
        assert_eq!(stats.cpu.psi, None);
    }

    #[test]
    fn lists() {
        let check = |text, expect: &[u16]| assert_eq!(list(text), expect, "{text:?}");
        check("\n", &[]);
        check("0\n", &[0]);
        check("0-2,7,9-10\n", &[0, 1, 2, 7, 9, 10]);
        check("3-1,x,70000", &[]);
    }

    #[test]
    fn pressures() {
        let some = PressureLine { avg10: 1.5, avg60: 0.25, avg300: 0.0, total: 4711 };
        let check = |text, expect| assert_eq!(pressure(text), expect, "{text:?}");
        check("", None);
        check("some avg10=x avg60=0 avg300=0 total=0\n", None);
        check("some avg10=1.50 avg60=0.25 avg300=0.00 total=4711\n", Some(Pressure { some: Some(some), full: None }));
        check(
            "some avg10=1.50 avg60=0.25 avg300=0.00 total=4711\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            Some(Pressure { some: Some(some), full: Some(PressureLine::default()) }),
        );
    }

    #[test]
    fn block_devices() {
        let entry = |major, minor, op: &str, value| BlkioEntry { major, minor, op: op.into(), value };
        assert_eq!(
            blkio_v1("8:0 Read 12\n8:0 Total 12\nTotal 12\n254:16 Write 1\n"),
            [entry(8, 0, "Read", 12), entry(8, 0, "Total", 12), entry(254, 16, "Write", 1)]
        );
        let io = "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=7\n254:0 \n";
        assert_eq!(
            io_v2(io, [("rbytes", "Read"), ("wbytes", "Write"), ("dbytes", "Discard")]),
            [entry(8, 0, "Read", 1), entry(8, 0, "Write", 2), entry(8, 0, "Discard", 5)]
        );
    }

    #[test]
    fn page_sizes_have_the_control_files_names() {
        let check = |name, expect: Option<&str>| assert_eq!(page_size(name).as_deref(), expect, "{name}");
        check("hugepages-2048kB", Some("2MB"));
        check("hugepages-1048576kB", Some("1GB"));
        check("hugepages-64kB", Some("64KB"));
        check("nr_hugepages", None);
    }

    #[test]
    fn processors() {
        assert_eq!(usage_all("cpu user system\n0 5 6\n1 7 8\n"), (vec![5, 7], vec![6, 8]));
        assert_eq!(usage_all(""), (vec![], vec![]));
    }

    /// The shape that engines parse, to the last comma: what runc 1.1 prints where there is nothing to tell.
    #[test]
    fn the_json_is_that_of_runc() {
        assert_eq!(
            serde_json::to_string(&Stats::default()).unwrap(),
            "{\"cpu\":{\"usage\":{\"kernel\":0,\"user\":0},\"throttling\":{}},\"cpuset\":{\"cpu_exclusive\":0,\
             \"mem_hardwall\":0,\"mem_exclusive\":0,\"memory_migrate\":0,\"memory_spread_page\":0,\
             \"memory_spread_slab\":0,\"memory_pressure\":0,\"sched_load_balance\":0,\"sched_relax_domain_level\":0},\
             \"memory\":{\"usage\":{\"limit\":0,\"failcnt\":0},\"swap\":{\"limit\":0,\"failcnt\":0},\"kernel\":\
             {\"limit\":0,\"failcnt\":0},\"kernelTCP\":{\"limit\":0,\"failcnt\":0}},\"pids\":{},\"blkio\":{},\
             \"hugetlb\":{},\"intel_rdt\":{},\"network_interfaces\":null}"
        );
    }
}
