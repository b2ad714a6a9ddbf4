//! Limits as properties of a unit: one table, `config.json` on the left, systemd.resource-control(5) on the right.
//!
//! All limits are written into the control files as well, and those that systemd has no property for only there. The
//! properties are what systemd writes again whenever it likes, on `daemon-reload` first of all: so each must say what the
//! file says, as nearly as systemd can.

use super::{Property, property};
use crate::cgroup::devices::AccessList;
use crate::cgroup::resources::{ROOT, escape, set, swap_v2, weight_of_shares};
use crate::spec::{Cpu, Memory, Resources};
use crate::{Error, Result};

/// Infinity, in every property that takes a number.
const INFINITY: u64 = u64::MAX;

/// The default period of the kernel, in microseconds.
const PERIOD: u64 = 100_000;

/// systemd takes these since version:
const QUOTA_PERIOD: u32 = 242;
const ALLOWED_CPUS: u32 = 244;
const DEVICE_NUMBERS: u32 = 240;
const CPU_IDLE: u32 = 252;

/// The properties for these limits.
///
/// # Errors
/// A value that can't be one of a property, by its JSON pointer.
pub(in crate::cgroup) fn properties(resources: &Resources, v2: bool, version: u32) -> Result<Vec<Property>> {
    let Resources { memory, cpu, block_io, .. } = resources;
    let mut all = Vec::new();
    memory_properties(memory, v2, &mut all)?;
    let idle = v2 && cpu.idle == Some(1) && version >= CPU_IDLE;
    match set(cpu.shares) {
        // systemd says "idle" by a weight of 0, and can't say both.
        _ if idle => all.push(property("CPUWeight", 0u64)),
        Some(shares) if v2 => all.push(property("CPUWeight", weight_of_shares(shares))),
        Some(shares) => all.push(property("CPUShares", shares)),
        None => {}
    }
    quota(set(cpu.quota), set(cpu.period), version, &mut all);
    if let Some(weight) = set(block_io.weight) {
        all.push(match v2 {
            true => property("IOWeight", weight_for_bfq(weight)),
            false => property("BlockIOWeight", u64::from(weight)),
        });
    }
    match resources.pids_limit {
        None => {}
        // As in the control file: 0 is more than systemd can say.
        Some(limit) => all.push(property("TasksMax", if limit == 0 { 1 } else { infinite(limit) })),
    }
    cpuset(cpu, version, &mut all)?;
    if v2 {
        for (file, text) in &resources.unified {
            unified(file, text.trim(), &resources.unified, version, &mut all)?;
        }
    }
    Ok(all)
}

fn memory_properties(memory: &Memory, v2: bool, all: &mut Vec<Property>) -> Result<()> {
    if let Some(limit) = set(memory.limit) {
        all.push(property(if v2 { "MemoryMax" } else { "MemoryLimit" }, infinite(limit)));
    }
    if v2 {
        all.extend(set(memory.reservation).map(|n| property("MemoryLow", infinite(n))));
        all.extend(swap_v2(memory)?.map(|n| property("MemorySwapMax", infinite(n))));
    }
    Ok(())
}

/// The `IOWeight` of which systemd, by its own straight lines (from 100 upwards and downwards), makes the same BFQ weight again.
///
/// systemd writes `io.weight` and `io.bfq.weight` from this one property, at the start and after each daemon-reload. By runc's
/// conversion to `io.weight` 300 would be 2930, and BFQ would get 357. runc itself (1.3.6, on v2) sets no property: the weight
/// stands in the control file until a daemon-reload has systemd write its default of 100. With this it stays. Where there is no
/// BFQ, `io.weight` is written afterwards by runc's conversion; what a daemon-reload makes of that then is near it.
///
/// On v1 there is no such number: systemd 252 bends `BlockIOWeight`, too, and takes none above 1000. There a daemon-reload changes
/// the BFQ weight, as it does with runc.
fn weight_for_bfq(weight: u16) -> u64 {
    let weight = u64::from(weight);
    if weight <= 100 { weight } else { 100 + (weight - 100) * 11 }
}

/// A limit: -1 is none.
fn infinite(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(INFINITY)
}

