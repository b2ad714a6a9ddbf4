//! Times OCI runtimes side by side, as an engine uses them: `run`, then `create`, `state`, `start`, `exec`, `kill`, `delete`.
//!
//! Every round drives every runtime, in turn, so that what the machine does besides hits all alike. The table has medians
//! and their ratio to the first runtime's; the CSV also the processor time, which a busy machine disturbs least.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use benches::chart::{Bar, Panel, bars};
use benches::{Scratch, quantile};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

const OPERATIONS: [&str; 7] = ["run", "create", "state", "start", "exec", "kill", "delete"];
const USAGE: &str = "usage: lifecycle ROUNDS [--csv FILE] [--svg FILE] [--floor PATH] NAME=PATH [NAME=PATH ...]";
/// Rounds that are not counted.
const WARM_UP: usize = 2;

/// One runtime's figures, in milliseconds, by operation.
struct Runtime {
    name: String,
    path: String,
    /// The program `floor`, which can only `run`.
    is_floor: bool,
    wall: [Vec<f64>; OPERATIONS.len()],
    processor: [Vec<f64>; OPERATIONS.len()],
    failed: usize,
    /// KiB.
    peak: i64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // For `peak` below: a process that has no other children.
    if let [word, command @ ..] = arguments.as_slice()
        && word == "--peak"
    {
        let ran = command.split_first().map(|(program, arguments)| call(program, arguments));
        println!("{}", getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0, |usage| usage.max_rss()));
        return if ran == Some(true) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
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
    let (mut rounds, mut csv, mut svg, mut floor, mut runtimes) = (None, None, None, None, Vec::new());
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match (word.as_str(), word.split_once('=')) {
            ("--csv", _) => csv = words.next(),
            ("--svg", _) => svg = words.next(),
            ("--floor", _) => floor = words.next(),
            (_, Some((name, path))) => runtimes.push(Runtime::new(name, path)),
            _ => rounds = Some(word.parse::<usize>().map_err(|_| USAGE)?),
        }
    }
    let rounds = rounds.filter(|_| !runtimes.is_empty()).ok_or(USAGE)?;
    runtimes.extend(floor.map(|path| Runtime { is_floor: true, ..Runtime::new("floor", path) }));
    let text = |error: std::io::Error| error.to_string();
    let scratch = Scratch::new("lifecycle").map_err(text)?;
    scratch.bundle("true", &["/bin/true"]).map_err(text)?;
    scratch.bundle("sleep", &["/bin/sleep", "1000"]).map_err(text)?;
    for round in 0..rounds + WARM_UP {
        let count = runtimes.len();
        for turn in 0..count {
            let index = (turn + round) % count;
            runtimes[index].round(
                &scratch.0,
                &format!("bench-{}-{index}-{round}", std::process::id()),
                round >= WARM_UP,
            );
        }
    }
    for runtime in &mut runtimes {
        runtime.measure_peak(&scratch.0);
    }
    print!("{}", table(&runtimes));
    for (file, content) in [(csv, comma_separated(&runtimes)), (svg, chart(&runtimes))] {
        file.map_or(Ok(()), |file| fs::write(file, content)).map_err(text)?;
    }
    Ok(())
}

/// A directory of the v2 hierarchy, for the floor; `-`: there is none.
fn unified() -> String {
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let root = roots.into_iter().find(|root| Path::new(root).join("cgroup.procs").exists());
    root.unwrap_or("-").to_owned()
}

