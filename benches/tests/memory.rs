//! How little memory is enough.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use benches::Scratch;
use serde_json::{Value, json};

/// Of memory that the kernel counts for the container, in KiB: its first process while it makes the root, page tables and
/// kernel memory included, and its program.
const ENOUGH: u64 = 512;

/// What each command may hold at most, in KiB, as crun does.
const PEAK: i64 = 4198;

#[test]
fn true_runs_in_512_kib() {
    let Some(orlop) = benches::orlop("true_runs_in_512_kib") else { return };
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if !Path::new("/sys/fs/cgroup/memory").exists() && !controllers.split_whitespace().any(|name| name == "memory") {
        eprintln!("SKIPPED true_runs_in_512_kib: no v1 hierarchy and no v2 cgroup has the memory controller");
        return;
    }
    let scratch = Scratch::new("memory").unwrap();
    let bundle = scratch.bundle("true", &["/bin/true"]).unwrap();
    let file = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let mut run = |limit: u64| {
        config["linux"]["resources"]["memory"] = json!({"limit": limit * 1024});
        fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new(&orlop);
        command.arg("--root").arg(scratch.0.join("state")).args(["run", "-b"]).arg(&bundle);
        command.arg(format!("memory-{}", std::process::id())).stdin(Stdio::null()).output().unwrap()
    };
    let enough = run(ENOUGH);
    assert!(enough.status.success(), "{enough:?}");
    // The limit counts.
    assert!(!run(40).status.success());
}

#[test]
fn commands_are_small() {
    let Some(orlop) = benches::orlop("commands_are_small") else { return };
    // Without the debug information of a debug build there is little to hold.
    if cfg!(debug_assertions) && std::env::var_os("ORLOP").is_none() {
        eprintln!("not measured: a debug build");
        return;
    }
    let size = fs::metadata(&orlop).unwrap().len();
    assert!(size <= 4 << 20, "the binary has {size} bytes");
    let scratch = Scratch::new("small").unwrap();
    let quick = scratch.bundle("true", &["/bin/true"]).unwrap().display().to_string();
    let slow = scratch.bundle("sleep", &["/bin/sleep", "1000"]).unwrap().display().to_string();
    let id = format!("small-{}", std::process::id());
    for words in benches::life(&quick, &slow, &id) {
        let mut command = Command::new(&orlop);
        command.arg("--root").arg(scratch.0.join("state")).args(&words);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "{words:?}: {status}");
        // The most that any child so far had, itself with the processes that it waited for.
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).unwrap();
        assert!(usage.max_rss() <= PEAK, "{words:?}: {} KiB", usage.max_rss());
    }
}
