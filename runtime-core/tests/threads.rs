//! A threaded program as the library's user: 16 threads of tokio create containers, execute in them, wait by polling, kill and
//! delete, while other threads allocate and fork as hard as they can. Nothing hangs, nothing is left, and the program is as it was.
//! All under an allocator that aborts in whatever child of this program allocates before execve.
//!
//! `cargo test -p runtime-core --test threads -- 2000` for another number of containers. Takes root.
#![allow(missing_docs, unsafe_code)]

#[path = "common/allocator.rs"]
mod allocator;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio as ProcessStdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use allocator::OWN_PID;
use runtime_core::{Bundle, Containers, CreateOptions, ExecOptions, Process, Result, Stdio, sys};
use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;

/// Of a run that hangs the test says so instead of hanging too.
const PATIENCE: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("wait") => loop {
            thread::park();
        },
        Some("seven") => ExitCode::from(7),
        Some(number) if number.parse::<u64>().is_ok() => test(number.parse().unwrap()),
        _ => test(300),
    }
}

fn test(count: u64) -> ExitCode {
    if sys::geteuid() != 0 {
        println!("SKIP threads: takes root");
        return if std::env::var_os("CI").is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    OWN_PID.store(sys::getpid(), Relaxed);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(16).enable_all().build().unwrap();
    // What tokio opens when it is first used belongs to it.
    runtime.block_on(async { tokio::spawn(tokio::time::sleep(Duration::from_millis(1))).await.unwrap() });
    let work = Work::new();
    let before = facts(&work.0);

    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let pressure: Vec<_> = (0..4)
        .map(|number| {
            let stop = stop.clone();
            thread::spawn(move || if number % 2 == 0 { allocate(&stop) } else { fork(&stop) })
        })
        .collect();
    let watched = done.clone();
    thread::spawn(move || {
        thread::park_timeout(PATIENCE);
        eprintln!("threads: {} of {count} containers in {PATIENCE:?}", watched.load(Relaxed));
        std::process::abort();
    });

    let begin = Instant::now();
    runtime.block_on(async {
        let bundle = Arc::new(work.bundle());
        let containers = Containers::open(&work.0.join("state")).unwrap();
        let next = Arc::new(AtomicU64::new(0));
        let workers = (0..16).map(|_| {
            let (bundle, containers, next, done) = (bundle.clone(), containers.clone(), next.clone(), done.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= count {
                        return;
                    }
                    let id = format!("orlop-threads-{}-{number}", std::process::id());
                    live(&containers, &bundle, &id, number).await.unwrap_or_else(|e| panic!("{id}: {e}"));
                    done.fetch_add(1, Relaxed);
                }
            })
        });
        for worker in workers.collect::<Vec<_>>() {
            worker.await.unwrap();
        }
        assert!(containers.list().unwrap().is_empty());
    });
    let took = begin.elapsed();
    stop.store(true, Relaxed);
    let [allocations, forks] = pressure.into_iter().fold([0, 0], |mut sums, thread| {
        let (allocations, forks) = thread.join().unwrap();
        sums[0] += allocations;
        sums[1] += forks;
        sums
    });
    assert_eq!(done.load(Relaxed), count);
    fs::remove_dir(work.0.join("state")).unwrap();
    let after = facts(&work.0);
    for (name, value) in &before {
        assert_eq!(Some(value), after.get(name), "{name} has changed");
    }
    println!(
        "test {count} containers by 16 threads in {took:.1?}, beside {allocations} allocations and {forks} processes of others ... ok"
    );
    println!("\ntest result: ok. 1 passed; 0 failed");
    ExitCode::SUCCESS
}

/// A container's life, on whichever threads the runtime takes for it.
async fn live(containers: &Containers, bundle: &Bundle, id: &str, number: u64) -> Result<()> {
    let mut options = CreateOptions::default();
    options.stdio = Stdio::null();
    let container = containers.create(id, bundle, options)?;
    container.start()?;
    tokio::task::yield_now().await;
    let mut process = container.process()?.expect("it has one");
    process.args[1] = c"seven".to_owned();
    let mut options = ExecOptions::new(process);
    options.stdio = Stdio::null();
    let exec = container.exec(options)?;
    assert_eq!(end(&exec).await?.code(), Some(7));
    if number.is_multiple_of(3) {
        // Without a word before: `delete` kills, and reaps.
        container.delete(true)?;
        return Ok(());
    }
    container.kill(libc::SIGKILL, false)?;
    let init = container.init().expect("it was made here");
    assert_eq!(end(init).await?.signal(), Some(libc::SIGKILL));
    assert_eq!(container.delete(false)?, Vec::<String>::new());
    Ok(())
}