/// Whether it succeeded.
fn call(program: &str, arguments: &[String]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What the children that were waited for have used, in milliseconds.
fn processor_time() -> f64 {
    getrusage(UsageWho::RUSAGE_CHILDREN)
        .map_or(0.0, |usage| (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e3)
}

impl Runtime {
    fn new(name: &str, path: &str) -> Self {
        let (wall, processor) = Default::default();
        Runtime { name: name.to_owned(), path: path.to_owned(), is_floor: false, wall, processor, failed: 0, peak: 0 }
    }

    fn arguments(&self, scratch: &Path, words: &[&str]) -> Vec<String> {
        let root = scratch.join(&self.name).display().to_string();
        ["--root", &root].iter().chain(words).map(ToString::to_string).collect()
    }

    fn round(&mut self, scratch: &Path, id: &str, counts: bool) {
        let (quick, slow) = (scratch.join("true").display().to_string(), scratch.join("sleep").display().to_string());
        for (index, operation) in OPERATIONS.into_iter().enumerate() {
            let words: &[&str] = match operation {
                "run" | "create" => &[operation, "-b", if operation == "run" { &quick } else { &slow }, id],
                "exec" => &["exec", id, "/bin/true"],
                "kill" => &["kill", id, "KILL"],
                _ => &[operation, id],
            };
            if operation == "delete" {
                // All that is timed is the deletion of a container that has ended.
                self.wait_until_stopped(scratch, id);
            }
            let arguments = match (self.is_floor, operation) {
                (false, _) => self.arguments(scratch, words),
                (true, "run") => vec![format!("{quick}/rootfs"), unified(), "/bin/true".to_owned()],
                (true, _) => return,
            };
            let (start, before) = (Instant::now(), processor_time());
            let ok = call(&self.path, &arguments);
            let (wall, processor) = (start.elapsed().as_secs_f64() * 1e3, processor_time() - before);
            if !ok {
                self.failed += 1;
            } else if counts {
                self.wall[index].push(wall);
                self.processor[index].push(processor);
            }
        }
        // Whatever went wrong, nothing is left of it.
        call(&self.path, &self.arguments(scratch, &["delete", "-f", id]));
    }

    fn wait_until_stopped(&self, scratch: &Path, id: &str) {
        let deadline = Instant::now() + Duration::from_secs(5);
        let arguments = self.arguments(scratch, &["state", id]);
        while Instant::now() < deadline {
            let output = Command::new(&self.path).args(&arguments).stdin(Stdio::null()).output();
            let state: Option<serde_json::Value> = output.ok().and_then(|o| serde_json::from_slice(&o.stdout).ok());
            if state.is_none_or(|state| state["status"] == "stopped") {
                return;
            }
        }
    }

    /// Of `run`, with the processes that it makes.
    fn measure_peak(&mut self, scratch: &Path) {
        if self.is_floor {
            return;
        }
        let (bundle, id) = (scratch.join("true").display().to_string(), format!("bench-{}-peak", std::process::id()));
        let output = std::env::current_exe().and_then(|own| {
            let mut command = Command::new(own);
            command.arg("--peak").arg(&self.path).args(self.arguments(scratch, &["run", "-b", &bundle, &id])).output()
        });
        self.peak = output.ok().and_then(|o| String::from_utf8(o.stdout).ok()?.trim().parse().ok()).unwrap_or(0);
    }
}

fn table(runtimes: &[Runtime]) -> String {
    let mut text = format!("| median ms (x {}) |", runtimes[0].name);
    for operation in OPERATIONS {
        let _ = write!(text, " {operation} |");
    }
    let _ = writeln!(text, " peak KiB | failed |\n|---{}|---|---|", "|---".repeat(OPERATIONS.len()));
    for runtime in runtimes {
        let _ = write!(text, "| {} |", runtime.name);
        for (figures, first) in runtime.wall.iter().zip(&runtimes[0].wall) {
            if figures.is_empty() {
                text.push_str(" - |");
                continue;
            }
            let (median, first) = (quantile(figures, 0.5), quantile(first, 0.5));
            let _ = write!(text, " {median:.2} ({:.2}) |", median / first);
        }
        let _ = writeln!(text, " {} | {} |", runtime.peak, runtime.failed);
    }
    text
}

fn comma_separated(runtimes: &[Runtime]) -> String {
    let mut text = "runtime,operation,rounds,median_ms,p10_ms,p99_ms,processor_median_ms\n".to_owned();
    for runtime in runtimes {
        for (index, operation) in OPERATIONS.iter().enumerate() {
            let (wall, processor) = (&runtime.wall[index], &runtime.processor[index]);
            let figures = [quantile(wall, 0.5), quantile(wall, 0.1), quantile(wall, 0.99), quantile(processor, 0.5)];
            let figures = figures.map(|figure| format!("{figure:.3}")).join(",");
            let _ = writeln!(text, "{},{operation},{},{figures}", runtime.name, wall.len());
        }
    }
    text
}

/// A panel for each operation.
fn chart(runtimes: &[Runtime]) -> String {
    let panel = |(index, title): (usize, &&str)| Panel {
        title: (*title).to_owned(),
        bars: runtimes
            .iter()
            .filter(|runtime| !runtime.wall[index].is_empty())
            .map(|runtime| Bar {
                name: runtime.name.clone(),
                value: quantile(&runtime.wall[index], 0.5),
                high: Some(quantile(&runtime.wall[index], 0.99)),
            })
            .collect(),
    };
    bars("A command's time", "ms", &OPERATIONS.iter().enumerate().map(panel).collect::<Vec<_>>())
}