/// systemd keeps a quota as a whole percentage of a processor: so it is rounded up, as in runc, and the control file gets
/// the exact one afterwards.
fn quota(quota: Option<i64>, period: Option<u64>, version: u32, all: &mut Vec<Property>) {
    if quota.is_none() && period.is_none() {
        return;
    }
    if let Some(period) = period.filter(|_| version >= QUOTA_PERIOD) {
        all.push(property("CPUQuotaPeriodUSec", period));
    }
    let per_second = quota.and_then(|quota| u64::try_from(quota).ok()).map_or(INFINITY, |quota| {
        let exact = u128::from(quota) * 1_000_000 / u128::from(period.unwrap_or(PERIOD));
        u64::try_from(exact.div_ceil(10_000) * 10_000).unwrap_or(INFINITY)
    });
    all.push(property("CPUQuotaPerSecUSec", per_second));
}

fn cpuset(cpu: &Cpu, version: u32, all: &mut Vec<Property>) -> Result<()> {
    for (list, name, pointer) in [(&cpu.cpus, "AllowedCPUs", "cpu/cpus"), (&cpu.mems, "AllowedMemoryNodes", "cpu/mems")]
    {
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
            let bits = bits(list).ok_or_else(|| Error::refused(format!("{ROOT}/{pointer}"), not_a_list(list)))?;
            all.extend((version >= ALLOWED_CPUS).then(|| property(name, bits)));
        }
    }
    Ok(())
}

fn not_a_list(list: &str) -> String {
    format!("{list:?} is not a list of numbers and ranges")
}

/// `0-2,8` as systemd takes it: bit N of byte M stands for number 8 * M + N.
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // No kernel has more processors.
        if first > last || last > 0xffff {
            return None;
        }
        for number in first..=last {
            bits.resize(bits.len().max(number / 8 + 1), 0);
            bits[number / 8] |= 1 << (number % 8);
        }
    }
    (!bits.is_empty()).then_some(bits)
}

/// A file of `unified` that systemd has a property for.
fn unified(file: &str, text: &str, map: &[(String, String)], version: u32, all: &mut Vec<Property>) -> Result<()> {
    let pointer = format!("{ROOT}/unified/{}", escape(file));
    let refused = |what: &str| Error::refused(&pointer, format!("{text:?} is not {what}"));
    let number = |text: &str| text.parse::<u64>().map_err(|_| refused("a number"));
    let limit = |text: &str| if text == "max" { Ok(INFINITY) } else { number(text) };
    let idle = |text: &str| text.trim() == "1" && version >= CPU_IDLE;
    let property = match file {
        "memory.min" => property("MemoryMin", limit(text)?),
        "memory.low" => property("MemoryLow", limit(text)?),
        "memory.high" => property("MemoryHigh", limit(text)?),
        "memory.max" => property("MemoryMax", limit(text)?),
        "memory.swap.max" => property("MemorySwapMax", limit(text)?),
        "pids.max" => property("TasksMax", limit(text)?),
        // Whether the kernel kills all of a group; systemd sets it from what it does itself then, as in runc.
        "memory.oom.group" => match text {
            "0" => property("OOMPolicy", "continue"),
            "1" => property("OOMPolicy", "kill"),
            _ => return Err(refused("0 or 1")),
        },
        "cpu.idle" if idle(text) => property("CPUWeight", 0u64),
        "cpu.weight" if map.iter().any(|(file, text)| file == "cpu.idle" && idle(text)) => return Ok(()),
        "cpu.weight" => property("CPUWeight", number(text)?),
        "cpu.max" => {
            let mut words = text.split_whitespace();
            let max = match words.next() {
                Some("max") => None,
                Some(word) => Some(i64::try_from(number(word)?).map_err(|_| refused("a number"))?),
                None => return Err(refused("a quota")),
            };
            let period = words.next().map_or(Ok(PERIOD), number)?;
            if words.next().is_some() || period == 0 {
                return Err(refused("a quota and a period"));
            }
            quota(max, Some(period), version, all);
            return Ok(());
        }
        "cpuset.cpus" | "cpuset.mems" => {
            let bits = bits(text).ok_or_else(|| Error::refused(&pointer, not_a_list(text)))?;
            let name = if file == "cpuset.cpus" { "AllowedCPUs" } else { "AllowedMemoryNodes" };
            all.extend((version >= ALLOWED_CPUS).then(|| property(name, bits)));
            return Ok(());
        }
        "io.weight" => match text.strip_prefix("default ").unwrap_or(text).parse::<u64>() {
            Ok(weight) => property("IOWeight", weight),
            // Of one device.
            Err(_) => return Ok(()),
        },
        _ => return Ok(()),
    };
    // Said twice, here and by a field of its own: the map is written last.
    all.retain(|before| before.name != property.name);
    all.push(property);
    Ok(())
}

