//! Changing the limits of a container that runs.

use super::create::write_all;
use super::devices::AccessList;
use super::resources::{Limits, limits};
use super::{Dir, Driver, OnFailure, Record, Value, Write, files, systemd};
use crate::spec::{Cpu, Linux, Memory, Resources};
use crate::{Error, ErrorKind, Result};

impl Record {
    /// Sets the limits that `resources` has; what it does not have stays as it is. Device rules are left alone: runc does
    /// so since an update took away the devices of running containers for an instant (runc#2204).
    ///
    /// All or nothing, as far as the kernel lets: when a limit is refused, the ones before it are set back.
    ///
    /// Returns what could not have an effect, as [`super::Cgroup::ignored`].
    ///
    /// # Errors
    /// A value that is refused, by its JSON pointer; [`ErrorKind::System`] with file, value and cause when the kernel
    /// refuses it.
    ///
    /// `linux` is that of the container's configuration: with systemd on v1 its device rules are made again.
    pub fn update(&self, resources: &Resources, linux: &dyn Fn() -> Result<Linux>) -> Result<Vec<(String, String)>> {
        let mut resources = resources.clone();
        if let [dir] = self.dirs.as_slice()
            && dir.is_unified()
        {
            complete(dir, &mut resources);
            if resources.memory.check_before_update {
                check_memory(dir, &resources.memory)?;
            }
        }
        let Limits { writes, ignored } = limits(&resources, &self.dirs, None)?;
        let properties = self.properties(&resources)?;
        let old: Vec<_> = writes.iter().filter_map(|write| old_value(&self.dirs, write)).collect();
        let write = || write_all(&self.dirs, &[], &|_| None, &writes);
        let undo = |_: &Error| {
            // Backwards, as the last one was checked against the others; twice, as an order that was right on the way there
            // may be wrong on the way back. The error that is told is the first one.
            for write in old.iter().rev().chain(old.iter().rev()) {
                let _ = write_all(&self.dirs, &[], &|_| None, std::slice::from_ref(write));
            }
        };
        // The kernel first: what it refuses can be taken back, while systemd does not tell what a property was.
        write().inspect_err(undo)?;
        if let (Driver::Systemd(unit), false) = (&self.driver, properties.is_empty()) {
            self.set(unit, &properties, linux).inspect_err(undo)?;
            // systemd has written some of them, as it rounds them.
            write()?;
        }
        Ok(ignored)
    }

    /// Sets the properties. On v1 systemd writes the unit's device rules anew with every change, from the first one that
    /// denies all: meanwhile nobody may open a device, and afterwards they must be what they were, where systemd can't say
    /// all of them.
    fn set(
        &self,
        unit: &systemd::Unit,
        properties: &[systemd::Property],
        linux: &dyn Fn() -> Result<Linux>,
    ) -> Result<()> {
        let Some(dir) = self.v1("devices") else { return systemd::set(unit, properties) };
        let linux = linux()?;
        let list = AccessList::new(&linux.resources.devices, &linux.devices)?;
        let froze = !self.is_frozen()? && self.freeze().is_ok();
        let result = systemd::set(unit, properties).and_then(|()| {
            let file = |name: &str| dir.path.join(name);
            list.writes().try_for_each(|(name, value)| {
                let failed = |errno| Error::system(format_args!("write {value:?} to {}", file(name).display()), errno);
                files::write(&file(name), &value).map_err(failed)
            })
        });
        if froze {
            self.thaw()?;
        }
        result
    }

    /// The same limits for systemd, which else would write the old ones again when it likes.
    fn properties(&self, resources: &Resources) -> Result<Vec<systemd::Property>> {
        let Driver::Systemd(unit) = &self.driver else { return Ok(Vec::new()) };
        let mut resources = resources.clone();
        if let (Some(dir), Cpu { quota, period, .. }) = (self.v1("cpu"), &mut resources.cpu) {
            // A quota is counted from both. On v2 they share a file, and have been completed.
            let number = |file: &str| files::read(&dir.path.join(file)).ok()?.trim().parse::<i64>().ok();
            match (quota.filter(|n| *n != 0), period.filter(|n| *n != 0)) {
                (Some(_), None) => *period = number("cpu.cfs_period_us").and_then(|n| u64::try_from(n).ok()),
                (None, Some(_)) => *quota = number("cpu.cfs_quota_us"),
                _ => {}
            }
        }
        systemd::properties(&resources, self.dirs.len() == 1 && self.dirs[0].is_unified(), unit.version)
    }
}

