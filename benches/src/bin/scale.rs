//! What stays the same as a host fills, and what a container costs.
//!
//! - `density N`: N containers alive: what starting the first and the last ones takes, what each holds of memory, what
//!   listing and removing them takes.
//! - `mounts N`: `create` and `exec` without and with N mounts on the host.
//! - `throughput SECONDS`: how many containers eight creators at a time run in a second.
//! - `memory`: the smallest memory limit under which a container of `true` runs, and each command's peak.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use benches::chart::{Bar, Panel, bars};
use benches::{Scratch, quantile};
use nix::sys::resource::{UsageWho, getrusage};
use runtime_core::sys;

const USAGE: &str = "usage: scale density N | mounts N | throughput SECONDS | memory [--csv FILE] [--svg FILE] NAME=PATH [NAME=PATH ...]";
/// Creators at a time.
const CREATORS: usize = 8;
/// Rounds with and without mounts.
const ROUNDS: usize = 60;

/// How often the mounts come and go meanwhile.
const TURNS: usize = 6;

/// A figure: of whom, what, how much.
type Figure = (String, String, f64);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // For `peak`: a process that has no other children.
    if let Some(("--peak", command)) = arguments.split_first().map(|(word, rest)| (word.as_str(), rest)) {
        let ran = command.split_first().is_some_and(|(program, arguments)| run(program, arguments));
        println!("{}", getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0, |usage| usage.max_rss()));
        return if ran { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match measure(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &[String]) -> Result<(), String> {
    let (mode, rest) = arguments.split_first().ok_or(USAGE)?;
    let (mut number, mut csv, mut svg, mut runtimes) = (None, None, None, Vec::new());
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match (word.as_str(), word.split_once('=')) {
            ("--csv", _) => csv = words.next(),
            ("--svg", _) => svg = words.next(),
            (_, Some((name, path))) => runtimes.push((name.to_owned(), path.to_owned())),
            _ => number = Some(word.parse::<usize>().map_err(|_| USAGE)?),
        }
    }
    if runtimes.is_empty() || number.is_none() && mode != "memory" {
        return Err(USAGE.into());
    }
    let number = number.unwrap_or_default();
    let text = |error: std::io::Error| error.to_string();
    let scratch = Scratch::new("scale").map_err(text)?;
    scratch.bundle("true", &["/bin/true"]).map_err(text)?;
    scratch.bundle("sleep", &["/bin/sleep", "100000"]).map_err(text)?;
    let places: Vec<_> = runtimes.iter().map(|(name, path)| Place { scratch: &scratch.0, name, path }).collect();
    let (title, unit, figures) = match mode.as_str() {
        "density" => (format!("{number} containers alive"), "", density(&places, number)?),
        "mounts" => (format!("{number} mounts on the host"), "ms", mounts(&places, number)?),
        "throughput" => (format!("{CREATORS} creators at a time"), "/s", throughput(&places, number)),
        "memory" => ("Memory".to_owned(), "KiB", memory(&places)?),
        _ => return Err(USAGE.into()),
    };
    let mut what: Vec<&String> = Vec::new();
    for figure in &figures {
        if !what.contains(&&figure.1) {
            what.push(&figure.1);
        }
    }
    println!(
        "| | {} |\n|---|{}",
        runtimes.iter().map(|r| r.0.as_str()).collect::<Vec<_>>().join(" | "),
        "---|".repeat(runtimes.len())
    );
    let of = |name: &str, what: &str| figures.iter().find(|f| f.0 == name && f.1 == what).map(|f| f.2);
    for row in &what {
        let cells: Vec<_> =
            runtimes.iter().map(|r| of(&r.0, row).map_or("-".to_owned(), |v| format!("{v:.2}"))).collect();
        println!("| {row} | {} |", cells.join(" | "));
    }
    let lines = figures.iter().map(|(name, what, value)| format!("{name},{what},{value:.3}\n"));
    let panels: Vec<_> = what
        .iter()
        .map(|row| Panel {
            title: (*row).clone(),
            bars: runtimes
                .iter()
                .filter_map(|r| Some(Bar { name: r.0.clone(), value: of(&r.0, row)?, high: None }))
                .collect(),
        })
        .collect();
    let table = "runtime,figure,value\n".to_owned() + &lines.collect::<String>();
    for (file, content) in [(csv, table), (svg, bars(&title, unit, &panels))] {
        file.map_or(Ok(()), |file| fs::write(file, content)).map_err(text)?;
    }
    Ok(())
}