/// The properties for the devices. systemd allows what it lists, and only that: so it can't say "all but", nor "minor 3 of
/// every major".
///
/// Where it can't say what the list says, on v2 it is told more: there its program is one of two, and a device must pass
/// both, so Orlop's, which stays attached for ever, still denies what shall be. runc tells it less, and the container
/// loses devices when systemd writes its rules again. On v1 there is one list, which systemd then overwrites: so there it is
/// told less, as in runc.
pub(in crate::cgroup) fn device_properties(list: &AccessList, v2: bool, version: u32) -> Vec<Property> {
    let none: Vec<(String, String)> = Vec::new();
    let all = || vec![property("DevicePolicy", "auto"), property("DeviceAllow", none.clone())];
    let mut allow = Vec::new();
    if list.allowed_by_default() {
        if v2 || list.exceptions().len() == 0 {
            return all();
        }
    } else {
        for (kind, major, minor, access) in list.exceptions() {
            let (kind, path) = if kind == 'b' { ("block", "/dev/block") } else { ("char", "/dev/char") };
            let specifier = match (major, minor) {
                (None, None) => format!("{kind}-*"),
                (Some(major), Some(minor)) => format!("{path}/{major}:{minor}"),
                (Some(major), None) if version >= DEVICE_NUMBERS => format!("{kind}-{major}"),
                _ if v2 => format!("{kind}-*"),
                _ => continue,
            };
            // Of two entries with one specifier systemd keeps the later.
            match allow.iter_mut().find(|(before, _): &&mut (String, String)| *before == specifier) {
                Some((_, accesses)) => {
                    let more: String = access.chars().filter(|c| !accesses.contains(*c)).collect();
                    accesses.push_str(&more);
                }
                None => allow.push((specifier, access)),
            }
        }
    }
    vec![property("DevicePolicy", "strict"), property("DeviceAllow", allow)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{BlockIo, DeviceKind, DeviceRule};

    fn text(properties: &[Property]) -> Vec<String> {
        properties.iter().map(|p| format!("{}={}", p.name, p.value)).collect()
    }

    /// What becomes of it on v1 and on v2, with a systemd that knows everything.
    fn check(resources: &Resources, v1: &[&str], v2: &[&str]) {
        for (is_v2, expect) in [(false, v1), (true, v2)] {
            let result = properties(resources, is_v2, 255).map(|all| text(&all));
            let result =
                result.unwrap_or_else(|e| vec![format!("!{}", e.to_string().replace("/linux/resources/", ""))]);
            assert_eq!(result, expect, "{resources:?}");
        }
    }

    fn memory(limit: Option<i64>, swap: Option<i64>, reservation: Option<i64>) -> Resources {
        Resources { memory: Memory { limit, swap, reservation, ..Memory::default() }, ..Resources::default() }
    }

    fn cpu(cpu: Cpu) -> Resources {
        Resources { cpu, ..Resources::default() }
    }

    #[test]
    fn limits_are_properties() {
        const INFINITE: &str = "uint64 18446744073709551615";
        check(&Resources::default(), &[], &[]);
        check(&memory(Some(0), Some(0), Some(0)), &[], &[]);
        check(
            &memory(Some(100), Some(300), Some(50)),
            &["MemoryLimit=uint64 100"],
            &["MemoryMax=uint64 100", "MemoryLow=uint64 50", "MemorySwapMax=uint64 200"],
        );
        check(
            &memory(Some(-1), None, None),
            &[&format!("MemoryLimit={INFINITE}")],
            &[&format!("MemoryMax={INFINITE}"), &format!("MemorySwapMax={INFINITE}")],
        );
        check(&memory(None, Some(5), None), &[], &["!memory/swap: unable to set swap limit without memory limit"]);
        let shares = |shares, idle| cpu(Cpu { shares: Some(shares), idle, ..Cpu::default() });
        check(&shares(1024, None), &["CPUShares=uint64 1024"], &["CPUWeight=uint64 100"]);
        check(&shares(1024, Some(0)), &["CPUShares=uint64 1024"], &["CPUWeight=uint64 100"]);
        check(&shares(1024, Some(1)), &["CPUShares=uint64 1024"], &["CPUWeight=uint64 0"]);
        let quota = |quota, period| cpu(Cpu { quota, period, ..Cpu::default() });
        let both = ["CPUQuotaPeriodUSec=uint64 20000", "CPUQuotaPerSecUSec=uint64 250000"];
        check(&quota(Some(5000), Some(20_000)), &both, &both);
        let rounded = ["CPUQuotaPerSecUSec=uint64 130000"];
        check(&quota(Some(12_345), None), &rounded, &rounded);
        let none = format!("CPUQuotaPerSecUSec={INFINITE}");
        check(&quota(Some(-1), None), &[&none], &[&none]);
        check(&quota(None, Some(20_000)), &[both[0], &none], &[both[0], &none]);
        let pids = |limit| Resources { pids_limit: Some(limit), ..Resources::default() };
        for (limit, value) in [(10, "uint64 10"), (0, "uint64 1"), (-1, INFINITE), (-7, INFINITE)] {
            let expect = format!("TasksMax={value}");
            check(&pids(limit), &[&expect], &[&expect]);
        }
        let weight = BlockIo { weight: Some(1000), ..BlockIo::default() };
        let weight = Resources { block_io: weight, ..Resources::default() };
        check(&weight, &["BlockIOWeight=uint64 1000"], &["IOWeight=uint64 10000"]);
        for weight in 10..=1000 {
            let set = weight_for_bfq(weight);
            // BFQ_WEIGHT() of systemd.
            let bfq = if set <= 100 { 100 - (100 - set) * 99 / 99 } else { 100 + (set - 100) * 900 / 9900 };
            assert_eq!(bfq, u64::from(weight));
        }
        let cpus = |cpus: &str| cpu(Cpu { cpus: Some(cpus.into()), mems: Some("0".into()), ..Cpu::default() });
        let sets = ["AllowedCPUs=[byte 0x07, 0x01]", "AllowedMemoryNodes=[byte 0x01]"];
        check(&cpus("0-2,8"), &sets, &sets);
        let wrong = "!cpu/cpus: \"2-0\" is not a list of numbers and ranges";
        check(&cpus("2-0"), &[wrong], &[wrong]);
    }

    #[test]
    fn an_old_systemd_is_told_less() {
        let all =
            Cpu { cpus: Some("0".into()), quota: Some(1000), period: Some(10_000), idle: Some(1), ..Cpu::default() };
        let check = |version, expect: &[&str]| {
            let properties = properties(&cpu(all.clone()), true, version).map(|all| text(&all)).unwrap();
            let names: Vec<_> = properties.iter().map(|p| p.split('=').next().unwrap()).collect();
            assert_eq!(names, expect, "{version}");
        };
        check(241, &["CPUQuotaPerSecUSec"]);
        check(242, &["CPUQuotaPeriodUSec", "CPUQuotaPerSecUSec"]);
        check(244, &["CPUQuotaPeriodUSec", "CPUQuotaPerSecUSec", "AllowedCPUs"]);
        check(252, &["CPUWeight", "CPUQuotaPeriodUSec", "CPUQuotaPerSecUSec", "AllowedCPUs"]);
    }

    #[test]
    fn files_are_properties() {
        let check = |file: &str, value: &str, expect: &[&str]| {
            let unified = vec![(file.to_owned(), value.to_owned())];
            let resources = Resources { unified, ..Resources::default() };
            let result = properties(&resources, true, 255).map(|all| text(&all));
            let result =
                result.unwrap_or_else(|e| vec![format!("!{}", e.to_string().replace("/linux/resources/unified/", ""))]);
            assert_eq!(result, expect, "{file}={value}");
        };
        for (file, name) in [
            ("memory.min", "MemoryMin"),
            ("memory.low", "MemoryLow"),
            ("memory.high", "MemoryHigh"),
            ("memory.max", "MemoryMax"),
            ("memory.swap.max", "MemorySwapMax"),
            ("pids.max", "TasksMax"),
        ] {
            check(file, " 100\n", &[&format!("{name}=uint64 100")]);
            check(file, "max", &[&format!("{name}=uint64 18446744073709551615")]);
            check(file, "x", &[&format!("!{file}: \"x\" is not a number")]);
        }
        check("cpu.max", "5000 20000", &["CPUQuotaPeriodUSec=uint64 20000", "CPUQuotaPerSecUSec=uint64 250000"]);
        check("cpu.max", "5000", &["CPUQuotaPeriodUSec=uint64 100000", "CPUQuotaPerSecUSec=uint64 50000"]);
        let none = ["CPUQuotaPeriodUSec=uint64 100000", "CPUQuotaPerSecUSec=uint64 18446744073709551615"];
        check("cpu.max", "max", &none);
        check("cpu.max", "1 2 3", &["!cpu.max: \"1 2 3\" is not a quota and a period"]);
        check("cpu.max", "1 0", &["!cpu.max: \"1 0\" is not a quota and a period"]);
        check("cpu.weight", "7", &["CPUWeight=uint64 7"]);
        check("cpu.idle", "1", &["CPUWeight=uint64 0"]);
        check("cpu.idle", "0", &[]);
        check("cpuset.cpus", "0,2", &["AllowedCPUs=[byte 0x05]"]);
        check("cpuset.mems", "x", &["!cpuset.mems: \"x\" is not a list of numbers and ranges"]);
        check("io.weight", "default 50", &["IOWeight=uint64 50"]);
        check("io.weight", "8:0 50", &[]);
        check("memory.oom.group", "1", &["OOMPolicy=\"kill\""]);
        check("memory.oom.group", "0", &["OOMPolicy=\"continue\""]);
        check("hugetlb.2MB.max", "0", &[]);
        let twice = Resources {
            unified: vec![
                ("memory.max".into(), "7".into()),
                ("cpu.idle".into(), "1".into()),
                ("cpu.weight".into(), "9".into()),
            ],
            ..memory(Some(5), None, None)
        };
        assert_eq!(
            properties(&twice, true, 255).map(|all| text(&all)).unwrap(),
            ["MemoryMax=uint64 7", "CPUWeight=uint64 0"]
        );
    }

    #[test]
    fn devices_are_properties() {
        let rule = |allow, kind, major, minor, access: &str| {
            let [read, write, mknod] = ['r', 'w', 'm'].map(|c| access.contains(c));
            DeviceRule { allow, kind, major, minor, read, write, mknod }
        };
        let deny = rule(false, None, None, None, "rwm");
        let allow = rule(true, None, None, None, "rwm");
        let (char, block) = (Some(DeviceKind::Char), Some(DeviceKind::Block));
        let check = |rules: &[DeviceRule], v2, version, policy: &str, devices: &str| {
            let list = AccessList::new(rules, &[]).unwrap();
            let expect = [format!("DevicePolicy={policy:?}"), format!("DeviceAllow={devices}")];
            assert_eq!(text(&device_properties(&list, v2, version)), expect, "{rules:?} {v2} {version}");
        };
        const DEFAULTS: &str = "[(\"block-*\", \"m\"), (\"char-*\", \"m\"), (\"/dev/char/1:3\", \"rwm\"), \
            (\"/dev/char/1:5\", \"rwm\"), (\"/dev/char/1:7\", \"rwm\"), (\"/dev/char/1:8\", \"rwm\"), \
            (\"/dev/char/1:9\", \"rwm\"), (\"/dev/char/5:0\", \"rwm\"), (\"/dev/char/5:2\", \"rwm\"), (\"/dev/char/10:200\", \"rwm\"), (\"char-136\", \"rwm\")]";
        for v2 in [false, true] {
            check(&[deny], v2, 255, "strict", DEFAULTS);
            check(&[allow], v2, 255, "auto", "@a(ss) []");
        }
        // An old systemd has no word for all minors of a major.
        check(&[deny], false, 239, "strict", &DEFAULTS.replace(", (\"char-136\", \"rwm\")", ""));
        let at_once =
            DEFAULTS.replace(", (\"char-136\", \"rwm\")", "").replace("(\"char-*\", \"m\")", "(\"char-*\", \"mrw\")");
        check(&[deny], true, 239, "strict", &at_once);
        let others = [deny, rule(true, block, Some(8), Some(1), "r"), rule(true, char, None, Some(3), "rw")];
        for v2 in [false, true] {
            let list = AccessList::new(&others, &[]).unwrap();
            let properties = text(&device_properties(&list, v2, 255));
            assert!(properties[1].contains("(\"/dev/block/8:1\", \"r\")"), "{properties:?}");
            assert_eq!(properties[1].contains("(\"char-*\", \"mrw\")"), v2, "{properties:?}");
        }
        let all_but = [allow, rule(false, block, Some(8), None, "rwm")];
        check(&all_but, true, 255, "auto", "@a(ss) []");
        check(&all_but, false, 255, "strict", "@a(ss) []");
    }
}
