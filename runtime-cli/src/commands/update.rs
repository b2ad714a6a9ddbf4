//! `update`: changes a container's limits.

use std::io::Read;

use runtime_core::spec::Resources;
use runtime_core::sys::Errno;
use runtime_core::{Error, ErrorKind, Result};

use super::{CONTAINER_ID, Call, Command, ONE_ID};
use crate::args::{Order, Parsed, Takes, flag};
use crate::size;

pub(super) const COMMAND: Command = Command {
    name: "update",
    summary: "change the resource limits of a container",
    usage: CONTAINER_ID,
    flags: &[
        flag(
            &["resources", "r"],
            Takes::Value,
            "file with linux.resources as JSON, or - for standard input, instead of all other options",
        ),
        flag(&["blkio-weight"], Takes::Value, "weight of block I/O, 10 to 1000"),
        flag(&["cpu-period"], Takes::Value, "period of the CPU quota, in microseconds"),
        flag(&["cpu-quota"], Takes::Value, "CPU time in a period, in microseconds; -1 is no limit"),
        flag(&["cpu-burst"], Takes::Value, "CPU time that may be saved up, in microseconds"),
        flag(&["cpu-share"], Takes::Value, "CPU shares, relative to other containers"),
        flag(&["cpu-rt-period"], Takes::Value, "period of the realtime quota, in microseconds"),
        flag(&["cpu-rt-runtime"], Takes::Value, "realtime CPU time in a period, in microseconds"),
        flag(&["cpuset-cpus"], Takes::Value, "CPUs to run on, as 0-2,7"),
        flag(&["cpuset-mems"], Takes::Value, "memory nodes to use, as 0-2,7"),
        flag(&["kernel-memory"], Takes::Value, "without effect"),
        flag(&["kernel-memory-tcp"], Takes::Value, "without effect"),
        flag(&["memory"], Takes::Value, "memory, in bytes or as 64M; -1 is no limit"),
        flag(&["memory-reservation"], Takes::Value, "memory that is kept for it, or soft limit, in bytes or as 64M"),
        flag(&["memory-swap"], Takes::Value, "memory and swap together, in bytes or as 64M; -1 is no limit"),
        flag(&["pids-limit"], Takes::Value, "number of processes and threads; -1 is no limit"),
        flag(&["l3-cache-schema"], Takes::Value, "Intel RDT: the class's part of the L3 cache, as L3:0=f;1=f0"),
        flag(
            &["mem-bw-schema"],
            Takes::Value,
            "Intel RDT: the class's part of the memory's bandwidth, as MB:0=20;1=70",
        ),
        flag(&["cpu-idle"], Takes::Value, "1: run only when nobody else wants to (SCHED_IDLE); 0: as others"),
    ],
    order: Order::Anywhere,
    count: ONE_ID,
    run,
};

fn run(call: &Call<'_>) -> Result<u8> {
    let container = call.container()?;
    let schemata: Vec<_> =
        ["l3-cache-schema", "mem-bw-schema"].into_iter().filter_map(|name| call.args.text(name)).collect();
    let resources = match call.args.text("resources").as_deref() {
        Some(file) => Resources::from_slice(&read(file)?)?,
        None => from_flags(&call.args)?,
    };
    call.warn(&container.update(&resources, &schemata)?, false);
    Ok(0)
}

fn read(file: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read =
        if file == "-" { std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes) } else { std::fs::read(file) };
    let what = if file == "-" { "standard input" } else { file };
    read.map_err(|error| Error::system(format!("read {what}"), Errno::from(error)))
}

pub(super) fn from_flags(args: &Parsed) -> Result<Resources> {
    let mut resources = Resources::default();
    let memory = &mut resources.memory;
    memory.limit = bytes(args, "memory")?;
    memory.reservation = bytes(args, "memory-reservation")?;
    memory.swap = bytes(args, "memory-swap")?;
    memory.kernel = bytes(args, "kernel-memory")?;
    memory.kernel_tcp = bytes(args, "kernel-memory-tcp")?;
    let cpu = &mut resources.cpu;
    cpu.shares = number(args, "cpu-share")?;
    cpu.quota = number(args, "cpu-quota")?;
    cpu.burst = number(args, "cpu-burst")?;
    cpu.period = number(args, "cpu-period")?;
    cpu.realtime_runtime = number(args, "cpu-rt-runtime")?;
    cpu.realtime_period = number(args, "cpu-rt-period")?;
    cpu.cpus = args.text("cpuset-cpus");
    cpu.mems = args.text("cpuset-mems");
    cpu.idle = number(args, "cpu-idle")?;
    resources.block_io.weight = number(args, "blkio-weight")?;
    resources.pids_limit = number(args, "pids-limit")?;
    Ok(resources)
}

/// A number in decimal.
fn number<T: std::str::FromStr>(args: &Parsed, name: &str) -> Result<Option<T>> {
    let invalid = |text: &str| invalid(name, format_args!("{text:?} is not a number that it takes"));
    args.text(name).map(|text| text.parse().map_err(|_| invalid(&text))).transpose()
}

/// A size of memory; -1 is no limit.
fn bytes(args: &Parsed, name: &str) -> Result<Option<i64>> {
    let parse = |text: String| match text.as_str() {
        "-1" => Ok(-1),
        text => size::bytes(text).ok_or_else(|| invalid(name, format_args!("invalid size: '{text}'"))),
    };
    args.text(name).map(parse).transpose()
}

fn invalid(name: &str, reason: std::fmt::Arguments<'_>) -> Error {
    Error::new(ErrorKind::InvalidSpec, format!("invalid value for {name}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::parse;

    #[test]
    fn flags() {
        let check = |flags: &[&str], expect: Result<Resources, &str>| {
            let words: Vec<_> = flags.iter().map(std::ffi::OsString::from).collect();
            let found = from_flags(&parse(COMMAND.flags, &words, COMMAND.order).unwrap());
            assert_eq!(found.map_err(|error| error.to_string()), expect.map_err(str::to_owned), "{flags:?}");
        };
        let with = |change: fn(&mut Resources)| {
            let mut resources = Resources::default();
            change(&mut resources);
            Ok(resources)
        };
        check(&[], with(|_| ()));
        check(
            &["--memory", "64M", "--memory-swap=-1"],
            with(|r| {
                r.memory.limit = Some(64 << 20);
                r.memory.swap = Some(-1);
            }),
        );
        check(&["--memory", ""], with(|_| ()));
        check(
            &["--cpu-quota=-1", "--cpu-period=5000"],
            with(|r| {
                r.cpu.quota = Some(-1);
                r.cpu.period = Some(5000);
            }),
        );
        check(
            &["--pids-limit", "-1", "--cpu-idle", "1"],
            with(|r| {
                r.pids_limit = Some(-1);
                r.cpu.idle = Some(1);
            }),
        );
        check(
            &["--cpuset-cpus", "0-1", "--blkio-weight", "500"],
            with(|r| {
                r.cpu.cpus = Some("0-1".into());
                r.block_io.weight = Some(500);
            }),
        );
        check(&["--memory", "12x"], Err("invalid value for memory: invalid size: '12x'"));
        check(&["--cpu-period", "-1"], Err("invalid value for cpu-period: \"-1\" is not a number that it takes"));
        check(
            &["--blkio-weight", "70000"],
            Err("invalid value for blkio-weight: \"70000\" is not a number that it takes"),
        );
    }
}