/// A runtime and where it keeps its state.
struct Place<'a> {
    scratch: &'a Path,
    name: &'a str,
    path: &'a str,
}

impl Place<'_> {
    fn arguments(&self, words: &[&str]) -> Vec<String> {
        let root = self.scratch.join(self.name).display().to_string();
        ["--root", &root].iter().chain(words).map(ToString::to_string).collect()
    }

    fn call(&self, words: &[&str]) -> bool {
        run(self.path, &self.arguments(words))
    }

    /// How long it takes, in milliseconds.
    fn time(&self, words: &[&str]) -> Result<f64, String> {
        let start = Instant::now();
        let ran = self.call(words);
        let time = start.elapsed().as_secs_f64() * 1e3;
        if ran { Ok(time) } else { Err(format!("{} {} failed", self.name, words.join(" "))) }
    }

    fn bundle(&self, name: &str) -> String {
        self.scratch.join(name).display().to_string()
    }
}

/// Whether it succeeded.
fn run(program: &str, arguments: &[String]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn density(places: &[Place<'_>], count: usize) -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    for place in places {
        let id = |number: usize| format!("dense-{}-{}-{number}", place.name, std::process::id());
        let bundle = place.bundle("sleep");
        let before = available();
        let (mut times, mut result) = (Vec::new(), Ok(()));
        for number in 0..count {
            let started = place.time(&["create", "-b", &bundle, &id(number)]).and_then(|created| {
                place.time(&["start", &id(number)])?;
                Ok(created)
            });
            match started {
                Ok(time) => times.push(time),
                Err(error) => {
                    result = Err(format!("{error}, after {number} containers"));
                    break;
                }
            }
        }
        let held = (before - available()) / times.len().max(1) as f64;
        let part = times.len().div_ceil(10);
        let mut list: Vec<_> = (0..5).filter_map(|_| place.time(&["list", "-q"]).ok()).collect();
        if list.is_empty() {
            list = (0..5).filter_map(|_| place.time(&["list"]).ok()).collect();
        }
        let execs: Vec<_> = (0..20).filter_map(|_| place.time(&["exec", &id(0), "/bin/true"]).ok()).collect();
        let start = Instant::now();
        (0..times.len() + 1).for_each(|number| _ = place.call(&["delete", "-f", &id(number)]));
        let deleted = start.elapsed().as_secs_f64() * 1e3 / times.len().max(1) as f64;
        result?;
        let mut add = |what: &str, value: f64| figures.push((place.name.to_owned(), what.to_owned(), value));
        add("create, the first tenth (ms)", quantile(&times[..part], 0.5));
        add("create, the last tenth (ms)", quantile(&times[times.len() - part..], 0.5));
        add("exec among all (ms)", quantile(&execs, 0.5));
        add("list of all (ms)", quantile(&list, 0.5));
        add("delete, each (ms)", deleted);
        add("memory, each (KiB)", held);
    }
    Ok(figures)
}

/// MemAvailable, in KiB.
fn available() -> f64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or_default()
}

fn mounts(places: &[Place<'_>], count: usize) -> Result<Vec<Figure>, String> {
    let failed = |errno: sys::Errno| format!("make a mount: {errno}");
    sys::unshare(libc::CLONE_NEWNS as u64).map_err(failed)?;
    sys::mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None).map_err(failed)?;
    let c_path = |path: PathBuf| CString::new(path.into_os_string().into_encoded_bytes()).map_err(|e| e.to_string());
    let below = places[0].scratch.join("mounts");
    fs::create_dir(&below).map_err(|e| e.to_string())?;
    let below_c = c_path(below.clone())?;
    let mut without = vec![(Vec::new(), Vec::new()); places.len()];
    let mut with = without.clone();
    // Turn about: what else the machine does changes in minutes, and would look like the mounts' doing.
    for _ in 0..TURNS {
        live(places, &mut without)?;
        sys::mount(Some(c"tmpfs"), &below_c, Some(c"tmpfs"), 0, None).map_err(failed)?;
        let made = (0..count).try_for_each(|number| {
            let path = below.join(number.to_string());
            fs::create_dir(&path).map_err(|e| e.to_string())?;
            sys::mount(Some(c"tmpfs"), &c_path(path)?, Some(c"tmpfs"), 0, None).map_err(failed)
        });
        let lived = made.and_then(|()| live(places, &mut with));
        sys::umount(&below_c, libc::MNT_DETACH).map_err(failed)?;
        lived?;
    }
    let mut figures = Vec::new();
    for (what, times) in [("no more mounts".to_owned(), without), (format!("{count} more mounts"), with)] {
        for (place, (create, exec)) in places.iter().zip(&times) {
            figures.push((place.name.to_owned(), format!("create, {what}"), quantile(create, 0.5)));
            figures.push((place.name.to_owned(), format!("exec, {what}"), quantile(exec, 0.5)));
        }
    }
    Ok(figures)
}

