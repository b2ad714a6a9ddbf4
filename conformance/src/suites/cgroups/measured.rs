//! What limits do to who goes beyond them, by measurement.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{case, long, needs, read, update, used, with};
use crate::ctx::{Ctx, Outcome, Stop, args, contains, ensure, eq, fail, patience, push, reap, skip};
use crate::frame::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        long(120, case("measured/cpu-quota", "a fifth of a processor, over ten seconds", cpu_quota)),
        long(120, case("measured/cpu-shares", "1:3 on one processor", cpu_shares)),
        case("measured/memory", "64 MiB kill who wants 128: status 137, and an oom event", memory),
        case("measured/pids", "ten processes, not eleven", pids),
        long(120, case("measured/write-bps", "8 MiB at 1 MiB/s take eight seconds", write_bps)),
        case("measured/devices", "a device that is not on the list is there and can't be opened", devices),
        case("measured/frozen", "frozen is frozen, and continues", frozen),
        long(
            900,
            case("measured/devices-stay", "runc#2204: no update takes the devices away, not for an instant", stay),
        ),
    ]
}

fn cpu_quota(x: &Ctx) -> Outcome {
    needs(x, ["cpu", "cpu"])?;
    let quota = json!({"cpu": {"quota": 20_000, "period": 100_000}});
    let live = x.live(|c| {
        with(c, &quota);
        args(c, "burn");
    })?;
    let (begin, before) = (Instant::now(), used(x, &live.id)?);
    std::thread::sleep(Duration::from_secs(10));
    let percent = (used(x, &live.id)? - before) as f64 * 100.0 / begin.elapsed().as_nanos() as f64;
    x.measure(format!("{percent:.1} % of a processor in {:.1?}", begin.elapsed()));
    ensure(percent < 23.0, format_args!("it got {percent:.1} %"))?;
    if percent < 17.0 {
        // Was it the quota, or are others at work here?
        let stat = read(x, &live.id, "cpu", ["cpu.stat"; 2])?;
        let throttled: u64 = stat.lines().find_map(|l| l.strip_prefix("nr_throttled ")?.parse().ok()).unwrap_or(0);
        ensure(throttled < 85, format_args!("it got {percent:.1} %: {stat}"))?;
        return skip(format!("the machine is too busy: it got {percent:.1} % and was not held back in every period"));
    }
    Ok(())
}

/// Shares are relative: both lose as much to whoever else is at work on the processor.
fn cpu_shares(x: &Ctx) -> Outcome {
    needs(x, ["cpu", "cpu"])?;
    needs(x, ["cpuset", "cpuset"])?;
    let live = |shares: u64| {
        x.live(|c| {
            // Shares become weights along a curve, of which 1:3 is not the image of 1:3.
            let weight = json!({"cpu.weight": (shares * 100 / 1024).to_string()});
            match x.job.v2 {
                true => with(c, &json!({"cpu": {"cpus": "0"}, "unified": weight})),
                false => with(c, &json!({"cpu": {"cpus": "0", "shares": shares}})),
            }
            args(c, "burn");
        })
    };
    let (one, three) = (live(1024)?, live(3072)?);
    let both = || Ok::<_, Stop>((used(x, &one.id)?, used(x, &three.id)?));
    let before = both()?;
    std::thread::sleep(Duration::from_secs(8));
    let after = both()?;
    let (one, three) = (after.0 - before.0, after.1 - before.1);
    let ratio = three as f64 / one as f64;
    x.measure(format!("{one} and {three} ns: 1:{ratio:.2}"));
    ensure((2.5..3.5).contains(&ratio), format_args!("1:{ratio:.2} ({one} and {three} ns)"))
}

fn memory(x: &Ctx) -> Outcome {
    needs(x, ["memory", "memory"])?;
    // Who watches has read the counters by then, or not.
    let tries = if x.goes_with_last_process() { 5 } else { 1 };
    let mut told = fail("not tried");
    for _ in 0..tries {
        told = out_of_memory(x)?;
        if told.is_ok() {
            break;
        }
    }
    told
}

/// A container that ends as it wants too much. The result is whether that was told.
fn out_of_memory(x: &Ctx) -> Result<Outcome, Stop> {
    let b = x.bundle(|c| {
        with(c, &json!({"memory": {"limit": 67_108_864, "swap": 67_108_864}}));
        args(c, "eat 134217728");
    })?;
    let created = x.create(&b)?;
    let pid: u32 = fs::read_to_string(b.path("pid"))?.trim().parse()?;
    let mut events = x.cmd(["events", "--interval", "200ms", &b.id]).spawn()?;
    // The first report says that it listens.
    contains("first event", &events.line()?, &["\"stats\""])?;
    x.rt(["start", &b.id])?.ok()?;
    eq("exit status", reap(pid)?, 137)?;
    drop(created);
    let told = loop {
        // The end of the output is a failure.
        let line = match events.line() {
            Ok(line) => line,
            Err(ended) => break Err(ended),
        };
        let event: Value = serde_json::from_str(&line)?;
        if event["type"] == "oom" {
            break eq("event", event, json!({"type": "oom", "id": b.id}));
        }
    };
    x.rt(["delete", &b.id])?.ok()?;
    eq("exit status of events", events.wait()?, 0)?;
    Ok(told)
}

fn pids(x: &Ctx) -> Outcome {
    needs(x, ["pids", "pids"])?;
    let b = x.bundle(|c| {
        with(c, &json!({"pids": {"limit": 10}}));
        args(c, "spawn 20");
    })?;
    let got = x.run(&b)?.ok()?.results();
    eq("beside the first", &got[0], &json!({"started": 9, "error": "EAGAIN"}))
}