/// On v2 some values share a file, or are counted from one another: where only one of two is to be changed, the other
/// one's present value is added. runc knows it from its state.
fn complete(dir: &Dir, resources: &mut Resources) {
    let text = |file: &str| files::read(&dir.path.join(file)).unwrap_or_default();
    let number = |text: &str| if text.trim() == "max" { Some(-1) } else { text.trim().parse::<i64>().ok() };

    let Cpu { quota, period, .. } = &mut resources.cpu;
    let set = (quota.is_some_and(|quota| quota != 0), period.is_some_and(|period| period != 0));
    if set == (true, false) || set == (false, true) {
        let text = text("cpu.max");
        if let Some((old_quota, old_period)) = text.split_once(' ') {
            match set {
                (true, _) => *period = number(old_period).and_then(|period| u64::try_from(period).ok()),
                _ => *quota = number(old_quota),
            }
        }
    }

    // `swap` is memory and swap together here, and swap alone in the file.
    let Memory { limit, swap, .. } = &mut resources.memory;
    let set = (limit.is_some_and(|limit| limit != 0), swap.is_some_and(|swap| swap != 0));
    if set == (true, false) || set == (false, true) {
        let (old_limit, old_swap) = (number(&text("memory.max")), number(&text("memory.swap.max")));
        match (set, old_limit, old_swap) {
            ((false, _), Some(old), _) if old != -1 => *limit = Some(old),
            ((true, _), Some(old @ 0..), Some(old_swap @ 0..)) if *limit != Some(-1) => {
                *swap = Some(old.saturating_add(old_swap));
            }
            _ => {}
        }
    }
}

/// What would undo a write. `None` where that can't be told.
fn old_value(dirs: &[Dir], write: &Write) -> Option<Write> {
    let Value::Text(new) = &write.value else { return None };
    // Where the first file does not exist the other one is written.
    let (file, text, new) = match (&write.on_failure, files::read(&dirs[write.dir].path.join(&write.file))) {
        (_, Ok(text)) => (&write.file, text, new),
        (OnFailure::Instead { file, value }, Err(_)) => {
            (file, files::read(&dirs[write.dir].path.join(file)).ok()?, value)
        }
        _ => return None,
    };
    let old = old_line(file, &text, new)?;
    Some(Write { file: file.clone(), value: Value::Text(old), on_failure: OnFailure::Fail, ..write.clone() })
}

/// What a file held before `new` is written into it, in the form in which it is written: its only line, or the line with the
/// same key. `None` where that can't be told.
fn old_line(file: &str, text: &str, new: &str) -> Option<String> {
    let key = new.split_once(' ').map(|(key, _)| key);
    let of = |key: &str| text.lines().find(|line| line.split(' ').next() == Some(key)).map(str::to_owned);
    if let Some(device) = key.filter(|key| key.contains(':')) {
        // A device without a limit has no line.
        return of(device).or_else(|| Some(format!("{device} {}", no_limit(file)?)));
    }
    if let Some(default) = text.lines().find_map(|line| line.strip_prefix("default ")) {
        return Some(default.to_owned());
    }
    if file == "memory.oom_control" {
        return files::value_of(text, "oom_kill_disable").map(|value| value.to_string());
    }
    match text.lines().count() {
        // Nothing set, as of a v2 cpuset. The kernel is not told of a write of no bytes.
        0 | 1 if text.trim().is_empty() => Some("\n".to_owned()),
        1 => text.lines().next().map(str::to_owned),
        _ => key.and_then(of),
    }
}

/// What takes away a device's limit in a file that has a line for each device with one.
fn no_limit(file: &str) -> Option<&'static str> {
    match file {
        "io.max" => Some("rbps=max wbps=max riops=max wiops=max"),
        "io.weight" | "io.bfq.weight" | "blkio.weight_device" | "blkio.bfq.weight_device" => Some("default"),
        _ => file.starts_with("blkio.throttle.").then_some("0"),
    }
}

