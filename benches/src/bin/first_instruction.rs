//! How long it takes from the wish for a container to its program's first instruction: by the library in a program that runs
//! already, and by runtimes that are started for it.
//!
//! The container's program is this one: it prints the time at which it began. Clocks are CLOCK_MONOTONIC, the same everywhere.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio as Streams};

use benches::{Scratch, quantile};
use nix::time::{ClockId, clock_gettime};
use runtime_core::{Bundle, Containers, CreateOptions, Stdio, Stream};

const USAGE: &str = "usage: first_instruction ROUNDS NAME=PATH [NAME=PATH ...]";
/// Rounds that are not counted.
const WARM_UP: usize = 3;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let began = now();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("payload") => began.map(|began| println!("{began}")),
        _ => measure(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Microseconds.
fn now() -> Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(time.tv_sec() as f64 * 1e6 + time.tv_nsec() as f64 / 1e3)
}

fn measure(arguments: &[String]) -> Result<()> {
    let (rounds, runtimes) = arguments.split_first().ok_or(USAGE)?;
    let rounds: usize = rounds.parse().map_err(|_| USAGE)?;
    let runtimes: Vec<_> =
        runtimes.iter().map(|r| r.split_once('=').ok_or(USAGE)).collect::<std::result::Result<_, _>>()?;
    let scratch = Scratch::new("first-instruction")?;
    let bundle = scratch.bundle("bundle", &["/payload", "payload"])?;
    fs::copy(std::env::current_exe()?, bundle.join("rootfs/payload"))?;
    let containers = Containers::open(&scratch.0.join("state"))?;
    let mut times = vec![Vec::new(); runtimes.len() + 1];
    for round in 0..rounds + WARM_UP {
        let id = format!("first-{}-{round}", std::process::id());
        let mut took = vec![by_library(&containers, &bundle, &id)?];
        for (name, path) in &runtimes {
            let root = scratch.0.join(name);
            took.push(by_command(path, &root, &bundle, &id)?);
        }
        if round >= WARM_UP {
            times.iter_mut().zip(took).for_each(|(times, time)| times.push(time));
        }
    }
    println!("| ms from the call to the program's first instruction | median | p10 | p99 |\n|---|---|---|---|");
    let names = std::iter::once("runtime-core, in process").chain(runtimes.iter().map(|(name, _)| *name));
    for (name, times) in names.zip(&times) {
        let [median, low, high] = [0.5, 0.1, 0.99].map(|part| quantile(times, part) / 1e3);
        println!("| {name} | {median:.2} | {low:.2} | {high:.2} |");
    }
    Ok(())
}

fn by_library(containers: &Containers, bundle: &Path, id: &str) -> Result<f64> {
    let (mut output, end) = std::io::pipe()?;
    let begin = now()?;
    let mut options = CreateOptions::default();
    options.stdio = Stdio::null();
    options.stdio.stdout = Stream::Fd(OwnedFd::from(end));
    let container = containers.create(id, &Bundle::load(bundle)?, options)?;
    let started = container.start();
    let mut told = String::new();
    let ended = started.and_then(|()| {
        output.read_to_string(&mut told).map_err(|e| runtime_core::Error::system("read", e.into()))?;
        container.init().map(runtime_core::Process::wait).transpose()
    });
    container.delete(true)?;
    ended?;
    Ok(told.trim().parse::<f64>()? - begin)
}

fn by_command(path: &str, root: &Path, bundle: &Path, id: &str) -> Result<f64> {
    let begin = now()?;
    let mut command = Command::new(path);
    command.arg("--root").arg(root).args(["run", "--bundle"]).arg(bundle).arg(id);
    let output = command.stdin(Streams::null()).stderr(Streams::null()).output()?;
    let told = String::from_utf8(output.stdout)?;
    told.trim().parse::<f64>().map(|began| began - begin).map_err(|e| format!("{path}: {told:?}: {e}").into())
}