/// Times of `create` and of `exec`, milliseconds.
type Times = (Vec<f64>, Vec<f64>);

/// Makes containers in turn, and executes in them.
fn live(places: &[Place<'_>], times: &mut [Times]) -> Result<(), String> {
    for _ in 0..ROUNDS / TURNS {
        for (place, (create, exec)) in places.iter().zip(&mut *times) {
            let id = format!("mounts-{}", std::process::id());
            create.push(place.time(&["create", "-b", &place.bundle("sleep"), &id])?);
            place.time(&["start", &id])?;
            exec.push(place.time(&["exec", &id, "/bin/true"])?);
            place.time(&["delete", "-f", &id])?;
        }
    }
    Ok(())
}

fn throughput(places: &[Place<'_>], seconds: usize) -> Vec<Figure> {
    let mut figures = Vec::new();
    // Twice, so that what the machine does besides hits all.
    let mut total = vec![0.0; places.len()];
    for turn in 0..2 {
        for (place, total) in places.iter().zip(&mut total) {
            let (ran, bundle, start) = (AtomicUsize::new(0), place.bundle("true"), Instant::now());
            let end = start + Duration::from_secs(seconds as u64);
            std::thread::scope(|scope| {
                for creator in 0..CREATORS {
                    let (ran, bundle) = (&ran, &bundle);
                    scope.spawn(move || {
                        for number in 0.. {
                            if Instant::now() >= end {
                                break;
                            }
                            let id = format!("through-{}-{turn}-{creator}-{number}", std::process::id());
                            if place.call(&["run", "-b", bundle, &id]) {
                                ran.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    });
                }
            });
            *total += ran.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64() / 2.0;
        }
    }
    figures.extend(places.iter().zip(total).map(|(p, t)| (p.name.to_owned(), "run".to_owned(), t)));
    figures
}

fn memory(places: &[Place<'_>]) -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    for place in places {
        let id = |suffix: &str| format!("memory-{}-{}-{suffix}", place.name, std::process::id());
        let mut smallest = None;
        for limit in [8192, 4096, 2048, 1024, 512, 256, 128] {
            let bundle = place.scratch.join("true");
            let file = bundle.join("config.json");
            let before = fs::read_to_string(&file).map_err(|e| e.to_string())?;
            let mut config: serde_json::Value = serde_json::from_str(&before).map_err(|e| e.to_string())?;
            config["linux"]["resources"]["memory"] = serde_json::json!({"limit": limit * 1024});
            fs::write(&file, config.to_string()).map_err(|e| e.to_string())?;
            let ran = place.call(&["run", "-b", &bundle.display().to_string(), &id(&limit.to_string())]);
            let _ = place.call(&["delete", "-f", &id(&limit.to_string())]);
            fs::write(&file, before).map_err(|e| e.to_string())?;
            if !ran {
                break;
            }
            smallest = Some(f64::from(limit));
        }
        let name = place.name.to_owned();
        figures.extend(smallest.map(|limit| (name.clone(), "smallest limit of true".to_owned(), limit)));
        let (id, quick, slow) = (id("peak"), place.bundle("true"), place.bundle("sleep"));
        for words in benches::life(&quick, &slow, &id) {
            figures.push((name.clone(), format!("peak of {}", words[0]), peak(place, &words)?));
        }
    }
    Ok(figures)
}

/// With the processes that it makes and waits for, in KiB.
fn peak(place: &Place<'_>, words: &[&str]) -> Result<f64, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let output = Command::new(own).arg("--peak").arg(place.path).args(place.arguments(words)).output();
    let output = output.map_err(|e| e.to_string())?;
    String::from_utf8_lossy(&output.stdout).trim().parse().map_err(|_| format!("{} {} failed", place.name, words[0]))
}