/// Waits as an async program does: the handle polls as readable.
async fn end(process: &Process) -> Result<ExitStatus> {
    // SAFETY: the borrowed handle stays open while `process` is borrowed.
    let readable = unsafe { AsyncFd::register(process.as_fd()) }.expect("a pidfd can be polled");
    loop {
        let mut guard = readable.readable().await.expect("a pidfd can be polled");
        if let Some(status) = process.try_wait()? {
            return Ok(status);
        }
        guard.clear_ready();
    }
}

fn allocate(stop: &AtomicBool) -> (u64, u64) {
    let mut kept: Vec<Vec<u8>> = vec![Vec::new(); 64];
    let mut count = 0u64;
    while !stop.load(Relaxed) {
        let size = count.wrapping_mul(2_654_435_761) % 20_000;
        kept[count as usize % 64] = vec![1; size as usize];
        count += 1;
    }
    (count, 0)
}

fn fork(stop: &AtomicBool) -> (u64, u64) {
    let mut count = 0;
    while !stop.load(Relaxed) {
        let null = ProcessStdio::null;
        let status = Command::new("/bin/true").stdin(null()).stdout(null()).stderr(null()).status();
        assert!(status.unwrap().success());
        count += 1;
    }
    (0, count)
}

/// What the library must leave as it was: of this program, and of the machine.
fn facts(work: &Path) -> BTreeMap<String, String> {
    let link = |path: &str| fs::read_link(path).unwrap().display().to_string();
    let mut facts = BTreeMap::new();
    let mut note = |name: &str, value: String| _ = facts.insert(name.to_owned(), value);
    note("descriptors", fs::read_dir("/proc/self/fd").unwrap().count().to_string());
    note("mounts", fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count().to_string());
    note("working directory", link("/proc/self/cwd"));
    note("root", link("/proc/self/root"));
    for entry in fs::read_dir("/proc/self/ns").unwrap() {
        let path = entry.unwrap().path().display().to_string();
        note(&path, link(&path));
    }
    for line in fs::read_to_string("/proc/self/status").unwrap().lines() {
        let name = line.split(':').next().unwrap();
        if ["Umask", "Uid", "Gid", "Groups", "SigBlk", "SigIgn", "SigCgt", "CapEff", "NoNewPrivs"].contains(&name) {
            note(name, line.to_owned());
        }
    }
    note("environment", format!("{:?}", std::env::vars_os().collect::<Vec<_>>()));
    note("subreaper", format!("{:?}", nix::sys::prctl::get_child_subreaper()));
    let children: String = fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|task| fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default())
        .collect();
    note("children", children);
    note("files", format!("{}", fs::read_dir(work).unwrap().count()));
    let own = format!("orlop-threads-{}-", std::process::id());
    note("cgroups", cgroups(Path::new("/sys/fs/cgroup"), &own, 3).to_string());
    facts
}

/// How many cgroups of this test there are.
fn cgroups(below: &Path, own: &str, depth: u32) -> usize {
    let directories =
        fs::read_dir(below).into_iter().flatten().flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    directories
        .map(|entry| {
            let deeper = if depth > 0 { cgroups(&entry.path(), own, depth - 1) } else { 0 };
            usize::from(entry.file_name().to_string_lossy().starts_with(own)) + deeper
        })
        .sum()
}

struct Work(PathBuf);

impl Work {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("orlop-threads-{}", std::process::id()));
        fs::create_dir_all(path.join("rootfs")).unwrap();
        // The binary is static: a copy of it runs in an empty root.
        fs::copy(std::env::current_exe().unwrap(), path.join("rootfs/payload")).unwrap();
        Work(path)
    }

    fn bundle(&self) -> Bundle {
        let mut config: Value = serde_json::from_str(&runtime_core::spec::example(None, false)).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/payload", "wait"]);
        config["root"] = json!({"path": "rootfs", "readonly": true});
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]});
        Bundle::from_json(&self.0, config.to_string()).unwrap()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