/// v2 takes a limit below the use and then kills; v1 refuses it by itself. As the use changes all the time this is
/// best effort, as with runc.
fn check_memory(dir: &Dir, memory: &Memory) -> Result<()> {
    let Some(usage) = files::read(&dir.path.join("memory.current")).ok().and_then(|text| text.trim().parse().ok())
    else {
        return Ok(());
    };
    let checks: [(_, Option<i64>, _); 2] =
        [("memory+swap limit", memory.swap, "swap"), ("memory limit", memory.limit, "limit")];
    for (name, limit, field) in checks {
        if let Some(limit) = limit.filter(|limit| *limit > 0 && *limit <= usage) {
            let what = format!("rejecting {name} {limit} <= usage {usage} (/linux/resources/memory/{field})");
            return Err(Error::new(ErrorKind::System, what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of a v2 cgroup that are counted from one another.
    #[test]
    fn what_a_value_is_counted_from_is_added() {
        let path = std::env::temp_dir().join(format!("orlop-complete-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let dir = Dir { hierarchy: String::new(), mount: path.clone(), path: path.clone() };
        let cpu = |quota, period| Resources { cpu: Cpu { quota, period, ..Cpu::default() }, ..Resources::default() };
        let memory =
            |limit, swap| Resources { memory: Memory { limit, swap, ..Memory::default() }, ..Resources::default() };
        let check = |files: &[(&str, &str)], mut resources: Resources, expect| {
            files.iter().for_each(|(name, text)| std::fs::write(path.join(name), text).unwrap());
            complete(&dir, &mut resources);
            assert_eq!(resources, expect, "{files:?}");
        };
        check(&[], cpu(Some(1), None), cpu(Some(1), None));
        let max: &[_] = &[("cpu.max", "2000 50000\n")];
        check(max, cpu(Some(3000), None), cpu(Some(3000), Some(50_000)));
        check(max, cpu(Some(3000), Some(0)), cpu(Some(3000), Some(50_000)));
        check(max, cpu(None, Some(60_000)), cpu(Some(2000), Some(60_000)));
        check(max, cpu(None, None), cpu(None, None));
        check(max, cpu(Some(1), Some(2)), cpu(Some(1), Some(2)));
        check(&[("cpu.max", "max 100000\n")], cpu(None, Some(60_000)), cpu(Some(-1), Some(60_000)));
        // 100 bytes of memory and 50 of swap are 150 together.
        let limits: &[_] = &[("memory.max", "100\n"), ("memory.swap.max", "50\n")];
        check(limits, memory(Some(120), None), memory(Some(120), Some(150)));
        check(limits, memory(None, Some(300)), memory(Some(100), Some(300)));
        check(limits, memory(Some(-1), None), memory(Some(-1), None));
        check(limits, memory(Some(0), Some(0)), memory(Some(0), Some(0)));
        let unlimited: &[_] = &[("memory.max", "max\n"), ("memory.swap.max", "max\n")];
        check(unlimited, memory(Some(120), None), memory(Some(120), None));
        check(unlimited, memory(None, Some(300)), memory(None, Some(300)));
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn lines_that_undo() {
        let check = |file, text, new, expect: Option<&str>| {
            assert_eq!(old_line(file, text, new).as_deref(), expect, "{text:?}");
        };
        check("memory.max", "100\n", "5", Some("100"));
        check("pids.max", "max\n", "5", Some("max"));
        check("cpu.max", "max 100000\n", "5000 10000", Some("max 100000"));
        check("cpuset.cpus", "\n", "0", Some("\n"));
        check("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", "1", Some("0"));
        // One value for all, and for single devices.
        check("io.weight", "default 100\n8:0 50\n", "5", Some("100"));
        check("io.weight", "default 100\n8:0 50\n", "8:0 5", Some("8:0 50"));
        check("io.bfq.weight", "default 100\n8:0 50\n", "8:16 5", Some("8:16 default"));
        let io = "8:0 rbps=1 wbps=max\n8:16 rbps=2\n";
        check("io.max", io, "8:16 rbps=9", Some("8:16 rbps=2"));
        check("io.max", io, "9:0 rbps=9", Some("9:0 rbps=max wbps=max riops=max wiops=max"));
        check("blkio.throttle.read_bps_device", "8:0 1048576\n", "8:0 1", Some("8:0 1048576"));
        check("blkio.throttle.read_bps_device", "8:0 1048576\n", "8:16 1", Some("8:16 0"));
        // Tables by name.
        check("net_prio.ifpriomap", "lo 0\neth0 7\n", "eth0 1", Some("eth0 7"));
        check(
            "rdma.max",
            "a hca_handle=1 hca_object=2\nb hca_handle=max\n",
            "b hca_handle=3",
            Some("b hca_handle=max"),
        );
        check("x.y", "a 1\nb 2\n", "5", None);
        check("x.y", "8:0 1\n", "8:16 1", None);
    }
}