/// A loop device on a file of this size, which goes when the last who has it open has gone.
struct Loop {
    path: String,
    minor: u64,
    _open: fs::File,
}

impl Loop {
    fn new(x: &Ctx, bytes: u64) -> Result<Self, Stop> {
        if !Path::new("/dev/loop-control").exists() {
            return skip("no loop devices here");
        }
        let file = x.fresh("disk");
        fs::File::create(&file)?.set_len(bytes)?;
        let losetup = |args: &[&str]| Command::new("losetup").args(args).output();
        let made = match losetup(&["--find", "--show", &file.to_string_lossy()]) {
            Err(_) => return skip("no losetup here"),
            Ok(out) if !out.status.success() => {
                return skip(format!("no loop device to be had: {}", String::from_utf8_lossy(&out.stderr).trim()));
            }
            Ok(out) => String::from_utf8_lossy(&out.stdout).trim().to_owned(),
        };
        let open = fs::File::open(&made);
        // While it is open, this only notes that it shall go with its last user.
        losetup(&["--detach", &made])?;
        let minor = made.trim_start_matches("/dev/loop").parse()?;
        Ok(Loop { path: made, minor, _open: open? })
    }
}

fn write_bps(x: &Ctx) -> Outcome {
    needs(x, ["blkio", "io"])?;
    let disk = Loop::new(x, 16 << 20)?;
    let number = |rest: Value| {
        let mut object = json!({"major": 7, "minor": disk.minor});
        object.as_object_mut().into_iter().zip(rest.as_object()).for_each(|(to, from)| to.extend(from.clone()));
        object
    };
    let b = x.bundle(|c| {
        push(&mut c["linux"]["devices"], number(json!({"path": "/dev/disk", "type": "b"})));
        push(&mut c["linux"]["resources"]["devices"], number(json!({"allow": true, "type": "b", "access": "rwm"})));
        with(c, &json!({"blockIO": {"throttleWriteBpsDevice": [number(json!({"rate": 1_048_576}))]}}));
        args(c, "write-direct /dev/disk 8388608");
    })?;
    let got = x.run(&b)?.ok()?.results();
    let Some(seconds) = got[0]["seconds"].as_f64() else { return fail(format!("{}: {}", disk.path, got[0])) };
    x.measure(format!("8 MiB in {seconds:.2} s"));
    // Later than eight seconds is the machine's doing.
    ensure((7.2..12.0).contains(&seconds), format_args!("it took {seconds:.2} s"))
}

fn devices(x: &Ctx) -> Outcome {
    let b = x.bundle(|c| {
        for (name, minor) in [("listed", 11), ("unlisted", 10)] {
            let device = json!({"path": format!("/dev/{name}"), "type": "c", "major": 10, "minor": 200 + minor});
            push(&mut c["linux"]["devices"], device);
        }
        let rule = json!({"allow": true, "type": "c", "major": 10, "minor": 211, "access": "r"});
        push(&mut c["linux"]["resources"]["devices"], rule);
        args(c, "open /dev/listed r , open /dev/unlisted r , open /dev/listed w");
    })?;
    let got = x.run(&b)?.ok()?.results();
    // Nothing answers to these numbers: who may open gets to hear that.
    let allowed = got.first().is_some_and(|v| v == "ENODEV" || v == "ENXIO" || v == "ok");
    ensure(allowed, format_args!("listed: {got:?}"))?;
    eq("unlisted, and for writing", &got[1..], &[json!("EPERM"), json!("EPERM")][..])
}

fn frozen(x: &Ctx) -> Outcome {
    let live = x.live(|c| args(c, "burn"))?;
    let grows = |x: &Ctx, limit: Duration| -> Result<bool, Stop> {
        let (before, end) = (used(x, &live.id)?, Instant::now() + limit);
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
            if used(x, &live.id)? != before {
                return Ok(true);
            }
        }
        Ok(false)
    };
    ensure(grows(x, patience(Duration::from_secs(5)))?, "it does not run")?;
    x.rt(["pause", &live.id])?.ok()?;
    x.status(&live.id, "paused")?;
    ensure(!grows(x, Duration::from_secs(1))?, "it runs while it is paused")?;
    x.rt(["resume", &live.id])?.ok()?;
    x.status(&live.id, "running")?;
    ensure(grows(x, patience(Duration::from_secs(5)))?, "it does not run after resume")
}

/// 2,000 times for the runtime that this is about; fewer for the ones that take a second for ten, and on a slow machine.
fn stay(x: &Ctx) -> Outcome {
    let mut live = x.live(|c| args(c, "hammer /dev/null"))?;
    let has_pids = needs(x, ["pids", "pids"]).is_ok();
    let updates = match () {
        () if x.job.full => 2000,
        () if x.job.version.starts_with("orlop") => 2000 / x.job.slow.min(5),
        () => 150 / x.job.slow.min(5),
    };
    for count in 0..updates {
        let mut resources = json!({"devices": [{"allow": false, "access": "rwm"}]});
        if has_pids {
            resources["pids"] = json!({"limit": 100 + count % 100});
        }
        update(x, &live, &resources)?.ok()?;
    }
    x.rt(["kill", &live.id, "TERM"])?.ok()?;
    let result: Value = serde_json::from_str(&live.out.line()?)?;
    x.measure(format!("{updates} updates, {}", result["result"]));
    eq("failed writes", result.pointer("/result/failed"), Some(&json!(0)))?;
    ensure(result.pointer("/result/done").and_then(Value::as_u64) > Some(100), "it hardly wrote")
}
